//! Dot products of many rows with many rows, NUMERICS rule 3 for each pair.
//!
//! `scores[i, j]` has the bits of [`super::dot`] of row i of X and row j of Y: thirty-two lanes, then the tree. A tile of pairs
//! keeps one register a pair and walks the rows once for every register's worth of lanes, so a loaded value serves a whole side
//! of the tile; which pairs share a tile cannot show, as each pair has its own lanes. It never splits a chain and uses no thread.
//!
//! Rows that are stored as f16 or int8 are widened a few at a time, while they are in the first-level cache: their scores have the
//! bits that the widened rows give.

use std::ops::Range;

use super::fma::Fma;
use super::half::f16_value;
use super::lanes::Lanes;
use super::level::{Level, Vectorized, WithLanes};
use super::reduce::{LANES, dot_lanes, tree};

/// Rows `[N, K]` as they lie in memory.
#[derive(Clone, Copy, Debug)]
pub enum StoredRows<'a> {
    /// Values.
    F32(&'a [f32]),
    /// Bits of finite f16.
    F16(&'a [u16]),
    /// Bytes of signed integers, and each row's scale: a value is the f32 product of scale and integer.
    Int8(&'a [u8], &'a [f32]),
}

impl<'a> From<&'a [f32]> for StoredRows<'a> {
    fn from(values: &'a [f32]) -> Self {
        StoredRows::F32(values)
    }
}

impl<'a> From<&'a Vec<f32>> for StoredRows<'a> {
    fn from(values: &'a Vec<f32>) -> Self {
        StoredRows::F32(values)
    }
}

impl<'a> StoredRows<'a> {
    /// Number of values.
    fn len(self) -> usize {
        match self {
            StoredRows::F32(values) => values.len(),
            StoredRows::F16(halves) => halves.len(),
            StoredRows::Int8(integers, _) => integers.len(),
        }
    }

    /// The values of some rows, widened into `room` where they are not values already.
    #[inline(always)]
    fn values<'b>(self, rows: Range<usize>, k: usize, room: &'b mut [f32]) -> &'b [f32]
    where
        'a: 'b,
    {
        let places = rows.start * k..rows.end * k;
        let room = if let StoredRows::F32(values) = self { return &values[places] } else { &mut room[..places.len()] };
        match self {
            StoredRows::F32(_) => {}
            StoredRows::F16(halves) => {
                for (value, half) in room.iter_mut().zip(&halves[places]) {
                    *value = f16_value(*half);
                }
            }
            StoredRows::Int8(integers, scales) => {
                let integers = integers[places].chunks_exact(k);
                for ((values, integers), scale) in room.chunks_exact_mut(k).zip(integers).zip(&scales[rows]) {
                    for (value, integer) in values.iter_mut().zip(integers) {
                        *value = scale * f32::from(integer.cast_signed());
                    }
                }
            }
        }
        room
    }
}

/// Computes `scores[i, j] = dot(x_i, y_j)`: `x` is `[M, K]`, `y` is `[N, K]`, `scores` holds `[M, N]`.
///
/// # Panics
///
/// Where the shapes do not fit.
pub fn scores<'a>(level: Level, x: &[f32], y: impl Into<StoredRows<'a>>, k: usize, scores: &mut [f32]) {
    let y = y.into();
    let (m, n) = (x.len() / k.max(1), y.len() / k.max(1));
    assert_eq!(x.len(), m * k, "left rows of scores [{m}, {k}]");
    assert_eq!(y.len(), n * k, "right rows of scores [{n}, {k}]");
    assert_eq!(scores.len(), m * n, "output of scores [{m}, {n}]");
    if let StoredRows::Int8(_, scales) = y {
        assert_eq!(scales.len(), n, "scales of the right rows [{n}]");
    }
    if !scores.is_empty() {
        level.with_lanes(Scores { x, y, k, n, scores });
    }
}

/// Widens rows `[N, K]` into `values`.
///
/// # Panics
///
/// Where the shapes do not fit.
pub fn widen(level: Level, rows: StoredRows<'_>, k: usize, values: &mut [f32]) {
    assert_eq!(rows.len(), values.len(), "room for the values");
    assert!(k > 0 && values.len().is_multiple_of(k), "rows of {k}");
    if let StoredRows::Int8(_, scales) = rows {
        assert_eq!(scales.len(), values.len() / k, "scales of the rows");
    }
    level.vectorize(Widen { rows, k, values });
}

struct Widen<'a> {
    rows: StoredRows<'a>,
    k: usize,
    values: &'a mut [f32],
}

