//! The inner loop: a tile of sums held in registers, one step of k after another, and put where they belong once per block of k.

use super::rows::RightRows;
use super::run::FEW_ROWS;
use crate::kernel::lanes::Lanes;

/// Where the sums of a tile go: `R` rows of `P` panels.
pub(super) trait Sink {
    /// Whether the sums are added to what stands there.
    const ADDS: bool;
    /// The place of a row.
    fn row(&mut self, row: usize) -> &mut [f32];
}

/// Rows of C from one column on, which the panels fill.
pub(super) struct Place<'a, 'b> {
    pub(super) rows: &'a mut [&'b mut [f32]],
    pub(super) column: usize,
}

impl Sink for Place<'_, '_> {
    const ADDS: bool = false;

    #[inline(always)]
    fn row(&mut self, row: usize) -> &mut [f32] {
        &mut self.rows[row][self.column..]
    }
}

/// Sums `[R, C]` of the blocks before, added to where `ADD`.
pub(super) struct Sums<'a, const C: usize, const ADD: bool>(pub(super) &'a mut [[f32; C]]);

impl<const C: usize, const ADD: bool> Sink for Sums<'_, C, ADD> {
    const ADDS: bool = ADD;

    #[inline(always)]
    fn row(&mut self, row: usize) -> &mut [f32] {
        &mut self.0[row]
    }
}

/// Sums by themselves.
impl<const C: usize, const P: usize, const R: usize> Sink for &mut [[[f32; C]; P]; R] {
    const ADDS: bool = false;

    #[inline(always)]
    fn row(&mut self, row: usize) -> &mut [f32] {
        self[row].as_flattened_mut()
    }
}

/// Memory that a tile asks for while it is computed: the cache line at `at`, then one `words` further with each step of k.
#[derive(Clone, Copy)]
pub(super) struct Ahead {
    pub(super) at: *const u32,
    pub(super) words: usize,
    /// Steps of k that lie together, and how many words further the next ones do.
    pub(super) piece: (usize, usize),
}

impl Ahead {
    /// Asks for nothing that is not at hand.
    #[inline(always)]
    pub(super) fn nothing(at_hand: &[f32]) -> Ahead {
        Ahead::whole(at_hand.as_ptr().cast(), 0)
    }

    /// A block whose steps of k lie together, `words` each.
    #[inline(always)]
    pub(super) fn whole(at: *const u32, words: usize) -> Ahead {
        Ahead { at, words, piece: (usize::MAX, 0) }
    }

    /// The part that the tile `index` of `tiles` asks for, each of them taking `len` steps.
    #[inline(always)]
    pub(super) fn part(self, index: usize, tiles: usize, len: usize) -> Ahead {
        let step = index * (len / tiles);
        let place = step / self.piece.0 * self.piece.1 + step % self.piece.0 * self.words;
        Ahead::whole(self.at.wrapping_add(place), self.words.div_ceil(tiles))
    }
}

/// Asks for the cache lines of `row`, of which there is one more where it does not begin with one.
#[inline(always)]
pub(super) fn ask_for<L: Lanes>(lanes: L, row: &[f32]) {
    let at = row.as_ptr().cast::<u32>();
    for line in 0..row.len() / LINE {
        lanes.prefetch(at.wrapping_add(line * LINE));
    }
    lanes.prefetch(at.wrapping_add(row.len() - 1));
}

/// Puts the sums of a tile in their place.
#[allow(clippy::needless_range_loop)] // with iterators the sums do not stay in registers
#[inline(always)]
pub(super) fn land<L: Lanes, S: Sink, const R: usize, const P: usize>(
    lanes: L,
    sums: &[[[L::Vector; 2]; P]; R],
    sink: &mut S,
) {
    for r in 0..R {
        let row = &mut sink.row(r)[..2 * P * L::WIDTH];
        for p in 0..P {
            for v in 0..2 {
                let to = &mut row[(2 * p + v) * L::WIDTH..];
                let sum = if S::ADDS { lanes.add(lanes.load(to), sums[r][p][v]) } else { sums[r][p][v] };
                lanes.store(sum, to);
            }
        }
    }
}

