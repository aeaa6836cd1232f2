//! Everything that can be wrong with a recall index or a query.

use thiserror::Error;

use crate::model::ModelError;

/// What stopped reading or searching an index; lines and rows count from 1.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RecallError {
    /// No passage.
    #[error("recall index holds no passage")]
    Empty,
    /// A count or length over its limit.
    #[error("{what}: found {found}, expected at most {limit}")]
    TooLarge {
        /// What was counted.
        what: &'static str,
        /// Found count.
        found: usize,
        /// Largest accepted count.
        limit: usize,
    },
    /// A member is not the JSON it has to be.
    #[error("{member} line {line}: {detail}")]
    Malformed {
        /// Path of the member.
        member: &'static str,
        /// Line number.
        line: usize,
        /// What the JSON reader says.
        detail: String,
    },
    /// A line means something, but is not written in the one canonical way.
    #[error("{member} line {line} is not canonical JSON")]
    NotCanonical {
        /// Path of the member.
        member: &'static str,
        /// Line number.
        line: usize,
    },
    /// A member does not end where it has to.
    #[error("{member} does not end in a line feed")]
    TornLine {
        /// Path of the member.
        member: &'static str,
    },
    /// A value could not be written.
    #[error("cannot encode {member}: {detail}")]
    Encode {
        /// Path of the member.
        member: &'static str,
        /// What the writer says.
        detail: String,
    },
    /// The configuration names another format.
    #[error("recall index has format {found:?}, expected {expected:?}")]
    UnknownFormat {
        /// Found format.
        found: String,
        /// Format of this version.
        expected: &'static str,
    },
    /// Vectors, passages and configuration disagree.
    #[error("{what} is {found}, expected {expected}")]
    Mismatch {
        /// What was compared.
        what: &'static str,
        /// Found value.
        found: usize,
        /// Expected value.
        expected: usize,
    },
    /// The vector file does not hold what the configuration says, or is not written in the one way.
    #[error("recall/vectors.safetensors: {detail}")]
    Vectors {
        /// What is wrong.
        detail: &'static str,
    },
    /// A passage without id or text.
    #[error("passage {row}: empty {field}")]
    EmptyField {
        /// Row, from 1.
        row: usize,
        /// Name of the field.
        field: &'static str,
    },
    /// Two passages with one id.
    #[error("passage {row}: duplicate id {id:?}")]
    DuplicateId {
        /// Row of the second, from 1.
        row: usize,
        /// The id.
        id: String,
    },
    /// A vector that is not finite or not of length one.
    #[error("vector {row} is not a unit vector")]
    NotUnit {
        /// Row, from 1; 0 for the query.
        row: usize,
    },
    /// A scale that no vector has.
    #[error("vector {row} has the scale {found:e}, expected a finite number above 0 that is not subnormal")]
    Scale {
        /// Row, from 1.
        row: usize,
        /// Found scale.
        found: f32,
    },
    /// Integers that rounding does not give.
    #[error("vector {row} has integers of magnitude up to {found}, expected up to 127 exactly")]
    Integers {
        /// Row, from 1.
        row: usize,
        /// Greatest magnitude found.
        found: u8,
    },
    /// Lists that no index has.
    #[error("recall lists: {detail}")]
    Lists {
        /// What is wrong.
        detail: &'static str,
    },
    /// The vector file could not be read.
    #[error(transparent)]
    Model(#[from] ModelError),
}

impl RecallError {
    /// The stable name of the variant.
    pub fn code(&self) -> &'static str {
        match self {
            RecallError::Empty => "recall_empty",
            RecallError::TooLarge { .. } => "recall_too_large",
            RecallError::Malformed { .. } => "recall_malformed",
            RecallError::NotCanonical { .. } => "recall_not_canonical",
            RecallError::TornLine { .. } => "recall_torn_line",
            RecallError::Encode { .. } => "recall_encode",
            RecallError::UnknownFormat { .. } => "recall_unknown_format",
            RecallError::Mismatch { .. } => "recall_mismatch",
            RecallError::Vectors { .. } => "recall_vectors",
            RecallError::EmptyField { .. } => "recall_empty_field",
            RecallError::DuplicateId { .. } => "recall_duplicate_id",
            RecallError::NotUnit { .. } => "recall_not_unit",
            RecallError::Scale { .. } => "recall_scale",
            RecallError::Integers { .. } => "recall_integers",
            RecallError::Lists { .. } => "recall_lists",
            RecallError::Model(error) => error.code(),
        }
    }
}
