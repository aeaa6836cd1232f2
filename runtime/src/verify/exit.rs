//! How a process ends: one table for every verb.

use std::io;
use std::process::ExitCode;

use crate::artifact::ArtifactError;

/// Exit codes; stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done, and everything that was checked holds.
    Done,
    /// Checked and refused.
    Refused,
    /// The command line makes no sense.
    Usage,
    /// K is below its gate.
    Gate,
    /// An input is not there: artifact, base, encoder or key.
    Missing,
    /// Refused by air-gap mode.
    AirGap,
    /// The operating system refused to read or write.
    Io,
}

impl Exit {
    /// The number.
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Refused => 1,
            Self::Usage => 2,
            Self::Gate => 3,
            Self::Missing => 4,
            Self::AirGap => 5,
            Self::Io => 6,
        }
    }

    /// How a refusal ends the process.
    pub fn of(error: &ArtifactError) -> Self {
        match error {
            ArtifactError::KeyMissing { .. }
            | ArtifactError::ModelAbsent { .. }
            | ArtifactError::ModelFileAbsent { .. } => Self::Missing,
            ArtifactError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => Self::Missing,
            ArtifactError::Io { .. } | ArtifactError::Media { .. } => Self::Io,
            ArtifactError::GateNotMet { .. } => Self::Gate,
            _ => Self::Refused,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
