//! One file of a model: where it lies in its repository, how long it is, what it hashes to.

use serde::{Deserialize, Serialize};

/// A file by path, size and SHA-256; a model is identified by its repository, revision and the list of these.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileIdentity {
    /// Path inside the repository, `/` between folders.
    pub path: String,
    /// Length in bytes.
    pub size: u64,
    /// SHA-256 of the content, 64 lower-case hex digits.
    pub sha256: String,
}
