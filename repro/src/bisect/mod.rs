//! Bisection: two artifacts that should be one, down to the first input, step, block, operation, tensor and element that differ.
//!
//! First the inputs are compared, then the traces, by walking down their Merkle trees. The first step that differs is then run once more on
//! each side with every tensor recorded, from the state that both share before it, and the two records are compared in the order in
//! which they were computed. The other side is another build on this machine, or a record brought from another machine. Nothing here
//! decides a byte of an artifact, and the artifacts are only read.

mod compare;
mod error;
mod inputs;
mod origin;
mod record;
mod report;
mod step;
mod trace;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use kolm_compile::cli::environment::Environment;
use kolm_compile::cli::progress::Progress;
use kolm_compile::pipeline::{self, Inputs, Prepared};
use kolm_compile::train::TraceLine;
use kolm_runtime::artifact::{ArtifactError, Member, Opened};
use kolm_runtime::kernel::Level;

use crate::rebuild::{self, RebuildError, Request as Rebuild};
pub use compare::{Differing, Parting, What, compare};
pub use error::BisectError;
pub use inputs::InputDifference;
use inputs::Known;
use origin::Origin;
pub use record::{plan_sha256, record};
pub use report::Bisection;
pub use step::{StepHeader, StepReader, StepTensor, StepWriter};
pub use trace::{Trace, TraceParting};

/// One bisection as asked for on the command line.
#[derive(Debug, Clone)]
pub struct Request {
    /// The first side.
    pub a: Named,
    /// The second side.
    pub b: Named,
    /// Whether the second side is a run of the first side's plan on this machine.
    pub run_here: bool,
    /// Folder of checkpoints to start from and to leave; none for a temporary one.
    pub checkpoints: Option<PathBuf>,
}

/// One side as named on the command line.
#[derive(Debug, Clone)]
pub struct Named {
    /// Artifact, trace, or full trace; for a run on this machine the artifact whose plan is run.
    pub path: PathBuf,
    /// Its inputs, its corpus empty where none was given.
    pub inputs: Rebuild,
    /// The `kolm-repro` that made it, where it is not this one.
    pub build: Option<PathBuf>,
    /// Its first differing step, recorded elsewhere.
    pub recorded: Option<PathBuf>,
}

/// Finds where two sides part.
///
/// # Errors
/// [`BisectError`]; that the sides differ is no error.
pub fn bisect(
    request: &Request,
    level: Level,
    environment: &Environment,
    progress: &mut Progress,
) -> Result<Bisection, BisectError> {
    let a = Side::open(&request.a)?;
    let b = if request.run_here { None } else { Some(Side::open(&request.b)?) };
    let opened = a.opened.as_ref().zip(b.as_ref().and_then(|b| b.opened.as_ref()));
    if let Some((left, right)) = opened {
        refuse_other_job(request, left, right)?;
    }
    let inputs_a = a.inputs(level, environment)?;
    let inputs_b = match &b {
        None => None,
        Some(b) => b.inputs(level, environment).or_else(|error| match error {
            // Its inputs are others and nobody said where they are: the plans still say what differs.
            RebuildError::Inputs(_) if request.b.inputs.corpus == request.a.inputs.corpus => Ok(None),
            error => Err(error),
        })?,
    };
    let prepared_a = prepare(&inputs_a, level, progress)?;
    let prepared_b = prepare(&inputs_b, level, progress)?;

    let mut found = Bisection::new(request);
    if let Some((left, right)) = opened {
        found.members = changed_members(left, right);
        let known = known(&inputs_a, &prepared_a).zip(known(&inputs_b, &prepared_b));
        found.inputs = inputs::plans(&left.plan, &right.plan, known.is_some());
        if let Some((a, b)) = &known {
            found.inputs.extend(inputs::contents(a, b)?);
        }
    }
    let trace_b = match (&b, &prepared_a) {
        (Some(b), _) => b.trace.clone(),
        (None, Some(prepared)) => run_here(prepared, &a.trace, progress)?,
        (None, None) => return Err(BisectError::NothingToRun),
    };
    found.trace = a.trace.parting(&trace_b);
    let bare = a.opened.is_none() && b.as_ref().is_some_and(|b| b.opened.is_none());
    let recorded = request.a.recorded.is_some() && request.b.recorded.is_some();
    if let Some(step) = found.trace.first_step.filter(|_| bare && !recorded) {
        found.notes.push(format!(
            "two traces say no more than this: name an artifact in place of a trace, with its inputs (--corpus, --base, \
             --encoder), or bring both records of step {step} (--recorded-a, --recorded-b)"
        ));
    } else if let Some(step) = found.trace.first_step {
        // A bare trace and a run on this machine are of the first side's plan; an artifact has its own.
        let of_a = b.as_ref().is_none_or(|b| b.opened.is_none());
        let prepared_b = if of_a { prepared_a.as_ref() } else { prepared_b.as_ref() };
        let plan_of_b = if of_a { &request.a.path } else { &request.b.path };
        let origins = [
            Origin::new("a", &request.a, &request.a.path, prepared_a.as_ref(), &a.trace, step),
            Origin::new("b", &request.b, plan_of_b, prepared_b, &trace_b, step),
        ];
        found.step = first_tensor(origins, request.checkpoints.as_deref(), progress, &mut found.notes)?;
    }
    Ok(found)
}

