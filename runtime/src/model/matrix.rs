//! A weight matrix as its file stores it: f32, or integers with scales, never widened as a whole before it is packed.

use crate::kernel::{Level, PackedMatrix, QuantizedRows};

/// A matrix `[rows, columns]`, row-major.
#[derive(Clone, Debug)]
pub enum Matrix {
    /// As f32.
    Values(Vec<f32>),
    /// As integers with scales.
    Quantized(QuantizedRows),
}

impl Matrix {
    /// The values as f32.
    pub fn into_values(self) -> Vec<f32> {
        match self {
            Matrix::Values(values) => values,
            Matrix::Quantized(rows) => rows.to_f32(),
        }
    }

    /// Packs it, a weight `[rows, columns]`, as the right side of `x Wᵀ`; its transpose is that of `d W`.
    pub fn pack(&self, level: Level, rows: usize, columns: usize) -> PackedMatrix {
        match self {
            Matrix::Values(values) => PackedMatrix::frozen_from_columns(level, values, rows, columns),
            Matrix::Quantized(quantized) => PackedMatrix::from_quantized_columns(level, quantized),
        }
    }
}

impl From<Vec<f32>> for Matrix {
    fn from(values: Vec<f32>) -> Self {
        Matrix::Values(values)
    }
}
