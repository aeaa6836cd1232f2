//! Panels of small integers with scales.
//!
//! Each value is the one product `scale · q`, so a product over these panels has the bits of the product over the same matrix in f32.
//! The integers of two panels stand side by side in the order in which the inner loop walks, four rows at a time: of eight bits a row of
//! one panel, then of the other; of four bits a vector of words for each panel, which holds both vectors of columns of all four rows, so
//! that a shift and a mask bring one of them out.

use rayon::prelude::*;

use super::BLOCK;
use super::storage::{F32Rows, RightBlocks, RightSums};
use super::tile::{Sink, land};
use crate::kernel::lanes::Lanes;
use crate::kernel::level::Level;
use crate::kernel::quantized::{IntegerBits, QuantizedRows};

/// The panels of one matrix.
#[derive(Clone, Debug)]
pub(super) struct IntegerPanels {
    bits: IntegerBits,
    k: usize,
    layout: Layout,
    words: Vec<u32>,
}

#[derive(Clone, Debug)]
enum Layout {
    /// One scale for `group` successive k of a column. For two panels and one group at a time, `words` holds both panels' scales, then
    /// their integers: one stream from end to end for whoever passes two panels side by side.
    Along { group: usize, simple: bool },
    /// One scale for `run` successive columns of a k: `words` holds the integers, two panels at a time, `scales` is `[panel, k, C / run]`.
    Across { run: usize, scales: Vec<f32> },
}

impl IntegerPanels {
    /// Panels of the transpose of `rows` `[N, K]`, groups along k.
    pub(super) fn of_columns(level: Level, rows: &QuantizedRows) -> Self {
        let (columns, k, group) = (level.panel_columns(), rows.columns, rows.group);
        // Four rows of integers stand together, and a block of k begins with a group.
        assert!(group.is_multiple_of(4) && BLOCK.is_multiple_of(group), "a group of {group}, not 4, 8, 16 … {BLOCK}");
        let (unit, groups) = (2 * columns + pair_words(rows.bits, columns, group), k / group);
        let mut words = vec![0; rows.rows.div_ceil(2 * columns) * groups * unit];
        words.par_chunks_mut((groups * unit).max(1)).enumerate().for_each(|(pair, words)| {
            let first = 2 * columns * pair;
            for (g, unit) in words.chunks_exact_mut(unit).enumerate() {
                let (scales, integers) = unit.split_at_mut(2 * columns);
                for (column, scale) in scales.iter_mut().enumerate().take(rows.rows - first) {
                    let row = first + column;
                    *scale = rows.scales[row * groups + g].to_bits();
                    rows.for_group(row, g, |at, q| put(rows.bits, columns, integers, at, column, q));
                }
            }
        });
        let simple = rows.scales.iter().all(|scale| *scale == 0.0 || scale.abs() >= LEAST_SIMPLE);
        Self { bits: rows.bits, k, layout: Layout::Along { group, simple }, words }
    }

    /// Panels of `rows` `[K, N]`, groups along the columns.
    pub(super) fn of_rows(level: Level, rows: &QuantizedRows) -> Self {
        let (columns, k, n) = (level.panel_columns(), rows.rows, rows.columns);
        let run = rows.group.min(columns);
        let (panels, runs) = (n.div_ceil(columns), columns / run);
        let data = pair_words(rows.bits, columns, k);
        let mut words = vec![0; panels.div_ceil(2) * data];
        words.par_chunks_mut(data.max(1)).enumerate().for_each(|(pair, words)| {
            let first = 2 * columns * pair;
            for at in 0..k {
                for column in 0..(2 * columns).min(n - first) {
                    put(rows.bits, columns, words, at, column, rows.integer(at, first + column));
                }
            }
        });
        let mut scales = vec![0.0; panels * k * runs];
        scales.par_chunks_mut((k * runs).max(1)).enumerate().for_each(|(panel, scales)| {
            let first = panel * columns;
            for (at, scales) in scales.chunks_exact_mut(runs).enumerate() {
                for (part, scale) in scales.iter_mut().enumerate().take(columns.min(n - first).div_ceil(run)) {
                    *scale = rows.scales[at * (n / rows.group) + (first + part * run) / rows.group];
                }
            }
        });
        Self { bits: rows.bits, k, layout: Layout::Across { run, scales }, words }
    }

