//! Reductions along a row, NUMERICS rule 3.
//!
//! Element i goes to lane i mod 32 in ascending order, lanes start at +0, then the lanes are added as a tree of strides
//! 16, 8, 4, 2, 1. Thirty-two lanes are one GPU warp, two AVX-512, four AVX or eight NEON registers.

use super::fma::Fma;
use super::level::{Level, Vectorized};

/// Lanes of a reduction.
pub const LANES: usize = 32;

/// Adds up a row.
pub fn sum(level: Level, x: &[f32]) -> f32 {
    level.vectorize(Sum(x))
}

/// Adds up the squares of a row: [`dot`] of the row with itself.
pub fn sum_squares(level: Level, x: &[f32]) -> f32 {
    level.vectorize(Dot(x, x))
}

/// Adds up the products of two rows, each lane a chain of fused multiply-adds.
///
/// # Panics
///
/// Where the lengths differ.
pub fn dot(level: Level, x: &[f32], y: &[f32]) -> f32 {
    level.vectorize(Dot(x, y))
}

/// Finds the greatest value by compare-and-select; a NaN is passed over, an empty row gives -inf.
pub fn max(x: &[f32]) -> f32 {
    max_lanes(x)
}

struct Sum<'a>(&'a [f32]);

impl Vectorized for Sum<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<F: Fma>(self) -> f32 {
        sum_lanes(self.0)
    }
}

struct Dot<'a>(&'a [f32], &'a [f32]);

impl Vectorized for Dot<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<F: Fma>(self) -> f32 {
        dot_lanes::<F>(self.0, self.1)
    }
}

#[inline(always)]
pub(crate) fn sum_lanes(x: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (chunks, tail) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane += x;
        }
    }
    for (lane, x) in lanes.iter_mut().zip(tail) {
        *lane += x;
    }
    tree(lanes)
}

#[inline(always)]
pub(crate) fn dot_lanes<F: Fma>(x: &[f32], y: &[f32]) -> f32 {
    assert_eq!(x.len(), y.len(), "rows of a dot product");
    #[cfg(feature = "planted")]
    if super::planted(super::Plant::Lanes) {
        let mut lanes = [0.0f32; LANES];
        for (x, y) in x.chunks(LANES / 2).zip(y.chunks(LANES / 2)) {
            for ((lane, x), y) in lanes.iter_mut().zip(x).zip(y) {
                *lane = F::fma(*x, *y, *lane);
            }
        }
        return tree(lanes);
    }
    let mut lanes = [0.0f32; LANES];
    let (x_chunks, x_tail) = x.as_chunks::<LANES>();
    let (y_chunks, y_tail) = y.as_chunks::<LANES>();
    for (x, y) in x_chunks.iter().zip(y_chunks) {
        for ((lane, x), y) in lanes.iter_mut().zip(x).zip(y) {
            *lane = F::fma(*x, *y, *lane);
        }
    }
    for ((lane, x), y) in lanes.iter_mut().zip(x_tail).zip(y_tail) {
        *lane = F::fma(*x, *y, *lane);
    }
    tree(lanes)
}

#[inline(always)]
pub(crate) fn max_lanes(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, tail) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane = greater(*x, *lane);
        }
    }
    for (lane, x) in lanes.iter_mut().zip(tail) {
        *lane = greater(*x, *lane);
    }
    let mut stride = LANES / 2;
    while stride > 0 {
        for i in 0..stride {
            lanes[i] = greater(lanes[i + stride], lanes[i]);
        }
        stride /= 2;
    }
    lanes[0]
}

/// Adds the lanes by strides 16, 8, 4, 2, 1.
#[inline(always)]
pub(crate) fn tree(mut lanes: [f32; LANES]) -> f32 {
    let mut stride = LANES / 2;
    while stride > 0 {
        for i in 0..stride {
            lanes[i] += lanes[i + stride];
        }
        stride /= 2;
    }
    lanes[0]
}

#[inline(always)]
fn greater(x: f32, than: f32) -> f32 {
    if x > than { x } else { than }
}
