//! The token embedding: a row of values for each token, kept as bf16 or f16 where that loses nothing.
//!
//! A tied embedding is the output head's own weight and is read out of its panels, so that it lies in memory once.

use super::matrix::Matrix;
use crate::kernel::{HalfType, IntegerBits, PackedMatrix, QuantizedRows};

/// Rows `[V, C]`.
#[derive(Clone, Debug)]
pub enum Embedding {
    /// The output head's weight: row t is the head's column t.
    Tied,
    /// Values as they are.
    F32(Vec<f32>),
    /// Bits of values of 16 bits.
    Half(HalfType, Vec<u16>),
    /// Integers with scales.
    Quantized(QuantizedRows),
}

impl Embedding {
    /// Keeps a table `[V, C]`.
    pub fn new(table: Matrix) -> Self {
        let table = match table {
            Matrix::Values(table) => table,
            Matrix::Quantized(table) => return Self::Quantized(table),
        };
        match HalfType::of(&table) {
            Some(half) => Self::Half(half, table.iter().map(|value| half.bits(*value)).collect()),
            None => Self::F32(table),
        }
    }

    /// Type its values are kept in, and the bytes they occupy; none where it is the head's own weight.
    pub fn storage(&self) -> Option<(&'static str, usize)> {
        match self {
            Self::Tied => None,
            Self::F32(table) => Some(("f32", size_of_val(table.as_slice()))),
            Self::Half(half, table) => Some((half.name(), size_of_val(table.as_slice()))),
            Self::Quantized(table) => {
                let name = if table.bits == IntegerBits::Four { "int4" } else { "int8" };
                let (scales, minima) = (table.scales.as_slice(), table.minima.as_slice());
                Some((name, table.integers.len() + size_of_val(scales) + size_of_val(minima)))
            }
        }
    }

    /// The row of one token, `C` values; none where the table ends before it.
    pub fn row(&self, token: usize, width: usize, head: &PackedMatrix) -> Option<Vec<f32>> {
        let begin = token.checked_mul(width)?;
        let end = begin.checked_add(width)?;
        match self {
            Self::Tied => (token < head.n()).then(|| head.column(token)),
            Self::Quantized(table) => (token < table.rows).then(|| {
                let mut row = Vec::with_capacity(width);
                table.extend_with_row(token, &mut row);
                row
            }),
            Self::F32(table) => table.get(begin..end).map(<[f32]>::to_vec),
            Self::Half(half, table) => Some(table.get(begin..end)?.iter().map(|bits| half.value(*bits)).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Level;

    #[test]
    fn every_form_gives_the_same_rows() {
        let table: Vec<f32> = (0..128).map(|value| value as f32 * 0.25 - 1.0).collect();
        let head = PackedMatrix::frozen_from_columns(Level::detect(), &table, 4, 32);
        let compact = Embedding::new(table.clone().into());
        assert_eq!(compact.storage(), Some(("bf16", 256)));
        assert_eq!(Embedding::Tied.storage(), None);
        for embedding in [Embedding::Tied, Embedding::F32(table.clone()), compact] {
            check(&embedding, &head, &table);
        }
        let table: Vec<f32> = (0..128).map(|value| 1.0 + value as f32 / 1024.0).collect();
        let head = PackedMatrix::frozen_from_columns(Level::detect(), &table, 4, 32);
        let compact = Embedding::new(table.clone().into());
        assert_eq!((compact.storage(), head.storage()), (Some(("f16", 256)), "f16"));
        for embedding in [Embedding::Tied, compact] {
            check(&embedding, &head, &table);
        }
        for bits in [IntegerBits::Four, IntegerBits::Eight] {
            let quantized = QuantizedRows::quantize(&table, 4, 32, bits, 16);
            let values = quantized.to_f32();
            check(&Embedding::Tied, &PackedMatrix::from_quantized_columns(Level::detect(), &quantized), &values);
            let storage = Embedding::new(Matrix::Quantized(quantized.clone())).storage();
            check(&Embedding::new(Matrix::Quantized(quantized.clone())), &head, &values);
            let with_minima = QuantizedRows { minima: quantized.scales.clone(), ..quantized };
            let (values, larger) = (with_minima.to_f32(), Embedding::new(Matrix::Quantized(with_minima.clone())));
            assert_eq!(larger.storage(), storage.map(|(name, len)| (name, len + 4 * 8)));
            check(&Embedding::Tied, &PackedMatrix::from_quantized_columns(Level::detect(), &with_minima), &values);
            check(&larger, &head, &values);
        }
    }

    #[track_caller]
    fn check(embedding: &Embedding, head: &PackedMatrix, table: &[f32]) {
        for token in 0..4 {
            assert_eq!(embedding.row(token, 32, head).as_deref(), table.get(token * 32..token * 32 + 32));
        }
        assert_eq!(embedding.row(4, 32, head), None);
        assert_eq!(embedding.row(usize::MAX, 32, head), None);
    }
}
