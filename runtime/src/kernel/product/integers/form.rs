//! The forms that integers lie in: four rows of two panels at a time.

use crate::kernel::lanes::Lanes;

/// How the integers of two panels come out of their words. These are functions of a type and no closures: a closure is not surely inlined,
/// and a call leaves the level's context.
pub(super) trait Form<L: Lanes> {
    /// Four rows of two panels.
    type Four;
    /// How many times too large [`Form::large_integers`] gives them.
    const LARGER: f32;
    /// Whether a group has a minimum.
    const MINIMA: bool = false;
    /// Bits of an integer.
    const BITS: usize;
    fn fours(words: &[u32]) -> &[Self::Four];
    /// Row `row` of panel `side`, `LARGER` times too large.
    fn large_integers(lanes: L, four: &Self::Four, side: usize, row: usize) -> [L::Vector; 2];

    /// Row `row` of panel `side`.
    #[inline(always)]
    fn integers(lanes: L, four: &Self::Four, side: usize, row: usize) -> [L::Vector; 2] {
        scaled(lanes, Self::large_integers(lanes, four, side, row), [lanes.splat(1.0 / Self::LARGER); 2])
    }
}

pub(super) struct Bytes;

impl<L: Lanes> Form<L> for Bytes {
    type Four = [L::ByteRow; 8];
    const LARGER: f32 = 1.0;
    const BITS: usize = 8;

    #[inline(always)]
    fn fours(words: &[u32]) -> &[[L::ByteRow; 8]] {
        L::byte_rows(words).as_chunks().0
    }

    #[inline(always)]
    fn large_integers(lanes: L, four: &[L::ByteRow; 8], side: usize, row: usize) -> [L::Vector; 2] {
        lanes.bytes(&four[2 * row + side])
    }
}

pub(super) struct Nibbles;

impl<L: Lanes> Form<L> for Nibbles {
    type Four = [L::Words; 2];
    const LARGER: f32 = (1 << 28) as f32;
    const BITS: usize = 4;

    #[inline(always)]
    fn fours(words: &[u32]) -> &[[L::Words; 2]] {
        L::words(words).as_chunks().0
    }

    #[inline(always)]
    fn large_integers(lanes: L, four: &[L::Words; 2], side: usize, row: usize) -> [L::Vector; 2] {
        let at = 2 * row as u32;
        [lanes.large_nibble(four[side], at), lanes.large_nibble(four[side], at + 1)]
    }
}

/// As [`Bytes`], of groups with minima.
pub(super) struct BytesAndMinima;

impl<L: Lanes> Form<L> for BytesAndMinima {
    type Four = [L::ByteRow; 8];
    const LARGER: f32 = 1.0;
    const MINIMA: bool = true;
    const BITS: usize = 8;

    #[inline(always)]
    fn fours(words: &[u32]) -> &[[L::ByteRow; 8]] {
        <Bytes as Form<L>>::fours(words)
    }

    #[inline(always)]
    fn large_integers(lanes: L, four: &[L::ByteRow; 8], side: usize, row: usize) -> [L::Vector; 2] {
        Bytes::large_integers(lanes, four, side, row)
    }
}

/// As [`Nibbles`], 0 to 15, of groups with minima.
pub(super) struct NibblesAndMinima;

impl<L: Lanes> Form<L> for NibblesAndMinima {
    type Four = [L::Words; 2];
    const LARGER: f32 = (1 << 24) as f32;
    const MINIMA: bool = true;
    const BITS: usize = 4;

    #[inline(always)]
    fn fours(words: &[u32]) -> &[[L::Words; 2]] {
        <Nibbles as Form<L>>::fours(words)
    }

    #[inline(always)]
    fn large_integers(lanes: L, four: &[L::Words; 2], side: usize, row: usize) -> [L::Vector; 2] {
        let at = 2 * row as u32;
        [lanes.large_unsigned_nibble(four[side], at), lanes.large_unsigned_nibble(four[side], at + 1)]
    }
}

/// What integers mean, `minima` being negated.
#[inline(always)]
pub(super) fn valued<L: Lanes, I: Form<L>>(
    lanes: L,
    x: [L::Vector; 2],
    scales: [L::Vector; 2],
    minima: [L::Vector; 2],
) -> [L::Vector; 2] {
    if I::MINIMA {
        [lanes.fma(x[0], scales[0], minima[0]), lanes.fma(x[1], scales[1], minima[1])]
    } else {
        scaled(lanes, x, scales)
    }
}

#[inline(always)]
pub(super) fn scaled<L: Lanes>(lanes: L, x: [L::Vector; 2], scales: [L::Vector; 2]) -> [L::Vector; 2] {
    [lanes.multiply(x[0], scales[0]), lanes.multiply(x[1], scales[1])]
}
