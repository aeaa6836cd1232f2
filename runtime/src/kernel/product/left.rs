//! The left side of a product, and its packed form: what one tile of rows reads stands together, step of k after step, block after block.

use rayon::prelude::*;

use super::BLOCK;
use super::across::store;
use super::run::{CHUNK_ROWS, FEW_ROWS};
use crate::kernel::aligned::Aligned;
use crate::kernel::lanes::{Lanes, MOST_LANES};
use crate::kernel::level::{Level, WithLanes};

/// The left side of a product: element (i, k) at `i * stride + k`, or at `k * stride + i` where transposed.
#[derive(Clone, Copy)]
pub(super) struct Left<'a> {
    pub(super) values: &'a [f32],
    pub(super) stride: usize,
    pub(super) transposed: bool,
}

/// Rows cut into tiles: as many of the level's as suit them, then lower ones where those leave less of the last tile empty.
#[derive(Clone, Copy)]
pub(super) struct Tiles {
    pub(super) level: Level,
    pub(super) first: usize,
    count: usize,
    /// How many stand in tiles of the level's height.
    pub(super) high: usize,
}

impl Tiles {
    /// Cuts `count` rows from `first` on.
    pub(super) fn of(level: Level, first: usize, count: usize) -> Tiles {
        let (tile, lower) = (level.tile_rows(), level.lower_tile_rows());
        let high = |low: usize| count.saturating_sub(low * lower).next_multiple_of(tile);
        let low = (0..tile).min_by_key(|&low| (high(low) + low * lower, low)).unwrap_or(0);
        Tiles { level, first, count, high: high(low).min(count) }
    }

    /// Rows with those that are missing in the last tile.
    pub(super) fn padded(self) -> usize {
        let (tile, lower) = (self.level.tile_rows(), self.level.lower_tile_rows());
        self.high.next_multiple_of(tile) + (self.count - self.high).next_multiple_of(lower)
    }

    /// How many of a packed block's values are those of the high tiles.
    pub(super) fn high_values(self, len: usize) -> usize {
        len / self.padded() * self.high.next_multiple_of(self.level.tile_rows())
    }

    /// Packs the rows of a left side from column `k` on, block by block.
    pub(super) fn pack<'p>(self, a: Left<'_>, k: usize, packed: &'p mut [f32]) -> &'p [f32] {
        for (index, block) in packed.chunks_mut(self.padded() * BLOCK).enumerate() {
            self.pack_block(a, k + index * BLOCK, block);
        }
        packed
    }

    /// Packs one block from column `k` on: `[rows / R, len, R]` of the high tiles, then of the lower ones.
    fn pack_block(self, a: Left<'_>, k: usize, packed: &mut [f32]) {
        let (high, low) = packed.split_at_mut(self.high_values(packed.len()));
        self.level.with_lanes(Pack { a, first: self.first, rows: self.high, k, packed: high });
        let (first, rows) = (self.first + self.high, self.count - self.high);
        self.level.with_lower_tile(Pack { a, first, rows, k, packed: low });
    }
}

/// Packs a whole left side of one chunk of rows for several tasks to read, unless it is large, or so small that they pack it themselves in
/// the time of the hand-over.
pub(super) fn pack_shared<'r>(
    level: Level,
    a: Left<'_>,
    rows: usize,
    depth: usize,
    room: &'r mut Aligned<f32>,
) -> Option<&'r [f32]> {
    let tiles = Tiles::of(level, 0, rows);
    let len = tiles.padded() * depth;
    if rows <= FEW_ROWS || rows > CHUNK_ROWS || !(LEAST_SHARED..=MOST_SHARED).contains(&len) {
        return None;
    }
    let packed = &mut room.at_least(len)[..len];
    let blocks = packed.par_chunks_mut(tiles.padded() * BLOCK).enumerate();
    blocks.for_each(|(index, block)| tiles.pack_block(a, index * BLOCK, block));
    Some(packed)
}

