//! Rebuild: an artifact's own plan, the recorded inputs, and a second compile whose members must be the recorded ones.
//!
//! Needs no operator key: neither the CID nor any member under it holds one. Never fetches, never reads the recorded results while it
//! compiles, and never resumes from a compile's checkpoints, only from its own.

mod error;
mod inputs;
mod report;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use kolm_compile::cli::environment::Environment;
use kolm_compile::cli::progress::Progress;
use kolm_compile::pipeline::{self, Base};
use kolm_runtime::artifact::{ArtifactError, ArtifactFile, Member, Opened, Plan, Staged, Task, cid, hashes};
use kolm_runtime::kernel::Level;
use serde_json::Value;

pub use error::{Input, RebuildError};
pub use inputs::Models;
pub use report::{MemberDigests, Rebuilt, Results};

/// One rebuild as asked for on the command line.
#[derive(Debug, Clone)]
pub struct Request {
    /// The artifact.
    pub artifact: PathBuf,
    /// Corpus files, in any order: they are known by their digests.
    pub corpus: Vec<PathBuf>,
    /// Where base and encoder are.
    pub models: Models,
    /// PEFT adapter folder that the training started from.
    pub init_adapter: Option<PathBuf>,
    /// Examples in flight; 0 the whole batch, `None` as many as fit.
    pub micro_batch: Option<usize>,
    /// File that receives the digests of every block.
    pub full_trace: Option<PathBuf>,
    /// Folder that receives the rebuilt members.
    pub keep: Option<PathBuf>,
}

/// Rebuilds the artifact and compares.
///
/// # Errors
/// [`RebuildError`] when there is nothing to compare: the artifact is refused, the inputs are not the recorded ones, the compile stops.
/// A rebuild that differs is no error.
pub fn rebuild(
    request: &Request,
    level: Level,
    environment: &Environment,
    progress: &mut Progress,
) -> Result<Rebuilt, RebuildError> {
    let opened = open(&request.artifact)?;
    let (task, plan) = (&opened.task, &opened.plan);
    progress.stage("artifact", &format!("{}-{} {}", task.name, task.version, opened.manifest.cid));
    let inputs = inputs(request, task, plan, level, environment)?;
    progress.stage("base", &inputs.base.to_string());
    let made = pipeline::make(&inputs, level, progress)?;

    let members = made.content.members()?;
    let rebuilt = hashes(&members);
    if let Some(folder) = &request.keep {
        for (member, bytes) in members.iter() {
            keep(folder, member, bytes)?;
        }
    }
    let manifest = &opened.manifest;
    let trace = |of: &BTreeMap<String, String>| of.get(Member::TrainingTrace.name()).cloned().unwrap_or_default();
    let (recorded_results, rebuilt_results) = (
        Results {
            cid: manifest.cid.clone(),
            k: manifest.eval.k.clone(),
            replay_digest: manifest.eval.replay_digest.clone(),
            trace_sha256: trace(&manifest.hashes),
        },
        Results {
            cid: cid(&rebuilt)?,
            k: made.outcome.k.to_string(),
            replay_digest: made.outcome.replay_digest.clone(),
            trace_sha256: trace(&rebuilt),
        },
    );
    // They would only be found by the same rebuild, which is done; failing to remove them loses nothing.
    let _ = fs::remove_dir_all(&made.checkpoints);
    Ok(Rebuilt {
        artifact: request.artifact.clone(),
        recorded: recorded_results,
        rebuilt: rebuilt_results,
        members: report::pair(&manifest.hashes, &rebuilt),
    })
}

/// Locates and loads what a plan was made from, compared with it file by file.
///
/// # Errors
/// [`RebuildError::Inputs`], [`RebuildError::Model`], [`RebuildError::Compile`].
pub fn inputs(
    request: &Request,
    task: &Task,
    plan: &Plan,
    level: Level,
    environment: &Environment,
) -> Result<pipeline::Inputs, RebuildError> {
    let found = inputs::check(request, plan)?;
    let job = pipeline::job_of(task, plan)?;
    Ok(pipeline::Inputs {
        base: Base::load(level, found.base, &job)?,
        corpus: pipeline::load_corpus(&job, plan, found.train, found.eval)?,
        job,
        encoder: found.encoder,
        init_adapter: request.init_adapter.clone(),
        micro_batch: request.micro_batch,
        memory: None,
        work_folder: environment.work_folder().join("rebuild"),
        previous: None,
        full_trace: request.full_trace.clone(),
    })
}

/// Opens an artifact and sees that its members are what its CID says.
///
/// # Errors
/// [`RebuildError::NewerPlan`] before anything else of the plan is read, [`RebuildError::Artifact`].
pub fn open(path: &Path) -> Result<Opened, RebuildError> {
    let file = ArtifactFile::open(path)?;
    refuse_newer(&file.read(Member::Plan)?)?;
    let opened = Opened::new(file)?;
    let digests = opened.digests()?;
    opened.check_content(&digests)?;
    Ok(opened)
}

/// A newer plan has keys and values that this version cannot name, so its version is looked at before its schema.
fn refuse_newer(plan: &[u8]) -> Result<(), RebuildError> {
    let Ok(Value::Object(plan)) = serde_json::from_slice(plan) else { return Ok(()) };
    for (field, known) in [("format", Plan::FORMAT), ("numerics", Plan::NUMERICS)] {
        let Some(found) = plan.get(field).and_then(Value::as_str) else { continue };
        if newer(found, known) {
            return Err(RebuildError::NewerPlan { field, found: found.to_owned(), expected: known });
        }
    }
    Ok(())
}

/// Whether both are versions of one name, and `found` is the higher one.
fn newer(found: &str, known: &str) -> bool {
    let split = |text: &str| {
        let (name, number) = text.rsplit_once('-')?;
        Some((name.to_owned(), number.parse::<u64>().ok()?))
    };
    match (split(found), split(known)) {
        (Some((name, found)), Some((known_name, known))) => name == known_name && found > known,
        _ => false,
    }
}

fn keep(folder: &Path, member: Member, bytes: &[u8]) -> Result<(), RebuildError> {
    let path = folder.join(member.name());
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(|source| ArtifactError::Io {
            action: "create",
            path: parent.to_owned(),
            source,
        })?;
    }
    Ok(Staged::write(&path, bytes)?.commit()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_newer_plan_is_called_newer() {
        let code = |plan: &str| refuse_newer(plan.as_bytes()).map_err(|error| error.code());
        assert_eq!(code(r#"{"format":"kolm-plan-1","numerics":"num-1"}"#), Ok(()));
        assert_eq!(code(r#"{"format":"kolm-plan-2","new":true}"#), Err("plan_newer"));
        assert_eq!(code(r#"{"format":"kolm-plan-10","numerics":"num-1"}"#), Err("plan_newer"));
        assert_eq!(code(r#"{"format":"kolm-plan-1","numerics":"num-2"}"#), Err("plan_newer"));
        // Not newer but wrong: the schema's matter.
        for other in [r#"{"format":"kolm-plan-0"}"#, r#"{"format":"plan"}"#, r#"{"format":7}"#, "[]", "{"] {
            assert_eq!(code(other), Ok(()), "{other}");
        }
    }
}
