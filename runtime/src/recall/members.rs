//! The three members of an index: `recall/config.json`, `recall/vectors.safetensors`, `recall/passages.jsonl`.
//!
//! What decodes re-encodes to the same bytes; other bytes are refused.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::index::{same, within};
use super::vectors::{Stored, Vectors};
use super::{Passage, RecallError, RecallIndex, VectorType, limits};
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

/// Name of the tensor of vectors, and of their scales where they are integers.
const TENSOR: &str = "vectors";
const SCALES: &str = "scales";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    dimension: u32,
    format: String,
    passages: u32,
    /// Absent for f32, so that each index has one encoding.
    #[serde(default, skip_serializing_if = "is_f32")]
    vectors: VectorType,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
fn is_f32(kind: &VectorType) -> bool {
    *kind == VectorType::F32
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
            vectors: self.vector_type(),
        };
        let config = canonical(RecallIndex::CONFIG, &header)?;
        let vectors = encode(self.vectors())?;
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
        let (rows, vectors) = decode(&file, config.vectors)?;
        if file.canonical_bytes()? != members.vectors || !file.metadata().is_empty() {
            return Err(RecallError::Vectors { detail: "not written in the one canonical way" });
        }
        let passages = read_passages(&members.passages)?;
        same("rows of vectors", rows, passages.len())?;
        same("passages", passages.len(), usize::try_from(config.passages).unwrap_or(usize::MAX))?;
        same("dimension", vectors.dimension(), usize::try_from(config.dimension).unwrap_or(usize::MAX))?;
        RecallIndex::of_vectors(level, vectors, passages)
    }
}

fn encode(vectors: &Vectors) -> Result<Vec<u8>, RecallError> {
    let shape = [vectors.len(), vectors.dimension()];
    Ok(match vectors.as_stored() {
        Stored::F32(values) => {
            safetensors::write(&[(TENSOR, Dtype::F32, &shape, &safetensors::f32_bytes(values))], None)?
        }
        Stored::F16(halves) => {
            let bytes: Vec<u8> = halves.iter().flat_map(|half| half.to_le_bytes()).collect();
            safetensors::write(&[(TENSOR, Dtype::F16, &shape, &bytes)], None)?
        }
        Stored::Int8 { integers, scales } => {
            let scales = safetensors::f32_bytes(scales);
            let tensors: [(_, _, &[usize], &[u8]); 2] =
                [(SCALES, Dtype::F32, &[vectors.len()], &scales), (TENSOR, Dtype::I8, &shape, integers)];
            safetensors::write(&tensors, None)?
        }
    })
}

