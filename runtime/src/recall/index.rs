//! Passages and their unit vectors.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Hit, RecallError, limits};
use crate::kernel::{self, Level};

/// One training row as it can be cited.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Passage {
    /// The row's completion.
    pub answer: String,
    /// Name of the row, unique in the index.
    pub id: String,
    /// The row's prompt, which the vector stands for.
    pub text: String,
}

/// A valid index: as many unit vectors as passages, in training order.
#[derive(Clone, PartialEq, Debug)]
pub struct RecallIndex {
    dimension: usize,
    vectors: Vec<f32>,
    passages: Vec<Passage>,
}

impl RecallIndex {
    /// Joins passages and their unit vectors, `vectors` `[P, D]` row by row.
    ///
    /// # Errors
    /// [`RecallError::Empty`], [`RecallError::TooLarge`], [`RecallError::Mismatch`], [`RecallError::EmptyField`],
    /// [`RecallError::DuplicateId`], [`RecallError::NotUnit`].
    pub fn new(
        level: Level,
        dimension: usize,
        vectors: Vec<f32>,
        passages: Vec<Passage>,
    ) -> Result<RecallIndex, RecallError> {
        if passages.is_empty() || dimension == 0 {
            return Err(RecallError::Empty);
        }
        within("recall index", passages.len(), limits::PASSAGE_COUNT)?;
        within("vector", dimension, limits::DIMENSION)?;
        same("length of vectors", vectors.len(), passages.len() * dimension)?;
        for (row, vector) in vectors.chunks_exact(dimension).enumerate() {
            unit(level, row + 1, vector)?;
        }
        let mut seen = BTreeSet::new();
        for (row, passage) in passages.iter().enumerate() {
            let row = row + 1;
            within("passage id", passage.id.len(), limits::ID_LEN_BYTES)?;
            within("passage", passage.text.len() + passage.answer.len(), limits::LINE_LEN_BYTES)?;
            for (field, value) in [("id", &passage.id), ("text", &passage.text)] {
                if value.is_empty() {
                    return Err(RecallError::EmptyField { row, field });
                }
            }
            if !seen.insert(&passage.id) {
                return Err(RecallError::DuplicateId { row, id: passage.id.clone() });
            }
        }
        Ok(RecallIndex { dimension, vectors, passages })
    }

    /// Numbers in a vector.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// All vectors, `[P, D]`.
    pub fn vectors(&self) -> &[f32] {
        &self.vectors
    }

    /// What a prompt sees of search hits, best first: each passage's text, a line feed, its answer.
    pub fn context(&self, hits: &[Hit]) -> Vec<String> {
        let passages = hits.iter().filter_map(|hit| self.passages.get(hit.index));
        passages.map(|passage| format!("{}\n{}", passage.text, passage.answer)).collect()
    }

    /// All passages, in training order.
    pub fn passages(&self) -> &[Passage] {
        &self.passages
    }
}

/// Refuses a vector whose squared length is not close to one; NaN and infinity are not close.
pub(super) fn unit(level: Level, row: usize, vector: &[f32]) -> Result<(), RecallError> {
    let distance = (kernel::dot(level, vector, vector) - 1.0).abs();
    if distance <= limits::UNIT_TOLERANCE { Ok(()) } else { Err(RecallError::NotUnit { row }) }
}

pub(super) fn within(what: &'static str, found: usize, limit: usize) -> Result<(), RecallError> {
    if found <= limit { Ok(()) } else { Err(RecallError::TooLarge { what, found, limit }) }
}

pub(super) fn same(what: &'static str, found: usize, expected: usize) -> Result<(), RecallError> {
    if found == expected { Ok(()) } else { Err(RecallError::Mismatch { what, found, expected }) }
}
