//! Rebuild statements: what one rebuilder says of one artifact, signed. `rebuild-v1.md` states every field.
//!
//! An in-toto Statement v1 in canonical JSON (no floats), in a DSSE envelope with one Ed25519 signature. The signature is checked before
//! anything of the payload is read, by the key that the envelope names; whether that key is trusted is the reader's decision.

mod envelope;
mod error;
mod key;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use kolm_runtime::artifact::{Staged, canonical, parse_canonical};
use serde::{Deserialize, Serialize};

pub use envelope::pae;
pub use error::StatementError;
pub use key::{PublicKey, SigningKey};

use crate::machine::Machine;
use crate::rebuild::{MemberDigests, Rebuilt, Results};

/// An in-toto statement that a rebuild was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// in-toto's own type.
    #[serde(rename = "_type")]
    pub kind: String,
    /// The artifact.
    pub subject: Vec<Subject>,
    /// What `predicate` is.
    #[serde(rename = "predicateType")]
    pub predicate_type: String,
    /// What was found.
    pub predicate: Rebuild,
}

/// What a statement is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// File name, for people.
    pub name: String,
    /// How to know it.
    pub digest: DigestSet,
}

/// in-toto's DigestSet: algorithm to lower-case hex.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DigestSet {
    /// The 64 hex digits of the recorded CID: the SHA-256 of canonical `hashes`, the same for every seal of the same content.
    #[serde(rename = "kolmCidV1")]
    pub kolm_cid_v1: String,
}

/// The predicate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rebuild {
    /// `identical` or `different`.
    pub verdict: String,
    /// What the artifact records.
    pub recorded: Results,
    /// What the rebuild gave.
    pub rebuilt: Results,
    /// Every member under the CID, by path.
    pub members: Vec<MemberDigests>,
    /// Where and with what.
    pub machine: Machine,
}

/// A statement whose signature holds, and who made it.
#[derive(Debug, Clone)]
pub struct Signed {
    /// Where it was read.
    pub path: PathBuf,
    /// The key that signed it.
    pub key: PublicKey,
    /// What it says.
    pub statement: Statement,
}

impl Statement {
    /// in-toto's type of a statement.
    pub const TYPE: &'static str = "https://in-toto.io/Statement/v1";
    /// The type of our predicate.
    pub const PREDICATE_TYPE: &'static str = "https://github.com/kolm/kolm/blob/main/repro/rebuild-v1.md";

    /// The statement of a finished rebuild.
    pub fn of(rebuilt: &Rebuilt, machine: Machine) -> Statement {
        let name = rebuilt.artifact.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let cid = &rebuilt.recorded.cid;
        Statement {
            kind: Self::TYPE.to_owned(),
            subject: vec![Subject { name, digest: DigestSet { kolm_cid_v1: hex_of(cid).to_owned() } }],
            predicate_type: Self::PREDICATE_TYPE.to_owned(),
            predicate: Rebuild {
                verdict: rebuilt.verdict().to_owned(),
                recorded: rebuilt.recorded.clone(),
                rebuilt: rebuilt.rebuilt.clone(),
                members: rebuilt.members.clone(),
                machine,
            },
        }
    }

    /// Signs the statement; gives the bytes of the envelope.
    ///
    /// # Errors
    /// [`StatementError::Artifact`] when it cannot be written as canonical JSON.
    pub fn sign(&self, key: &SigningKey) -> Result<Vec<u8>, StatementError> {
        envelope::seal(&canonical(self)?, key)
    }

    /// Signs the statement and writes it to `path`.
    ///
    /// # Errors
    /// As [`Statement::sign`], and when the file cannot be written.
    pub fn write(&self, key: &SigningKey, path: &Path) -> Result<(), StatementError> {
        Ok(Staged::write(path, &self.sign(key)?)?.commit()?)
    }

    fn check(&self) -> Result<(), String> {
        let predicate = &self.predicate;
        let [subject] = self.subject.as_slice() else {
            return Err(format!("{} subjects, expected 1", self.subject.len()));
        };
        if subject.digest.kolm_cid_v1 != hex_of(&predicate.recorded.cid) {
            return Err(format!("subject {}, recorded {}", subject.digest.kolm_cid_v1, predicate.recorded.cid));
        }
        let identical = predicate.recorded == predicate.rebuilt && predicate.members.iter().all(MemberDigests::equal);
        let expected = if identical { "identical" } else { "different" };
        if predicate.verdict != expected {
            return Err(format!("verdict {:?}, expected {expected:?} by its own digests", predicate.verdict));
        }
        Ok(())
    }
}

impl Signed {
    /// Reads a statement and checks its signature.
    ///
    /// # Errors
    /// [`StatementError`].
    pub fn read(path: &Path) -> Result<Signed, StatementError> {
        let io = |source| StatementError::Io { action: "read", path: path.to_owned(), source };
        let mut bytes = Vec::new();
        fs::File::open(path).and_then(|file| file.take(LEN_MAX_BYTES + 1).read_to_end(&mut bytes)).map_err(io)?;
        if bytes.len() as u64 > LEN_MAX_BYTES {
            let (path, expected) = (path.to_owned(), LEN_MAX_BYTES);
            return Err(StatementError::TooLong { path, found: bytes.len() as u64, expected });
        }
        Signed::parse(path, &bytes)
    }

    /// Checks the signature of an envelope, then reads what it signs; `path` names it in errors.
    ///
    /// # Errors
    /// [`StatementError`].
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Signed, StatementError> {
        #[derive(Deserialize)]
        struct Types {
            #[serde(rename = "_type")]
            kind: String,
            #[serde(rename = "predicateType")]
            predicate: String,
        }
        let of = |path: &Path| path.to_owned();
        let (payload, key) = envelope::open(path, bytes)?;
        let types: Types = serde_json::from_slice(&payload)
            .map_err(|error| StatementError::Content { path: of(path), detail: error.to_string() })?;
        if types.kind != Statement::TYPE {
            return Err(StatementError::StatementType { path: of(path), found: types.kind, expected: Statement::TYPE });
        }
        if types.predicate != Statement::PREDICATE_TYPE {
            let expected = Statement::PREDICATE_TYPE;
            return Err(StatementError::PredicateType { path: of(path), found: types.predicate, expected });
        }
        let content = |detail| StatementError::Content { path: of(path), detail };
        let statement: Statement = parse_canonical("payload", &payload).map_err(|error| content(error.to_string()))?;
        statement.check().map_err(content)?;
        Ok(Signed { path: of(path), key, statement })
    }
}

fn hex_of(cid: &str) -> &str {
    cid.rsplit(':').next().unwrap_or_default()
}

/// A statement is some kilobytes; a megabyte is none.
const LEN_MAX_BYTES: u64 = 1 << 20;

#[cfg(test)]
mod tests;
