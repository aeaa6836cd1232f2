//! Everything that stops `kolm-repro matrix` before it can give a verdict.

use std::io;
use std::path::PathBuf;

use kolm_compile::cli::Exit;
use kolm_compile::job::JobError;
use thiserror::Error;

/// Why nothing could be compared. A condition that differs or fails is a row, not an error.
#[derive(Debug, Error)]
pub enum MatrixError {
    /// The job file is missing or wrong.
    #[error(transparent)]
    Job(#[from] JobError),
    /// There is no executable to judge.
    #[error("{label}: {} is not a file, expected an executable kolm", path.display())]
    BuildMissing {
        /// What it was called.
        label: String,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// `--build` without label or path.
    #[error("--build: found {found:?}, expected LABEL=PATH")]
    BuildArgument {
        /// What was typed.
        found: String,
    },
    /// `--keep` names a folder with something in it.
    #[error("--keep: {} is not empty, expected a new or empty folder", path.display())]
    KeepInUse {
        /// The folder.
        path: PathBuf,
    },
    /// The first compile, which the others are compared with, gave no artifact.
    #[error("the first compile failed: {message} ({})", kolm.display())]
    Reference {
        /// The binary that was run.
        kolm: PathBuf,
        /// Its exit code, if it ended by itself.
        code: Option<i32>,
        /// What it said last.
        message: String,
    },
    /// A file or folder of the harness itself could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl MatrixError {
    /// Stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            MatrixError::Job(error) => error.code(),
            MatrixError::BuildMissing { .. } => "matrix_build_missing",
            MatrixError::BuildArgument { .. } => "matrix_build_argument",
            MatrixError::KeepInUse { .. } => "matrix_keep_in_use",
            MatrixError::Reference { .. } => "matrix_reference",
            MatrixError::Io { .. } => "matrix_io",
        }
    }

    /// Exit code of the class this error belongs to; a failed first compile passes its own on.
    pub fn exit(&self) -> Exit {
        let code = match self {
            MatrixError::Job(error) => i32::from(error.exit_code()),
            MatrixError::Reference { code, .. } => code.unwrap_or(1),
            MatrixError::BuildMissing { .. } => 4,
            MatrixError::BuildArgument { .. } | MatrixError::KeepInUse { .. } => 2,
            MatrixError::Io { .. } => 6,
        };
        match code {
            2 => Exit::Usage,
            4 => Exit::MissingInput,
            5 => Exit::AirGap,
            6 => Exit::Io,
            _ => Exit::Refused,
        }
    }

    /// What to do about it, where there is one thing to do.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            MatrixError::BuildMissing { .. } => {
                Some("cargo build --release --workspace puts kolm beside kolm-repro; or name one with --kolm PATH")
            }
            MatrixError::Reference { .. } => Some("run `kolm compile` on the job by itself first"),
            _ => None,
        }
    }
}
