//! Panels of small integers with scales, and with minima where groups have them.
//!
//! Each value is the one product `scale · q`, or with a minimum the one fused `scale · q - minimum`, so a product over these panels has the
//! bits of the product over the same matrix in f32.
//! The integers of two panels stand side by side in the order in which the inner loop walks, four rows at a time: of eight bits a row of
//! one panel, then of the other; of four bits a vector of words for each panel, which holds both vectors of columns of all four rows, so
//! that a shift and a mask bring one of them out.

mod form;

use rayon::prelude::*;

use super::BLOCK;
use super::across::{Across, transpose};
use super::rows::{F32Rows, RightBlocks, RightSums};
use super::tile::{Ahead, Sink, land};
use crate::kernel::aligned::Aligned;
use crate::kernel::fma::{Fma, Software};
use crate::kernel::lanes::Lanes;
use crate::kernel::level::Level;
use crate::kernel::quantized::{IntegerBits, QuantizedRows};
use form::{Bytes, BytesAndMinima, Form, Nibbles, NibblesAndMinima, scaled, valued};

/// The panels of one matrix.
#[derive(Clone, Debug)]
pub(super) struct IntegerPanels {
    bits: IntegerBits,
    k: usize,
    group: usize,
    /// Whether groups have minima.
    minima: bool,
    /// Whether every scale can be divided by what makes integers larger without loss.
    simple: bool,
    /// For two panels and one group along k at a time both panels' scales, their minima negated, then their integers: one stream from end
    /// to end for whoever passes two panels side by side.
    words: Aligned<u32>,
}

impl IntegerPanels {
    /// Panels of the transpose of `rows` `[N, K]`.
    pub(super) fn of_columns(level: Level, rows: &QuantizedRows) -> Self {
        let (columns, k, group) = (level.panel_columns(), rows.columns, rows.group);
        // Four rows of integers stand together, and a block of k begins with a group.
        assert!(group.is_multiple_of(4) && BLOCK.is_multiple_of(group), "a group of {group}, not 4, 8, 16 … {BLOCK}");
        let minima = !rows.minima.is_empty();
        let head = head_words(minima, columns);
        let (unit, groups) = (head + pair_words(rows.bits, columns, group), k / group);
        let mut words = Aligned::lasting_zeros(rows.rows.div_ceil(2 * columns) * groups * unit);
        words.par_chunks_mut((groups * unit).max(1)).enumerate().for_each(|(pair, words)| {
            let first = 2 * columns * pair;
            for (g, unit) in words.chunks_exact_mut(unit).enumerate() {
                let (head, integers) = unit.split_at_mut(head);
                for column in 0..(2 * columns).min(rows.rows - first) {
                    let row = first + column;
                    head[column] = rows.scales[row * groups + g].to_bits();
                    if minima {
                        head[2 * columns + column] = (-rows.minima[row * groups + g]).to_bits();
                    }
                    rows.for_group(row, g, |at, q| put(rows.bits, columns, integers, at, column, q));
                }
            }
        });
        let simple = rows.scales.iter().all(|scale| *scale == 0.0 || scale.abs() >= LEAST_SIMPLE);
        Self { bits: rows.bits, k, group, minima, simple, words }
    }

    /// Bytes held.
    pub(super) fn len_bytes(&self) -> usize {
        size_of_val(&*self.words)
    }

    /// Width of the integers.
    pub(super) fn bits(&self) -> IntegerBits {
        self.bits
    }

    /// The values of one column, of panels `width` columns wide.
    pub(super) fn column(&self, width: usize, column: usize) -> Vec<f32> {
        let value = |k: usize| {
            let (head, integers) = self.unit(width, column / (2 * width), k / self.group);
            let column = column % (2 * width);
            let scale = f32::from_bits(head[column]);
            let bits = integer_bits(self.bits, width, integers, k % self.group, column);
            let above = 32 - bit_width(self.bits);
            let signed = ((bits << above).cast_signed() >> above) as f32;
            if !self.minima {
                return scale * signed;
            }
            // with minima four bits are 0 to 15
            let q = if self.bits == IntegerBits::Four { bits as f32 } else { signed };
            Software::fma(scale, q, f32::from_bits(head[2 * width + column]))
        };
        (0..self.k).map(value).collect()
    }

    /// The scales and minima, and the integers of two panels and one group.
    #[inline(always)]
    fn unit(&self, columns: usize, pair: usize, g: usize) -> (&[u32], &[u32]) {
        let head = head_words(self.minima, columns);
        let unit = head + pair_words(self.bits, columns, self.group);
        self.words[(pair * (self.k / self.group) + g) * unit..][..unit].split_at(head)
    }

