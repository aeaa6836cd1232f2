//! Packed panels as the loops of a product read them: row by row, block by block, or several side by side.

use std::marker::PhantomData;

use super::integers::IntegerPanels;
use super::tile::{Ahead, Sink, tile};
use crate::kernel::lanes::Lanes;

/// What is done with panels, whatever their form.
pub(super) trait Visitor<L: Lanes> {
    /// Panels whose rows one step of the inner loop can read.
    fn rows<B: RightRows<L>>(self, panels: Rows<B>)
    where
        Rows<B>: RightBlocks<L>;
    /// Panels of integers.
    fn integers(self, panels: &IntegerPanels);
}

/// Panels as blocks of f32 values, for many readers.
pub(super) trait RightBlocks<L: Lanes>: Copy {
    /// The rows `k..k + len` of one panel of `C` columns `[len, C]`, in `room` where they are not kept as f32.
    fn block<'r, const C: usize>(self, lanes: L, panel: usize, k: usize, len: usize, room: &'r mut [f32]) -> &'r [f32]
    where
        Self: 'r;
    /// Asks for the rows `k..k + len` of one panel, which need not exist: it is needed once the panel at hand has been passed.
    fn prefetch<const C: usize>(self, lanes: L, panel: usize, k: usize, len: usize);
    /// Where the rows of one panel, which need not exist, lie from `k` on, if `tiles` tiles can ask for all of them, a part each, and the
    /// panel before has not read them yet.
    fn ahead<const C: usize>(self, panel: usize, k: usize, tiles: usize) -> Option<Ahead>;
}

/// The rows of all panels, `k` to a panel.
#[derive(Clone, Copy)]
pub(super) struct Rows<B> {
    pub(super) of: B,
    pub(super) k: usize,
}

impl<B> Rows<B> {
    /// The rows `k..k + len` of one panel.
    #[inline(always)]
    pub(super) fn part<L: Lanes>(self, panel: usize, k: usize, len: usize) -> B
    where
        B: RightRows<L>,
    {
        self.of.part(panel * self.k + k, len)
    }
}

impl<L: Lanes> RightBlocks<L> for Rows<F32Rows<'_, L>> {
    #[inline(always)]
    fn block<'r, const C: usize>(self, _: L, panel: usize, k: usize, len: usize, _: &'r mut [f32]) -> &'r [f32]
    where
        Self: 'r,
    {
        &self.of.values[(panel * self.k + k) * C..][..len * C]
    }

    #[inline(always)]
    fn prefetch<const C: usize>(self, _: L, _: usize, _: usize, _: usize) {}

    #[inline(always)]
    fn ahead<const C: usize>(self, panel: usize, k: usize, _: usize) -> Option<Ahead> {
        Some(Ahead::whole(self.of.at(panel * self.k + k), F32Rows::<L>::WORDS))
    }
}

impl<L: Lanes, H: Widen<L>> RightBlocks<L> for Rows<HalfRows<'_, L, H>> {
    #[inline(always)]
    fn block<'r, const C: usize>(self, lanes: L, panel: usize, k: usize, len: usize, room: &'r mut [f32]) -> &'r [f32]
    where
        Self: 'r,
    {
        let rows = self.part(panel, k, len);
        for (row, out) in room.chunks_exact_mut(C).enumerate().take(len) {
            let [low, high] = rows.row(lanes, row);
            lanes.store(low, out);
            lanes.store(high, &mut out[C / 2..]);
        }
        &room[..len * C]
    }

    #[inline(always)]
    fn prefetch<const C: usize>(self, lanes: L, panel: usize, k: usize, len: usize) {
        self.of.prefetch(lanes, panel * self.k + k, len);
    }

    #[inline(always)]
    fn ahead<const C: usize>(self, panel: usize, k: usize, _: usize) -> Option<Ahead> {
        Some(Ahead::whole(self.of.at(panel * self.k + k), HalfRows::<L, H>::WORDS))
    }
}

/// Panels that few rows pass side by side.
pub(super) trait RightSums<L: Lanes>: Copy {
    /// Chains `R` rows over the block from `k` on of `P` panels of `C` columns from `panel` on.
    fn sums<S: Sink, const R: usize, const C: usize, const P: usize>(
        self,
        lanes: L,
        a: &[[f32; R]],
        panel: usize,
        k: usize,
        sink: S,
    );
}

impl<L: Lanes, B: RightRows<L>> RightSums<L> for Rows<B> {
    #[inline(always)]
    fn sums<S: Sink, const R: usize, const C: usize, const P: usize>(
        self,
        lanes: L,
        a: &[[f32; R]],
        panel: usize,
        k: usize,
        sink: S,
    ) {
        let mut parts = [self.part(panel, k, a.len()); P];
        for (p, part) in parts.iter_mut().enumerate().skip(1) {
            *part = self.part(panel + p, k, a.len());
        }
        tile(lanes, a, parts, Ahead::nothing(a.as_flattened()), sink);
    }
}

