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
        let size = |found: usize| {
            u32::try_from(found).map_err(|_| RecallError::TooLarge {
                what: "recall index",
                found,
                limit: limits::PASSAGE_COUNT,
            })
        };
        let header = Config {
            dimension: size(self.dimension())?,
            format: RecallIndex::FORMAT.to_owned(),
            passages: size(self.passages().len())?,
        };
        let config = canonical(RecallIndex::CONFIG, &header)?;
        let shape = [self.passages().len(), self.dimension()];
        let vectors =
            safetensors::write(&[(TENSOR, Dtype::F32, &shape, &safetensors::f32_bytes(self.vectors()))], None)?;
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
    let value = serde_json::from_slice(bytes).map_err(|error| RecallError::Malformed {
        member,
        line,
        detail: error.to_string(),
    })?;
    if canonical(member, &value)? == bytes { Ok(value) } else { Err(RecallError::NotCanonical { member, line }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> RecallIndex {
        let passage = |id: &str| Passage { id: id.to_owned(), text: format!("text of {id}"), answer: String::new() };
        let vectors = vec![1.0, 0.0, 0.6, 0.8, 0.0, -1.0];
        RecallIndex::new(Level::detect(), 2, vectors, ["a", "b", "c"].map(passage).to_vec()).unwrap()
    }

    fn check(change: impl FnOnce(&mut RecallMembers), code: &str) {
        let mut members = index().members().unwrap();
        change(&mut members);
        assert_eq!(RecallIndex::parse(Level::detect(), &members).unwrap_err().code(), code);
    }

    fn tensor(name: &str, shape: &[usize], values: &[f32]) -> Vec<u8> {
        safetensors::write(&[(name, Dtype::F32, shape, &safetensors::f32_bytes(values))], None).unwrap()
    }

    #[test]
    fn members_round_trip() {
        let members = index().members().unwrap();
        assert_eq!(members.config, br#"{"dimension":2,"format":"kolm-recall-1","passages":3}"#);
        assert!(members.passages.starts_with(br#"{"answer":"","id":"a","text":"text of a"}"#));
        assert_eq!(RecallIndex::parse(Level::detect(), &members).unwrap(), index());
    }

    #[test]
    fn refused_members() {
        let swap = |bytes: &mut Vec<u8>, from: &str, to: &str| {
            *bytes = String::from_utf8(bytes.clone()).unwrap().replacen(from, to, 1).into_bytes()
        };
        check(|members| swap(&mut members.config, "recall-1", "recall-2"), "recall_unknown_format");
        check(|members| swap(&mut members.config, ":3", ":4"), "recall_mismatch");
        check(|members| swap(&mut members.config, "\"dimension\":2", "\"dimension\":3"), "recall_mismatch");
        check(|members| swap(&mut members.config, ":3", ":3.0"), "recall_malformed");
        check(|members| members.config.push(b'\n'), "recall_not_canonical");
        check(|members| members.passages.clear(), "recall_empty");
        check(|members| members.passages.truncate(members.passages.len() - 1), "recall_torn_line");
        check(|members| members.passages.push(b'\n'), "recall_malformed");
        check(|members| swap(&mut members.passages, "\"id\":\"b\"", "\"id\":\"a\""), "recall_duplicate_id");
        check(|members| swap(&mut members.passages, "\"id\":\"b\"", "\"id\":\"\""), "recall_empty_field");
        check(|members| swap(&mut members.passages, "text of a", ""), "recall_empty_field");
        check(|members| swap(&mut members.passages, "\"id\":", "\"id\": "), "recall_not_canonical");
        let vectors = [1.0, 0.0, 0.6, 0.8, 0.0, -1.0];
        check(|members| members.vectors = tensor("rows", &[3, 2], &vectors), "recall_vectors");
        check(|members| members.vectors = tensor("vectors", &[6], &vectors), "recall_vectors");
        check(|members| members.vectors = tensor("vectors", &[2, 3], &vectors), "recall_mismatch");
        check(
            |members| members.vectors = tensor("vectors", &[3, 2], &[1.0, 0.0, 0.6, 0.9, 0.0, -1.0]),
            "recall_not_unit",
        );
        check(
            |members| members.vectors = tensor("vectors", &[3, 2], &[1.0, 0.0, f32::NAN, 0.8, 0.0, -1.0]),
            "recall_not_unit",
        );
        check(|members| members.vectors.truncate(members.vectors.len() - 1), "model_tensor_offsets");
        check(
            |members| {
                let bytes = safetensors::f32_bytes(&vectors);
                members.vectors =
                    safetensors::write(&[(TENSOR, Dtype::F32, &[3, 2], &bytes)], Some(("format", "pt"))).unwrap();
            },
            "recall_vectors",
        );
    }
}