    /// Whether few rows can pass the panels as they are.
    pub(super) fn simple(&self) -> bool {
        #[cfg(feature = "planted")]
        if crate::kernel::planted(crate::kernel::Plant::ProductOrder) {
            return false; // the planted order is in the common inner loop
        }
        self.simple
    }

    /// As [`IntegerPanels::widen`], whatever the form.
    #[inline(always)]
    fn widen_any<L: Lanes, const C: usize>(&self, lanes: L, panel: usize, k: usize, out: &mut [[f32; C]]) {
        match (self.bits, self.minima) {
            (IntegerBits::Eight, false) => self.widen::<L, Bytes, C>(lanes, panel, k, out),
            (IntegerBits::Eight, true) => self.widen::<L, BytesAndMinima, C>(lanes, panel, k, out),
            (IntegerBits::Four, false) => self.widen::<L, Nibbles, C>(lanes, panel, k, out),
            (IntegerBits::Four, true) => self.widen::<L, NibblesAndMinima, C>(lanes, panel, k, out),
        }
    }

    /// The values of the rows `k..k + out.len()` of one panel, `k` a multiple of four.
    #[inline(always)]
    fn widen<L: Lanes, I: Form<L>, const C: usize>(&self, lanes: L, panel: usize, k: usize, out: &mut [[f32; C]]) {
        let (side, mut k, mut out) = (panel % 2, k, out);
        while !out.is_empty() {
            let (g, within) = (k / self.group, k % self.group);
            let (here, rest) = out.split_at_mut(out.len().min(self.group - within));
            k += here.len();
            out = rest;
            let (head, integers) = self.unit(C, panel / 2, g);
            let head = L::words(head);
            let scales = pair(lanes, head, 2 * side);
            let minima = if I::MINIMA { pair(lanes, head, 4 + 2 * side) } else { scales };
            let down = scaled(lanes, scales, [lanes.splat(1.0 / I::LARGER); 2]);
            for (out, four) in here.chunks_mut(4).zip(&I::fours(integers)[within / 4..]) {
                for (row, out) in out.iter_mut().enumerate() {
                    let x = if self.simple {
                        valued::<L, I>(lanes, I::large_integers(lanes, four, side, row), down, minima)
                    } else {
                        valued::<L, I>(lanes, I::integers(lanes, four, side, row), scales, minima)
                    };
                    store(lanes, x, out);
                }
            }
        }
    }