    /// Bytes held.
    pub(super) fn len_bytes(&self) -> usize {
        let scales = match &self.layout {
            Layout::Along { .. } => 0,
            Layout::Across { scales, .. } => scales.len(),
        };
        4 * (self.words.len() + scales)
    }

    /// Width of the integers.
    pub(super) fn bits(&self) -> IntegerBits {
        self.bits
    }

    /// Bytes that the transpose of these panels, `width` wide and of `n` columns in all, would hold.
    pub(super) fn transposed_len_bytes(&self, width: usize, n: usize) -> usize {
        match &self.layout {
            Layout::Along { group, .. } => {
                let runs = width / group.min(&width);
                4 * (self.k.div_ceil(2 * width) * pair_words(self.bits, width, n) + self.k.div_ceil(width) * n * runs)
            }
            Layout::Across { run, .. } => {
                4 * self.k.div_ceil(2 * width) * (n / run) * (2 * width + pair_words(self.bits, width, *run))
            }
        }
    }

    /// The values of one column, of panels `width` columns wide.
    pub(super) fn column(&self, width: usize, column: usize) -> Vec<f32> {
        let value = |k: usize| match &self.layout {
            Layout::Along { group, .. } => {
                let (scales, integers) = self.unit(width, *group, column / (2 * width), k / group);
                let column = column % (2 * width);
                f32::from_bits(scales[column]) * integer(self.bits, width, integers, k % group, column)
            }
            Layout::Across { run, scales } => {
                let integers = self.pair(width, column / (2 * width));
                let scale = scales[(column / width * self.k + k) * (width / run) + column % width / run];
                scale * integer(self.bits, width, integers, k, column % (2 * width))
            }
        };
        (0..self.k).map(value).collect()
    }

    /// The scales and the integers of two panels and one group, in panels whose scales lie along k.
    #[inline(always)]
    fn unit(&self, columns: usize, group: usize, pair: usize, g: usize) -> (&[u32], &[u32]) {
        let unit = 2 * columns + pair_words(self.bits, columns, group);
        self.words[(pair * (self.k / group) + g) * unit..][..unit].split_at(2 * columns)
    }

    /// The integers of two panels, in panels whose scales lie across.
    #[inline(always)]
    fn pair(&self, columns: usize, pair: usize) -> &[u32] {
        let data = pair_words(self.bits, columns, self.k);
        &self.words[pair * data..][..data]
    }

    /// Whether few rows can pass the panels as they are: one scale then serves a column for many k.
    pub(super) fn along(&self) -> bool {
        #[cfg(feature = "planted")]
        if crate::kernel::planted(crate::kernel::Plant::ProductOrder) {
            return false; // the planted order is in the common inner loop
        }
        matches!(self.layout, Layout::Along { simple: true, .. })
    }

    /// The values of the rows `k..k + out.len()` of one panel, `k` a multiple of a block.
    #[inline(always)]
    fn widen<L: Lanes, I: Form<L>, const C: usize>(&self, lanes: L, panel: usize, k: usize, out: &mut [[f32; C]]) {
        let side = panel % 2;
        match &self.layout {
            Layout::Along { group, simple } => {
                for (g, out) in out.chunks_mut(*group).enumerate() {
                    let (scales, integers) = self.unit(C, *group, panel / 2, k / group + g);
                    let scales = &L::words(scales)[2 * side..];
                    let scales = lanes.floats(scales[0], scales[1]);
                    let down = scaled(lanes, scales, [lanes.splat(1.0 / I::LARGER); 2]);
                    for (out, four) in out.chunks_mut(4).zip(I::fours(integers)) {
                        for (row, out) in out.iter_mut().enumerate() {
                            let x = if *simple {
                                scaled(lanes, I::large_integers(lanes, four, side, row), down)
                            } else {
                                scaled(lanes, I::integers(lanes, four, side, row), scales)
                            };
                            store(lanes, x, out);
                        }
                    }
                }
            }
            Layout::Across { run, scales } => {
                let runs = C / run;
                let fours = &I::fours(self.pair(C, panel / 2))[k / 4..];
                let scales = scales[(panel * self.k + k) * runs..].chunks_exact(runs);
                for (row, (out, scales)) in out.iter_mut().zip(scales).enumerate() {
                    let mut wide = [0.0; C];
                    for (wide, scale) in wide.chunks_exact_mut(*run).zip(scales) {
                        wide.fill(*scale);
                    }
                    let scales = [lanes.load(&wide), lanes.load(&wide[L::WIDTH..])];
                    store(lanes, scaled(lanes, I::integers(lanes, &fours[row / 4], side, row % 4), scales), out);
                }
            }
        }
    }

