//! Panels of small integers with scales, widened block by block into the values they mean.
//!
//! A panel keeps its integers in the order in which the inner loop walks: `C` columns for each k, four-bit ones as columns j and
//! `j + C / 2` in one byte. Each value is the one product `scale · q`, so a product over these panels has the bits of the product over
//! the same matrix in f32.

use rayon::prelude::*;

use crate::kernel::level::Level;
use crate::kernel::quantized::{IntegerBits, QuantizedRows};

/// The panels of one matrix.
#[derive(Clone, Debug)]
pub(super) struct IntegerPanels {
    bits: IntegerBits,
    scales: Scales,
    /// `[panel, k, C]` integers.
    integers: Vec<u8>,
    /// Along k: `[panel, k / group, C]`. Across: `[panel, k, C / run]`.
    values: Vec<f32>,
    k: usize,
}

#[derive(Clone, Copy, Debug)]
enum Scales {
    /// One scale for `group` successive k of a column.
    Along { group: usize },
    /// One scale for `run` successive columns of a k.
    Across { run: usize },
}

impl IntegerPanels {
    /// Panels of the transpose of `rows` `[N, K]`, groups along k.
    pub(super) fn of_columns(level: Level, rows: &QuantizedRows) -> Self {
        let (columns, k, group) = (level.panel_columns(), rows.columns, rows.group);
        let panels = rows.rows.div_ceil(columns);
        let mut integers = vec![0; panels * rows.bits.len_bytes(columns * k)];
        let mut values = vec![0.0; panels * columns * (k / group)];
        let parts = integers.par_chunks_mut(rows.bits.len_bytes(columns * k).max(1));
        parts.zip(values.par_chunks_mut((columns * (k / group)).max(1))).enumerate().for_each(
            |(panel, (out, scales))| {
                let first = panel * columns;
                for column in 0..columns.min(rows.rows - first) {
                    let row = first + column;
                    for at in 0..k {
                        put(rows.bits, columns, out, at, column, rows.integer(row, at));
                    }
                    let from = &rows.scales[row * (k / group)..][..k / group];
                    for (scales, scale) in scales.chunks_exact_mut(columns).zip(from) {
                        scales[column] = *scale;
                    }
                }
            },
        );
        Self { bits: rows.bits, scales: Scales::Along { group }, integers, values, k }
    }

    /// Panels of `rows` `[K, N]`, groups along the columns.
    pub(super) fn of_rows(level: Level, rows: &QuantizedRows) -> Self {
        let (columns, k, n) = (level.panel_columns(), rows.rows, rows.columns);
        let run = rows.group.min(columns);
        let (panels, runs) = (n.div_ceil(columns), columns / run);
        let mut integers = vec![0; panels * rows.bits.len_bytes(columns * k)];
        let mut values = vec![0.0; panels * k * runs];
        let parts = integers.par_chunks_mut(rows.bits.len_bytes(columns * k).max(1));
        parts.zip(values.par_chunks_mut((k * runs).max(1))).enumerate().for_each(|(panel, (out, scales))| {
            let first = panel * columns;
            let width = columns.min(n - first);
            for (at, scales) in scales.chunks_exact_mut(runs).enumerate() {
                for column in 0..width {
                    put(rows.bits, columns, out, at, column, rows.integer(at, first + column));
                }
                for (part, scale) in scales.iter_mut().enumerate().take(width.div_ceil(run)) {
                    *scale = rows.scales[at * (n / rows.group) + (first + part * run) / rows.group];
                }
            }
        });
        Self { bits: rows.bits, scales: Scales::Across { run }, integers, values, k }
    }

    /// Bytes held.
    pub(super) fn len_bytes(&self) -> usize {
        self.integers.len() + 4 * self.values.len()
    }

    /// Width of the integers.
    pub(super) fn bits(&self) -> IntegerBits {
        self.bits
    }

    /// Bytes that the transpose of these panels, `width` wide and of `n` columns in all, would hold.
    pub(super) fn transposed_len_bytes(&self, width: usize, n: usize) -> usize {
        let panels = self.k.div_ceil(width);
        let scales = match self.scales {
            Scales::Along { group } => n * (width / group.min(width)),
            Scales::Across { run } => width * (n / run),
        };
        panels * (self.bits.len_bytes(width * n) + 4 * scales)
    }

