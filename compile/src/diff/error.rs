//! What stops a comparison.

use kolm_runtime::artifact::ArtifactError;
use kolm_runtime::model::ModelError;
use thiserror::Error;

/// Why two artifacts could not be compared.
#[derive(Debug, Error)]
pub enum DiffError {
    /// One of them cannot be read, or is not what its own manifest says.
    #[error("{path}: {source}")]
    Side {
        /// Which.
        path: String,
        /// Why.
        source: Box<ArtifactError>,
    },
    /// A tensor member's table is wrong.
    #[error("{member}: {source}")]
    Tensors {
        /// Path of the member.
        member: &'static str,
        /// Why.
        source: Box<ModelError>,
    },
    /// A member's bytes could not be read.
    #[error("cannot read {member}: {source}")]
    Read {
        /// Path of the member.
        member: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// A member is not JSON.
    #[error("{path}: {member}: {detail}")]
    Json {
        /// Which artifact.
        path: String,
        /// Path of the member.
        member: &'static str,
        /// What the JSON reader says.
        detail: String,
    },
    /// The page could not be written.
    #[error(transparent)]
    Page(Box<ArtifactError>),
}

impl DiffError {
    /// The stable name of the variant.
    pub fn code(&self) -> &'static str {
        match self {
            DiffError::Side { source, .. } => source.code(),
            DiffError::Tensors { source, .. } => source.code(),
            DiffError::Read { .. } => "diff_read",
            DiffError::Json { .. } => "diff_json",
            DiffError::Page(_) => "diff_page",
        }
    }

    /// The exit code it ends with.
    pub fn exit_code(&self) -> u8 {
        match self {
            DiffError::Side { source, .. } => kolm_runtime::verify::Exit::of(source).code(),
            DiffError::Tensors { .. } | DiffError::Json { .. } => 1,
            DiffError::Read { .. } | DiffError::Page(_) => 6,
        }
    }
}
