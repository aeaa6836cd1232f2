//! The quarterly run, told: what moved in the corpus, in K and in the answers between an artifact and the one that replaces it.
//!
//! Everything is read out of the two artifacts. Of the old corpus only what the old artifact holds is known: its passages (the training
//! rows, where it has a recall index), its eval cases, and counts and hashes for the rest.

use std::fmt::Write as _;

use kolm_runtime::artifact::Timestamp;
use serde::Serialize;

use crate::diff::Diff;
use crate::diff::answers::Flip;
use crate::diff::keyed::Keyed;
use crate::pipeline::{Compiled, Previous};

/// What a refresh says.
#[derive(Clone, Debug, Serialize)]
pub struct Refreshed {
    /// CID of the artifact that is replaced.
    pub previous_cid: String,
    /// Its version.
    pub previous_version: String,
    /// When it was made.
    pub previous_created: Timestamp,
    /// Whole days between the two.
    pub previous_age_days: i64,
    /// Its K, six decimals.
    pub previous_k: String,
    /// Wilson 95 % interval of its K.
    pub previous_wilson: [String; 2],
    /// Training rows by id, where both artifacts have a recall index.
    pub passages: Option<Keyed>,
    /// Eval cases by id.
    pub cases: Keyed,
    /// Cases both packs ask alike.
    pub common_cases: usize,
    /// K over those, new less old, in ppm.
    pub delta_ppm: Option<i64>,
    /// Right before, wrong now.
    pub lost: Vec<Flip>,
    /// Wrong before, right now.
    pub won: Vec<Flip>,
    /// The new artifact.
    pub compiled: Compiled,
}

impl Refreshed {
    /// Puts together what the comparison of old and new shows.
    pub fn new(previous: &Previous, k: String, wilson: [String; 2], diff: Diff, compiled: Compiled) -> Refreshed {
        let indexed = diff.passages.count.iter().all(|count| *count > 0);
        Refreshed {
            previous_cid: previous.cid.clone(),
            previous_version: previous.version.clone(),
            previous_created: previous.created,
            previous_age_days: previous.created.days_until(compiled.created),
            previous_k: k,
            previous_wilson: wilson,
            passages: indexed.then_some(diff.passages),
            cases: diff.cases.cases,
            common_cases: diff.replay.common,
            delta_ppm: diff.replay.delta_ppm,
            lost: diff.replay.lost,
            won: diff.replay.won,
            compiled,
        }
    }

    /// The report for people.
    pub fn text(&self) -> String {
        let Refreshed { compiled, .. } = self;
        let mut text = String::new();
        let mut line = |label: &str, value: String| {
            let _ = writeln!(text, "{label:<10}{value}");
        };
        line("refresh:", format!("{} {} -> {}", compiled.name, self.previous_version, compiled.version));
        line("replaces:", format!("{} ({} days older)", self.previous_cid, self.previous_age_days));
        line("cid:", compiled.cid.clone());
        line("artifact:", format!("{} ({} bytes)", compiled.path.display(), compiled.size));
        let moved = |keyed: &Keyed| {
            let [before, after] = keyed.count;
            let (added, removed, changed) = (keyed.added.len(), keyed.removed.len(), keyed.changed.len());
            format!("{before} -> {after}: {added} added, {removed} removed, {changed} changed")
        };
        match &self.passages {
            Some(passages) => line("rows:", moved(passages)),
            None => line("rows:", "not known: one of the two has no recall index".to_owned()),
        }
        line("cases:", moved(&self.cases));
        let [low, high] = &self.previous_wilson;
        line("old K:", format!("{} (95 % interval {low} to {high})", self.previous_k));
        let [low, high] = &compiled.wilson;
        line("new K:", format!("{} (95 % interval {low} to {high}), gate {}", compiled.k, compiled.gate));
        if let Some(delta) = self.delta_ppm {
            line("delta:", format!("{delta:+} ppm over {} common cases", self.common_cases));
        }
        line("flipped:", format!("{} right -> wrong, {} wrong -> right", self.lost.len(), self.won.len()));
        for (sign, flips) in [("-", &self.lost), ("+", &self.won)] {
            for flip in flips {
                line("", format!("{sign} {:?}: {:?} -> {:?}, expected {:?}", flip.id, flip.a, flip.b, flip.expected));
            }
        }
        text
    }
}
