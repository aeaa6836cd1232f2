//! Everything that can be wrong with a bundle. The list is closed; codes never change.

use std::io;
use std::path::{Path, PathBuf};

use crate::artifact::ArtifactError;

/// Why a bundle is refused, or could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// `index.mac` was made with another key.
    #[error("the bundle was sealed with key {found}, this is key {expected}")]
    WrongKey {
        /// Key id in the bundle.
        found: String,
        /// Key id of the operator.
        expected: String,
    },
    /// The MAC does not match: the index was altered.
    #[error("index.json is not the one that index.mac vouches for: it was altered")]
    Mac,
    /// `index.mac` is not a seal.
    #[error("index.mac is {found}, expected one line `kolm-bundle-mac-1 KEYID MAC`")]
    MacForm {
        /// What it is.
        found: String,
    },
    /// The index is longer than any index is.
    #[error("index.json has {found} bytes, expected at most {limit}")]
    IndexLarge {
        /// Its length.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// The index breaks a rule.
    #[error("index.json: {field} is {found}, expected {expected}")]
    Index {
        /// Which field.
        field: &'static str,
        /// What it is.
        found: String,
        /// What it must be.
        expected: &'static str,
    },
    /// A path that a bundle cannot hold.
    #[error("the path {found:?} is not one a bundle may hold: {reason}")]
    Path {
        /// The path.
        found: String,
        /// Why.
        reason: &'static str,
    },
    /// A file's place in the stream is not the one the rule gives.
    #[error("index.json: {path} has offset {found:?}, expected {expected:?}")]
    Place {
        /// The file.
        path: String,
        /// Offset and size found.
        found: Option<u64>,
        /// Offset expected.
        expected: Option<u64>,
    },
    /// The list of parts is not the one the stream's length gives.
    #[error("index.json: {what} is {found}, expected {expected}")]
    Parts {
        /// What of them.
        what: String,
        /// Found.
        found: String,
        /// Expected.
        expected: String,
    },
    /// A link, folder or device in place of a file.
    #[error("{} is {found}, expected a regular file", path.display())]
    Kind {
        /// Where.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// No bundle, or not all of it.
    #[error("{} is not there", path.display())]
    Absent {
        /// Where.
        path: PathBuf,
    },
    /// Parts that are not here yet.
    #[error("{} of {count} parts are not here: {}", names.len(), names.join(", "))]
    PartAbsent {
        /// Their names.
        names: Vec<String>,
        /// How many the bundle has.
        count: usize,
    },
    /// A part's bytes are not those of its hash, however often they are read.
    #[error("{name} was altered or cut: found {found}, expected {expected}")]
    PartHash {
        /// The part.
        name: String,
        /// What it is.
        found: String,
        /// What it must be.
        expected: String,
    },
    /// Several parts are bad, or absent besides.
    #[error("{} of {count} parts cannot be used: {}", faults.len(), listed(faults))]
    PartsBad {
        /// What is wrong with each, in their order; the absent ones last.
        faults: Vec<BundleError>,
        /// How many the bundle has.
        count: usize,
    },
    /// The medium does not give the bytes.
    #[error("media error: {name} cannot be read ({source}), tried {attempts} times")]
    Media {
        /// The part.
        name: String,
        /// How often.
        attempts: u32,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not what the index says, though its parts are.
    #[error("{path} has SHA-256 {found}, expected {expected}")]
    FileHash {
        /// The file.
        path: String,
        /// Found.
        found: String,
        /// Expected.
        expected: String,
    },
    /// A file that an earlier bundle must have brought is not here.
    #[error("{path} is not here and not in this bundle, which adds to bundle {since}")]
    SinceAbsent {
        /// The file.
        path: String,
        /// The bundle that holds it.
        since: String,
    },
    /// An install receipt that does not hold.
    #[error("{} is {found}, expected a sealed install receipt", path.display())]
    Receipt {
        /// Where.
        path: PathBuf,
        /// What it is.
        found: String,
    },
    /// JSON that is not canonical, or not of this schema; a key; an artifact.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// `read`, `write`, …
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl BundleError {
    /// The stable name of the kind.
    pub fn code(&self) -> &'static str {
        match self {
            Self::WrongKey { .. } => "bundle_wrong_key",
            Self::Mac => "bundle_mac",
            Self::MacForm { .. } => "bundle_mac_form",
            Self::IndexLarge { .. } => "bundle_index_large",
            Self::Index { .. } => "bundle_index",
            Self::Path { .. } => "bundle_path",
            Self::Place { .. } => "bundle_place",
            Self::Parts { .. } => "bundle_parts",
            Self::Kind { .. } => "bundle_kind",
            Self::Absent { .. } => "bundle_absent",
            Self::PartAbsent { .. } => "bundle_part_absent",
            Self::PartHash { .. } => "bundle_part_hash",
            Self::PartsBad { .. } => self.gravest().map_or("bundle_part_hash", Self::code),
            Self::Media { .. } => "bundle_media",
            Self::FileHash { .. } => "bundle_file_hash",
            Self::SinceAbsent { .. } => "bundle_since_absent",
            Self::Receipt { .. } => "bundle_receipt",
            Self::Artifact(error) => error.code(),
            Self::Io { .. } => "io",
        }
    }

    /// The process' exit code: 1 refused, 4 missing, 6 medium or system.
    pub fn exit(&self) -> crate::verify::Exit {
        use crate::verify::Exit;
        match self {
            Self::Absent { .. } | Self::PartAbsent { .. } | Self::SinceAbsent { .. } => Exit::Missing,
            Self::Media { .. } | Self::Io { .. } => Exit::Io,
            Self::Artifact(error) => Exit::of(error),
            Self::PartsBad { .. } => self.gravest().map_or(Exit::Refused, Self::exit),
            _ => Exit::Refused,
        }
    }

    /// What to do next, where there is one thing to do.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::WrongKey { found, .. } => {
                return Some(format!(
                    "name the key whose id is {found} with --key-file; this says nothing about the content"
                ));
            }
            Self::Mac | Self::MacForm { .. } | Self::Index { .. } | Self::Path { .. } | Self::Place { .. } => {
                "copy index.json and index.mac again from where the bundle was made; if they are refused again, do not trust the copy"
            }
            Self::PartAbsent { .. } => {
                "insert the disk that holds them, or copy them here, and run the same command again"
            }
            Self::PartHash { .. } => {
                "copy this part again from where the bundle was made and run the same command again"
            }
            Self::PartsBad { .. } => {
                return self.gravest().and_then(Self::hint).map(|hint| hint.replace("this part", "these parts"));
            }
            Self::Media { .. } => "clean or exchange the disk, or try another drive, and run the same command again",
            Self::SinceAbsent { .. } => "import that bundle first, or ask for a whole one (export without --since)",
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                "nothing was installed; make room and run the same command again, it goes on where it stopped"
            }
            Self::Artifact(error) => return crate::verify::hint(error),
            _ => return None,
        };
        Some(text.to_owned())
    }

    /// Of several faults the one that says most: a wrong copy, then a bad disk, then what is not here.
    fn gravest(&self) -> Option<&Self> {
        let Self::PartsBad { faults, .. } = self else { return None };
        let media = || faults.iter().find(|fault| matches!(fault, Self::Media { .. }));
        let wrong = faults.iter().find(|fault| !matches!(fault, Self::Media { .. } | Self::PartAbsent { .. }));
        wrong.or_else(media).or(faults.first())
    }

    /// An `Io` failure, for `map_err`.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }
}

fn listed(faults: &[BundleError]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
