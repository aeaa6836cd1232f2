//! The transpose of packed panels, made in registers as blocks of it are used: the backward pass reads what the forward pass packed.

use super::rows::{F32Rows, RightBlocks, RightRows, Rows};
use crate::kernel::lanes::Lanes;

/// The transpose of panels: each of its panels has `C` of their rows as its columns.
#[derive(Clone, Copy)]
pub(super) struct Across<B>(pub(super) B);

impl<L: Lanes, B: RightRows<L>> RightBlocks<L> for Across<Rows<B>> {
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
        let from = panel * C;
        let count = C.min(self.0.k - from);
        for (i, out) in room.chunks_exact_mut(C * C).enumerate().take(len.div_ceil(C)) {
            transpose(lanes, self.0.part(k / C + i, from, count), count, out);
            // What the next panel transposes stands behind it, in pieces too short for the CPU to see a stream.
            self.0.of.prefetch(lanes, (k / C + i) * self.0.k + from + C, C);
        }
        F32Rows(&L::vectors(room).as_chunks().0[..len])
    }
}

/// Writes the transpose of the first `count` rows of a panel to `out` `[C, C]`, `C` being two vectors; missing columns are zeros.
#[inline(always)]
pub(super) fn transpose<L: Lanes, B: RightRows<L>>(lanes: L, rows: B, count: usize, out: &mut [f32]) {
    for first in [0, L::WIDTH] {
        let [low, high] = rows.columns(lanes, first, L::WIDTH.min(count.saturating_sub(first)));
        let places = out.chunks_exact_mut(L::WIDTH).skip(first / L::WIDTH).step_by(2);
        for (place, values) in places.zip(low.as_ref().iter().chain(high.as_ref())) {
            lanes.store(*values, place);
        }
    }
}