/// Records one step of an artifact's plan.
///
/// # Errors
/// [`BisectError`].
pub fn record_step(
    request: &Rebuild,
    step: u64,
    checkpoints: Option<&Path>,
    out: &Path,
    level: Level,
    environment: &Environment,
    progress: &mut Progress,
) -> Result<TraceLine, BisectError> {
    let opened = rebuild::open(&request.artifact)?;
    let inputs = rebuild::inputs(request, &opened.task, &opened.plan, level, environment)?;
    let prepared = pipeline::prepare(&inputs, level, progress)?;
    let temporary = temporary()?;
    let checkpoints = record::checkpoints(&prepared, checkpoints.unwrap_or(temporary.path()))?;
    record(&prepared, step, checkpoints, out, progress)
}

/// Records the step on both sides and compares.
fn first_tensor(
    [a, b]: [Origin<'_>; 2],
    checkpoints: Option<&Path>,
    progress: &mut Progress,
    notes: &mut Vec<String>,
) -> Result<Option<Parting>, BisectError> {
    let temporary = temporary()?;
    let work = temporary.path();
    let checkpoints = checkpoints.unwrap_or(work);
    let left = a.open(work, checkpoints, None, progress, notes)?;
    let right = b.open(work, checkpoints, Some(&a), progress, notes)?;
    match (left, right) {
        (Some(mut left), Some(mut right)) => {
            progress.stage("compare", "both records of the step");
            compare(&mut left, &mut right)
        }
        _ => Ok(None),
    }
}

/// One side, read.
struct Side<'a> {
    named: &'a Named,
    trace: Trace,
    opened: Option<Opened>,
}

impl<'a> Side<'a> {
    fn open(named: &'a Named) -> Result<Self, BisectError> {
        let path = &named.path;
        if !is_artifact(path).map_err(|source| ArtifactError::Io { action: "read", path: path.clone(), source })? {
            return Ok(Self { named, trace: Trace::read(path)?, opened: None });
        }
        let opened = rebuild::open(path)?;
        let trace = Trace::parse(path, &opened.read(Member::TrainingTrace)?)?;
        Ok(Self { named, trace, opened: Some(opened) })
    }

    /// Loads its inputs; none if it is no artifact, or they were not given.
    fn inputs(&self, level: Level, environment: &Environment) -> Result<Option<Inputs>, RebuildError> {
        match &self.opened {
            Some(opened) if !self.named.inputs.corpus.is_empty() => {
                rebuild::inputs(&self.named.inputs, &opened.task, &opened.plan, level, environment).map(Some)
            }
            _ => Ok(None),
        }
    }
}

/// A folder that is gone when it is dropped.
fn temporary() -> Result<tempfile::TempDir, ArtifactError> {
    tempfile::tempdir().map_err(|source| ArtifactError::Io { action: "create", path: std::env::temp_dir(), source })
}

fn prepare<'a>(
    inputs: &'a Option<Inputs>,
    level: Level,
    progress: &mut Progress,
) -> Result<Option<Prepared<'a>>, BisectError> {
    Ok(match inputs {
        Some(inputs) => Some(pipeline::prepare(inputs, level, progress)?),
        None => None,
    })
}

fn known<'a>(inputs: &'a Option<Inputs>, prepared: &'a Option<Prepared<'a>>) -> Option<Known<'a>> {
    Some(Known { inputs: inputs.as_ref()?, prepared: prepared.as_ref()? })
}

/// An artifact is a ZIP file; what else a trace may be begins with `{`.
fn is_artifact(path: &Path) -> std::io::Result<bool> {
    let mut start = [0; 2];
    let read = fs::File::open(path)?.read(&mut start)?;
    Ok(start.get(..read) == Some(b"PK"))
}

fn refuse_other_job(request: &Request, a: &Opened, b: &Opened) -> Result<(), BisectError> {
    let (task_a, task_b) = (a.task.name.clone(), b.task.name.clone());
    if task_a == task_b {
        return Ok(());
    }
    Err(BisectError::OtherJob { a: request.a.path.clone(), task_a, b: request.b.path.clone(), task_b })
}

/// Members whose content differs, by path.
fn changed_members(a: &Opened, b: &Opened) -> Vec<String> {
    let (a, b) = (&a.manifest.hashes, &b.manifest.hashes);
    let names: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    names.into_iter().filter(|name| a.get(*name) != b.get(*name)).cloned().collect()
}

/// Trains here until a step differs from the trace.
fn run_here(prepared: &Prepared<'_>, trace: &Trace, progress: &mut Progress) -> Result<Trace, BisectError> {
    progress.stage("train", &format!("{} steps here, or fewer", prepared.settings.steps));
    progress.start(prepared.settings.steps);
    let mut follow = record::Follow::new(&trace.lines, progress);
    prepared.train(None, &mut follow)?;
    let lines = follow.lines;
    progress.finish();
    Trace::of_lines(lines)
}