    /// Chains `R` rows over one block of `P` panels, each value made in registers where it is used.
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
        let mut sums = [[[lanes.splat(0.0); 2]; P]; R];
        let down = lanes.splat(1.0 / I::LARGER);
        // Two panels are a pair; one may be either of it.
        let first = if P == 1 { panel % 2 } else { 0 };
        let rows_of_a_line = (32 * LINE / (I::BITS * 2 * C)).clamp(1, 4);
        for (g, a) in a.chunks_exact(self.group).enumerate() {
            let (mut scales, mut minima) = ([[down; 2]; P], [[down; 2]; P]);
            let mut pairs: [&[u32]; P] = [&[]; P];
            for p in 0..P {
                let (head, integers) = self.unit(C, (panel + p) / 2, k / self.group + g);
                let head = &L::words(head)[..if I::MINIMA { 8 } else { 4 }];
                let side = 2 * ((first + p) % 2);
                // No closures in here: one that is not inlined leaves the level's context.
                scales[p] = scaled(lanes, pair(lanes, head, side), [down; 2]);
                if I::MINIMA {
                    minima[p] = pair(lanes, head, 4 + side);
                }
                pairs[p] = integers;
            }
            // The lines of the head's length before that of the integers asked for: the next group's head is in them.
            let mut ahead = [self.words.as_ptr(); P];
            for p in (0..P).step_by(2) {
                ahead[p] = pairs[p].as_ptr().wrapping_add(AHEAD);
                for line in 1..=head_words(I::MINIMA, C) / LINE {
                    lanes.prefetch(ahead[p].wrapping_sub(LINE * line));
                }
            }
            let fours = pairs.map(|integers| &I::fours(integers)[..self.group / 4]);
            for (at, a) in a.as_chunks::<4>().0.iter().enumerate() {
                for (row, a) in a.iter().enumerate() {
                    for p in 0..P {
                        if p % 2 == 0 && row % rows_of_a_line == 0 {
                            lanes.prefetch(ahead[p]);
                            ahead[p] = ahead[p].wrapping_add(LINE);
                        }
                        let large = I::large_integers(lanes, &fours[p][at], (first + p) % 2, row);
                        let x = valued::<L, I>(lanes, large, scales[p], minima[p]);
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
    fn block<'r, const C: usize>(self, lanes: L, panel: usize, k: usize, len: usize, room: &'r mut [f32]) -> &'r [f32]
    where
        Self: 'r,
    {
        let out = &mut room.as_chunks_mut::<C>().0[..len];
        self.widen_any(lanes, panel, k, out);
        &room[..len * C]
    }

    #[inline(always)]
    fn prefetch<const C: usize>(self, _: L, _: usize, _: usize, _: usize) {}

    #[inline(always)]
    fn ahead<const C: usize>(self, panel: usize, k: usize, _: usize) -> Option<Ahead> {
        let unit = head_words(self.minima, C) + pair_words(self.bits, C, self.group);
        let at = (panel / 2 * (self.k / self.group) + k / self.group) * unit;
        let ahead = Ahead::whole(self.words.as_ptr().wrapping_add(at), unit.div_ceil(self.group));
        // Both panels of a pair are read with the first of them.
        panel.is_multiple_of(2).then_some(ahead)
    }
}

impl<L: Lanes> RightBlocks<L> for Across<&IntegerPanels> {
    #[inline(always)]
    fn block<'r, const C: usize>(self, lanes: L, panel: usize, k: usize, len: usize, room: &'r mut [f32]) -> &'r [f32]
    where
        Self: 'r,
    {
        let from = panel * C;
        let count = C.min(self.0.k - from);
        let mut values = [[0.0; C]; C];
        for (i, out) in room.chunks_exact_mut(C * C).enumerate().take(len.div_ceil(C)) {
            self.0.widen_any(lanes, k / C + i, from, &mut values[..count]);
            transpose(lanes, F32Rows::<L>::new(values.as_flattened()), count, out);
        }
        &room[..len * C]
    }

    #[inline(always)]
    fn prefetch<const C: usize>(self, _: L, _: usize, _: usize, _: usize) {}

    #[inline(always)]
    fn ahead<const C: usize>(self, _: usize, _: usize, _: usize) -> Option<Ahead> {
        None
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
        match (self.bits, self.minima) {
            (IntegerBits::Eight, false) => self.tile::<L, Bytes, S, R, C, P>(lanes, a, panel, k, sink),
            (IntegerBits::Eight, true) => self.tile::<L, BytesAndMinima, S, R, C, P>(lanes, a, panel, k, sink),
            (IntegerBits::Four, false) => self.tile::<L, Nibbles, S, R, C, P>(lanes, a, panel, k, sink),
            (IntegerBits::Four, true) => self.tile::<L, NibblesAndMinima, S, R, C, P>(lanes, a, panel, k, sink),
        }
    }
}

/// Two vectors of values from `at` on.
#[inline(always)]
fn pair<L: Lanes>(lanes: L, words: &[L::Words], at: usize) -> [L::Vector; 2] {
    [lanes.with_bits(words[at]), lanes.with_bits(words[at + 1])]
}

#[inline(always)]
fn store<L: Lanes>(lanes: L, values: [L::Vector; 2], to: &mut [f32]) {
    lanes.store(values[0], to);
    lanes.store(values[1], &mut to[L::WIDTH..]);
}

/// Words of the scales, and of the minima where there are any, of two panels of `columns` columns and one group.
#[inline(always)]
fn head_words(minima: bool, columns: usize) -> usize {
    if minima { 4 * columns } else { 2 * columns }
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

/// The bits of the integer at a place.
fn integer_bits(bits: IntegerBits, columns: usize, words: &[u32], k: usize, column: usize) -> u32 {
    let (word, from) = place(bits, columns, k, column);
    words[word] >> from & ((1 << bit_width(bits)) - 1)
}

/// Puts one integer to its place, whose bits are 0.
#[inline(always)]
fn put(bits: IntegerBits, columns: usize, words: &mut [u32], k: usize, column: usize, q: i8) {
    let (word, from) = place(bits, columns, k, column);
    words[word] |= (i32::from(q).cast_unsigned() & ((1 << bit_width(bits)) - 1)) << from;
}

fn bit_width(bits: IntegerBits) -> usize {
    match bits {
        IntegerBits::Eight => 8,
        IntegerBits::Four => 4,
    }
}

/// Least magnitude of a scale that can be divided by what makes integers larger, 2²⁸, without loss.
const LEAST_SIMPLE: f32 = f32::MIN_POSITIVE * (1 << 28) as f32;
/// Words from the row at hand to the one that is asked for: without, one stream is all that a core keeps on its way from memory.
const AHEAD: usize = 640;
/// Words of a cache line.
const LINE: usize = 16;
