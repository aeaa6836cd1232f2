//! What a rebuild found, as text and as values.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What identifies an artifact's content and behaviour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Results {
    /// Content id.
    pub cid: String,
    /// K-score, six decimals.
    pub k: String,
    /// SHA-256 over every case's tokens and final logits.
    pub replay_digest: String,
    /// SHA-256 of `training/trace.jsonl`.
    pub trace_sha256: String,
}

/// One member on both sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberDigests {
    /// Path inside the artifact.
    pub path: String,
    /// SHA-256 recorded; none when the artifact lacks it.
    pub recorded: Option<String>,
    /// SHA-256 rebuilt; none when the rebuild lacks it.
    pub rebuilt: Option<String>,
}

/// A finished comparison.
#[derive(Debug, Clone, Serialize)]
pub struct Rebuilt {
    /// The artifact.
    pub artifact: PathBuf,
    /// What it says.
    pub recorded: Results,
    /// What this machine made.
    pub rebuilt: Results,
    /// Every member under the CID, by path.
    pub members: Vec<MemberDigests>,
}

impl MemberDigests {
    /// Whether both sides have the same bytes.
    pub fn equal(&self) -> bool {
        self.recorded == self.rebuilt
    }
}

impl Rebuilt {
    /// Whether CID, K, replay digest and every member are the recorded ones.
    pub fn identical(&self) -> bool {
        self.recorded == self.rebuilt && self.members.iter().all(MemberDigests::equal)
    }

    /// `identical` or `different`.
    pub fn verdict(&self) -> &'static str {
        if self.identical() { "identical" } else { "different" }
    }

    /// What stands on stdout. Digests are shortened where both sides are equal.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |line: String| {
            text.push_str(&line);
            text.push('\n');
        };
        line(format!("rebuild:  {}", self.verdict()));
        line(format!("artifact: {}", self.artifact.display()));
        for (name, recorded, rebuilt) in [
            ("cid", &self.recorded.cid, &self.rebuilt.cid),
            ("K", &self.recorded.k, &self.rebuilt.k),
            ("replay", &self.recorded.replay_digest, &self.rebuilt.replay_digest),
            ("trace", &self.recorded.trace_sha256, &self.rebuilt.trace_sha256),
        ] {
            let name = format!("{name}:");
            match recorded == rebuilt {
                true => line(format!("{name:<9} {recorded}")),
                false => line(format!("{name:<9} recorded {recorded}\n          rebuilt  {rebuilt}")),
            }
        }
        let missing = || "missing".to_owned();
        for member in &self.members {
            let recorded = member.recorded.clone().unwrap_or_else(missing);
            let rebuilt = member.rebuilt.clone().unwrap_or_else(missing);
            match member.equal() {
                true => line(format!("  equal   {:<34} {recorded}", member.path)),
                false => line(format!("  differs {:<34} recorded {recorded}, rebuilt {rebuilt}", member.path)),
            }
        }
        text
    }
}

/// Pairs the members of both sides by path.
pub(super) fn pair(recorded: &BTreeMap<String, String>, rebuilt: &BTreeMap<String, String>) -> Vec<MemberDigests> {
    let mut paths: Vec<&String> = recorded.keys().chain(rebuilt.keys()).collect();
    paths.sort_unstable();
    paths.dedup();
    let of = |path: &String| MemberDigests {
        path: path.clone(),
        recorded: recorded.get(path).cloned(),
        rebuilt: rebuilt.get(path).cloned(),
    };
    paths.into_iter().map(of).collect()
}