/// Consecutive rows of panels.
pub(super) trait RightRows<L: Lanes>: Copy {
    /// Words of memory in a row.
    const WORDS: usize;
    /// The `len` rows from `from` on.
    fn part(self, from: usize, len: usize) -> Self;
    /// Where a row lies, which need not exist.
    fn at(self, row: usize) -> *const u32;
    /// The two vectors of one row.
    fn row(self, lanes: L, row: usize) -> [L::Vector; 2];
    /// Asks for the `len` rows from `from` on, which need not exist.
    fn prefetch(self, lanes: L, from: usize, len: usize);

    /// The columns of at most `WIDTH` rows from `first` on: those of the first vectors, then those of the second. Missing rows are zeros.
    #[inline(always)]
    fn columns(self, lanes: L, first: usize, count: usize) -> [L::Square; 2] {
        let (mut low, mut high) = (lanes.square(0.0), lanes.square(0.0));
        for r in 0..count {
            [low.as_mut()[r], high.as_mut()[r]] = self.row(lanes, first + r);
        }
        [lanes.transpose(low), lanes.transpose(high)]
    }
}

/// Rows of f32 values.
#[derive(Clone, Copy)]
pub(super) struct F32Rows<'a, L: Lanes> {
    values: &'a [f32],
    vectors: &'a [[L::Vector; 2]],
}

impl<'a, L: Lanes> F32Rows<'a, L> {
    #[inline(always)]
    pub(super) fn new(values: &'a [f32]) -> Self {
        F32Rows { values, vectors: L::vectors(values).as_chunks().0 }
    }
}

impl<L: Lanes> RightRows<L> for F32Rows<'_, L> {
    const WORDS: usize = 2 * L::WIDTH;

    #[inline(always)]
    fn at(self, row: usize) -> *const u32 {
        self.vectors.as_ptr().wrapping_add(row).cast()
    }

    #[inline(always)]
    fn part(self, from: usize, len: usize) -> Self {
        let width = 2 * L::WIDTH;
        F32Rows { values: &self.values[from * width..][..len * width], vectors: &self.vectors[from..][..len] }
    }

    #[inline(always)]
    fn row(self, _: L, row: usize) -> [L::Vector; 2] {
        self.vectors[row]
    }

    #[inline(always)]
    fn prefetch(self, lanes: L, from: usize, len: usize) {
        prefetch(lanes, self.vectors, from, len);
    }
}

/// Rows of values of 16 bits, `H` saying which: a word holds a value of either vector.
#[derive(Clone, Copy)]
pub(super) struct HalfRows<'a, L: Lanes, H>(&'a [L::Words], PhantomData<H>);

impl<'a, L: Lanes, H> HalfRows<'a, L, H> {
    #[inline(always)]
    pub(super) fn new(words: &'a [u32]) -> Self {
        HalfRows(L::words(words), PhantomData)
    }
}

/// How values of 16 bits are widened: those in the low halves of words, then those in the high halves.
pub(super) trait Widen<L: Lanes>: Copy {
    fn widen(lanes: L, words: L::Words) -> [L::Vector; 2];
}

#[derive(Clone, Copy)]
pub(super) struct Bf16;

impl<L: Lanes> Widen<L> for Bf16 {
    #[inline(always)]
    fn widen(lanes: L, words: L::Words) -> [L::Vector; 2] {
        lanes.widen_bf16(words)
    }
}

#[derive(Clone, Copy)]
pub(super) struct F16;

impl<L: Lanes> Widen<L> for F16 {
    #[inline(always)]
    fn widen(lanes: L, words: L::Words) -> [L::Vector; 2] {
        lanes.widen_f16(words)
    }
}

impl<L: Lanes, H: Widen<L>> RightRows<L> for HalfRows<'_, L, H> {
    const WORDS: usize = L::WIDTH;

    #[inline(always)]
    fn at(self, row: usize) -> *const u32 {
        self.0.as_ptr().wrapping_add(row).cast()
    }

    #[inline(always)]
    fn part(self, from: usize, len: usize) -> Self {
        HalfRows(&self.0[from..][..len], PhantomData)
    }

    #[inline(always)]
    fn row(self, lanes: L, row: usize) -> [L::Vector; 2] {
        H::widen(lanes, self.0[row])
    }

    #[inline(always)]
    fn prefetch(self, lanes: L, from: usize, len: usize) {
        prefetch(lanes, self.0, from, len);
    }

    /// Transposes the words.
    #[inline(always)]
    fn columns(self, lanes: L, first: usize, count: usize) -> [L::Square; 2] {
        let mut words = lanes.square(0.0);
        for r in 0..count {
            words.as_mut()[r] = lanes.with_bits(self.0[first + r]);
        }
        let words = lanes.transpose(words);
        let (mut low, mut high) = (words, words);
        for r in 0..L::WIDTH {
            [low.as_mut()[r], high.as_mut()[r]] = H::widen(lanes, lanes.bits(words.as_ref()[r]));
        }
        [low, high]
    }
}

/// Asks for the cache lines of `len` rows.
#[inline(always)]
fn prefetch<L: Lanes, T>(lanes: L, rows: &[T], from: usize, len: usize) {
    let begin = rows.as_ptr().wrapping_add(from).cast::<u32>();
    for line in 0..(len * size_of::<T>()).div_ceil(64) {
        lanes.prefetch(begin.wrapping_add(line * 16));
    }
}
