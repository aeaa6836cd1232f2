//! Why a rebuild came to no comparison.

use kolm_compile::cli::Exit;
use kolm_compile::pipeline::CompileError;
use kolm_runtime::artifact::ArtifactError;
use kolm_runtime::model::ModelError;
use serde::Serialize;
use thiserror::Error;

/// Why there is nothing to compare.
#[derive(Debug, Error)]
pub enum RebuildError {
    /// The artifact is refused, or a file could not be read or written.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// The compile stopped.
    #[error(transparent)]
    Compile(Box<CompileError>),
    /// Base or encoder is absent or unreadable.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The plan is of a version that this program does not know.
    #[error("plan.json is newer than this program: {field} is {found:?}, expected at most {expected:?}")]
    NewerPlan {
        /// `format` or `numerics`.
        field: &'static str,
        /// In the plan.
        found: String,
        /// The newest one known.
        expected: &'static str,
    },
    /// The model was a folder, and no folder is named.
    #[error("the recorded {role} {repo} was a local folder, and none is named")]
    FolderNotNamed {
        /// `base` or `encoder`.
        role: &'static str,
        /// Its recorded name.
        repo: String,
    },
    /// Inputs are not the recorded ones.
    #[error("{} not what the plan records:{}", count(.0), list(.0))]
    Inputs(Vec<Input>),
}

/// One input that is not the recorded one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Input {
    /// Which kind of difference.
    pub code: &'static str,
    /// Which input: a path, or `base FILE`.
    pub input: String,
    /// SHA-256 found; none when it is missing.
    pub found: Option<String>,
    /// SHA-256 recorded; none when the plan has no such input.
    pub recorded: Option<String>,
}

impl From<CompileError> for RebuildError {
    fn from(error: CompileError) -> Self {
        Self::Compile(Box::new(error))
    }
}

impl RebuildError {
    /// The stable name of this kind of refusal; of several inputs, the first one's.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Artifact(error) => error.code(),
            Self::Compile(error) => match **error {
                CompileError::Split { .. } => "split_differs",
                _ => "compile_stopped",
            },
            Self::Model(_) => "model_unavailable",
            Self::NewerPlan { .. } => "plan_newer",
            Self::FolderNotNamed { .. } => "model_folder_not_named",
            Self::Inputs(inputs) => inputs.first().map_or("inputs_differ", |input| input.code),
        }
    }

    /// How it ends the process.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Artifact(error) => Exit::from_code(kolm_runtime::verify::Exit::of(error).code()),
            // What the job file could be blamed for, a plan cannot: usage is only what was typed here.
            Self::Compile(error) => match Exit::of(error) {
                Exit::Usage => Exit::Refused,
                exit => exit,
            },
            Self::Model(ModelError::Unreadable { source, .. }) if source.kind() != std::io::ErrorKind::NotFound => {
                Exit::Io
            }
            Self::Model(_) | Self::FolderNotNamed { .. } => Exit::MissingInput,
            Self::NewerPlan { .. } => Exit::Refused,
            Self::Inputs(inputs) if inputs.iter().all(|input| input.found.is_none()) => Exit::MissingInput,
            Self::Inputs(_) => Exit::Refused,
        }
    }

    /// What to do about it, where there is one thing to do.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Artifact(error) => return kolm_runtime::verify::hint(error),
            Self::Compile(_) => return None,
            Self::Model(_) => "--base and --encoder take a folder; nothing is fetched here".to_owned(),
            Self::NewerPlan { .. } => "rebuild it with the version of kolm-repro that came with it".to_owned(),
            Self::FolderNotNamed { role, .. } => format!("name it with --{role} DIR; its files are compared by digest"),
            Self::Inputs(_) => "`kolm inspect ARTIFACT --json` shows every recorded input".to_owned(),
        })
    }
}

fn count(inputs: &[Input]) -> String {
    match inputs.len() {
        1 => "1 input is".to_owned(),
        many => format!("{many} inputs are"),
    }
}

fn list(inputs: &[Input]) -> String {
    let hash = |hash: &Option<String>| hash.clone().unwrap_or_else(|| "none".to_owned());
    let line = |input: &Input| {
        format!("\n  {}: {}: found {}, recorded {}", input.code, input.input, hash(&input.found), hash(&input.recorded))
    };
    inputs.iter().map(line).collect()
}
