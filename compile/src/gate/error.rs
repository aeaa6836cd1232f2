//! What keeps the gate from being measured.

use std::path::PathBuf;

use kolm_runtime::artifact::ArtifactError;
use thiserror::Error;

/// Why there is no measurement to judge.
#[derive(Debug, Error)]
pub enum GateError {
    /// The artifact is refused, or something it needs is missing.
    #[error(transparent)]
    Artifact(Box<ArtifactError>),
    /// The baseline is refused, or is not there.
    #[error("baseline {}: {source}", path.display())]
    Baseline {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: Box<ArtifactError>,
    },
    /// The baseline was made for something else.
    #[error("baseline is of task {found:?}, expected {expected:?}")]
    OtherTask {
        /// Task of the baseline.
        found: String,
        /// Task of the artifact.
        expected: String,
    },
}

impl GateError {
    /// The stable name.
    pub fn code(&self) -> &'static str {
        match self {
            GateError::Artifact(source) | GateError::Baseline { source, .. } => source.code(),
            GateError::OtherTask { .. } => "baseline_other_task",
        }
    }

    /// The error of the artifact beneath, for its hint.
    pub fn artifact(&self) -> Option<&ArtifactError> {
        match self {
            GateError::Artifact(source) | GateError::Baseline { source, .. } => Some(source),
            GateError::OtherTask { .. } => None,
        }
    }
}
