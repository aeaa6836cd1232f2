//! Every error of a verb, with its code, exit and hint.

use kolm_compile::cli::Exit;
use kolm_compile::pipeline::CompileError;
use thiserror::Error;

use crate::bisect::BisectError;
use crate::rebuild::RebuildError;
use crate::statement::StatementError;

/// What ends a verb.
#[derive(Debug, Error)]
pub(super) enum CliError {
    #[error(transparent)]
    Rebuild(#[from] RebuildError),
    #[error(transparent)]
    Bisect(#[from] BisectError),
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// What was typed, or stdout.
    #[error(transparent)]
    Typed(Box<CompileError>),
    #[error("{0:#}")]
    Golden(#[from] anyhow::Error),
}

impl From<CompileError> for CliError {
    fn from(error: CompileError) -> Self {
        Self::Typed(Box::new(error))
    }
}

impl CliError {
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Rebuild(error) => error.code(),
            Self::Bisect(error) => error.code(),
            Self::Statement(error) => error.code(),
            Self::Typed(error) => match **error {
                CompileError::Io { .. } => "io",
                _ => "usage",
            },
            Self::Golden(_) => "golden",
        }
    }

    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Rebuild(error) => error.exit(),
            Self::Bisect(error) => error.exit(),
            Self::Statement(error) => error.exit(),
            Self::Typed(error) => Exit::of(error),
            Self::Golden(_) => Exit::Refused,
        }
    }

    pub(super) fn hint(&self) -> Option<String> {
        match self {
            Self::Rebuild(error) => error.hint(),
            Self::Bisect(error) => error.hint(),
            Self::Statement(error) => error.hint().map(str::to_owned),
            Self::Typed(error) => kolm_compile::cli::hint(error),
            Self::Golden(_) => None,
        }
    }
}