/// The vectors as they are stored, and how many the file says there are.
fn decode(file: &TensorFile, kind: VectorType) -> Result<(usize, Vectors), RecallError> {
    let (dtype, named): (_, &[&str]) = match kind {
        VectorType::F32 => (Dtype::F32, &[TENSOR]),
        VectorType::F16 => (Dtype::F16, &[TENSOR]),
        VectorType::Int8 => (Dtype::I8, &[SCALES, TENSOR]),
    };
    if file.names().ne(named.iter().copied()) {
        return Err(RecallError::Vectors {
            detail: match kind {
                VectorType::Int8 => "expected exactly two tensors named scales and vectors",
                _ => "expected exactly one tensor named vectors",
            },
        });
    }
    let view = file.tensor(TENSOR)?;
    let [rows, dimension] = view.shape else {
        return Err(RecallError::Vectors { detail: "expected a matrix" });
    };
    if view.dtype != dtype {
        return Err(RecallError::Vectors {
            detail: match kind {
                VectorType::F32 => "expected F32, as config.json names no other type",
                VectorType::F16 => "expected F16, as config.json says",
                VectorType::Int8 => "expected I8, as config.json says",
            },
        });
    }
    let stored = match kind {
        VectorType::F32 => Stored::F32(view.to_f32()?),
        VectorType::F16 => {
            Stored::F16(view.bytes.as_chunks::<2>().0.iter().map(|half| u16::from_le_bytes(*half)).collect())
        }
        VectorType::Int8 => {
            let scales = file.tensor(SCALES)?;
            if scales.dtype != Dtype::F32 || scales.shape.len() != 1 {
                return Err(RecallError::Vectors { detail: "expected scales to be one row of F32" });
            }
            Stored::Int8 { integers: view.bytes.to_vec(), scales: scales.to_f32()? }
        }
    };
    Ok((*rows, Vectors::stored(*dimension, stored)))
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

    fn stored_as(kind: VectorType) -> RecallIndex {
        let (level, index) = (Level::detect(), index());
        let mut vectors = Vectors::new(kind, 2);
        vectors.extend(level, &index.vectors().values(level, 0..3)).unwrap();
        RecallIndex::of_vectors(level, vectors, index.passages().to_vec()).unwrap()
    }

    fn integers(scales: &[f32], integers: [i8; 6]) -> Vec<u8> {
        let (scale_bytes, integers) = (safetensors::f32_bytes(scales), integers.map(i8::cast_unsigned));
        let tensors: [(_, _, &[usize], &[u8]); 2] =
            [(SCALES, Dtype::F32, &[scales.len()], &scale_bytes), (TENSOR, Dtype::I8, &[3, 2], &integers)];
        safetensors::write(&tensors, None).unwrap()
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
    fn members_of_every_type_round_trip_and_say_their_type() {
        for kind in VectorType::ALL {
            let members = stored_as(kind).members().unwrap();
            let config = String::from_utf8(members.config.clone()).unwrap();
            let said =
                if kind == VectorType::F32 { String::new() } else { format!(",\"vectors\":\"{}\"", kind.name()) };
            assert_eq!(config, format!(r#"{{"dimension":2,"format":"kolm-recall-1","passages":3{said}}}"#));
            assert_eq!(RecallIndex::parse(Level::detect(), &members).unwrap(), stored_as(kind));
        }
        let members = stored_as(VectorType::Int8).members().unwrap();
        let scale = 0.8_f32 / 127.0;
        assert_eq!(members.vectors, integers(&[1.0 / 127.0, scale, 1.0 / 127.0], [127, 0, 95, 127, 0, -127]));
    }

    #[test]
    fn a_type_that_is_not_the_configured_one_is_refused() {
        let explicit = br#"{"dimension":2,"format":"kolm-recall-1","passages":3,"vectors":"f32"}"#;
        check(|members| members.config = explicit.to_vec(), "recall_not_canonical");
        let unknown = br#"{"dimension":2,"format":"kolm-recall-1","passages":3,"vectors":"int4"}"#;
        check(|members| members.config = unknown.to_vec(), "recall_malformed");
        for kind in VectorType::ALL {
            for other in VectorType::ALL.into_iter().filter(|other| *other != kind) {
                let mut members = stored_as(kind).members().unwrap();
                members.vectors = stored_as(other).members().unwrap().vectors;
                assert_eq!(RecallIndex::parse(Level::detect(), &members).unwrap_err().code(), "recall_vectors");
            }
        }
    }

    #[test]
    fn refused_integers_and_halves() {
        let check = |kind: VectorType, vectors: Vec<u8>, code: &str, says: &str| {
            let members = RecallMembers { vectors, ..stored_as(kind).members().unwrap() };
            let error = RecallIndex::parse(Level::detect(), &members).unwrap_err();
            assert_eq!(error.code(), code, "{error}");
            assert!(error.to_string().contains(says), "{error}");
        };
        let (one, scale) = (1.0 / 127.0, 0.8 / 127.0);
        let good = [127, 0, 95, 127, 0, -127];
        let int8 = |scales: &[f32], values, code, says| check(VectorType::Int8, integers(scales, values), code, says);
        for bad in [f32::NAN, f32::INFINITY, 0.0, -scale, 1e-40] {
            int8(&[one, bad, one], good, "recall_scale", "vector 2");
        }
        int8(
            &[one, scale, one],
            [127, 0, 95, 127, 0, -128],
            "recall_integers",
            "vector 3 has integers of magnitude up to 128",
        );
        int8(
            &[one, scale, one],
            [126, 0, 95, 127, 0, 127],
            "recall_integers",
            "vector 1 has integers of magnitude up to 126",
        );
        int8(&[one, 1.1 * scale, one], good, "recall_not_unit", "vector 2");
        int8(&[one, scale], good, "recall_mismatch", "scales is 2");
        let matrix = safetensors::write(
            &[
                (SCALES, Dtype::F32, &[3, 1], &safetensors::f32_bytes(&[one, scale, one])),
                (TENSOR, Dtype::I8, &[3, 2], &good.map(i8::cast_unsigned)),
            ],
            None,
        );
        check(VectorType::Int8, matrix.unwrap(), "recall_vectors", "one row of F32");
        let halves = |values: [u16; 6]| {
            let bytes: Vec<u8> = values.iter().flat_map(|half| half.to_le_bytes()).collect();
            safetensors::write(&[(TENSOR, Dtype::F16, &[3, 2], &bytes)], None).unwrap()
        };
        let half = [0x3c00, 0, 0x38cd, 0x3a66, 0, 0xbc00];
        assert_eq!(halves(half), stored_as(VectorType::F16).members().unwrap().vectors);
        for (place, bad) in [(0, 0x7c00), (0, 0x7e00), (0, 0x3c02), (1, 0x3000)] {
            let mut half = half;
            half[place] = bad;
            check(VectorType::F16, halves(half), "recall_not_unit", "vector 1");
        }
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