    /// The values of one column, of panels `width` columns wide.
    pub(super) fn column(&self, width: usize, column: usize) -> Vec<f32> {
        let (panel, place) = (column / width, column % width);
        let integer = |k: usize| {
            let row = &self.integers[(panel * self.k + k) * self.bits.len_bytes(width)..];
            match self.bits {
                IntegerBits::Eight => f32::from(row[place].cast_signed()),
                IntegerBits::Four => {
                    (i32::from(row[place % (width / 2)] >> (4 * (place / (width / 2))) & 15) - 8) as f32
                }
            }
        };
        let scale = |k: usize| match self.scales {
            Scales::Along { group } => self.values[(panel * (self.k / group) + k / group) * width + place],
            Scales::Across { run } => self.values[(panel * self.k + k) * (width / run) + place / run],
        };
        (0..self.k).map(|k| scale(k) * integer(k)).collect()
    }

    /// The values of the rows `k..k + out.len()` of one panel.
    #[inline(always)]
    pub(super) fn widen<const C: usize>(&self, panel: usize, k: usize, out: &mut [[f32; C]]) {
        let row_len = self.bits.len_bytes(C);
        let integers = &self.integers[(panel * self.k + k) * row_len..][..out.len() * row_len];
        match self.scales {
            Scales::Along { group } => {
                let (scales, _) = self.values.as_chunks::<C>();
                let scales = &scales[panel * (self.k / group) + k / group..];
                let parts = out.chunks_mut(group).zip(integers.chunks(group * row_len));
                for ((out, integers), scales) in parts.zip(scales) {
                    match self.bits {
                        IntegerBits::Eight => along_eight(out, integers, scales),
                        IntegerBits::Four => along_four(out, integers, scales),
                    }
                }
            }
            Scales::Across { run } => {
                let runs = C / run;
                let scales = &self.values[(panel * self.k + k) * runs..][..out.len() * runs];
                for ((out, integers), scales) in
                    out.iter_mut().zip(integers.chunks_exact(row_len)).zip(scales.chunks_exact(runs))
                {
                    let mut wide = [1.0; C];
                    for (wide, scale) in wide.chunks_exact_mut(run).zip(scales) {
                        wide.fill(*scale);
                    }
                    match self.bits {
                        IntegerBits::Eight => along_eight(std::slice::from_mut(out), integers, &wide),
                        IntegerBits::Four => along_four(std::slice::from_mut(out), integers, &wide),
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn along_eight<const C: usize>(out: &mut [[f32; C]], integers: &[u8], scales: &[f32; C]) {
    let (integers, _) = integers.as_chunks::<C>();
    for (out, integers) in out.iter_mut().zip(integers) {
        for column in 0..C {
            out[column] = scales[column] * f32::from(integers[column] as i8);
        }
    }
}

#[inline(always)]
fn along_four<const C: usize>(out: &mut [[f32; C]], integers: &[u8], scales: &[f32; C]) {
    let half = const { C / 2 };
    for (out, integers) in out.iter_mut().zip(integers.chunks_exact(half)) {
        let (low, high) = out.split_at_mut(half);
        let (low_scales, high_scales) = scales.split_at(half);
        for (((low, high), byte), (low_scale, high_scale)) in
            low.iter_mut().zip(high).zip(integers).zip(low_scales.iter().zip(high_scales))
        {
            *low = low_scale * (i32::from(byte & 15) - 8) as f32;
            *high = high_scale * (i32::from(byte >> 4) - 8) as f32;
        }
    }
}

/// Puts one integer into the panel that begins at `out`.
fn put(bits: IntegerBits, columns: usize, out: &mut [u8], k: usize, column: usize, q: i8) {
    match bits {
        IntegerBits::Eight => out[k * columns + column] = q.cast_unsigned(),
        IntegerBits::Four => {
            let half = columns / 2;
            out[k * half + column % half] |= (q + 8).cast_unsigned() << (4 * (column / half));
        }
    }
}
