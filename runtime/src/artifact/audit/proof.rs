//! A proof that one entry is in the log, for somebody who has neither the log nor a key: eight words or a root are enough.

use serde::{Deserialize, Serialize};

use super::super::hash::{from_hex, hex};
use super::super::merkle::{Hash, climb, leaf, ranges};
use super::super::sealed::Sealed;
use super::super::{ArtifactError, canonical, parse_canonical};
use super::chain::AuditEntry;
use super::words::Words;

/// One line of the log and the way from it to a root (RFC 6962).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// Entries under the root.
    pub entries: u64,
    /// `kolm-audit-proof-1`.
    pub format: String,
    /// The line, without line feed.
    pub line: String,
    /// Roots beside the way, from the leaf up.
    pub path: Vec<String>,
    /// The root that they lead to.
    pub root: String,
    /// Number of the entry.
    pub seq: u64,
}

/// What a proof must lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// The words in a logbook.
    Words(Words),
    /// A root in hex.
    Root(String),
}

impl Proof {
    const FORMAT: &'static str = "kolm-audit-proof-1";

    pub(super) fn new(line: String, seq: u64, entries: u64, path: Vec<Hash>, root: Hash) -> Self {
        let path = path.iter().map(|hash| hex(hash)).collect();
        Self { entries, format: Self::FORMAT.to_owned(), line, path, root: hex(&root), seq }
    }

    /// The file: one line.
    ///
    /// # Errors
    /// `JsonInteger`.
    pub fn encode(&self) -> Result<Vec<u8>, ArtifactError> {
        let mut bytes = canonical(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads the file.
    ///
    /// # Errors
    /// Any JSON error.
    pub fn parse(bytes: &[u8]) -> Result<Self, ArtifactError> {
        parse_canonical("proof", bytes.strip_suffix(b"\n").unwrap_or(bytes))
    }

    /// The eight words of the root.
    pub fn words(&self) -> Option<Words> {
        hash(&self.root).map(|root| Words::of(&root))
    }

    /// Checks that the line leads to the root and the root is the one that the checker holds; gives the entry.
    ///
    /// # Errors
    /// `AuditProof`.
    pub fn check(&self, anchor: &Anchor) -> Result<AuditEntry, ArtifactError> {
        let refuse = |fault: String| ArtifactError::AuditProof { fault };
        if self.format != Self::FORMAT {
            return Err(refuse(format!("its format is {:?}, expected {:?}", self.format, Self::FORMAT)));
        }
        let sealed: Sealed<AuditEntry> = parse_canonical("proof: line", self.line.as_bytes())?;
        let entry = sealed.entry;
        if entry.seq != self.seq {
            return Err(refuse(format!("it is said to prove entry {}, its line is entry {}", self.seq, entry.seq)));
        }
        let path: Option<Vec<Hash>> = self.path.iter().map(|text| hash(text)).collect();
        let beside = self.seq.checked_sub(1).and_then(|index| ranges(index, self.entries));
        let climbed = path.zip(beside).and_then(|(path, beside)| climb(leaf(self.line.as_bytes()), &beside, &path));
        let root = climbed.ok_or_else(|| {
            refuse(format!(
                "its path has {} hashes, which is none from entry {} of {}",
                self.path.len(),
                self.seq,
                self.entries
            ))
        })?;
        if hex(&root) != self.root {
            return Err(refuse(format!("the line leads to root {}, the proof says {}", hex(&root), self.root)));
        }
        match anchor {
            Anchor::Words(words) if Words::of(&root) != *words => {
                Err(refuse(format!("it leads to the words \"{}\", not to \"{words}\"", Words::of(&root))))
            }
            Anchor::Root(expected) if hex(&root) != *expected => {
                Err(refuse(format!("it leads to root {}, not to {expected}", hex(&root))))
            }
            _ => Ok(entry),
        }
    }
}

fn hash(text: &str) -> Option<Hash> {
    from_hex(text)?.as_slice().try_into().ok()
}
