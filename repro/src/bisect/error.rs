//! Why a bisection came to no answer.

use std::path::PathBuf;

use kolm_compile::cli::Exit;
use kolm_compile::pipeline::CompileError;
use kolm_compile::train::TrainError;
use kolm_runtime::artifact::ArtifactError;
use thiserror::Error;

use crate::rebuild::RebuildError;

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum BisectError {
    /// An artifact is refused, its inputs are not the recorded ones, or the compile stopped.
    #[error(transparent)]
    Rebuild(#[from] RebuildError),
    /// A file could not be read or written.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// A file that should be a trace is none.
    #[error("{}: line {line}: {detail}", path.display())]
    Trace {
        /// The file.
        path: PathBuf,
        /// Line at fault, from 1.
        line: usize,
        /// What is wrong with it.
        detail: String,
    },
    /// A file that should be a recorded step is none.
    #[error("{}: not a recorded step: {detail}", path.display())]
    Step {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// A recorded step belongs to another job or step.
    #[error("{} records step {found_step} of the plan {found_plan}, expected step {step} of {plan}", path.display())]
    StepOfOther {
        /// The file.
        path: PathBuf,
        /// Step in the file.
        found_step: u64,
        /// SHA-256 of the plan in the file.
        found_plan: String,
        /// The step that was asked for.
        step: u64,
        /// SHA-256 of this side's plan.
        plan: String,
    },
    /// There is no such step.
    #[error("step {found}, expected 1 to {steps}")]
    NoSuchStep {
        /// What was asked for.
        found: u64,
        /// Steps of the plan.
        steps: u64,
    },
    /// The two sides are of jobs that nothing joins.
    #[error("these are traces of different jobs: {a} is {task_a}, {b} is {task_b}")]
    OtherJob {
        /// First artifact.
        a: PathBuf,
        /// Its task.
        task_a: String,
        /// Second artifact.
        b: PathBuf,
        /// Its task.
        task_b: String,
    },
    /// One side alone, and nothing to run it with.
    #[error("one side alone is compared with a run on this machine, which needs its corpus: found no --corpus")]
    NothingToRun,
    /// Another build was to record a step and did not.
    #[error("{} record-step ended with {status}:\n{talk}", build.display())]
    Build {
        /// The other `kolm-repro`.
        build: PathBuf,
        /// How it ended.
        status: String,
        /// What it said.
        talk: String,
    },
}

impl From<TrainError> for BisectError {
    fn from(error: TrainError) -> Self {
        CompileError::from(error).into()
    }
}

impl From<CompileError> for BisectError {
    fn from(error: CompileError) -> Self {
        Self::Rebuild(error.into())
    }
}

impl BisectError {
    /// The stable name of this kind of refusal.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Rebuild(error) => error.code(),
            Self::Artifact(error) => error.code(),
            Self::Trace { .. } => "trace_unreadable",
            Self::Step { .. } => "step_unreadable",
            Self::StepOfOther { .. } => "step_of_other",
            Self::NoSuchStep { .. } => "step_unknown",
            Self::OtherJob { .. } => "other_job",
            Self::NothingToRun => "nothing_to_run",
            Self::Build { .. } => "build_failed",
        }
    }

    /// How it ends the process.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Rebuild(error) => error.exit(),
            Self::Artifact(error) => Exit::from_code(kolm_runtime::verify::Exit::of(error).code()),
            Self::NoSuchStep { .. } | Self::NothingToRun => Exit::Usage,
            _ => Exit::Refused,
        }
    }

    /// What to do about it, where there is one thing to do.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Rebuild(error) => return error.hint(),
            Self::Artifact(error) => return kolm_runtime::verify::hint(error),
            Self::Trace { .. } => {
                "a trace is training/trace.jsonl of an artifact, or the full trace of `kolm compile --trace full`"
                    .to_owned()
            }
            Self::Step { .. } | Self::StepOfOther { .. } => {
                "make it on the other machine with `kolm-repro record-step ARTIFACT --step N --out FILE`".to_owned()
            }
            Self::OtherJob { .. } => "`kolm diff` compares artifacts of any two jobs".to_owned(),
            Self::NothingToRun => "name the corpus files with --corpus, or a second artifact or trace".to_owned(),
            Self::NoSuchStep { .. } | Self::Build { .. } => return None,
        })
    }
}