/// Rows of a left side, and where they are packed.
struct Pack<'a> {
    a: Left<'a>,
    first: usize,
    rows: usize,
    k: usize,
    packed: &'a mut [f32],
}

impl WithLanes for Pack<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes, const R: usize, const C: usize>(self, lanes: L) {
        if self.rows > 0 {
            pack_left::<L, R>(lanes, self.a, self.first, self.rows, self.k, self.packed);
        }
    }
}

/// Packs `rows` rows of the left side from `first` on, columns from `k` on, as panels `[depth, R]`; missing rows are zeros.
#[inline(always)]
pub(super) fn pack_left<L: Lanes, const R: usize>(
    lanes: L,
    a: Left<'_>,
    first: usize,
    rows: usize,
    k: usize,
    packed: &mut [f32],
) {
    let depth = packed.len() / (rows.div_ceil(R) * R);
    for (panel, out) in packed.chunks_exact_mut(R * depth).enumerate() {
        let row = first + panel * R;
        let count = R.min(first + rows - row);
        if a.transposed {
            let (out, _) = out.as_chunks_mut::<R>();
            if count < R {
                out.fill([0.0; R]);
            }
            for (out, source) in out.iter_mut().zip(a.values[k * a.stride..].chunks(a.stride)) {
                // A length the compiler knows is a few moves, not a call.
                match source[row..].first_chunk::<R>() {
                    Some(whole) if count == R => *out = *whole,
                    _ => out[..count].copy_from_slice(&source[row..row + count]),
                }
            }
        } else {
            let rows = &a.values[row * a.stride + k..];
            // A number of rows that the compiler knows stays in registers.
            if count == R {
                interleave::<L, R>(lanes, rows, a.stride, R, out);
            } else {
                interleave::<L, R>(lanes, rows, a.stride, count, out);
            }
        }
    }
}

/// Packs the first `count` rows of `rows`, `stride` apart, as `[depth, R]`; missing rows are zeros.
#[inline(always)]
pub(crate) fn interleave<L: Lanes, const R: usize>(
    lanes: L,
    rows: &[f32],
    stride: usize,
    count: usize,
    out: &mut [f32],
) {
    let depth = out.len() / R;
    if R == 1 {
        out.copy_from_slice(&rows[..depth]);
        return;
    }
    if depth < L::WIDTH {
        let (out, _) = out.as_chunks_mut::<R>();
        out.fill([0.0; R]);
        for r in 0..count {
            for (out, x) in out.iter_mut().zip(&rows[r * stride..][..depth]) {
                out[r] = *x;
            }
        }
        return;
    }
    for from in (0..R).step_by(L::WIDTH) {
        for step in 0..depth.div_ceil(L::WIDTH) {
            // The last square overlaps the one before where the depth is not whole squares.
            let k = (step * L::WIDTH).min(depth - L::WIDTH);
            let mut square = lanes.square(0.0);
            for (r, row) in square.as_mut().iter_mut().enumerate() {
                if from + r < count {
                    *row = lanes.load(&rows[(from + r) * stride + k..]);
                }
            }
            // A tile of fewer rows than a vector has lanes: what a vector writes beyond its own place, the next one writes over.
            let columns = lanes.transpose(square);
            let place = &mut out[k * R + from..];
            if let Some(place) = place.get_mut(..(L::WIDTH - 1) * R + L::WIDTH) {
                for (i, values) in columns.as_ref().iter().enumerate() {
                    store(lanes, *values, &mut place[i * R..]);
                }
            } else {
                for (i, values) in columns.as_ref().iter().enumerate() {
                    let place = &mut place[i * R..];
                    if place.len() >= L::WIDTH {
                        store(lanes, *values, place);
                    } else {
                        let mut last = [0.0; MOST_LANES];
                        lanes.store(*values, &mut last);
                        place.copy_from_slice(&last[..place.len()]);
                    }
                }
            }
        }
    }
}

/// Values of a left side that is packed for several tasks: 256 KiB to 8 MiB.
const LEAST_SHARED: usize = 1 << 16;
const MOST_SHARED: usize = 1 << 21;