    /// Chains `R` rows over one block of `P` panels whose scales lie along k, each value made in registers where it is used.
    #[allow(clippy::needless_range_loop)] // rows, panels and vectors index several arrays at once
    #[inline(always)]
    fn tile<L: Lanes, I: Form<L>, S: Sink, const R: usize, const C: usize, const P: usize>(
        &self,
        lanes: L,
        a: &[[f32; R]],
        panel: usize,
        k: usize,
        mut sink: S,
    ) {
        let Layout::Along { group, .. } = self.layout else { unreachable!("only panels that are `along` come here") };
        let mut sums = [[[lanes.splat(0.0); 2]; P]; R];
        let down = lanes.splat(1.0 / I::LARGER);
        // Two panels are a pair; one may be either of it.
        let first = if P == 2 { 0 } else { panel % 2 };
        for (g, a) in a.chunks_exact(group).enumerate() {
            let (words, integers) = self.unit(C, group, panel / 2, k / group + g);
            let mut ahead = integers.as_ptr().wrapping_add(AHEAD);
            let words = &L::words(words)[..4];
            let mut scales = [[down; 2]; P];
            for p in 0..P {
                let at = 2 * (first + p);
                // No closures in here: one that is not inlined leaves the level's context.
                scales[p] = scaled(lanes, lanes.floats(words[at], words[at + 1]), [down; 2]);
            }
            for (a, four) in a.as_chunks::<4>().0.iter().zip(I::fours(integers)) {
                for (row, a) in a.iter().enumerate() {
                    if row % I::ROWS_OF_A_LINE == 0 {
                        lanes.prefetch(ahead);
                        ahead = ahead.wrapping_add(16);
                    }
                    for p in 0..P {
                        let x = scaled(lanes, I::large_integers(lanes, four, first + p, row), scales[p]);
                        for r in 0..R {
                            for v in 0..2 {
                                sums[r][p][v] = lanes.fma(lanes.splat(a[r]), x[v], sums[r][p][v]);
                            }
                        }
                    }
                }
            }
        }
        land(lanes, &sums, &mut sink);
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
            IntegerBits::Eight => self.widen::<L, Bytes, C>(lanes, panel, k, out),
            IntegerBits::Four => self.widen::<L, Nibbles, C>(lanes, panel, k, out),
        }
        F32Rows(&L::vectors(room).as_chunks().0[..len])
    }
}

impl<L: Lanes> RightSums<L> for &IntegerPanels {
    #[inline(always)]
    fn sums<S: Sink, const R: usize, const C: usize, const P: usize>(
        self,
        lanes: L,
        a: &[[f32; R]],
        panel: usize,
        k: usize,
        sink: S,
    ) {
        match self.bits {
            IntegerBits::Eight => self.tile::<L, Bytes, S, R, C, P>(lanes, a, panel, k, sink),
            IntegerBits::Four => self.tile::<L, Nibbles, S, R, C, P>(lanes, a, panel, k, sink),
        }
    }
}

/// How the integers of two panels come out of their words. These are functions of a type and no closures: a closure is not surely inlined,
/// and a call leaves the level's context.
trait Form<L: Lanes> {
    /// Four rows of two panels.
    type Four;
    /// How many times too large [`Form::large_integers`] gives them.
    const LARGER: f32;
    /// Rows of two panels of AVX2 in a cache line.
    const ROWS_OF_A_LINE: usize;
    fn fours(words: &[u32]) -> &[Self::Four];
    /// Row `row` of panel `side`.
    fn integers(lanes: L, four: &Self::Four, side: usize, row: usize) -> [L::Vector; 2];
    /// As [`Form::integers`], `LARGER` times too large.
    fn large_integers(lanes: L, four: &Self::Four, side: usize, row: usize) -> [L::Vector; 2];
}

struct Bytes;

