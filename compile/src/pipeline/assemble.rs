//! The last stage: members, manifest and receipt, runtime's own verifier over the finished bytes, audit entry, rename.
//!
//! The file appears whole under its name or not at all.

use std::fs;
use std::path::{Path, PathBuf};

use kolm_runtime::artifact::{
    ArtifactFile, AuditLog, Event, Measured, Opened, OperatorKey, Staged, Timestamp, Tool, encode, seal,
};
use kolm_runtime::eval;
use kolm_runtime::recall::RecallIndex;
use serde::Serialize;

use super::{CompileError, Inputs, Made, Previous, Request};
use crate::cli::environment::Environment;
use crate::corpus::identifiers;
use crate::job::{Identifiers, Job};
use crate::train::TraceLine;

/// What a finished compile says.
#[derive(Debug, Clone, Serialize)]
pub struct Compiled {
    /// The artifact.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// Content id.
    pub cid: String,
    /// Name from the job.
    pub name: String,
    /// Version from the job.
    pub version: String,
    /// K-score, six decimals.
    pub k: String,
    /// Gate, six decimals.
    pub gate: String,
    /// Whether K reaches the gate.
    pub gate_met: bool,
    /// K of the base without the adapter.
    pub k_base: String,
    /// K of always giving the most frequent training answer.
    pub k_majority: String,
    /// Wilson 95 % interval of K.
    pub wilson: [String; 2],
    /// SHA-256 over every case's tokens and final logits.
    pub replay_digest: String,
    /// Share of eval cases whose retrieved passages hold the answer.
    pub recall_at_k: Option<String>,
    /// Passages retrieved for each prompt.
    pub recall_k: Option<u64>,
    /// Cases in the eval pack.
    pub cases: u64,
    /// Their metric.
    pub metric: String,
    /// Training steps.
    pub steps: u64,
    /// Loss of the last step.
    pub final_loss: Option<String>,
    /// Id of the operator's key.
    pub key_id: String,
    /// When, RFC 3339 UTC.
    pub created: Timestamp,
}

/// The place of the artifact, seen to be writable before any work is done.
pub(super) struct Output {
    path: PathBuf,
    force: bool,
}

impl Output {
    /// Makes the folder and proves that a file can be written in it.
    pub(super) fn prepare(request: &Request, job: &Job) -> Result<Output, CompileError> {
        let io = |action, path: &Path| {
            let path = path.to_owned();
            move |source| CompileError::Io { action, path, source }
        };
        fs::create_dir_all(&request.out).map_err(io("create", &request.out))?;
        let path = request.out.join(format!("{}-{}.kolm", job.task.name, job.task.version));
        drop(Staged::write(&path, b"")?);
        if path.is_dir() {
            return Err(CompileError::OutputExists { path, found: "a folder".to_owned() });
        }
        Ok(Output { path, force: request.force })
    }

    /// Where a full trace is written: beside the artifact.
    pub(super) fn full_trace(&self) -> PathBuf {
        self.path.with_extension("trace.jsonl")
    }

    /// Refuses to write over another artifact, unless that was asked for.
    fn check_free(&self, cid: &str) -> Result<(), CompileError> {
        if self.force || !self.path.exists() {
            return Ok(());
        }
        let found = ArtifactFile::open(&self.path).and_then(Opened::new).map(|opened| opened.manifest.cid.clone());
        match found {
            Ok(found) if found == cid => Ok(()),
            Ok(found) => Err(CompileError::OutputExists { path: self.path.clone(), found }),
            Err(error) => Err(CompileError::OutputExists { path: self.path.clone(), found: error.to_string() }),
        }
    }
}

