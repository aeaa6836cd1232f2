//! The three members of an index: `recall/config.json`, `recall/vectors.safetensors`, `recall/passages.jsonl`.
//!
//! What decodes re-encodes to the same bytes; other bytes are refused.

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::index::{same, within};
use super::vectors::{Stored, Vectors};
use super::{Lists, Passage, RecallError, RecallIndex, VectorType, limits};
use crate::eval::Ppm;
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
/// Names of the tensors of lists, where there are any: their centroids, and each passage's list.
const CENTROIDS: &str = "centroids";
const LISTS: &str = "lists";
const U32: Dtype = Dtype::Other("U32", 4);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    dimension: u32,
    format: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lists: Option<ListsSummary>,
    passages: u32,
    /// Absent for f32, so that each index has one encoding.
    #[serde(default, skip_serializing_if = "is_f32")]
    vectors: VectorType,
}

/// What the configuration says of the lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListsSummary {
    /// Number of lists.
    pub count: u32,
    /// Lists that a search looks into at least.
    pub probes: u32,
    /// Share of the ten nearest rows that such a search found for a sample of rows.
    pub recall_at_10: Ppm,
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
            lists: match self.lists() {
                None => None,
                Some(lists) => Some(ListsSummary {
                    count: size(lists.count())?,
                    probes: size(lists.probes())?,
                    recall_at_10: lists.recall_at_10(),
                }),
            },
            passages: size(self.passages().len())?,
            vectors: self.vector_type(),
        };
        let config = canonical(RecallIndex::CONFIG, &header)?;
        let vectors = encode(self)?;
        let mut passages = Vec::new();
        for passage in self.passages() {
            passages.extend_from_slice(&canonical(RecallIndex::PASSAGES, passage)?);
            passages.push(b'\n');
        }
        Ok(RecallMembers { config, vectors, passages })
    }

    /// What the bytes of [`RecallIndex::CONFIG`] say of the lists; nothing where there are none.
    ///
    /// # Errors
    /// [`RecallError::Malformed`], [`RecallError::NotCanonical`], [`RecallError::UnknownFormat`].
    pub fn lists_of_config(bytes: &[u8]) -> Result<Option<ListsSummary>, RecallError> {
        Ok(read_config(bytes)?.lists)
    }

    /// Reads the three members.
    ///
    /// # Errors
    /// As [`RecallIndex::of_vectors`], and [`RecallError::Malformed`], [`RecallError::NotCanonical`], [`RecallError::TornLine`],
    /// [`RecallError::UnknownFormat`], [`RecallError::Vectors`], [`RecallError::Lists`], [`RecallError::Model`].
    pub fn parse(level: Level, members: &RecallMembers) -> Result<RecallIndex, RecallError> {
        let config = read_config(&members.config)?;
        let file = TensorFile::from_bytes(RecallIndex::VECTORS, members.vectors.clone())?;
        let has_scales = config.vectors == VectorType::Int8;
        let named = [(CENTROIDS, config.lists.is_some()), (LISTS, config.lists.is_some()), (SCALES, has_scales)];
        let named = named.into_iter().filter(|(_, there)| *there).map(|(name, _)| name).chain([TENSOR]);
        if file.names().ne(named) {
            let detail = "expected vectors, with scales where they are int8, and centroids and lists where config.json has lists";
            return Err(RecallError::Vectors { detail });
        }
        let (rows, vectors) = decode(&file, config.vectors)?;
        if file.canonical_bytes()? != members.vectors || !file.metadata().is_empty() {
            return Err(RecallError::Vectors { detail: "not written in the one canonical way" });
        }
        let passages = read_passages(&members.passages)?;
        same("rows of vectors", rows, passages.len())?;
        same("passages", passages.len(), usize::try_from(config.passages).unwrap_or(usize::MAX))?;
        same("dimension", vectors.dimension(), usize::try_from(config.dimension).unwrap_or(usize::MAX))?;
        let index = RecallIndex::of_vectors(level, vectors, passages)?;
        Ok(match config.lists {
            None => index,
            Some(config) => {
                let lists = decode_lists(level, &file, config, &index)?;
                index.in_lists(lists)
            }
        })
    }
}

