//! The transpose of packed panels, made in registers as blocks of it are used: the backward pass reads what the forward pass packed.

use super::BLOCK;
use super::rows::{RightBlocks, RightRows, Rows};
use super::tile::Ahead;
use crate::kernel::lanes::Lanes;

/// The transpose of panels: each of its panels has `C` of their rows as its columns.
#[derive(Clone, Copy)]
pub(super) struct Across<B>(pub(super) B);

impl<L: Lanes, B: RightRows<L>> RightBlocks<L> for Across<Rows<B>> {
    #[inline(always)]
    fn block<'r, const C: usize>(self, lanes: L, panel: usize, k: usize, len: usize, room: &'r mut [f32]) -> &'r [f32]
    where
        Self: 'r,
    {
        let from = panel * C;
        let count = C.min(self.0.k - from);
        for (i, out) in room.chunks_exact_mut(C * C).enumerate().take(len.div_ceil(C)) {
            transpose(lanes, self.0.part(k / C + i, from, count), count, out);
        }
        &room[..len * C]
    }

    #[inline(always)]
    fn prefetch<const C: usize>(self, lanes: L, panel: usize, k: usize, len: usize) {
        for i in 0..len.div_ceil(C) {
            self.0.of.prefetch(lanes, (k / C + i) * self.0.k + panel * C, C);
        }
    }

    #[inline(always)]
    fn ahead<const C: usize>(self, panel: usize, k: usize, tiles: usize) -> Option<Ahead> {
        // A tile asks for a part of one piece.
        (tiles >= BLOCK / C).then(|| Ahead {
            at: self.0.of.at(k / C * self.0.k + panel * C),
            words: B::WORDS,
            piece: (C, self.0.k * B::WORDS),
        })
    }
}

/// Writes the transpose of the first `count` rows of a panel to `out` `[C, C]`, `C` being two vectors; missing columns are zeros.
#[inline(always)]
pub(super) fn transpose<L: Lanes, B: RightRows<L>>(lanes: L, rows: B, count: usize, out: &mut [f32]) {
    let out = &mut out[..4 * L::WIDTH * L::WIDTH];
    for first in [0, L::WIDTH] {
        // A number of rows that the compiler knows stays in registers.
        let [low, high] = if count < first + L::WIDTH {
            rows.columns(lanes, first, count.saturating_sub(first))
        } else {
            rows.columns(lanes, first, L::WIDTH)
        };
        for (half, columns) in [low, high].iter().enumerate() {
            for (i, values) in columns.as_ref().iter().enumerate() {
                store(lanes, *values, &mut out[(half * L::WIDTH + i) * 2 * L::WIDTH + first..]);
            }
        }
    }
}

/// Stores a vector that came out of a transposition. Adding -0, which costs nothing, tells the compiler that it is a vector: else it copies
/// the memory it takes it for.
#[inline(always)]
pub(super) fn store<L: Lanes>(lanes: L, values: L::Vector, to: &mut [f32]) {
    lanes.store(lanes.add(values, lanes.splat(-0.0)), to);
}
