//! Builds an artifact: content in, manifest and receipt made, members out.

use std::collections::BTreeMap;

use super::manifest::{AdapterSummary, EvalSummary, Manifest, ModelSummary, RecallSummary, Tool, TrainingSummary};
use super::plan::{Plan, WeightType};
use super::receipt::Receipt;
use super::{
    ArtifactError, FileIdentity, Member, Members, MerkleTree, OperatorKey, Task, Timestamp, cid, opened, rules,
    sha256_hex,
};

/// Everything an artifact holds but manifest and receipt.
#[derive(Clone, Debug)]
pub struct Content {
    /// What it is for.
    pub task: Task,
    /// Everything that decided the bytes.
    pub plan: Plan,
    /// `adapter/adapter_config.json`.
    pub adapter_config: Vec<u8>,
    /// `adapter/adapter_model.safetensors`.
    pub adapter_model: Vec<u8>,
    /// The recall index; none when recall is off.
    pub recall: Option<RecallContent>,
    /// `eval/pack.jsonl`.
    pub eval_pack: Vec<u8>,
    /// `eval/replay.jsonl`.
    pub eval_replay: Vec<u8>,
    /// `training/trace.jsonl`.
    pub training_trace: Vec<u8>,
}

impl Content {
    /// Every member but manifest and receipt, encoded.
    ///
    /// # Errors
    /// `Field` for a task or plan that a reader would refuse.
    pub fn members(&self) -> Result<Members, ArtifactError> {
        let mut members = Members::new();
        members.insert(Member::Task, self.task.encode()?);
        members.insert(Member::Plan, self.plan.encode()?);
        members.insert(Member::AdapterConfig, self.adapter_config.clone());
        members.insert(Member::AdapterModel, self.adapter_model.clone());
        if let Some(recall) = &self.recall {
            members.insert(Member::RecallConfig, recall.config.clone());
            members.insert(Member::RecallVectors, recall.vectors.clone());
            members.insert(Member::RecallPassages, recall.passages.clone());
        }
        members.insert(Member::EvalPack, self.eval_pack.clone());
        members.insert(Member::EvalReplay, self.eval_replay.clone());
        members.insert(Member::TrainingTrace, self.training_trace.clone());
        Ok(members)
    }
}

/// Path and SHA-256 of each member: what `manifest.hashes` lists and the CID is the hash of.
pub fn hashes(members: &Members) -> BTreeMap<String, String> {
    members
        .iter()
        .filter(|(member, _)| member.is_hashed())
        .map(|(member, bytes)| (member.name().to_owned(), sha256_hex(bytes)))
        .collect()
}

/// The recall index as members.
#[derive(Clone, Debug)]
pub struct RecallContent {
    /// `recall/config.json`.
    pub config: Vec<u8>,
    /// `recall/vectors.safetensors`.
    pub vectors: Vec<u8>,
    /// `recall/passages.jsonl`.
    pub passages: Vec<u8>,
}

/// What was measured, and when and by what; shares are strings with six decimals.
#[derive(Clone, Debug)]
pub struct Measured {
    /// When the artifact is made.
    pub created: Timestamp,
    /// What makes it.
    pub tool: Tool,
    /// K-score.
    pub k: String,
    /// K of the base without the adapter.
    pub k_base: String,
    /// K of always giving the most frequent answer.
    pub k_majority: String,
    /// Lower end of the Wilson 95 % interval.
    pub wilson_low: String,
    /// Upper end of the Wilson 95 % interval.
    pub wilson_high: String,
    /// SHA-256 over every case's tokens and final logits.
    pub replay_digest: String,
    /// Share of cases whose recalled passages hold the expected label; none without recall or with another metric.
    pub recall_at_k: Option<String>,
    /// Loss of the last step, a decimal string.
    pub final_loss: Option<String>,
    /// CID of the artifact this one replaces.
    pub supersedes: Option<String>,
}

