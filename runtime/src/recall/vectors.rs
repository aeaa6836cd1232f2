//! The vectors of an index as they are stored, in the member and in memory.
//!
//! A unit vector of f32 is rounded once, when it is taken up; from then on its value is what the stored form says, exactly. Rows
//! are rounded one by one, so it does not show how many are taken up at once.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::index::same;
use super::{RecallError, limits};
use crate::kernel::{self, IntegerBits, Level, StoredRows};

/// What a vector's numbers are stored as.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VectorType {
    /// 32-bit IEEE, the encoder's own numbers.
    #[default]
    F32,
    /// 16-bit IEEE, rounded to nearest even.
    F16,
    /// Eight-bit integers with one f32 scale a vector.
    Int8,
}

impl VectorType {
    /// Every type.
    pub const ALL: [VectorType; 3] = [VectorType::F32, VectorType::F16, VectorType::Int8];

    /// Name in job, plan and configuration.
    pub fn name(self) -> &'static str {
        match self {
            VectorType::F32 => "f32",
            VectorType::F16 => "f16",
            VectorType::Int8 => "int8",
        }
    }
}

/// Vectors `[P, D]`, row by row.
#[derive(Clone, PartialEq, Debug)]
pub struct Vectors {
    dimension: usize,
    rows: Stored,
}

/// The numbers as they are stored.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Stored {
    F32(Vec<f32>),
    /// Bits.
    F16(Vec<u16>),
    Int8 {
        /// Two's complement.
        integers: Vec<u8>,
        /// One a row.
        scales: Vec<f32>,
    },
}

impl Vectors {
    /// No vector yet, of `dimension` numbers each.
    pub fn new(kind: VectorType, dimension: usize) -> Vectors {
        let rows = match kind {
            VectorType::F32 => Stored::F32(Vec::new()),
            VectorType::F16 => Stored::F16(Vec::new()),
            VectorType::Int8 => Stored::Int8 { integers: Vec::new(), scales: Vec::new() },
        };
        Vectors { dimension, rows }
    }

    /// What a reader found, not yet checked.
    pub(super) fn stored(dimension: usize, rows: Stored) -> Vectors {
        Vectors { dimension, rows }
    }

    /// Takes up unit vectors `[N, D]` at the end, each rounded as the type says.
    ///
    /// # Errors
    /// [`RecallError::Mismatch`] where the length is no multiple of the dimension, [`RecallError::NotUnit`].
    pub fn extend(&mut self, level: Level, vectors: &[f32]) -> Result<(), RecallError> {
        if self.dimension == 0 {
            return Err(RecallError::Empty);
        }
        same("numbers after the last whole vector", vectors.len() % self.dimension, 0)?;
        let before = self.len();
        for (row, vector) in vectors.chunks_exact(self.dimension).enumerate() {
            unit(level, before + row + 1, vector, limits::UNIT_TOLERANCE)?;
            match &mut self.rows {
                Stored::F32(values) => values.extend_from_slice(vector),
                Stored::F16(halves) => halves.extend(vector.iter().map(|value| kernel::f16_bits(*value))),
                Stored::Int8 { integers, scales } => {
                    let mut bytes = vec![0; vector.len()];
                    scales.push(kernel::quantize_group(vector, IntegerBits::Eight, &mut bytes));
                    integers.extend_from_slice(&bytes);
                }
            }
        }
        Ok(())
    }

    /// What the numbers are stored as.
    pub fn kind(&self) -> VectorType {
        match self.rows {
            Stored::F32(_) => VectorType::F32,
            Stored::F16(_) => VectorType::F16,
            Stored::Int8 { .. } => VectorType::Int8,
        }
    }

