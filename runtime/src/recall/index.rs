//! Passages and their unit vectors.

use std::collections::BTreeSet;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::lists::Lists;
use super::vectors::{Stored, Vectors};
use super::{Hit, RecallError, VectorType, limits};
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
    vectors: Vectors,
    passages: Vec<Passage>,
    lists: Option<Lists>,
}

impl RecallIndex {
    /// Joins passages and their unit vectors, `vectors` `[P, D]` row by row, kept as f32.
    ///
    /// # Errors
    /// As [`RecallIndex::of_vectors`].
    pub fn new(
        level: Level,
        dimension: usize,
        vectors: Vec<f32>,
        passages: Vec<Passage>,
    ) -> Result<RecallIndex, RecallError> {
        RecallIndex::of_vectors(level, Vectors::stored(dimension, Stored::F32(vectors)), passages)
    }

    /// Joins passages and their vectors, in the form in which they are to be stored.
    ///
    /// # Errors
    /// [`RecallError::Empty`], [`RecallError::TooLarge`], [`RecallError::Mismatch`], [`RecallError::EmptyField`],
    /// [`RecallError::DuplicateId`], [`RecallError::NotUnit`], [`RecallError::Scale`], [`RecallError::Integers`].
    pub fn of_vectors(level: Level, vectors: Vectors, passages: Vec<Passage>) -> Result<RecallIndex, RecallError> {
        let dimension = vectors.dimension();
        if passages.is_empty() || dimension == 0 {
            return Err(RecallError::Empty);
        }
        within("recall index", passages.len(), limits::PASSAGE_COUNT)?;
        within("vector", dimension, limits::DIMENSION)?;
        same("length of vectors", vectors.number_count(), passages.len() * dimension)?;
        vectors.check(level)?;
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
        Ok(RecallIndex { vectors, passages, lists: None })
    }

    /// The same index, searched by lists made for it.
    pub(super) fn in_lists(self, lists: Lists) -> RecallIndex {
        RecallIndex { lists: Some(lists), ..self }
    }

    /// The lists that searches look into; none where they look at every passage.
    pub fn lists(&self) -> Option<&Lists> {
        self.lists.as_ref()
    }

    /// Numbers in a vector.
    pub fn dimension(&self) -> usize {
        self.vectors.dimension()
    }

    /// What the vectors are stored as.
    pub fn vector_type(&self) -> VectorType {
        self.vectors.kind()
    }

    /// All vectors, `[P, D]`.
    pub fn vectors(&self) -> &Vectors {
        &self.vectors
    }

    /// Stored rows as queries `[N, D]`: what they mean, and where rounding moved their length, divided by it again. Nothing for
    /// rows that are not there.
    pub fn queries(&self, level: Level, rows: Range<usize>) -> Vec<f32> {
        let mut queries = self.vectors.values(level, rows);
        if self.vector_type() != VectorType::F32 {
            for query in queries.chunks_exact_mut(self.dimension()) {
                let length = kernel::dot(level, query, query).sqrt();
                query.iter_mut().for_each(|value| *value /= length);
            }
        }
        queries
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

pub(super) fn within(what: &'static str, found: usize, limit: usize) -> Result<(), RecallError> {
    if found <= limit { Ok(()) } else { Err(RecallError::TooLarge { what, found, limit }) }
}

pub(super) fn same(what: &'static str, found: usize, expected: usize) -> Result<(), RecallError> {
    if found == expected { Ok(()) } else { Err(RecallError::Mismatch { what, found, expected }) }
}
