//! Dot products of many rows with many rows, NUMERICS rule 3 for each pair.
//!
//! `scores[i, j]` has the bits of [`super::dot`] of row i of X and row j of Y: thirty-two lanes, then the tree. A tile of pairs
//! keeps one register a pair and walks the rows once for every register's worth of lanes, so a loaded value serves a whole side
//! of the tile; which pairs share a tile cannot show, as each pair has its own lanes. It never splits a chain and uses no thread.

use super::fma::Fma;
use super::lanes::Lanes;
use super::level::{Level, WithLanes};
use super::reduce::{LANES, dot_lanes};

/// Computes `scores[i, j] = dot(x_i, y_j)`: `x` is `[M, K]`, `y` is `[N, K]`, `scores` holds `[M, N]`.
///
/// # Panics
///
/// Where the shapes do not fit.
pub fn scores(level: Level, x: &[f32], y: &[f32], k: usize, scores: &mut [f32]) {
    let (m, n) = (x.len() / k.max(1), y.len() / k.max(1));
    assert_eq!(x.len(), m * k, "left rows of scores [{m}, {k}]");
    assert_eq!(y.len(), n * k, "right rows of scores [{n}, {k}]");
    assert_eq!(scores.len(), m * n, "output of scores [{m}, {n}]");
    if !scores.is_empty() {
        level.with_lanes(Scores { x, y, k, n, scores });
    }
}

struct Scores<'a> {
    x: &'a [f32],
    y: &'a [f32],
    k: usize,
    n: usize,
    scores: &'a mut [f32],
}

impl WithLanes for Scores<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes, const ROWS: usize, const COLUMNS: usize>(self, lanes: L) {
        // A planted fault stands in the plain form.
        if cfg!(feature = "planted") || L::WIDTH > LANES {
            for (x, scores) in self.x.chunks_exact(self.k).zip(self.scores.chunks_exact_mut(self.n)) {
                for (y, score) in self.y.chunks_exact(self.k).zip(scores) {
                    *score = dot_lanes::<L::Fma>(x, y);
                }
            }
            return;
        }
        let mut sums = [[0.0; LANES]; TILE_X * TILE_Y];
        let mut first = 0;
        for y in self.y.chunks(CHUNK_ROWS * self.k) {
            let rows = y.len() / self.k;
            for (x, scores) in self.x.chunks(TILE_X * self.k).zip(self.scores.chunks_mut(TILE_X * self.n)) {
                let mut out = Out { scores, sums: &mut sums, n: self.n, first };
                match x.len() / self.k {
                    1 => columns::<L, 1>(lanes, x, y, self.k, &mut out),
                    2 => columns::<L, 2>(lanes, x, y, self.k, &mut out),
                    3 => columns::<L, 3>(lanes, x, y, self.k, &mut out),
                    _ => columns::<L, TILE_X>(lanes, x, y, self.k, &mut out),
                }
            }
            first += rows;
        }
    }
}

/// Rows of the output, the lanes of a tile, and the column at which the current chunk of Y begins.
struct Out<'a> {
    scores: &'a mut [f32],
    sums: &'a mut [[f32; LANES]; TILE_X * TILE_Y],
    n: usize,
    first: usize,
}

#[inline(always)]
fn columns<L: Lanes, const X: usize>(lanes: L, x: &[f32], y: &[f32], k: usize, out: &mut Out<'_>) {
    let x: [&[f32]; X] = std::array::from_fn(|i| &x[i * k..(i + 1) * k]);
    let mut tiles = y.chunks_exact(TILE_Y * k);
    let mut column = out.first;
    for y in &mut tiles {
        tile::<L, X, TILE_Y>(lanes, x, std::array::from_fn(|j| &y[j * k..(j + 1) * k]), column, out);
        column += TILE_Y;
    }
    for y in tiles.remainder().chunks_exact(k) {
        tile::<L, X, 1>(lanes, x, [y], column, out);
        column += 1;
    }
}

/// One tile: for each register's worth of lanes all `X * Y` chains side by side, then the tails and the trees.
#[inline(always)]
fn tile<L: Lanes, const X: usize, const Y: usize>(
    lanes: L,
    x: [&[f32]; X],
    y: [&[f32]; Y],
    column: usize,
    out: &mut Out<'_>,
) {
    let sums = &mut *out.sums;
    let x_chunks = x.map(|row| row.as_chunks::<LANES>().0);
    let count = x_chunks[0].len();
    let x_chunks = x_chunks.map(|row| &row[..count]);
    let y_chunks = y.map(|row| &row.as_chunks::<LANES>().0[..count]);
    for from in (0..LANES).step_by(L::WIDTH) {
        let mut chains = [[lanes.splat(0.0); Y]; X];
        for step in 0..count {
            let mut right = [lanes.splat(0.0); Y];
            for j in 0..Y {
                right[j] = lanes.load(&y_chunks[j][step][from..]);
            }
            for i in 0..X {
                let left = lanes.load(&x_chunks[i][step][from..]);
                for j in 0..Y {
                    chains[i][j] = lanes.fma(left, right[j], chains[i][j]);
                }
            }
        }
        for i in 0..X {
            for j in 0..Y {
                lanes.store(chains[i][j], &mut sums[i * Y + j][from..]);
            }
        }
    }
    let tail = count * LANES;
    if tail < x[0].len() {
        for i in 0..X {
            for j in 0..Y {
                for ((lane, x), y) in sums[i * Y + j].iter_mut().zip(&x[i][tail..]).zip(&y[j][tail..]) {
                    *lane = L::Fma::fma(*x, *y, *lane);
                }
            }
        }
    }
    for i in 0..X {
        for j in 0..Y {
            out.scores[i * out.n + column + j] = tree_of::<L>(lanes, &mut sums[i * Y + j]);
        }
    }
}

/// The tree of rule 3, whole vectors as long as there are two.
#[inline(always)]
fn tree_of<L: Lanes>(lanes: L, sums: &mut [f32; LANES]) -> f32 {
    let one = lanes.splat(1.0);
    let mut stride = LANES / 2;
    while stride >= L::WIDTH {
        for from in (0..stride).step_by(L::WIDTH) {
            // 1 * a + b, rounded once, is a + b.
            let sum = lanes.fma(one, lanes.load(&sums[from..]), lanes.load(&sums[from + stride..]));
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

/// Rows of X in a tile, and rows of Y: twelve chains and three loaded rows in sixteen registers.
const TILE_X: usize = 4;
const TILE_Y: usize = 3;
/// Rows of Y that all rows of X pass over while they are in the first-level cache: 18 KiB at K = 384.
const CHUNK_ROWS: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{SplitMix, reference};

    #[test]
    fn every_pair_has_the_bits_of_the_reference_on_every_level() {
        let mut random = SplitMix(7);
        for k in [1, 8, 31, 32, 33, 64, 96, 127, 384] {
            for (m, n) in [(1, 1), (2, 5), (3, 12), (4, 13), (5, 26), (9, 3), (0, 4), (4, 0)] {
                let (x, y) = (random.uniforms(m * k), random.uniforms(n * k));
                for level in Level::available() {
                    let mut out = vec![f32::NAN; m * n];
                    scores(level, &x, &y, k, &mut out);
                    for (place, score) in out.iter().enumerate() {
                        let (i, j) = (place / n, place % n);
                        let want = reference::dot(&x[i * k..][..k], &y[j * k..][..k]);
                        assert_eq!(score.to_bits(), want.to_bits(), "{} [{m}, {n}, {k}] at {i}, {j}", level.name());
                    }
                }
            }
        }
    }
}