    /// Numbers in a vector.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// How many vectors there are.
    pub fn len(&self) -> usize {
        self.number_count() / self.dimension.max(1)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of all vectors in memory.
    pub fn len_bytes(&self) -> usize {
        match &self.rows {
            Stored::F32(values) => values.len() * 4,
            Stored::F16(halves) => halves.len() * 2,
            Stored::Int8 { integers, scales } => integers.len() + scales.len() * 4,
        }
    }

    pub(super) fn number_count(&self) -> usize {
        match &self.rows {
            Stored::F32(values) => values.len(),
            Stored::F16(halves) => halves.len(),
            Stored::Int8 { integers, .. } => integers.len(),
        }
    }

    pub(super) fn as_stored(&self) -> &Stored {
        &self.rows
    }

    /// Rows as the kernel takes them; no row outside of the vectors.
    pub(super) fn block(&self, rows: Range<usize>) -> StoredRows<'_> {
        let numbers = rows.start * self.dimension..rows.end * self.dimension;
        match &self.rows {
            Stored::F32(values) => StoredRows::F32(values.get(numbers).unwrap_or_default()),
            Stored::F16(halves) => StoredRows::F16(halves.get(numbers).unwrap_or_default()),
            Stored::Int8 { integers, scales } => {
                StoredRows::Int8(integers.get(numbers).unwrap_or_default(), scales.get(rows).unwrap_or_default())
            }
        }
    }

    /// What rows mean, `[N, D]`; nothing for rows that are not there.
    pub fn values(&self, level: Level, rows: Range<usize>) -> Vec<f32> {
        if rows.end > self.len() || rows.is_empty() {
            return Vec::new();
        }
        let mut values = vec![0.0; rows.len() * self.dimension];
        kernel::widen(level, self.block(rows), self.dimension, &mut values);
        values
    }

    /// What rows from anywhere mean, `[N, D]`, in place of what `values` held; rows that are not there are left out.
    pub(super) fn gather(&self, level: Level, rows: &[u32], values: &mut Vec<f32>) {
        values.clear();
        values.resize(rows.len() * self.dimension, 0.0);
        let mut filled = 0;
        for row in rows.iter().filter_map(|row| usize::try_from(*row).ok()).filter(|row| *row < self.len()) {
            if let Some(room) = values.get_mut(filled..filled + self.dimension) {
                kernel::widen(level, self.block(row..row + 1), self.dimension, room);
                filled += self.dimension;
            }
        }
        values.truncate(filled);
    }

    /// Refuses rows that [`Vectors::extend`] does not give.
    pub(super) fn check(&self, level: Level) -> Result<(), RecallError> {
        if let Stored::Int8 { integers, scales } = &self.rows {
            same("scales", scales.len(), self.len())?;
            for (row, (integers, scale)) in integers.chunks_exact(self.dimension.max(1)).zip(scales).enumerate() {
                let row = row + 1;
                if !scale.is_normal() || *scale < 0.0 {
                    return Err(RecallError::Scale { row, found: *scale });
                }
                let greatest =
                    integers.iter().fold(0, |greatest, byte| byte.cast_signed().unsigned_abs().max(greatest));
                if greatest != limits::GREATEST_INTEGER {
                    return Err(RecallError::Integers { row, found: greatest });
                }
            }
        }
        let root = u16::try_from(self.dimension).map_or(f32::INFINITY, f32::from).sqrt();
        for row in 0..self.len() {
            let tolerance = match &self.rows {
                Stored::F32(_) => limits::UNIT_TOLERANCE,
                Stored::F16(_) => limits::HALF_TOLERANCE,
                Stored::Int8 { scales, .. } => {
                    let error = scales.get(row).map_or(0.0, |scale| scale * root * 0.5);
                    limits::UNIT_TOLERANCE + 2.002 * error + error * error
                }
            };
            match self.block(row..row + 1) {
                StoredRows::F32(vector) => unit(level, row + 1, vector, tolerance)?,
                _ => unit(level, row + 1, &self.values(level, row..row + 1), tolerance)?,
            }
        }
        Ok(())
    }
}

/// Refuses a vector whose squared length is not close to one; NaN and infinity are not close.
pub(super) fn unit(level: Level, row: usize, vector: &[f32], tolerance: f32) -> Result<(), RecallError> {
    let distance = (kernel::dot(level, vector, vector) - 1.0).abs();
    if distance.is_finite() && distance <= tolerance { Ok(()) } else { Err(RecallError::NotUnit { row }) }
}