fn read_config(bytes: &[u8]) -> Result<Config, RecallError> {
    let config: Config = read(RecallIndex::CONFIG, 1, bytes)?;
    if config.format != RecallIndex::FORMAT {
        return Err(RecallError::UnknownFormat { found: config.format, expected: RecallIndex::FORMAT });
    }
    Ok(config)
}

fn decode_lists(
    level: Level,
    file: &TensorFile,
    config: ListsSummary,
    index: &RecallIndex,
) -> Result<Lists, RecallError> {
    let (centroids, list_of) = (file.tensor(CENTROIDS)?, file.tensor(LISTS)?);
    let ([count, dimension], [rows]) = (centroids.shape, list_of.shape) else {
        return Err(RecallError::Vectors { detail: "expected centroids to be a matrix and lists to be one row" });
    };
    if centroids.dtype != Dtype::F32 || list_of.dtype != U32 {
        return Err(RecallError::Vectors { detail: "expected centroids of F32 and lists of U32" });
    }
    let size = |found: u32| usize::try_from(found).unwrap_or(usize::MAX);
    same("number of centroids", *count, size(config.count))?;
    same("dimension of centroids", *dimension, index.dimension())?;
    same("rows in lists", *rows, index.passages().len())?;
    let list_of = list_of.bytes.as_chunks::<4>().0.iter().map(|list| u32::from_le_bytes(*list)).collect();
    let lists = Lists::new(level, *dimension, centroids.to_f32()?, list_of, size(config.probes))?;
    Ok(lists.with_recall(config.recall_at_10))
}

fn encode(index: &RecallIndex) -> Result<Vec<u8>, RecallError> {
    let (rows, dimension) = (index.vectors().len(), index.dimension());
    let mut tensors: Vec<(&str, Dtype, Vec<usize>, Cow<'_, [u8]>)> = Vec::new();
    if let Some(lists) = index.lists() {
        let centroids = safetensors::f32_bytes(lists.centroids());
        tensors.push((CENTROIDS, Dtype::F32, vec![lists.count(), dimension], centroids.into()));
        let list_of: Vec<u8> = lists.list_of().iter().flat_map(|list| list.to_le_bytes()).collect();
        tensors.push((LISTS, U32, vec![rows], list_of.into()));
    }
    let (dtype, bytes) = match index.vectors().as_stored() {
        Stored::F32(values) => (Dtype::F32, safetensors::f32_bytes(values).into()),
        Stored::F16(halves) => {
            (Dtype::F16, halves.iter().flat_map(|half| half.to_le_bytes()).collect::<Vec<u8>>().into())
        }
        Stored::Int8 { integers, scales } => {
            tensors.push((SCALES, Dtype::F32, vec![rows], safetensors::f32_bytes(scales).into()));
            (Dtype::I8, Cow::Borrowed(integers.as_slice()))
        }
    };
    tensors.push((TENSOR, dtype, vec![rows, dimension], bytes));
    let tensors: Vec<(&str, Dtype, &[usize], &[u8])> =
        tensors.iter().map(|(name, dtype, shape, bytes)| (*name, *dtype, shape.as_slice(), &**bytes)).collect();
    Ok(safetensors::write(&tensors, None)?)
}

/// The vectors as they are stored, and how many the file says there are.
fn decode(file: &TensorFile, kind: VectorType) -> Result<(usize, Vectors), RecallError> {
    let dtype = match kind {
        VectorType::F32 => Dtype::F32,
        VectorType::F16 => Dtype::F16,
        VectorType::Int8 => Dtype::I8,
    };
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
mod tests;
