//! A linear layer: `y = x Wᵀ + bias`, the weight packed once when the model is loaded.

use super::matrix::Matrix;
use crate::kernel::{self, Buffer, Level, PackedMatrix};

/// A frozen linear layer.
#[derive(Clone, Debug)]
pub struct Linear {
    /// `B[in, out]`, the transpose of the stored weight.
    pub weight: PackedMatrix,
    /// `[out]`.
    pub bias: Option<Vec<f32>>,
    /// Columns of the input.
    pub in_features: usize,
    /// Columns of the output.
    pub out_features: usize,
}

impl Linear {
    /// Packs a weight `[out, in]` as models store it.
    pub fn new(level: Level, weight: &Matrix, bias: Option<Vec<f32>>, in_features: usize, out_features: usize) -> Self {
        let weight = weight.pack(level, out_features, in_features);
        Self { weight, bias, in_features, out_features }
    }

    /// `x[rows, in]` to `[rows, out]`.
    pub fn forward(&self, level: Level, x: &[f32], rows: usize) -> Buffer {
        let [y] = Self::forward_all(level, [self], x, rows);
        y
    }

    /// `x[rows, in]` through several layers of the same input, to `[rows, out]` each.
    pub(super) fn forward_all<const N: usize>(
        level: Level,
        layers: [&Linear; N],
        x: &[f32],
        rows: usize,
    ) -> [Buffer; N] {
        let mut all = layers.map(|layer| Buffer::unwritten(rows * layer.out_features));
        let right = layers.iter().zip(&mut all).map(|(layer, y)| (&layer.weight, layer.bias.as_deref(), &mut **y));
        kernel::products(level, x, rows, right.collect());
        all
    }
}