/// Chains `R` rows over `P` panels, two vectors wide each, `a` being `[depth, R]`.
#[inline(always)]
pub(super) fn tile<L: Lanes, B: RightRows<L>, S: Sink, const R: usize, const P: usize>(
    lanes: L,
    a: &[[f32; R]],
    b: [B; P],
    mut ahead: Ahead,
    mut sink: S,
) {
    let mut sums = [[[lanes.splat(0.0); 2]; P]; R];
    let depth = a.len();
    if S::ADDS {
        for r in 0..R {
            // Far from the first-level cache by now; when it is needed, it is there.
            ask_for(lanes, &sink.row(r)[..2 * P * L::WIDTH]);
        }
    }
    let b = b.map(|panel| panel.part(0, depth));
    for k in 0..depth {
        #[cfg(feature = "planted")]
        let k = if crate::kernel::planted(crate::kernel::Plant::ProductOrder) { depth - 1 - k } else { k };
        if L::ASKS_AHEAD && R > FEW_ROWS {
            lanes.prefetch(a.as_ptr().wrapping_add(k + STEPS_AHEAD).cast());
            lanes.prefetch(ahead.at);
            ahead.at = ahead.at.wrapping_add(ahead.words);
        }
        for p in 0..P {
            if L::ASKS_AHEAD && R <= FEW_ROWS {
                b[p].prefetch(lanes, k + STEPS_AHEAD, 1);
            }
            let x = b[p].row(lanes, k);
            for r in 0..R {
                let a = lanes.splat(a[k][r]);
                for v in 0..2 {
                    sums[r][p][v] = lanes.fma(a, x[v], sums[r][p][v]);
                }
            }
        }
    }
    land(lanes, &sums, &mut sink);
}

/// Chains `R` rows over `C` columns of a matrix in row order, from +0 or (`CONTINUES`) on from what stands in `out`, whose rows are
/// `out_stride` apart; `a` is `[depth, R]`, and row k of `b` begins at `k * stride`.
#[inline(always)]
pub(crate) fn tile_strided<L: Lanes, const R: usize, const C: usize, const CONTINUES: bool>(
    lanes: L,
    a: &[[f32; R]],
    b: &[f32],
    stride: usize,
    out: &mut [f32],
    out_stride: usize,
) {
    let vectors = const { C / L::WIDTH };
    let mut sums = [[lanes.splat(0.0); MAX_VECTORS]; R];
    if CONTINUES {
        for r in 0..R {
            for v in 0..vectors {
                sums[r][v] = lanes.load(&out[r * out_stride + v * L::WIDTH..]);
            }
        }
    }
    for (a, row) in a.iter().zip(b.chunks(stride)) {
        let row = &row[..C];
        let mut x = [lanes.splat(0.0); MAX_VECTORS];
        for v in 0..vectors {
            x[v] = lanes.load(&row[v * L::WIDTH..]);
        }
        for r in 0..R {
            let a = lanes.splat(a[r]);
            for v in 0..vectors {
                sums[r][v] = lanes.fma(a, x[v], sums[r][v]);
            }
        }
    }
    for r in 0..R {
        let out = &mut out[r * out_stride..][..C];
        for v in 0..vectors {
            lanes.store(sums[r][v], &mut out[v * L::WIDTH..]);
        }
    }
}

/// Chains one row over `C` columns of a matrix in row order, on from `sums`; row k of `b` begins at `k * stride`.
#[inline(always)]
pub(crate) fn row_strided<L: Lanes, const C: usize>(lanes: L, a: &[f32], b: &[f32], stride: usize, sums: &mut [f32]) {
    let vectors = const { C / L::WIDTH };
    let mut held = [lanes.splat(0.0); MAX_VECTORS];
    for v in 0..vectors {
        held[v] = lanes.load(&sums[v * L::WIDTH..]);
    }
    for (a, row) in a.iter().zip(b.chunks(stride)) {
        let (a, row) = (lanes.splat(*a), &row[..C]);
        for v in 0..vectors {
            held[v] = lanes.fma(a, lanes.load(&row[v * L::WIDTH..]), held[v]);
        }
    }
    for v in 0..vectors {
        lanes.store(held[v], &mut sums[v * L::WIDTH..]);
    }
}

/// Most vectors in one row of a tile: decode runs eight NEON vectors side by side.
const MAX_VECTORS: usize = 8;
/// Values in a cache line.
const LINE: usize = 16;
/// Steps of k from the one at hand to that which is asked for of what is read once: the rows of the left side, or the few rows' right side.
const STEPS_AHEAD: usize = 32;
