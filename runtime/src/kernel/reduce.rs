//! Reductions along a row, NUMERICS rule 3.
//!
//! Element i goes to lane i mod 32 in ascending order, lanes start at +0, then the lanes are added as a tree of strides
//! 16, 8, 4, 2, 1. Thirty-two lanes are one GPU warp, two AVX-512, four AVX or eight NEON registers.

use super::fma::Fma;
use super::lanes::Lanes;
use super::level::{Level, WithLanes};

/// Lanes of a reduction.
pub const LANES: usize = 32;

/// Adds up a row.
pub fn sum(level: Level, x: &[f32]) -> f32 {
    level.with_lanes(Sum(x))
}

/// Adds up the squares of a row: [`dot`] of the row with itself.
pub fn sum_squares(level: Level, x: &[f32]) -> f32 {
    level.with_lanes(Dot(x, x))
}

/// Adds up the products of two rows, each lane a chain of fused multiply-adds.
///
/// # Panics
///
/// Where the lengths differ.
pub fn dot(level: Level, x: &[f32], y: &[f32]) -> f32 {
    level.with_lanes(Dot(x, y))
}

/// Finds the greatest value by compare-and-select; a NaN is passed over, an empty row gives -inf.
pub fn max(level: Level, x: &[f32]) -> f32 {
    level.with_lanes(Max(x))
}

struct Sum<'a>(&'a [f32]);

impl WithLanes for Sum<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<L: Lanes, const ROWS: usize, const COLUMNS: usize>(self, lanes: L) -> f32 {
        sum_lanes(lanes, self.0)
    }
}

struct Dot<'a>(&'a [f32], &'a [f32]);

impl WithLanes for Dot<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<L: Lanes, const ROWS: usize, const COLUMNS: usize>(self, lanes: L) -> f32 {
        dot_lanes(lanes, self.0, self.1)
    }
}

struct Max<'a>(&'a [f32]);

impl WithLanes for Max<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<L: Lanes, const ROWS: usize, const COLUMNS: usize>(self, lanes: L) -> f32 {
        max_lanes(lanes, self.0)
    }
}

/// The lanes of a reduction as vectors, of which the first [`vectors`] count. Plain arrays of 32 values would not do: the compiler
/// takes loops over them apart before it looks for vectors.
pub(super) type Held<L> = [<L as Lanes>::Vector; MOST_VECTORS];

/// Every lane the same.
#[inline(always)]
pub(super) fn held<L: Lanes>(lanes: L, value: f32) -> Held<L> {
    [lanes.splat(value); MOST_VECTORS]
}

/// How many vectors the lanes are.
pub(super) const fn vectors<L: Lanes>() -> usize {
    LANES / L::WIDTH
}

#[allow(clippy::needless_range_loop)] // one index for several arrays, of a length the level says
#[inline(always)]
pub(crate) fn sum_lanes<L: Lanes>(lanes: L, x: &[f32]) -> f32 {
    let mut sums = held(lanes, 0.0);
    let (chunks, tail) = x.as_chunks::<LANES>();
    for x in chunks {
        for v in 0..vectors::<L>() {
            sums[v] = lanes.add(sums[v], lanes.load(&x[v * L::WIDTH..]));
        }
    }
    let mut sums = apart(lanes, sums);
    for (sum, x) in sums.iter_mut().zip(tail) {
        *sum += x;
    }
    tree(lanes, sums)
}

#[allow(clippy::needless_range_loop)] // one index for several arrays, of a length the level says
#[inline(always)]
pub(crate) fn dot_lanes<L: Lanes>(lanes: L, x: &[f32], y: &[f32]) -> f32 {
    assert_eq!(x.len(), y.len(), "rows of a dot product");
    #[cfg(feature = "planted")]
    if super::planted(super::Plant::Lanes) {
        let mut sums = [0.0f32; LANES];
        for (x, y) in x.chunks(LANES / 2).zip(y.chunks(LANES / 2)) {
            for ((sum, x), y) in sums.iter_mut().zip(x).zip(y) {
                *sum = L::Fma::fma(*x, *y, *sum);
            }
        }
        return tree(lanes, sums);
    }
    let mut sums = held(lanes, 0.0);
    let (x_chunks, x_tail) = x.as_chunks::<LANES>();
    let (y_chunks, y_tail) = y.as_chunks::<LANES>();
    for (x, y) in x_chunks.iter().zip(y_chunks) {
        for v in 0..vectors::<L>() {
            let at = v * L::WIDTH;
            sums[v] = lanes.fma(lanes.load(&x[at..]), lanes.load(&y[at..]), sums[v]);
        }
    }
    let mut sums = apart(lanes, sums);
    for ((sum, x), y) in sums.iter_mut().zip(x_tail).zip(y_tail) {
        *sum = L::Fma::fma(*x, *y, *sum);
    }
    tree(lanes, sums)
}

#[allow(clippy::needless_range_loop)] // one index for several arrays, of a length the level says
#[inline(always)]
pub(crate) fn max_lanes<L: Lanes>(lanes: L, x: &[f32]) -> f32 {
    let mut most = held(lanes, f32::NEG_INFINITY);
    let (chunks, tail) = x.as_chunks::<LANES>();
    for x in chunks {
        for v in 0..vectors::<L>() {
            most[v] = lanes.greater(lanes.load(&x[v * L::WIDTH..]), most[v]);
        }
    }
    let mut most = apart(lanes, most);
    for (most, x) in most.iter_mut().zip(tail) {
        *most = if *x > *most { *x } else { *most };
    }
    greatest(most)
}

/// The lanes one by one.
#[allow(clippy::needless_range_loop)] // one index for several arrays, of a length the level says
#[inline(always)]
pub(super) fn apart<L: Lanes>(lanes: L, held: Held<L>) -> [f32; LANES] {
    let mut out = [0.0; LANES];
    for v in 0..vectors::<L>() {
        lanes.store(held[v], &mut out[v * L::WIDTH..]);
    }
    out
}

/// Adds the lanes by strides 16, 8, 4, 2, 1: whole vectors as long as there are two.
#[inline(always)]
pub(super) fn tree<L: Lanes>(lanes: L, mut sums: [f32; LANES]) -> f32 {
    let mut stride = LANES / 2;
    while stride >= L::WIDTH {
        for from in (0..stride).step_by(L::WIDTH) {
            let sum = lanes.add(lanes.load(&sums[from..]), lanes.load(&sums[from + stride..]));
            lanes.store(sum, &mut sums[from..]);
        }
        stride /= 2;
    }
    while stride > 0 {
        for i in 0..stride {
            sums[i] += sums[i + stride];
        }
        stride /= 2;
    }
    sums[0]
}

/// The greatest of the lanes.
#[inline(always)]
pub(super) fn greatest(mut lanes: [f32; LANES]) -> f32 {
    let mut stride = LANES / 2;
    while stride > 0 {
        for i in 0..stride {
            lanes[i] = if lanes[i + stride] > lanes[i] { lanes[i + stride] } else { lanes[i] };
        }
        stride /= 2;
    }
    lanes[0]
}

/// Vectors of the narrowest level in a reduction.
const MOST_VECTORS: usize = 8;