impl<L: Lanes> Form<L> for Bytes {
    type Four = [L::ByteRow; 8];
    const LARGER: f32 = 1.0;
    const ROWS_OF_A_LINE: usize = 2;

    #[inline(always)]
    fn fours(words: &[u32]) -> &[[L::ByteRow; 8]] {
        L::byte_rows(words).as_chunks().0
    }

    #[inline(always)]
    fn integers(lanes: L, four: &[L::ByteRow; 8], side: usize, row: usize) -> [L::Vector; 2] {
        lanes.bytes(&four[2 * row + side])
    }

    #[inline(always)]
    fn large_integers(lanes: L, four: &[L::ByteRow; 8], side: usize, row: usize) -> [L::Vector; 2] {
        lanes.bytes(&four[2 * row + side])
    }
}

struct Nibbles;

impl<L: Lanes> Form<L> for Nibbles {
    type Four = [L::Words; 2];
    const LARGER: f32 = (1 << 28) as f32;
    const ROWS_OF_A_LINE: usize = 4;

    #[inline(always)]
    fn fours(words: &[u32]) -> &[[L::Words; 2]] {
        L::words(words).as_chunks().0
    }

    #[inline(always)]
    fn integers(lanes: L, four: &[L::Words; 2], side: usize, row: usize) -> [L::Vector; 2] {
        let down = lanes.splat(1.0 / <Self as Form<L>>::LARGER);
        scaled(lanes, Self::large_integers(lanes, four, side, row), [down; 2])
    }

    #[inline(always)]
    fn large_integers(lanes: L, four: &[L::Words; 2], side: usize, row: usize) -> [L::Vector; 2] {
        let at = 2 * row as u32;
        [lanes.large_nibble(four[side], at), lanes.large_nibble(four[side], at + 1)]
    }
}

#[inline(always)]
fn scaled<L: Lanes>(lanes: L, x: [L::Vector; 2], scales: [L::Vector; 2]) -> [L::Vector; 2] {
    [lanes.multiply(x[0], scales[0]), lanes.multiply(x[1], scales[1])]
}

#[inline(always)]
fn store<L: Lanes>(lanes: L, values: [L::Vector; 2], to: &mut [f32]) {
    lanes.store(values[0], to);
    lanes.store(values[1], &mut to[L::WIDTH..]);
}

/// Words of the integers of two panels of `columns` columns and `k` rows.
#[inline(always)]
fn pair_words(bits: IntegerBits, columns: usize, k: usize) -> usize {
    match bits {
        IntegerBits::Eight => k.next_multiple_of(4) * (columns / 2),
        IntegerBits::Four => k.div_ceil(4) * columns,
    }
}

/// Where an integer stands among those of two panels: which word, from which bit on.
#[inline(always)]
fn place(bits: IntegerBits, columns: usize, k: usize, column: usize) -> (usize, usize) {
    let (side, column) = (column / columns, column % columns);
    match bits {
        IntegerBits::Eight => ((2 * k + side) * (columns / 4) + column / 4, column % 4 * 8),
        IntegerBits::Four => {
            let half = columns / 2;
            ((k / 4 * 2 + side) * half + column % half, (k % 4 * 2 + column / half) * 4)
        }
    }
}

/// The integer at a place.
fn integer(bits: IntegerBits, columns: usize, words: &[u32], k: usize, column: usize) -> f32 {
    let (word, from) = place(bits, columns, k, column);
    let above = 32 - width(bits);
    ((words[word] << (above - from)).cast_signed() >> above) as f32
}

/// Puts one integer to its place, whose bits are 0.
#[inline(always)]
fn put(bits: IntegerBits, columns: usize, words: &mut [u32], k: usize, column: usize, q: i8) {
    let (word, from) = place(bits, columns, k, column);
    words[word] |= (i32::from(q).cast_unsigned() & ((1 << width(bits)) - 1)) << from;
}

fn width(bits: IntegerBits) -> usize {
    match bits {
        IntegerBits::Eight => 8,
        IntegerBits::Four => 4,
    }
}

/// Least magnitude of a scale that can be divided by what makes integers larger, 2²⁸, without loss.
const LEAST_SIMPLE: f32 = f32::MIN_POSITIVE * (1 << 28) as f32;
/// Words from the row at hand to the one that is asked for: without, one stream is all that a core keeps on its way from memory.
const AHEAD: usize = 2048;
