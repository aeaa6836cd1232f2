//! Panels of small integers with scales.
//!
//! A panel keeps its integers in the order in which the inner loop walks: a vector of words holds, for two (eight bits) or four (four
//! bits) successive k, both vectors of columns. Each value is the one product `scale · q`, so a product over these panels has the bits
//! of the product over the same matrix in f32.

use rayon::prelude::*;

use super::storage::{F32Rows, RightBlocks, RightSums};
use crate::kernel::lanes::Lanes;
use crate::kernel::level::Level;
use crate::kernel::quantized::{IntegerBits, QuantizedRows};

/// The panels of one matrix.
#[derive(Clone, Debug)]
pub(super) struct IntegerPanels {
    bits: IntegerBits,
    scales: Scales,
    /// `[panel, ⌈k / rows_per_word⌉, C / 2]`; see [`place`].
    words: Vec<u32>,
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
        let mut words = vec![0; panels * panel_words(rows.bits, columns, k)];
        let mut values = vec![0.0; panels * columns * (k / group)];
        let parts = words.par_chunks_mut(panel_words(rows.bits, columns, k).max(1));
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
        Self { bits: rows.bits, scales: Scales::Along { group }, words, values, k }
    }

    /// Panels of `rows` `[K, N]`, groups along the columns.
    pub(super) fn of_rows(level: Level, rows: &QuantizedRows) -> Self {
        let (columns, k, n) = (level.panel_columns(), rows.rows, rows.columns);
        let run = rows.group.min(columns);
        let (panels, runs) = (n.div_ceil(columns), columns / run);
        let mut words = vec![0; panels * panel_words(rows.bits, columns, k)];
        let mut values = vec![0.0; panels * k * runs];
        let parts = words.par_chunks_mut(panel_words(rows.bits, columns, k).max(1));
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
        Self { bits: rows.bits, scales: Scales::Across { run }, words, values, k }
    }

    /// Bytes held.
    pub(super) fn len_bytes(&self) -> usize {
        4 * (self.words.len() + self.values.len())
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
        4 * panels * (panel_words(self.bits, width, n) + scales)
    }

    /// The values of one column, of panels `width` columns wide.
    pub(super) fn column(&self, width: usize, column: usize) -> Vec<f32> {
        let (panel, column) = (column / width, column % width);
        let words = &self.words[panel * panel_words(self.bits, width, self.k)..];
        let integer = |k: usize| {
            let (word, from) = place(self.bits, width, k, column);
            let count = bit_count(self.bits);
            (words[word] >> from & ((1 << count) - 1)) as f32 - (1 << (count - 1)) as f32
        };
        let scale = |k: usize| match self.scales {
            Scales::Along { group } => self.values[(panel * (self.k / group) + k / group) * width + column],
            Scales::Across { run } => self.values[(panel * self.k + k) * (width / run) + column / run],
        };
        (0..self.k).map(|k| scale(k) * integer(k)).collect()
    }

    /// Whether few rows can pass the panels as they are: one scale then serves a column for many k.
    pub(super) fn along(&self) -> bool {
        #[cfg(feature = "planted")]
        if crate::kernel::planted(crate::kernel::Plant::ProductOrder) {
            return false; // the planted order is in the common inner loop
        }
        matches!(self.scales, Scales::Along { .. })
    }

    /// The values of the rows `k..k + out.len()` of one panel, `k` a multiple of a block. `ROWS` of them stand in a word.
    #[inline(always)]
    fn widen<L: Lanes, const BITS: u32, const ROWS: usize, const C: usize>(
        &self,
        lanes: L,
        panel: usize,
        k: usize,
        out: &mut [[f32; C]],
    ) {
        let words = &L::words(&self.words)[panel * self.k.div_ceil(ROWS) + k / ROWS..];
        match self.scales {
            Scales::Along { group } => {
                let scales = &L::vectors(&self.values).as_chunks().0[panel * (self.k / group) + k / group..];
                for ((out, words), scales) in out.chunks_mut(group).zip(words.chunks(group / ROWS)).zip(scales) {
                    for (out, words) in out.as_chunks_mut::<ROWS>().0.iter_mut().zip(words) {
                        for (row, out) in out.iter_mut().enumerate() {
                            for v in 0..2 {
                                lanes.store(value::<L, BITS>(lanes, *words, *scales, row, v), &mut out[v * L::WIDTH..]);
                            }
                        }
                    }
                }
            }
            Scales::Across { run } => {
                let runs = C / run;
                let scales = self.values[(panel * self.k + k) * runs..].chunks_exact(runs);
                for (row, (out, scales)) in out.iter_mut().zip(scales).enumerate() {
                    let mut wide = [0.0; C];
                    for (wide, scale) in wide.chunks_exact_mut(run).zip(scales) {
                        wide.fill(*scale);
                    }
                    let scales = [lanes.load(&wide), lanes.load(&wide[L::WIDTH..])];
                    for v in 0..2 {
                        lanes.store(
                            value::<L, BITS>(lanes, words[row / ROWS], scales, row % ROWS, v),
                            &mut out[v * L::WIDTH..],
                        );
                    }
                }
            }
        }
    }

    /// Chains `R` rows over one block of `P` panels whose scales lie along k, each value made in registers where it is used.
    #[allow(clippy::needless_range_loop)] // rows, panels and vectors index several arrays at once
    #[inline(always)]
    fn tile<L: Lanes, const BITS: u32, const ROWS: usize, const R: usize, const C: usize, const P: usize>(
        &self,
        lanes: L,
        a: &[[f32; R]],
        panel: usize,
        k: usize,
        out: &mut [[[f32; C]; P]; R],
    ) {
        let Scales::Along { group } = self.scales else { unreachable!("only panels that are `along` come here") };
        let (all, _) = L::vectors(&self.values).as_chunks::<2>();
        let (words_each, scales_each) = (self.k / ROWS, self.k / group);
        let words: [&[L::Words]; P] =
            std::array::from_fn(|p| &L::words(&self.words)[(panel + p) * words_each + k / ROWS..][..a.len() / ROWS]);
        let scales: [&[[L::Vector; 2]]; P] =
            std::array::from_fn(|p| &all[(panel + p) * scales_each + k / group..][..a.len() / group]);
        let mut sums = [[[lanes.splat(0.0); 2]; P]; R];
        for (g, a) in a.chunks_exact(group).enumerate() {
            let scales: [[L::Vector; 2]; P] = std::array::from_fn(|p| scales[p][g]);
            let words: [&[L::Words]; P] = std::array::from_fn(|p| &words[p][g * (group / ROWS)..][..group / ROWS]);
            for (at, a) in a.as_chunks::<ROWS>().0.iter().enumerate().take(group / ROWS) {
                let words: [L::Words; P] = std::array::from_fn(|p| words[p][at]);
                for (row, a) in a.iter().enumerate() {
                    for p in 0..P {
                        for v in 0..2 {
                            let x = value::<L, BITS>(lanes, words[p], scales[p], row, v);
                            for r in 0..R {
                                sums[r][p][v] = lanes.fma(lanes.splat(a[r]), x, sums[r][p][v]);
                            }
                        }
                    }
                }
            }
        }
        for r in 0..R {
            for p in 0..P {
                for v in 0..2 {
                    lanes.store(sums[r][p][v], &mut out[r][p][v * L::WIDTH..]);
                }
            }
        }
    }
}

