//! Why a statement, a key or a comparison is refused.

use std::path::PathBuf;

use kolm_compile::cli::Exit;
use kolm_runtime::artifact::ArtifactError;
use thiserror::Error;

/// Why a statement is refused.
#[derive(Debug, Error)]
pub enum StatementError {
    /// A file could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// `read`, `create`, …
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Canonical JSON, or a file that could not be written.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// The key file is there already.
    #[error("{} is there already, expected no file", path.display())]
    KeyExists {
        /// The file.
        path: PathBuf,
    },
    /// Others may read the private key.
    #[error("{} has mode {found:04o}, expected 0600", path.display())]
    KeyMode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        found: u32,
    },
    /// Not a key.
    #[error("{} is no {what}: expected 64 lower-case hex digits and a line feed", path.display())]
    KeyFormat {
        /// The file.
        path: PathBuf,
        /// `signing key` or `public key`.
        what: &'static str,
    },
    /// A file much longer than any statement.
    #[error("{} has more than {} bytes, expected at most {expected}", path.display(), found - 1)]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Bytes read of it.
        found: u64,
        /// The limit.
        expected: u64,
    },
    /// Not a DSSE envelope with one signature.
    #[error("{} is no signed statement: {detail}", path.display())]
    Envelope {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// An envelope around something else.
    #[error("{} holds a payload of type {found:?}, expected {expected:?}", path.display())]
    PayloadType {
        /// The file.
        path: PathBuf,
        /// In the envelope.
        found: String,
        /// in-toto's.
        expected: &'static str,
    },
    /// The signature does not belong to this payload and key.
    #[error("{}: the signature of key {key} does not hold", path.display())]
    Signature {
        /// The file.
        path: PathBuf,
        /// The key named.
        key: String,
    },
    /// Not an in-toto statement of this version.
    #[error("{} is a statement of type {found:?}, expected {expected:?}", path.display())]
    StatementType {
        /// The file.
        path: PathBuf,
        /// Its type.
        found: String,
        /// Ours.
        expected: &'static str,
    },
    /// A statement about something else than a rebuild, or of a newer version.
    #[error("{} has predicate type {found:?}, expected {expected:?}", path.display())]
    PredicateType {
        /// The file.
        path: PathBuf,
        /// Its type.
        found: String,
        /// Ours.
        expected: &'static str,
    },
    /// Signed, but not as rebuild-v1.md says.
    #[error("{} is signed but not a rebuild statement: {detail}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// A statement about another artifact.
    #[error("{} is about {found}, expected {expected}", path.display())]
    AnotherArtifact {
        /// The file.
        path: PathBuf,
        /// CID it is about.
        found: String,
        /// CID it should be about.
        expected: String,
    },
    /// More agreeing rebuilders asked for than statements given.
    #[error("the quorum is {quorum}, expected at most the {statements} statements given")]
    QuorumTooLarge {
        /// Asked for.
        quorum: usize,
        /// Given.
        statements: usize,
    },
    /// A quorum of nobody, or of nobody in particular.
    #[error("the quorum is {quorum} with {trusted} trusted keys, expected at least 1 of each")]
    QuorumOfNobody {
        /// Asked for.
        quorum: usize,
        /// Given.
        trusted: usize,
    },
}

impl StatementError {
    /// The stable name of this kind of refusal.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "io",
            Self::Artifact(error) => error.code(),
            Self::KeyExists { .. } => "signing_key_exists",
            Self::KeyMode { .. } => "signing_key_mode",
            Self::KeyFormat { .. } => "signing_key_format",
            Self::TooLong { .. } => "statement_too_long",
            Self::Envelope { .. } => "statement_envelope",
            Self::PayloadType { .. } => "statement_payload_type",
            Self::Signature { .. } => "statement_signature",
            Self::StatementType { .. } => "statement_type",
            Self::PredicateType { .. } => "statement_predicate_type",
            Self::Content { .. } => "statement_content",
            Self::AnotherArtifact { .. } => "statement_of_another_artifact",
            Self::QuorumTooLarge { .. } => "quorum_too_large",
            Self::QuorumOfNobody { .. } => "quorum_of_nobody",
        }
    }

    /// How it ends the process.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => Exit::MissingInput,
            Self::Io { .. } => Exit::Io,
            Self::Artifact(error) => Exit::from_code(kolm_runtime::verify::Exit::of(error).code()),
            Self::KeyExists { .. } | Self::QuorumTooLarge { .. } | Self::QuorumOfNobody { .. } => Exit::Usage,
            _ => Exit::Refused,
        }
    }

    /// What to do about it, where there is one thing to do.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::KeyMode { .. } => "chmod 600 it; if others have read it, make a new one with `kolm-repro keygen`",
            Self::KeyExists { .. } => "choose another --out; a key is never replaced",
            Self::Signature { .. } => "ask the rebuilder for the statement again",
            Self::PredicateType { .. } => "read it with the version of kolm-repro that wrote it",
            Self::QuorumOfNobody { .. } => "name the keys that count with --trusted KEY.pub",
            _ => return None,
        })
    }
}
