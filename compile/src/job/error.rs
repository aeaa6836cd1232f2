//! What can be wrong with a job file.

use std::path::PathBuf;

/// Why a job file was refused; every variant that has a place names file and line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// The file is not there.
    #[error("{}: no such job file", path.display())]
    NotFound {
        /// The job file.
        path: PathBuf,
    },
    /// The file could not be read.
    #[error("{}: {reason}", path.display())]
    Unreadable {
        /// The job file.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// The file is something else: a corpus, an artifact, an archive.
    #[error("{}: not text: byte {offset} is no UTF-8, expected a job file (kolm.toml)", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// Where the text ends, from 0.
        offset: usize,
    },
    /// The file is longer than any job.
    #[error("{}: found {found} bytes, expected at most {limit}", path.display())]
    TooLong {
        /// The job file.
        path: PathBuf,
        /// Its length in bytes.
        found: u64,
        /// The longest accepted.
        limit: u64,
    },
    /// The text is not TOML.
    #[error("{}:{line}: not TOML: {reason}", path.display())]
    Syntax {
        /// The job file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// The parser's words.
        reason: String,
    },
    /// A section that no job has.
    #[error("{}:{line}: unknown section `{found}`, the nearest known one is `{nearest}`", path.display())]
    UnknownSection {
        /// The job file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// The name as written.
        found: String,
        /// The nearest known section.
        nearest: String,
    },
    /// A key that its section does not have.
    #[error("{}:{line}: unknown key `{found}` in [{section}], the nearest known one is `{nearest}`", path.display())]
    UnknownKey {
        /// The job file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// The section.
        section: &'static str,
        /// The key as written.
        found: String,
        /// The nearest known key; with its section if it belongs to another one.
        nearest: String,
    },
    /// A value of the wrong type.
    #[error("{}:{line}: {key}: found {found}, expected {expected}", path.display())]
    WrongType {
        /// The job file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Section and key.
        key: String,
        /// The type found.
        found: &'static str,
        /// The type expected.
        expected: &'static str,
    },
    /// A value of the right type that means nothing.
    #[error("{}:{line}: {key}: found {found}, expected {expected}", path.display())]
    BadValue {
        /// The job file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Section and key.
        key: String,
        /// The value found.
        found: String,
        /// What would do.
        expected: String,
    },
    /// A key that every job needs.
    #[error("{}: {key} is missing, expected {expected}", path.display())]
    Missing {
        /// The job file.
        path: PathBuf,
        /// Section and key.
        key: &'static str,
        /// What would do.
        expected: &'static str,
    },
    /// Two keys that exclude each other.
    #[error("{}:{line}: {key} and {other} exclude each other", path.display())]
    Conflict {
        /// The job file.
        path: PathBuf,
        /// Line of the first, from 1.
        line: usize,
        /// Section and key.
        key: &'static str,
        /// The other one.
        other: &'static str,
    },
}

impl JobError {
    /// Stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            JobError::NotFound { .. } => "job_not_found",
            JobError::Unreadable { .. } => "job_unreadable",
            JobError::NotText { .. } => "job_not_text",
            JobError::TooLong { .. } => "job_too_long",
            JobError::Syntax { .. } => "job_syntax",
            JobError::UnknownSection { .. } => "job_unknown_section",
            JobError::UnknownKey { .. } => "job_unknown_key",
            JobError::WrongType { .. } => "job_wrong_type",
            JobError::BadValue { .. } => "job_bad_value",
            JobError::Missing { .. } => "job_missing_key",
            JobError::Conflict { .. } => "job_conflict",
        }
    }

    /// Exit code of the class this error belongs to (README, exit codes): 2 usage, 4 missing input, 6 I/O.
    pub fn exit_code(&self) -> u8 {
        match self {
            JobError::NotFound { .. } => 4,
            JobError::Unreadable { .. } => 6,
            _ => 2,
        }
    }
}