impl<L: Lanes> RightBlocks<L> for &IntegerPanels {
    #[inline(always)]
    fn block<'r, const C: usize>(
        self,
        lanes: L,
        panel: usize,
        k: usize,
        len: usize,
        room: &'r mut [f32],
    ) -> F32Rows<'r, L>
    where
        Self: 'r,
    {
        let out = &mut room.as_chunks_mut::<C>().0[..len];
        match self.bits {
            IntegerBits::Eight => self.widen::<L, 8, 2, C>(lanes, panel, k, out),
            IntegerBits::Four => self.widen::<L, 4, 4, C>(lanes, panel, k, out),
        }
        F32Rows(&L::vectors(room).as_chunks().0[..len])
    }
}

impl<L: Lanes> RightSums<L> for &IntegerPanels {
    #[inline(always)]
    fn sums<const R: usize, const C: usize, const P: usize>(
        self,
        lanes: L,
        a: &[[f32; R]],
        panel: usize,
        k: usize,
        out: &mut [[[f32; C]; P]; R],
    ) {
        match self.bits {
            IntegerBits::Eight => self.tile::<L, 8, 2, R, C, P>(lanes, a, panel, k, out),
            IntegerBits::Four => self.tile::<L, 4, 4, R, C, P>(lanes, a, panel, k, out),
        }
    }
}

/// Vector `v` of the values of row `row` in a vector of words. A function and no closure: that is not surely inlined, and a call leaves the
/// level's context.
#[inline(always)]
fn value<L: Lanes, const BITS: u32>(
    lanes: L,
    words: L::Words,
    scales: [L::Vector; 2],
    row: usize,
    v: usize,
) -> L::Vector {
    lanes.multiply(scales[v], lanes.integers::<BITS>(words, BITS * (2 * row + v) as u32))
}

fn bit_count(bits: IntegerBits) -> usize {
    match bits {
        IntegerBits::Eight => 8,
        IntegerBits::Four => 4,
    }
}

/// Words of a panel of `columns` columns.
fn panel_words(bits: IntegerBits, columns: usize, k: usize) -> usize {
    (k * columns * bit_count(bits)).div_ceil(columns / 2 * 32) * (columns / 2)
}

/// Where an integer stands in its panel: which word, from which bit on.
fn place(bits: IntegerBits, columns: usize, k: usize, column: usize) -> (usize, usize) {
    let (half, count) = (columns / 2, bit_count(bits));
    let in_vector = 2 * k + column / half;
    let per_word = 32 / count;
    (in_vector / per_word * half + column % half, in_vector % per_word * count)
}

/// Puts one integer into the panel that begins at `out`, stored as its distance from the least one.
fn put(bits: IntegerBits, columns: usize, out: &mut [u32], k: usize, column: usize, q: i8) {
    let (word, from) = place(bits, columns, k, column);
    // never negative: q is at least the least integer of so many bits
    out[word] |= ((i32::from(q) + (1 << (bit_count(bits) - 1))) as u32) << from;
}
