//! The stages of a compile, in order: sources, corpus, prompts, recall, training, grading, assembly.
//!
//! A stage sees only its predecessors' outputs; nothing flows back. Whatever decides a byte of the content is in the plan before training
//! starts; threads, paths, clock and environment are not. [`make`] goes as far as the content, which needs no key; [`compile`] adds
//! manifest, receipt and audit entry, and writes the file.

mod assemble;
mod content;
mod error;
pub mod fetch;
mod memory;
mod plan;
mod prepare;
mod previous;
mod prompt;
mod recall;
mod render;
mod replan;
mod sources;
mod start;

use std::path::{Path, PathBuf};

use kolm_runtime::artifact::{AuditLog, KeySource, Timestamp};
use kolm_runtime::kernel::Level;

pub use assemble::Compiled;
pub use content::{Base, Inputs, Made, make};
pub use error::CompileError;
pub use prepare::{Prepared, prepare};
pub use previous::Previous;
pub use replan::{job_of, load_corpus};
pub use sources::{Lookup, locate};

use crate::cli::environment::Environment;
use crate::cli::progress::Progress;
use crate::corpus;
use crate::job::{Job, RecallUse};

/// One compile as asked for on the command line.
#[derive(Debug, Clone)]
pub struct Request {
    /// The job file.
    pub job: PathBuf,
    /// Folder that receives `NAME-VERSION.kolm`.
    pub out: PathBuf,
    /// Corpus files in place of the job's.
    pub corpus: Vec<PathBuf>,
    /// Base in place of the job's.
    pub base: Option<String>,
    /// Encoder in place of the job's.
    pub encoder: Option<String>,
    /// PEFT adapter to start from, in place of the job's.
    pub init_adapter: Option<PathBuf>,
    /// When the artifact is made.
    pub created: Timestamp,
    /// Examples in flight; 0 the whole batch, `None` as many as fit.
    pub micro_batch: Option<usize>,
    /// Write the artifact even when K is below the gate.
    pub allow_below_gate: bool,
    /// Replace an artifact of the same name and version.
    pub force: bool,
    /// Where the operator's key is.
    pub key: KeySource,
    /// The artifact that this one is to replace; then only the corpus may have moved.
    pub previous: Option<Previous>,
    /// Write the digests of every block beside the artifact, as `NAME-VERSION.trace.jsonl`.
    pub full_trace: bool,
}

/// Compiles a job into an artifact and writes it.
///
/// # Errors
/// [`CompileError`]; nothing is left behind but checkpoints, from which the same compile resumes.
pub fn compile(
    request: &Request,
    level: Level,
    environment: &Environment,
    progress: &mut Progress,
) -> Result<Compiled, CompileError> {
    let job = Job::read(&request.job)?;
    if let Some(previous) = &request.previous {
        previous.check_task(&job)?;
    }
    let output = assemble::Output::prepare(request, &job)?;
    let folder = job.path.parent().unwrap_or(Path::new("")).to_owned();
    let (cache, offline) = (environment.hub_cache.as_path(), environment.offline.as_ref());
    let endpoint = environment.hub_endpoint.as_deref();
    // What the job names is relative to the job file, what the command line names to the working folder.
    let of_job = |model, revision| locate(Lookup { model, revision, folder: &folder, cache, endpoint, offline });
    let typed = |model| locate(Lookup { model, revision: None, folder: Path::new(""), cache, endpoint, offline });
    let base = match &request.base {
        Some(model) => typed(model)?,
        None => of_job(&job.base.model, job.base.revision.as_deref())?,
    };
    let base = Base::load(level, base, &job)?;
    let (key, key_was_made) = request.key.load_or_create()?;
    if key_was_made && let Some(path) = request.key.path() {
        progress.stage(
            "key",
            &format!("made {} (id {}); keep a copy where the artifacts are verified", path.display(), key.id()),
        );
    }
    if let Some(previous) = &request.previous {
        previous.check_receipt(&request.key.load_for(previous.key_id())?)?;
    }
    // A log that refuses the entry would refuse it only after the training.
    AuditLog::open(&environment.kolm_home, &key)?.check_end()?;
    progress.stage("base", &base.to_string());
    let corpus = corpus::load(&corpus::Request::from_job(&job, &request.corpus))?;
    let encoder = match (job.recall.usage, &request.encoder) {
        (RecallUse::Off, _) => None,
        (_, Some(model)) => Some(typed(model)?),
        (_, None) => Some(of_job(&job.recall.encoder, job.recall.revision.as_deref())?),
    };
    let inputs = Inputs {
        init_adapter: request.init_adapter.clone().or_else(|| job.adapter.init.as_ref().map(|init| job.resolve(init))),
        micro_batch: request.micro_batch.or_else(|| job.train.micro_batch.and_then(|size| usize::try_from(size).ok())),
        work_folder: environment.work_folder(),
        previous: request.previous.clone(),
        full_trace: request.full_trace.then(|| output.full_trace()),
        job,
        base,
        corpus,
        encoder,
    };
    let made = make(&inputs, level, progress)?;
    let gate = plan::gate(&inputs.job);
    if made.outcome.k < gate && !request.allow_below_gate {
        return Err(CompileError::BelowGate { k: made.outcome.k.to_string(), gate: gate.to_string() });
    }
    assemble::write(&output, &made, &inputs, request.created, &key, environment)
}