/// Builds, checks, records and writes the artifact, then drops the checkpoints.
pub(super) fn write(
    output: &Output,
    made: &Made,
    inputs: &Inputs,
    created: Timestamp,
    key: &OperatorKey,
    environment: &Environment,
) -> Result<Compiled, CompileError> {
    if inputs.job.corpus.identifiers == Identifiers::Stop {
        check_identifiers(made)?;
    }
    let members = seal(&made.content, &measured(made, inputs.previous.as_ref(), created), key)?;
    let bytes = encode(&members)?;
    let size = bytes.len() as u64;
    let opened = Opened::new(ArtifactFile::from_bytes(bytes.clone())?)?;
    let digests = opened.digests()?;
    opened.check_content(&digests)?;
    kolm_runtime::verify::check_members(&opened)?;
    opened.receipt.check(key, &opened.lineage(&digests))?;

    let manifest = &opened.manifest;
    output.check_free(&manifest.cid)?;
    let staged = Staged::write(&output.path, &bytes)?;
    AuditLog::open(&environment.kolm_home, key)?.append(&Event {
        time: Timestamp::from_unix(environment.now_seconds).unwrap_or(created),
        action: "compile".to_owned(),
        cid: Some(manifest.cid.clone()),
        outcome: "done".to_owned(),
        detail: format!("{}-{} K={} gate={}", manifest.name, manifest.version, manifest.eval.k, manifest.eval.gate),
    })?;
    staged.commit()?;
    // What is left of them would only be found by the same plan, which is done; failing to remove them loses nothing.
    let _ = fs::remove_dir_all(&made.checkpoints);

    let eval = &manifest.eval;
    Ok(Compiled {
        path: output.path.clone(),
        size,
        cid: manifest.cid.clone(),
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        k: eval.k.clone(),
        gate: eval.gate.clone(),
        gate_met: eval.met,
        k_base: eval.k_base.clone(),
        k_majority: eval.k_majority.clone(),
        wilson: [eval.wilson_low.clone(), eval.wilson_high.clone()],
        replay_digest: eval.replay_digest.clone(),
        recall_at_k: eval.recall_at_k.clone(),
        recall_k: manifest.recall.as_ref().map(|recall| recall.k),
        cases: eval.cases,
        metric: eval.metric.clone(),
        steps: manifest.training.steps,
        final_loss: manifest.training.final_loss.clone(),
        key_id: key.id(),
        created: manifest.created,
    })
}

fn measured(made: &Made, previous: Option<&Previous>, created: Timestamp) -> Measured {
    let (low, high) = eval::wilson(made.outcome.k, eval::effective_cases(&made.pack));
    Measured {
        created,
        tool: Tool { name: "kolm".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() },
        k: made.outcome.k.to_string(),
        k_base: made.base_k.to_string(),
        k_majority: made.majority_k.to_string(),
        wilson_low: low.to_string(),
        wilson_high: high.to_string(),
        replay_digest: made.outcome.replay_digest.clone(),
        recall_at_k: made.recall_at_k.map(|share| share.to_string()),
        final_loss: made.trace.last().and_then(final_loss),
        supersedes: previous.map(|previous| previous.cid.clone()),
    }
}

/// The last loss as a decimal of at most six places, without needless zeros.
fn final_loss(line: &TraceLine) -> Option<String> {
    let bits = u32::from_str_radix(&line.loss, 16).ok()?;
    let shown = format!("{:.6}", f32::from_bits(bits));
    let trimmed = shown.trim_end_matches('0').trim_end_matches('.');
    Some(trimmed.to_owned())
}

/// Searches the finished pack and passages once more for residual identifiers.
fn check_identifiers(made: &Made) -> Result<(), CompileError> {
    let cases = made.pack.cases().iter().flat_map(|case| {
        [
            (format!("eval case {}", case.id), case.prompt.as_str()),
            (format!("eval case {}", case.id), case.expected.as_str()),
        ]
    });
    let passages = made.recall.iter().flat_map(RecallIndex::passages).flat_map(|passage| {
        let place = || format!("recall passage {}", passage.id);
        [(place(), passage.text.as_str()), (place(), passage.answer.as_str())]
    });
    for (place, text) in cases.chain(passages) {
        if let Some(finding) = identifiers::scan_text(text).first() {
            return Err(CompileError::ResidualIdentifier {
                place,
                kind: finding.kind.words().to_owned(),
                excerpt: identifiers::mask_text(text),
            });
        }
    }
    Ok(())
}