impl Measured {
    /// What a manifest states, for content that is sealed again.
    pub fn of(manifest: &Manifest) -> Measured {
        let eval = &manifest.eval;
        Measured {
            created: manifest.created,
            tool: manifest.tool.clone(),
            k: eval.k.clone(),
            k_base: eval.k_base.clone(),
            k_majority: eval.k_majority.clone(),
            wilson_low: eval.wilson_low.clone(),
            wilson_high: eval.wilson_high.clone(),
            replay_digest: eval.replay_digest.clone(),
            recall_at_k: eval.recall_at_k.clone(),
            final_loss: manifest.training.final_loss.clone(),
            supersedes: manifest.supersedes.clone(),
        }
    }
}

/// Makes manifest and receipt and gives all members, checked as a reader would check them.
///
/// # Errors
/// `Field`, `Disagree` and JSON errors for content that a reader would refuse.
pub fn seal(content: &Content, measured: &Measured, key: &OperatorKey) -> Result<Members, ArtifactError> {
    let mut members = content.members()?;
    let hashes = hashes(&members);
    let manifest = manifest(content, measured, hashes)?;
    let manifest_bytes = manifest.encode()?;
    let lineage = opened::lineage(&manifest, &content.plan, &manifest.hashes, &sha256_hex(&manifest_bytes));
    let receipt = Receipt::seal(key, &lineage)?;
    members.insert(Member::Manifest, manifest_bytes);
    members.insert(Member::Receipt, receipt.encode()?);
    opened::agree(&manifest, &receipt, &content.task, &content.plan, |member| {
        members.get(member).map(|bytes| bytes.len().try_into().unwrap_or(u64::MAX))
    })?;
    opened::check_adapter_config(&manifest, &content.adapter_config)?;
    Ok(members)
}

fn manifest(
    content: &Content,
    measured: &Measured,
    hashes: BTreeMap<String, String>,
) -> Result<Manifest, ArtifactError> {
    let plan = &content.plan;
    let met = match (rules::ppm(&measured.k), rules::ppm(&plan.eval.gate)) {
        (Some(k), Some(gate)) => k >= gate,
        _ => false, // one of them is ill-spelled, which `encode` refuses
    };
    Ok(Manifest {
        format: Manifest::FORMAT.to_owned(),
        name: content.task.name.clone(),
        version: content.task.version.clone(),
        created: measured.created,
        tool: measured.tool.clone(),
        cid: cid(&hashes)?,
        base: model_summary(&plan.base.repo, &plan.base.revision, plan.base.dtype, &plan.base.files),
        adapter: AdapterSummary {
            rank: plan.adapter.rank,
            alpha: plan.adapter.alpha,
            targets: plan.adapter.targets.clone(),
            size: content.adapter_model.len().try_into().unwrap_or(u64::MAX),
        },
        recall: plan.recall.as_ref().map(|recall| {
            let encoder = &recall.encoder;
            RecallSummary {
                encoder: model_summary(&encoder.repo, &encoder.revision, encoder.dtype, &encoder.files),
                usage: recall.usage,
                k: recall.k,
                passages: recall.passages,
            }
        }),
        eval: EvalSummary {
            cases: plan.eval.cases,
            metric: plan.eval.metric.clone(),
            k: measured.k.clone(),
            gate: plan.eval.gate.clone(),
            met,
            k_base: measured.k_base.clone(),
            k_majority: measured.k_majority.clone(),
            wilson_low: measured.wilson_low.clone(),
            wilson_high: measured.wilson_high.clone(),
            replay_digest: measured.replay_digest.clone(),
            recall_at_k: measured.recall_at_k.clone(),
        },
        training: TrainingSummary {
            steps: plan.train.steps,
            final_loss: measured.final_loss.clone(),
            trace_root: MerkleTree::of_text(&content.training_trace).root(),
            trace_sha256: sha256_hex(&content.training_trace),
        },
        supersedes: measured.supersedes.clone(),
        hashes,
    })
}

/// A model in brief, as manifest.json gives it.
pub(crate) fn model_summary(repo: &str, revision: &str, dtype: WeightType, files: &[FileIdentity]) -> ModelSummary {
    ModelSummary {
        repo: repo.to_owned(),
        revision: revision.to_owned(),
        dtype,
        files: files.len().try_into().unwrap_or(u64::MAX),
        size: files.iter().fold(0, |sum: u64, file| sum.saturating_add(file.size)),
    }
}
