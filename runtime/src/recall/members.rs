//! The three members of an index: `recall/config.json`, `recall/vectors.safetensors`, `recall/passages.jsonl`.
//!
//! What decodes re-encodes to the same bytes; other bytes are refused.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::index::{same, within};
use super::{Passage, RecallError, RecallIndex, limits};
use crate::kernel::Level;
use crate::model::safetensors::{self, Dtype, TensorFile};

/// The bytes of the three members.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecallMembers {
    /// `recall/config.json`.
    pub config: Vec<u8>,
    /// `recall/vectors.safetensors`.
    pub vectors: Vec<u8>,
    /// `recall/passages.jsonl`.
    pub passages: Vec<u8>,
}

/// Name of the one tensor.
const TENSOR: &str = "vectors";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    dimension: u32,
    format: String,
    passages: u32,
}

impl RecallIndex {
    /// Path of the member that holds format and sizes.
    pub const CONFIG: &'static str = "recall/config.json";
    /// Path of the member that holds the vectors.
    pub const VECTORS: &'static str = "recall/vectors.safetensors";
    /// Path of the member that holds the passages.
    pub const PASSAGES: &'static str = "recall/passages.jsonl";
    /// Value of `format` in the configuration.
    pub const FORMAT: &'static str = "kolm-recall-1";

    /// Writes the three members.
    ///
    /// # Errors
    /// [`RecallError::Encode`] when a value cannot be written.
    pub fn members(&self) -> Result<RecallMembers, RecallError> {
        let size = |found: usize| u32::try_from(found).map_err(|_| RecallError::TooLarge { what: "recall index", found, limit: limits::PASSAGE_COUNT });
        let header = Config { dimension: size(self.dimension())?, format: RecallIndex::FORMAT.to_owned(), passages: size(self.passages().len())? };
        let config = canonical(RecallIndex::CONFIG, &header)?;
        let shape = [self.passages().len(), self.dimension()];
        let vectors = safetensors::write(&[(TENSOR, Dtype::F32, &shape, &safetensors::f32_bytes(self.vectors()))], None)?;
        let mut passages = Vec::new();
        for passage in self.passages() {
            passages.extend_from_slice(&canonical(RecallIndex::PASSAGES, passage)?);
            passages.push(b'\n');
        }
        Ok(RecallMembers { config, vectors, passages })
    }

    /// Reads the three members.
    ///
    /// # Errors
    /// As [`RecallIndex::new`], and [`RecallError::Malformed`], [`RecallError::NotCanonical`], [`RecallError::TornLine`],
    /// [`RecallError::UnknownFormat`], [`RecallError::Vectors`], [`RecallError::Model`].
    pub fn parse(level: Level, members: &RecallMembers) -> Result<RecallIndex, RecallError> {
        let config: Config = read(RecallIndex::CONFIG, 1, &members.config)?;
        if config.format != RecallIndex::FORMAT {
            return Err(RecallError::UnknownFormat { found: config.format, expected: RecallIndex::FORMAT });
        }
        let file = TensorFile::from_bytes(RecallIndex::VECTORS, members.vectors.clone())?;
        if file.names().ne([TENSOR]) {
            return Err(RecallError::Vectors { detail: "expected exactly one tensor named vectors" });
        }
        let view = file.tensor(TENSOR)?;
        let [rows, dimension] = view.shape else {
            return Err(RecallError::Vectors { detail: "expected a matrix" });
        };
        if view.dtype != Dtype::F32 {
            return Err(RecallError::Vectors { detail: "expected f32" });
        }
        if file.canonical_bytes()? != members.vectors || !file.metadata().is_empty() {
            return Err(RecallError::Vectors { detail: "not written in the one canonical way" });
        }
        let passages = read_passages(&members.passages)?;
        same("rows of vectors", *rows, passages.len())?;
        same("passages", passages.len(), usize::try_from(config.passages).unwrap_or(usize::MAX))?;
        same("dimension", *dimension, usize::try_from(config.dimension).unwrap_or(usize::MAX))?;
        RecallIndex::new(level, *dimension, view.to_f32()?, passages)
    }
}

fn read_passages(bytes: &[u8]) -> Result<Vec<Passage>, RecallError> {
    let body = match bytes.split_last() {
        None => return Err(RecallError::Empty),
        Some((b'\n', body)) => body,
        Some(_) => return Err(RecallError::TornLine { member: RecallIndex::PASSAGES }),
    };
    let mut passages = Vec::new();
    for (row, line) in body.split(|byte| *byte == b'\n').enumerate() {
        within("recall index", row + 1, limits::PASSAGE_COUNT)?;
        passages.push(read(RecallIndex::PASSAGES, row + 1, line)?);
    }
    Ok(passages)
}

fn canonical<T: Serialize>(member: &'static str, value: &T) -> Result<Vec<u8>, RecallError> {
    serde_jcs::to_vec(value).map_err(|error| RecallError::Encode { member, detail: error.to_string() })
}

fn read<T: Serialize + DeserializeOwned>(member: &'static str, line: usize, bytes: &[u8]) -> Result<T, RecallError> {
    within("line", bytes.len(), 2 * limits::LINE_LEN_BYTES)?;
    let value = serde_json::from_slice(bytes).map_err(|error| RecallError::Malformed { member, line, detail: error.to_string() })?;
    if canonical(member, &value)? == bytes { Ok(value) } else { Err(RecallError::NotCanonical { member, line }) }
}
