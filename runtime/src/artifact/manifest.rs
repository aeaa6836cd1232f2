//! `manifest.json`: what `inspect` shows, the hash of every other member, and the CID.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::cid::PREFIX as CID_PREFIX;
use super::plan::{RecallUse, WeightType};
use super::{ArtifactError, Member, Timestamp, canonical, cid, limits, parse_canonical, rules};

/// Summary, hashes and CID.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// `kolm-manifest-1`.
    pub format: String,
    /// Name of the task.
    pub name: String,
    /// Version of the task.
    pub version: String,
    /// When the artifact was made.
    pub created: Timestamp,
    /// What made it; the only place that names a build.
    pub tool: Tool,
    /// Member path to SHA-256 of its content, every member but manifest and receipt.
    pub hashes: BTreeMap<String, String>,
    /// Content identifier: the hash of `hashes`.
    pub cid: String,
    /// Base model.
    pub base: ModelSummary,
    /// Adapter.
    pub adapter: AdapterSummary,
    /// Recall index; none when recall is off.
    pub recall: Option<RecallSummary>,
    /// Eval pack and score.
    pub eval: EvalSummary,
    /// Training.
    pub training: TrainingSummary,
    /// CID of the artifact this one replaces.
    pub supersedes: Option<String>,
}

/// A program and its version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// Program.
    pub name: String,
    /// Version.
    pub version: String,
}

/// A model in brief; plan.json lists its files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSummary {
    /// Repository.
    pub repo: String,
    /// Full commit hash.
    pub revision: String,
    /// Stored type of the weights.
    pub dtype: WeightType,
    /// Number of files that the runtime loads.
    pub files: u64,
    /// Their length together, in bytes.
    pub size: u64,
}

/// The adapter in brief.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdapterSummary {
    /// LoRA rank.
    pub rank: u64,
    /// LoRA alpha.
    pub alpha: u64,
    /// Target modules, sorted.
    pub targets: Vec<String>,
    /// Length of `adapter/adapter_model.safetensors` in bytes.
    pub size: u64,
}

/// The recall index in brief.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecallSummary {
    /// Encoder model.
    pub encoder: ModelSummary,
    /// What is done with recalled passages.
    #[serde(rename = "use")]
    pub usage: RecallUse,
    /// Passages given for each prompt.
    pub k: u64,
    /// Passages in the index.
    pub passages: u64,
}

/// Eval pack and score. Shares are strings with six decimals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvalSummary {
    /// Cases in the pack.
    pub cases: u64,
    /// Metric of the pack.
    pub metric: String,
    /// K-score.
    pub k: String,
    /// Least K.
    pub gate: String,
    /// Whether K reaches the gate.
    pub met: bool,
    /// K of the base without the adapter.
    pub k_base: String,
    /// K of always giving the most frequent answer.
    pub k_majority: String,
    /// Lower end of the Wilson 95 % interval of K.
    pub wilson_low: String,
    /// Upper end of the Wilson 95 % interval of K.
    pub wilson_high: String,
    /// SHA-256 over every case's tokens and final logits.
    pub replay_digest: String,
    /// Share of cases whose recalled passages hold the expected label; none without recall or with another metric.
    pub recall_at_k: Option<String>,
}

/// Training in brief.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingSummary {
    /// Optimiser steps.
    pub steps: u64,
    /// Loss of the last step, a decimal string; none when no step was made.
    pub final_loss: Option<String>,
    /// Root of the Merkle tree over the lines of `training/trace.jsonl`.
    pub trace_root: String,
    /// SHA-256 of `training/trace.jsonl`.
    pub trace_sha256: String,
}

impl Manifest {
    /// The value of `format`.
    pub const FORMAT: &'static str = "kolm-manifest-1";

    /// Reads canonical bytes.
    ///
    /// # Errors
    /// Any JSON error, `Field` for a value outside its rules. The CID is not recomputed here: that is a check of its own.
    pub fn parse(bytes: &[u8]) -> Result<Self, ArtifactError> {
        let manifest: Self = parse_canonical(MEMBER, bytes)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// Writes canonical bytes.
    ///
    /// # Errors
    /// `Field` for a value outside its rules.
    pub fn encode(&self) -> Result<Vec<u8>, ArtifactError> {
        self.check()?;
        canonical(self)
    }

    /// Whether `cid` is the hash of `hashes`.
    ///
    /// # Errors
    /// `Cid` if not.
    pub fn check_cid(&self) -> Result<(), ArtifactError> {
        let expected = cid(&self.hashes)?;
        if self.cid != expected {
            let found = self.cid.clone();
            return Err(ArtifactError::Cid { found, expected });
        }
        Ok(())
    }

    fn check(&self) -> Result<(), ArtifactError> {
        rules::format(MEMBER, &self.format, Self::FORMAT)?;
        rules::name(MEMBER, "name", &self.name, limits::NAME_LEN_MAX_BYTES)?;
        rules::name(MEMBER, "version", &self.version, limits::VERSION_LEN_MAX_BYTES)?;
        rules::name(MEMBER, "tool.name", &self.tool.name, limits::NAME_LEN_MAX_BYTES)?;
        rules::name(MEMBER, "tool.version", &self.tool.version, limits::NAME_LEN_MAX_BYTES)?;
        for (name, sha256) in &self.hashes {
            rules::sha256(MEMBER, &format!("hashes.{name}"), sha256)?;
        }
        content_id("cid", &self.cid)?;
        if let Some(supersedes) = &self.supersedes {
            content_id("supersedes", supersedes)?;
        }
        rules::repository(MEMBER, "base", &self.base.repo, &self.base.revision)?;
        if let Some(RecallSummary { encoder, .. }) = &self.recall {
            rules::repository(MEMBER, "recall.encoder", &encoder.repo, &encoder.revision)?;
        }
        if let Some(loss) = &self.training.final_loss {
            rules::decimal(MEMBER, "training.final_loss", loss)?;
        }
        rules::sha256(MEMBER, "training.trace_root", &self.training.trace_root)?;
        rules::sha256(MEMBER, "training.trace_sha256", &self.training.trace_sha256)?;
        self.check_eval()
    }

    fn check_eval(&self) -> Result<(), ArtifactError> {
        let eval = &self.eval;
        let k = rules::share(MEMBER, "eval.k", &eval.k)?;
        let gate = rules::share(MEMBER, "eval.gate", &eval.gate)?;
        for (field, value) in [
            ("eval.k_base", Some(&eval.k_base)),
            ("eval.k_majority", Some(&eval.k_majority)),
            ("eval.wilson_low", Some(&eval.wilson_low)),
            ("eval.wilson_high", Some(&eval.wilson_high)),
            ("eval.recall_at_k", eval.recall_at_k.as_ref()),
        ] {
            if let Some(value) = value {
                rules::share(MEMBER, field, value)?;
            }
        }
        let met = || eval.met.to_string();
        rules::require(MEMBER, "eval.met", eval.met == (k >= gate), met, "true exactly if k reaches the gate")?;
        rules::sha256(MEMBER, "eval.replay_digest", &eval.replay_digest)
    }
}

fn content_id(field: &str, found: &str) -> Result<(), ArtifactError> {
    let holds = found.strip_prefix(CID_PREFIX).is_some_and(|hash| rules::is_hex(hash, 64));
    let quoted = || format!("{found:?}");
    rules::require(MEMBER, field, holds, quoted, "cidv1:sha256: and 64 lower-case hex digits")
}

const MEMBER: &str = Member::Manifest.name();
