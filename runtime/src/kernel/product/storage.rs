//! The right side of a product as it is kept: panels whose rows are what one step of the inner loop reads.
//!
//! A panel holds two vectors of columns for every k. Values are f32, bf16 or f16 where every one of them is such a number (half the memory
//! and, in decoding, half the time), or integers with scales. Which of them changes no bit of any result.

use pulp::bytemuck::Pod;
use rayon::prelude::*;

use super::BLOCK;
use super::integers::IntegerPanels;
use super::rows::{Bf16, F16, F32Rows, HalfRows, Rows, Visitor};
use crate::kernel::aligned::Aligned;
use crate::kernel::half::HalfType;
use crate::kernel::lanes::Lanes;
use crate::kernel::level::Level;
use crate::kernel::quantized::{IntegerBits, QuantizedRows};
use crate::kernel::spread::worthwhile;

/// A right side `[K, N]` of products, cut into panels of the level's width; each panel is `[K, width]`, the last one padded with
/// zeros.
#[derive(Clone, Debug)]
pub struct PackedMatrix {
    level: Level,
    k: usize,
    n: usize,
    panels: Panels,
}

#[derive(Clone, Debug)]
enum Panels {
    /// One value each.
    F32(Aligned<f32>),
    /// A row of a panel is one vector of words: column w in the low half of word w, column `width / 2 + w` in its high half.
    Half(HalfType, Aligned<u32>),
    /// Integers with scales.
    Integers(IntegerPanels),
}

impl PackedMatrix {
    /// Packs `b` `[K, N]`.
    ///
    /// # Panics
    ///
    /// Where the shape does not fit.
    pub fn from_rows(level: Level, b: &[f32], k: usize, n: usize) -> PackedMatrix {
        PackedMatrix::from_rows_in(level, b, k, n, Aligned::default())
    }

    /// As [`PackedMatrix::from_rows`], in `room` where it is large enough.
    pub(super) fn from_rows_in(level: Level, b: &[f32], k: usize, n: usize, mut room: Aligned<f32>) -> PackedMatrix {
        assert_eq!(b.len(), k * n, "right side of a product [{k}, {n}]");
        let width = level.panel_columns();
        let len = n.div_ceil(width) * k * width;
        fill_panels(level, &mut room.at_least(len)[..len], k * width, |column, panel| {
            from_rows(b, n, column, width, panel);
        });
        PackedMatrix { level, k, n, panels: Panels::F32(room) }
    }

    /// The memory of f32 values.
    pub(super) fn into_room(self) -> Aligned<f32> {
        match self.panels {
            Panels::F32(values) => values,
            Panels::Half(..) | Panels::Integers(_) => Aligned::default(),
        }
    }

    /// Packs the transpose of `bt` `[N, K]`, for instance a linear layer's weight `[out, in]`.
    ///
    /// # Panics
    ///
    /// Where the shape does not fit.
    pub fn from_columns(level: Level, bt: &[f32], n: usize, k: usize) -> PackedMatrix {
        assert_eq!(bt.len(), k * n, "transposed right side of a product [{n}, {k}]");
        PackedMatrix::pack(level, k, n, None, |column, width, panel| from_columns(bt, n, column, width, panel))
    }

    /// As [`PackedMatrix::from_columns`], for a matrix that stays: kept as bf16 or f16 where that loses nothing.
    ///
    /// # Panics
    ///
    /// Where the shape does not fit.
    pub fn frozen_from_columns(level: Level, bt: &[f32], n: usize, k: usize) -> PackedMatrix {
        assert_eq!(bt.len(), k * n, "transposed right side of a product [{n}, {k}]");
        let half = HalfType::of(bt);
        PackedMatrix::pack(level, k, n, half, |column, width, panel| from_columns(bt, n, column, width, panel))
    }

    /// Packs the transpose of `bt` `[N, K]`, a linear layer's weight, and keeps it quantised.
    ///
    /// # Panics
    ///
    /// Where a group is not a power of two of 4 to 256 elements.
    pub fn from_quantized_columns(level: Level, bt: &QuantizedRows) -> PackedMatrix {
        let panels = Panels::Integers(IntegerPanels::of_columns(level, bt));
        PackedMatrix { level, k: bt.columns, n: bt.rows, panels }
    }

    fn pack(
        level: Level,
        k: usize,
        n: usize,
        half: Option<HalfType>,
        fill: impl Fn(usize, usize, &mut [f32]) + Sync,
    ) -> PackedMatrix {
        let width = level.panel_columns();
        let panels = if let Some(half) = half {
            let words = panels(level, n, k * width / 2, |column, words: &mut [u32]| {
                let mut values = vec![0.0; k * width];
                fill(column, width, &mut values);
                for (words, row) in words.chunks_exact_mut(width / 2).zip(values.chunks_exact(width)) {
                    let (low, high) = row.split_at(width / 2);
                    for (word, (low, high)) in words.iter_mut().zip(low.iter().zip(high)) {
                        *word = u32::from(half.bits(*low)) | u32::from(half.bits(*high)) << 16;
                    }
                }
            });
            Panels::Half(half, words)
        } else {
            Panels::F32(panels(level, n, k * width, |column, panel| fill(column, width, panel)))
        };
        PackedMatrix { level, k, n, panels }
    }