impl Vectorized for Widen<'_> {
    type Output = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        match self.rows {
            StoredRows::F32(values) => self.values.copy_from_slice(values),
            stored => {
                stored.values(0..self.values.len() / self.k, self.k, self.values);
            }
        }
    }
}

struct Scores<'a> {
    x: &'a [f32],
    y: StoredRows<'a>,
    k: usize,
    n: usize,
    scores: &'a mut [f32],
}

impl WithLanes for Scores<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes, const ROWS: usize, const COLUMNS: usize>(self, lanes: L) {
        let mut sums = [[0.0; LANES]; TILE_X * TILE_Y];
        let mut room = match self.y {
            StoredRows::F32(_) => Vec::new(),
            _ => vec![0.0; CHUNK_ROWS.min(self.n) * self.k],
        };
        for first in (0..self.n).step_by(CHUNK_ROWS) {
            let y = self.y.values(first..self.n.min(first + CHUNK_ROWS), self.k, &mut room);
            // A planted fault stands in the plain form.
            if cfg!(feature = "planted") || L::WIDTH > LANES {
                for (x, scores) in self.x.chunks_exact(self.k).zip(self.scores.chunks_exact_mut(self.n)) {
                    for (y, score) in y.chunks_exact(self.k).zip(&mut scores[first..]) {
                        *score = dot_lanes(lanes, x, y);
                    }
                }
                continue;
            }
            for (x, scores) in self.x.chunks(TILE_X * self.k).zip(self.scores.chunks_mut(TILE_X * self.n)) {
                let mut out = Out { scores, sums: &mut sums, n: self.n, first };
                match x.len() / self.k {
                    1 => columns::<L, 1>(lanes, x, y, self.k, &mut out),
                    2 => columns::<L, 2>(lanes, x, y, self.k, &mut out),
                    3 => columns::<L, 3>(lanes, x, y, self.k, &mut out),
                    _ => columns::<L, TILE_X>(lanes, x, y, self.k, &mut out),
                }
            }
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
            out.scores[i * out.n + column + j] = tree(lanes, sums[i * Y + j]);
        }
    }
}

/// Rows of X in a tile, and rows of Y: twelve chains and three loaded rows in sixteen registers.
const TILE_X: usize = 4;
const TILE_Y: usize = 3;
/// Rows of Y that all rows of X pass over while they are in the first-level cache: 18 KiB at K = 384.
const CHUNK_ROWS: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{IntegerBits, SplitMix, f16_bits, quantize_group, reference};
    use crate::model::safetensors::f16_to_f32;

    #[test]
    fn every_pair_has_the_bits_of_the_reference_on_every_level() {
        let mut random = SplitMix(7);
        for k in [1, 8, 31, 32, 33, 64, 96, 127, 384] {
            for (m, n) in [(1, 1), (2, 5), (3, 12), (4, 13), (5, 26), (9, 3), (0, 4), (4, 0)] {
                let (x, y) = (random.uniforms(m * k), random.uniforms(n * k));
                let halves: Vec<u16> = y.iter().map(|value| f16_bits(*value)).collect();
                let mut integers = vec![0; n * k];
                let rows = y.chunks_exact(k).zip(integers.chunks_exact_mut(k));
                let scales: Vec<f32> =
                    rows.map(|(values, bytes)| quantize_group(values, IntegerBits::Eight, bytes)).collect();
                for stored in [(&y).into(), StoredRows::F16(&halves), StoredRows::Int8(&integers, &scales)] {
                    let values: Vec<f32> = (0..n * k)
                        .map(|place| match stored {
                            StoredRows::F32(values) => values[place],
                            StoredRows::F16(halves) => f16_to_f32(halves[place]),
                            StoredRows::Int8(integers, scales) => scales[place / k] * f32::from(integers[place] as i8),
                        })
                        .collect();
                    for level in Level::available() {
                        let mut out = vec![f32::NAN; m * n];
                        scores(level, &x, stored, k, &mut out);
                        for (place, score) in out.iter().enumerate() {
                            let (i, j) = (place / n, place % n);
                            let want = reference::dot(&x[i * k..][..k], &values[j * k..][..k]);
                            let name = level.name();
                            assert_eq!(score.to_bits(), want.to_bits(), "{name} [{m}, {n}, {k}] at {i}, {j}");
                        }
                        let mut widened = vec![f32::NAN; n * k];
                        widen(level, stored, k, &mut widened);
                        assert_eq!(widened, values);
                    }
                }
            }
        }
    }
}
