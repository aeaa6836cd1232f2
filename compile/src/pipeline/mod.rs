//! The stages of a compile, in order: sources, corpus, prompts, recall, training, grading, assembly.
//!
//! A stage sees only its predecessors' outputs; nothing flows back. Whatever decides a byte of the content is in the plan before training
//! starts; threads, paths, clock and environment are not. [`make`] goes as far as the content, which needs no key; [`compile`] adds
//! manifest, receipt and audit entry, and writes the file.

mod assemble;
mod content;
mod error;
pub mod fetch;
mod free;
mod memory;
mod plan;
mod prepare;
mod previous;
mod prompt;
mod recall;
mod render;
mod replan;
mod report;
mod size;
mod sources;
mod start;
mod tokens;

use std::path::{Path, PathBuf};

use kolm_runtime::artifact::{AuditLog, KeySource, Timestamp};
use kolm_runtime::kernel::Level;
use kolm_runtime::model::ModelSource;

pub use assemble::Compiled;
pub use content::{Base, Inputs, Made, make};
pub use error::CompileError;
pub use memory::MemoryPlan;
pub use prepare::{Prepared, prepare};
pub use previous::Previous;
pub use replan::{job_of, load_corpus};
pub use size::Size;
pub use sources::{Lookup, locate};
pub use tokens::{SplitTokens, Tokens, count_tokens};

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
    /// Memory that the training may take; `None` for what is free.
    pub memory: Option<Size>,
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
    let job = read_job(request)?;
    let output = assemble::Output::prepare(request, &job)?;
    let models = Models::of(&job, environment);
    let base = models.load_base(request, &job, level)?;
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
    let full_trace = request.full_trace.then(|| output.full_trace());
    let inputs = models.inputs(request, job, base, full_trace, progress)?;
    let made = make(&inputs, level, progress)?;
    let gate = plan::gate(&inputs.job);
    if made.outcome.k < gate && !request.allow_below_gate {
        return Err(CompileError::BelowGate { k: made.outcome.k.to_string(), gate: gate.to_string() });
    }
    assemble::write(&output, &made, &inputs, request.created, &key, environment)
}

/// Goes as far as the first training step and says what the training will need; writes nothing and needs no key.
///
/// # Errors
/// [`CompileError`], as [`compile`] would stop before it trains.
pub fn foresee(
    request: &Request,
    level: Level,
    environment: &Environment,
    progress: &mut Progress,
) -> Result<MemoryPlan, CompileError> {
    let job = read_job(request)?;
    let models = Models::of(&job, environment);
    let base = models.load_base(request, &job, level)?;
    let inputs = models.inputs(request, job, base, None, progress)?;
    Ok(prepare(&inputs, level, progress)?.memory)
}

fn read_job(request: &Request) -> Result<Job, CompileError> {
    let job = Job::read(&request.job)?;
    if let Some(previous) = &request.previous {
        previous.check_task(&job)?;
    }
    Ok(job)
}

/// Where models are looked for: what the job names is relative to the job file, what the command line names to the working folder.
struct Models<'a> {
    folder: PathBuf,
    environment: &'a Environment,
}

impl<'a> Models<'a> {
    fn of(job: &Job, environment: &'a Environment) -> Self {
        Self { folder: job.path.parent().unwrap_or(Path::new("")).to_owned(), environment }
    }

    fn locate(&self, model: &str, revision: Option<&str>, folder: &Path) -> Result<ModelSource, CompileError> {
        let (cache, offline) = (self.environment.hub_cache.as_path(), self.environment.offline.as_ref());
        locate(Lookup { model, revision, folder, cache, endpoint: self.environment.hub_endpoint.as_deref(), offline })
    }

    /// Finds and loads the base; a base that does not fit the memory given is refused before anything else is done.
    fn load_base(&self, request: &Request, job: &Job, level: Level) -> Result<Base, CompileError> {
        let source = match &request.base {
            Some(model) => self.locate(model, None, Path::new(""))?,
            None => self.locate(&job.base.model, job.base.revision.as_deref(), &self.folder)?,
        };
        let base = Base::load(level, source, job)?;
        memory::check_base(&base.decoder, request.memory)?;
        Ok(base)
    }

    /// Reads the corpus and finds the encoder.
    fn inputs(
        &self,
        request: &Request,
        job: Job,
        base: Base,
        full_trace: Option<PathBuf>,
        progress: &mut Progress,
    ) -> Result<Inputs, CompileError> {
        progress.stage("base", &base.to_string());
        let corpus = corpus::load(&corpus::Request::from_job(&job, &request.corpus))?;
        let encoder = match (job.recall.usage, &request.encoder) {
            (RecallUse::Off, _) => None,
            (_, Some(model)) => Some(self.locate(model, None, Path::new(""))?),
            (_, None) => Some(self.locate(&job.recall.encoder, job.recall.revision.as_deref(), &self.folder)?),
        };
        let init_adapter = request.init_adapter.clone();
        let micro_batch = job.train.micro_batch.and_then(|size| usize::try_from(size).ok());
        Ok(Inputs {
            init_adapter: init_adapter.or_else(|| job.adapter.init.as_ref().map(|init| job.resolve(init))),
            micro_batch: request.micro_batch.or(micro_batch),
            memory: request.memory,
            work_folder: self.environment.work_folder(),
            previous: request.previous.clone(),
            full_trace,
            job,
            base,
            corpus,
            encoder,
        })
    }
}