    /// Rows.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Columns.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Level it was packed for.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Bytes it occupies.
    pub fn len_bytes(&self) -> usize {
        match &self.panels {
            Panels::F32(values) => size_of_val(&**values),
            Panels::Half(_, words) => size_of_val(&**words),
            Panels::Integers(integers) => integers.len_bytes(),
        }
    }

    /// Type its values are kept in: `f32`, `bf16`, `f16`, `int8` or `int4`.
    pub fn storage(&self) -> &'static str {
        match &self.panels {
            Panels::F32(_) => "f32",
            Panels::Half(half, _) => half.name(),
            Panels::Integers(integers) => match integers.bits() {
                IntegerBits::Eight => "int8",
                IntegerBits::Four => "int4",
            },
        }
    }

    /// Copies out one column, `[K]`: a row of the weight that [`PackedMatrix::from_columns`] was given.
    ///
    /// # Panics
    ///
    /// Where there is no such column.
    pub fn column(&self, column: usize) -> Vec<f32> {
        assert!(column < self.n, "column {column} of {}", self.n);
        let width = self.level.panel_columns();
        let (panel, place) = (column / width, column % width);
        match &self.panels {
            Panels::F32(values) => {
                values[panel * self.k * width..].iter().skip(place).step_by(width).take(self.k).copied().collect()
            }
            Panels::Half(half, words) => {
                let row = width / 2;
                let shift = if place < row { 0 } else { 16 };
                let words = words[panel * self.k * row..].iter().skip(place % row).step_by(row).take(self.k);
                // a half of the word
                words.map(|word| half.value((word >> shift) as u16)).collect()
            }
            Panels::Integers(integers) => integers.column(width, column),
        }
    }

    /// Whether few rows can pass the panels as they are kept.
    pub(super) fn suits_few_rows(&self) -> bool {
        match &self.panels {
            Panels::Integers(integers) => integers.simple(),
            Panels::F32(_) | Panels::Half(..) => true,
        }
    }

    /// Hands the panels to `visitor` in the form they are kept in.
    #[inline(always)]
    pub(super) fn visit<L: Lanes, V: Visitor<L>>(&self, visitor: V) {
        let k = self.k;
        match &self.panels {
            Panels::F32(values) => visitor.rows(Rows { of: F32Rows::<L>::new(values), k }),
            Panels::Half(HalfType::Bf16, words) => visitor.rows(Rows { of: HalfRows::<L, Bf16>::new(words), k }),
            Panels::Half(HalfType::F16, words) => visitor.rows(Rows { of: HalfRows::<L, F16>::new(words), k }),
            Panels::Integers(integers) => visitor.integers(integers),
        }
    }
}

/// Fills a panel's `[K, width]` with the columns of `b` `[K, n]` from `column` on, and with zeros what is beyond them.
fn from_rows(b: &[f32], n: usize, column: usize, width: usize, panel: &mut [f32]) {
    let count = width.min(n - column);
    for (out, row) in panel.chunks_exact_mut(width).zip(b.chunks_exact(n)) {
        out[..count].copy_from_slice(&row[column..column + count]);
        out[count..].fill(0.0);
    }
}

/// Fills a panel's `[K, width]` with the rows of `bt` `[n, K]` from `column` on.
fn from_columns(bt: &[f32], n: usize, column: usize, width: usize, panel: &mut [f32]) {
    let (count, k) = (width.min(n - column), panel.len() / width);
    for (block, out) in panel.chunks_mut(width * BLOCK).enumerate() {
        let depth = out.len() / width;
        for (j, source) in bt[column * k..(column + count) * k].chunks_exact(k).enumerate() {
            let source = &source[block * BLOCK..][..depth];
            for (out, x) in out.chunks_exact_mut(width).zip(source) {
                out[j] = *x;
            }
        }
    }
}

/// Makes all panels of `len` words each, `fill` taking a panel's first column and its words.
fn panels<T: Pod + Send>(level: Level, n: usize, len: usize, fill: impl Fn(usize, &mut [T]) + Sync) -> Aligned<T> {
    let mut panels = Aligned::lasting_zeros(n.div_ceil(level.panel_columns()) * len);
    fill_panels(level, &mut panels, len, fill);
    panels
}

/// Has each panel of `len` words filled.
fn fill_panels<T: Send>(level: Level, panels: &mut [T], len: usize, fill: impl Fn(usize, &mut [T]) + Sync) {
    if len == 0 {
        return;
    }
    let one = |(panel, out): (usize, &mut [T])| fill(panel * level.panel_columns(), out);
    if worthwhile(panels.len(), PARALLEL_PACK) {
        panels.par_chunks_exact_mut(len).enumerate().for_each(one);
    } else {
        panels.chunks_exact_mut(len).enumerate().for_each(one);
    }
}

/// Elements below which packing stays on the calling thread.
const PARALLEL_PACK: usize = 1 << 16;
