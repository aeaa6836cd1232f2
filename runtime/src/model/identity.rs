//! What a file is, apart from where it lies: its path inside the model, its size, its SHA-256.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::ModelError;

/// One file of a model, by content.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileIdentity {
    /// Path inside the model's folder, with `/`.
    pub path: String,
    /// Length in bytes.
    pub size: u64,
    /// SHA-256 of the content, 64 lower-case hex digits.
    pub sha256: String,
}

impl FileIdentity {
    /// Identity of content that lies in memory.
    pub fn of_bytes(path: &str, bytes: &[u8]) -> Self {
        let sha256 = hex(&Sha256::digest(bytes));
        Self { path: path.to_owned(), size: bytes.len() as u64, sha256 }
    }

    /// Identity of a file on disk, read once from begin to end.
    ///
    /// # Errors
    /// [`ModelError::Unreadable`].
    pub fn of_file(path: &str, file: &Path) -> Result<Self, ModelError> {
        let unreadable = |source| ModelError::Unreadable { path: file.to_owned(), source };
        let mut reader = File::open(file).map_err(unreadable)?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        let mut size = 0;
        loop {
            let count = reader.read(&mut buffer).map_err(unreadable)?;
            let Some(read) = buffer.get(..count).filter(|read| !read.is_empty()) else { break };
            hasher.update(read);
            size += count as u64;
        }
        Ok(Self { path: path.to_owned(), size, sha256: hex(&hasher.finalize()) })
    }

    /// The revision of a model that no hub has named: the first 40 hex digits of the SHA-256 of its files' canonical JSON.
    ///
    /// The list is an RFC 8785 array of these identities, sorted by path.
    pub fn revision_of(identities: &[FileIdentity]) -> String {
        let mut sorted = identities.to_vec();
        sorted.sort();
        let rows: Vec<String> = sorted.iter().map(FileIdentity::canonical).collect();
        let digest = hex(&Sha256::digest(format!("[{}]", rows.join(",")).as_bytes()));
        digest.chars().take(REVISION_LEN).collect()
    }

    // RFC 8785 sorts keys by UTF-16 code units: path, sha256, size. JSON strings of serde_json escape as RFC 8785 does.
    fn canonical(&self) -> String {
        let (path, sha256) = (serde_json::Value::from(&*self.path), serde_json::Value::from(&*self.sha256));
        format!("{{\"path\":{path},\"sha256\":{sha256},\"size\":{}}}", self.size)
    }
}

/// Hex digits of a revision, as git has them.
pub(super) const REVISION_LEN: usize = 40;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
