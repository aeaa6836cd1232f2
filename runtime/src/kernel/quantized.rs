//! Matrices of small integers with a scale, and where blocks of GGUF have one a minimum, for each group of a row (NUMERICS section 12).
//!
//! A value is `scale · q`, one f32 product, or where groups have minima `scale · q - minimum`, rounded once. Quantising is a plain loop of
//! IEEE operations over one group at a time, so that any machine gives the same bytes.

use rayon::prelude::*;

use super::fma::{Fma, Software};

/// Width of the stored integers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IntegerBits {
    /// Four bits, two integers in a byte, each stored 8 too large unless its group has a minimum.
    Four,
    /// Eight bits, signed.
    Eight,
}

impl IntegerBits {
    /// Greatest magnitude that quantising gives.
    pub fn limit(self) -> f32 {
        match self {
            IntegerBits::Four => 7.0,
            IntegerBits::Eight => 127.0,
        }
    }

    /// Bytes of `count` integers.
    pub fn len_bytes(self, count: usize) -> usize {
        match self {
            IntegerBits::Four => count / 2,
            IntegerBits::Eight => count,
        }
    }
}

/// A matrix `[rows, columns]` in groups along the columns.
#[derive(Clone, PartialEq, Debug)]
pub struct QuantizedRows {
    /// Width of the integers.
    pub bits: IntegerBits,
    /// Elements of one group; divides `columns`.
    pub group: usize,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// The integers row by row.
    pub integers: Vec<u8>,
    /// `[rows, columns / group]`.
    pub scales: Vec<f32>,
    /// `[rows, columns / group]`, or empty: what is taken off the values of each group, whose integers of four bits are then 0 to
    /// 15.
    pub minima: Vec<f32>,
}

impl QuantizedRows {
    /// Quantises finite values `[rows, columns]`.
    ///
    /// # Panics
    ///
    /// Where the shape does not fit or the group does not divide the columns.
    pub fn quantize(values: &[f32], rows: usize, columns: usize, bits: IntegerBits, group: usize) -> Self {
        assert_eq!(values.len(), rows * columns, "a matrix [{rows}, {columns}]");
        assert!(columns.is_multiple_of(group) && group.is_multiple_of(2), "groups of {group} in {columns} columns");
        let mut integers = vec![0; bits.len_bytes(values.len())];
        let mut scales = vec![0.0; values.len() / group];
        let bytes = integers.par_chunks_exact_mut(bits.len_bytes(group));
        values.par_chunks_exact(group).zip(bytes).zip(&mut scales).for_each(|((values, bytes), scale)| {
            *scale = quantize_group(values, bits, bytes);
        });
        Self { bits, group, rows, columns, integers, scales, minima: Vec::new() }
    }

    /// What four-bit integers are stored too large by.
    fn excess(&self) -> i8 {
        if self.minima.is_empty() { 8 } else { 0 }
    }

    /// What an integer of a group means.
    fn value(&self, group: usize, q: i8) -> f32 {
        let (scale, q) = (self.scales[group], f32::from(q));
        if self.minima.is_empty() { scale * q } else { Software::fma(scale, q, -self.minima[group]) }
    }

    /// The integer at a place.
    pub fn integer(&self, row: usize, column: usize) -> i8 {
        let row_len = self.bits.len_bytes(self.columns);
        integer(self.bits, self.excess(), &self.integers[row * row_len..][..row_len], column)
    }

    /// Visits the integers of one group of a row, in order.
    pub(super) fn for_group(&self, row: usize, group: usize, mut visit: impl FnMut(usize, i8)) {
        let len = self.bits.len_bytes(self.group);
        let bytes = &self.integers[(row * (self.columns / self.group) + group) * len..][..len];
        for at in 0..self.group {
            visit(at, integer(self.bits, self.excess(), bytes, at));
        }
    }

    /// Appends the values of one row.
    ///
    /// # Panics
    ///
    /// Where there is no such row.
    pub fn extend_with_row(&self, row: usize, out: &mut Vec<f32>) {
        let first = row * (self.columns / self.group);
        let value = |column| self.value(first + column / self.group, self.integer(row, column));
        out.extend((0..self.columns).map(value));
    }

    /// The values.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.rows * self.columns];
        let bytes = self.integers.par_chunks_exact(self.bits.len_bytes(self.group));
        out.par_chunks_exact_mut(self.group).zip(bytes).enumerate().for_each(|(group, (out, bytes))| {
            for (at, out) in out.iter_mut().enumerate() {
                *out = self.value(group, integer(self.bits, self.excess(), bytes, at));
            }
        });
        out
    }
}

/// Integer `at` of a group; of four bits it is stored `excess` too large.
fn integer(bits: IntegerBits, excess: i8, bytes: &[u8], at: usize) -> i8 {
    match bits {
        IntegerBits::Eight => bytes[at].cast_signed(),
        IntegerBits::Four => (bytes[at / 2] >> (4 * (at % 2)) & 15).cast_signed() - excess,
    }
}

/// Quantises one group of finite values into the bytes of its integers, which are 0, and gives the scale.
///
/// # Panics
///
/// Where `bytes` is too short.
pub fn quantize_group(values: &[f32], bits: IntegerBits, bytes: &mut [u8]) -> f32 {
    let limit = bits.limit();
    let greatest = values.iter().fold(0.0, |greatest, w| if w.abs() > greatest { w.abs() } else { greatest });
    let scale = greatest / limit;
    for (at, w) in values.iter().enumerate() {
        let q = if scale == 0.0 { 0.0 } else { (w / scale).round_ties_even() };
        let q = if q > limit { limit } else { q };
        let q = if q < -limit { -limit } else { q } as i8;
        match bits {
            IntegerBits::Eight => bytes[at] = q.cast_unsigned(),
            IntegerBits::Four => bytes[at / 2] |= (q + 8).cast_unsigned() << (4 * (at % 2)),
        }
    }
    scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bits: IntegerBits, values: &[f32], scale: f32, integers: &[i8]) {
        let matrix = QuantizedRows::quantize(values, 1, values.len(), bits, values.len());
        assert_eq!(matrix.scales[0].to_bits(), scale.to_bits());
        let found: Vec<i8> = (0..values.len()).map(|at| integer(bits, 8, &matrix.integers, at)).collect();
        assert_eq!(found, integers);
        let meant: Vec<u32> = integers.iter().map(|q| (scale * f32::from(*q)).to_bits()).collect();
        assert_eq!(matrix.to_f32().iter().map(|x| x.to_bits()).collect::<Vec<_>>(), meant);
    }

    #[test]
    fn a_group_is_rounded_to_the_nearest_even_integer() {
        check(IntegerBits::Eight, &[127.0, -127.0, 0.5, 1.5], 1.0, &[127, -127, 0, 2]);
        check(IntegerBits::Four, &[7.0, -2.5, -3.5, 2.49], 1.0, &[7, -2, -4, 2]);
        check(IntegerBits::Four, &[-14.0, 14.0, 1.0, -1.0], 2.0, &[-7, 7, 0, 0]);
        check(IntegerBits::Eight, &[0.0, -0.0], 0.0, &[0, 0]);
        // The scale of the smallest numbers rounds down, so that the integer is held at its limit.
        let tiny = f32::from_bits(190);
        check(IntegerBits::Eight, &[tiny, -tiny], f32::from_bits(1), &[127, -127]);
    }
}
