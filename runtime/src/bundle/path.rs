//! What a bundle may hold, as paths: an artifact, a file of a model, the verifier. Nothing else has a spelling.

use std::fmt;

use super::{BundleError, limits};
use crate::model::is_commit;

/// A path inside a bundle.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BundlePath {
    /// `artifacts/NAME-VERSION.kolm`
    Artifact {
        /// File name.
        file: String,
    },
    /// `models/ORG--NAME/REVISION/FILE`, or `local/…` for a model that was a local folder.
    Model {
        /// `ORG/NAME`, `NAME`, or `local/FOLDERNAME`.
        repo: String,
        /// Commit.
        revision: String,
        /// Path inside the model.
        file: String,
    },
    /// `bin/kolm-verify`
    Verifier,
}

impl BundlePath {
    /// Reads a path.
    ///
    /// # Errors
    /// `Path`.
    pub fn parse(text: &str) -> Result<Self, BundleError> {
        let wrong = |reason| BundleError::Path { found: text.to_owned(), reason };
        let parts: Vec<&str> = text.split('/').collect();
        if let Some(reason) = parts.iter().find_map(|part| fault(part)) {
            return Err(wrong(reason));
        }
        let path = match parts.as_slice() {
            ["artifacts", file] if file.len() > ".kolm".len() && file.ends_with(".kolm") => {
                Self::Artifact { file: (*file).to_owned() }
            }
            ["bin", "kolm-verify"] => Self::Verifier,
            [root @ ("models" | "local"), model, revision, file @ ..] if matches!(file.len(), 1 | 2) => {
                let repo = match (*root, model.split("--").collect::<Vec<_>>().as_slice()) {
                    ("models", [name]) => (*name).to_owned(),
                    // These two have no place in the cache.
                    ("models", ["kolm" | "local", _]) => return Err(wrong("not a repository of a hub")),
                    ("models", [organisation, name]) => format!("{organisation}/{name}"),
                    ("local", [name]) => format!("local/{name}"),
                    _ => return Err(wrong("the model is not ORG--NAME")),
                };
                if !is_commit(revision) {
                    return Err(wrong("the revision is not 40 hex digits"));
                }
                Self::Model { repo, revision: (*revision).to_owned(), file: file.join("/") }
            }
            _ => return Err(wrong("expected artifacts/, models/, local/ or bin/kolm-verify")),
        };
        // `a-/b` and `a/-b` would share a spelling, and `--b` has no organisation.
        let ambiguous = parts.get(1).is_some_and(|model| model.contains("---"));
        let half = matches!(&path, Self::Model { repo, .. } if repo.split('/').any(str::is_empty));
        if ambiguous || half { Err(wrong("the model is not ORG--NAME")) } else { Ok(path) }
    }
}

impl fmt::Display for BundlePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Artifact { file } => write!(f, "artifacts/{file}"),
            Self::Model { repo, revision, file } => match repo.strip_prefix("local/") {
                Some(name) => write!(f, "local/{name}/{revision}/{file}"),
                None => write!(f, "models/{}/{revision}/{file}", repo.replace('/', "--")),
            },
            Self::Verifier => write!(f, "bin/kolm-verify"),
        }
    }
}

/// Why a part of a path cannot lie on every file system.
fn fault(part: &str) -> Option<&'static str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'+' | b'-');
    if part.is_empty() || part.len() > limits::PATH_PART_LEN_MAX_BYTES {
        return Some("a part is empty or longer than 128 bytes");
    }
    if !part.bytes().all(plain) {
        return Some("a part holds something else than letters, digits, . _ + -");
    }
    if part.starts_with('.') || part.ends_with('.') {
        return Some("a part starts or ends with a dot");
    }
    let stem = part.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let numbered = |name: &str| stem.strip_prefix(name).is_some_and(|rest| matches!(rest.as_bytes(), [b'1'..=b'9']));
    if matches!(stem.as_str(), "con" | "prn" | "aux" | "nul") || numbered("com") || numbered("lpt") {
        return Some("a part is a name that Windows keeps for a device");
    }
    None
}
