//! One thread's part of a product: which rows, panels and blocks of k are at hand when, so that what is read again lies near.
//!
//! Rows of C are taken in chunks and its columns in groups of panels. What the blocks of k add up to lies in memory of its own meanwhile,
//! tile after tile within the second-level cache: in C, whose rows are far apart, every row would be a page and two places compete for
//! one line. Within, one block of one panel stays in the first-level cache while every row of the chunk passes it. Few rows
//! (decoding) walk each panel from end to end instead, several panels side by side, as memory gives them. The order of work never
//! shows: each output adds its blocks in ascending order.

use super::across::Across;
use super::column::{At, Column, resume};
use super::integers::IntegerPanels;
use super::left::{Left, Tiles, pack_left};
use super::rows::{RightBlocks, RightRows, RightSums, Rows, Visitor};
use super::tile::Ahead;
use super::{BLOCK, Needed, Right};
use crate::kernel::aligned::Aligned;
use crate::kernel::lanes::Lanes;
use crate::kernel::level::{Level, WithLanes};

/// One thread's part: some rows of one left side past parts of the right sides, of which there is at least one.
pub(super) struct Task<'a> {
    pub(super) a: Left<'a>,
    pub(super) needed: Needed,
    /// The left side as [`super::left::pack_shared`] packed it, where several tasks read all of it.
    pub(super) packed: Option<&'a [f32]>,
    pub(super) first_row: usize,
    pub(super) parts: Vec<Part<'a>>,
}

/// Part of a right side: the panels from `first_panel` on, `out` holding their columns of each row.
pub(super) struct Part<'a> {
    pub(super) b: Right<'a>,
    pub(super) first_panel: usize,
    pub(super) out: Vec<&'a mut [f32]>,
}

impl Task<'_> {
    pub(super) fn compute(self, level: Level) {
        let Some(Part { b, out, .. }) = self.parts.first() else { return };
        let (rows, depth) = (out.len(), b.depth());
        let few = rows <= FEW_ROWS && self.parts.iter().all(|part| !part.b.across && part.b.matrix.suits_few_rows());
        let mut scratch = SCRATCH.take();
        let run = Run { task: self, level, rows, depth, scratch: &mut scratch };
        if few {
            level.with_lanes(Few(run));
        } else {
            level.with_lanes(Many(run));
        }
        SCRATCH.set(scratch);
    }
}

/// Copies of operands, kept from one product to the next.
#[derive(Default)]
struct Scratch {
    left: Aligned<f32>,
    right: Aligned<f32>,
    sums: Aligned<f32>,
}

thread_local! {
    static SCRATCH: std::cell::Cell<Scratch> = std::cell::Cell::default();
}

struct Run<'a> {
    task: Task<'a>,
    level: Level,
    rows: usize,
    depth: usize,
    scratch: &'a mut Scratch,
}

/// At most [`FEW_ROWS`] rows.
struct Few<'a>(Run<'a>);

/// Any number of rows.
struct Many<'a>(Run<'a>);

impl WithLanes for Few<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes, const ROWS: usize, const COLUMNS: usize>(self, lanes: L) {
        match self.0.rows {
            1 => few::<L, 1, COLUMNS>(lanes, self.0),
            2 => few::<L, 2, COLUMNS>(lanes, self.0),
            _ => few::<L, FEW_ROWS, COLUMNS>(lanes, self.0),
        }
    }
}

impl WithLanes for Many<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes, const ROWS: usize, const COLUMNS: usize>(self, lanes: L) {
        many::<L, COLUMNS>(lanes, self.0);
    }
}

/// Multiplies `R` rows.
#[inline(always)]
fn few<L: Lanes, const R: usize, const C: usize>(lanes: L, run: Run<'_>) {
    let Run { task: Task { a, first_row, parts, .. }, depth, scratch, .. } = run;
    let left = &mut scratch.left.at_least(R * depth)[..R * depth];
    pack_left::<L, R>(lanes, a, first_row, R, 0, left);
    let (left, _) = left.as_chunks::<R>();
    for part in parts {
        let Part { b, first_panel, out } = part;
        let bias = b.bias.map(|bias| &bias[first_panel * C..]);
        b.matrix.visit(Walk::<L, R, C> { lanes, left, first_panel, bias, out });
    }
}

/// `R` packed rows, and where their products with some panels go.
struct Walk<'a, 'b, L, const R: usize, const C: usize> {
    lanes: L,
    left: &'a [[f32; R]],
    first_panel: usize,
    /// From the first panel's columns on.
    bias: Option<&'a [f32]>,
    out: Vec<&'b mut [f32]>,
}

impl<L: Lanes, const R: usize, const C: usize> Visitor<L> for Walk<'_, '_, L, R, C> {
    #[inline(always)]
    fn rows<B: RightRows<L>>(self, b: Rows<B>)
    where
        Rows<B>: RightBlocks<L>,
    {
        if R == 1 { self.past::<_, 4>(b) } else { self.past::<_, 2>(b) }
    }

    #[inline(always)]
    fn integers(self, b: &IntegerPanels) {
        if R == 1 && L::ASKS_AHEAD {
            self.past::<_, 4>(b);
        } else if R <= 2 {
            self.past::<_, 2>(b);
        } else {
            self.past::<_, 1>(b);
        }
    }
}

impl<L: Lanes, const R: usize, const C: usize> Walk<'_, '_, L, R, C> {
    /// Walks the panels from end to end, `P` side by side.
    #[inline(always)]
    fn past<B: RightSums<L>, const P: usize>(self, b: B) {
        let Walk { lanes, left, first_panel, bias, mut out } = self;
        let panels = out[0].len().div_ceil(C);
        let mut panel = 0;
        while panel < panels {
            let side_by_side = if panel + P <= panels { P } else { 1 };
            for (block, a) in left.chunks(BLOCK).enumerate() {
                let (from, k, column) = (first_panel + panel, block * BLOCK, panel * C);
                // Sums go to their place in one way, be they the first block's or not: every other way would be a copy of the loop.
                if side_by_side == P {
                    let mut sums = [[[0.0f32; C]; P]; R];
                    b.sums::<_, R, C, P>(lanes, a, from, k, &mut sums);
                    settle(&sums, &mut out, column, block == 0);
                } else {
                    let mut sums = [[[0.0f32; C]; 1]; R];
                    b.sums::<_, R, C, 1>(lanes, a, from, k, &mut sums);
                    settle(&sums, &mut out, column, block == 0);
                }
            }
            if let Some(bias) = bias {
                let columns = panel * C..out[0].len().min((panel + side_by_side) * C);
                for out in &mut out {
                    for (out, bias) in out[columns.clone()].iter_mut().zip(&bias[columns.clone()]) {
                        *out += bias;
                    }
                }
            }
            panel += side_by_side;
        }
    }
}

/// Multiplies any number of rows, a chunk of them at a time.
#[inline(always)]
fn many<L: Lanes, const C: usize>(lanes: L, run: Run<'_>) {
    let Run { task: Task { a, needed, packed, first_row, mut parts }, level, rows, depth, scratch } = run;
    let Scratch { left, right, sums } = scratch;
    let step = rows.div_ceil(rows.div_ceil(CHUNK_ROWS)).next_multiple_of(level.tile_rows());
    let held = if packed.is_some() { depth } else { depth.min((LEFT_VALUES / step).next_multiple_of(BLOCK)) };
    let (left, room) = (left.at_least(if packed.is_some() { 0 } else { step * held }), right.at_least(BLOCK * C));
    let sums = sums.at_least((step + level.tile_rows()) * GROUP_COLUMNS);
    for chunk in (0..rows).step_by(step) {
        let end = rows.min(chunk + step);
        let tiles = Tiles::of(level, first_row + chunk, end - chunk);
        for first_k in (0..depth).step_by(held) {
            let (depth, rest) = (held.min(depth - first_k), depth - first_k);
            let packed = packed.unwrap_or_else(|| tiles.pack(a, first_k, &mut left[..tiles.padded() * depth]));
            let blocks: Vec<&[f32]> = packed.chunks(tiles.padded() * BLOCK).collect();
            for Part { b, first_panel, out } in &mut parts {
                let (first_panel, across, out) = (*first_panel, b.across, &mut out[chunk..end]);
                let blocks = &blocks;
                let bias = b.bias.filter(|_| depth == rest).map(|bias| &bias[first_panel * C..]);
                b.matrix.visit(Chunk::<L, C> {
                    lanes,
                    tiles,
                    needed,
                    blocks,
                    first_k,
                    across,
                    first_panel,
                    bias,
                    out,
                    room,
                    sums,
                });
            }
        }
    }
}

/// Packed rows, and where their products with some panels go.
struct Chunk<'a, 'b, L, const C: usize> {
    lanes: L,
    tiles: Tiles,
    needed: Needed,
    /// Packed by [`Tiles::pack`].
    blocks: &'a [&'a [f32]],
    /// Where the first block begins.
    first_k: usize,
    across: bool,
    first_panel: usize,
    /// From the first panel's columns on, where these blocks are the last ones.
    bias: Option<&'a [f32]>,
    out: &'a mut [&'b mut [f32]],
    room: &'a mut [f32],
    /// For the sums of a group of panels, `[rows, C]` each.
    sums: &'a mut [f32],
}

impl<L: Lanes, const C: usize> Visitor<L> for Chunk<'_, '_, L, C> {
    #[inline(always)]
    fn rows<B: RightRows<L>>(self, b: Rows<B>)
    where
        Rows<B>: RightBlocks<L>,
    {
        if self.across { self.past(Across(b)) } else { self.past(b) }
    }

    #[inline(always)]
    fn integers(self, b: &IntegerPanels) {
        if self.across { self.past(Across(b)) } else { self.past(b) }
    }
}

impl<L: Lanes, const C: usize> Chunk<'_, '_, L, C> {
    /// Takes the rows past the panels, a group of them at a time.
    #[inline(always)]
    fn past<B: RightBlocks<L>>(self, b: B) {
        let Chunk { lanes, tiles, needed, blocks, first_k, first_panel, bias, out, room, sums, .. } = self;
        let panels = out[0].len().div_ceil(C);
        let group = (GROUP_COLUMNS / C).max(1);
        let (sums, _) = sums.as_chunks_mut::<C>();
        for panel in (0..panels).step_by(group) {
            let group = panel..panels.min(panel + group);
            if first_k > 0 {
                for (panel, sums) in group.clone().zip(sums.chunks_exact_mut(tiles.padded())) {
                    resume(out, panel * C, sums);
                }
            }
            for (index, left) in blocks.iter().enumerate() {
                let (k, len) = (first_k + index * BLOCK, left.len() / tiles.padded());
                let last = index + 1 == blocks.len();
                for (panel, sums) in group.clone().zip(sums.chunks_exact_mut(tiles.padded())) {
                    let right = b.block::<C>(lanes, first_panel + panel, k, len, room);
                    let (next, next_k) = match panel + 1 {
                        next if next < group.end => (next, k),
                        next if last => (next, first_k),
                        _ => (group.start, k + BLOCK),
                    };
                    let mut ahead = Ahead::nothing(left);
                    match b.ahead::<C>(first_panel + next, next_k, tiles.padded() / tiles.level.tile_rows()) {
                        Some(next) if L::ASKS_AHEAD => ahead = next,
                        _ => b.prefetch::<C>(lanes, first_panel + panel + 1, k, len),
                    }
                    let (panel_column, column) = ((first_panel + panel) * C, panel * C);
                    let at = At { k, panel_column, column, first: k == 0, last };
                    let bias = bias.filter(|_| last).map(|bias| &bias[column..]);
                    Column { needed, first_row: tiles.first, left, right, ahead, sums, bias, out, at }.past(tiles);
                }
            }
        }
    }
}

/// Puts the sums of one block of k and `P` panels into (`first`) or adds them onto the outputs from `column` on.
#[inline(always)]
fn settle<const R: usize, const C: usize, const P: usize>(
    sums: &[[[f32; C]; P]; R],
    out: &mut [&mut [f32]],
    column: usize,
    first: bool,
) {
    for (sums, out) in sums.iter().zip(out) {
        let to = out.len().min(column + P * C);
        // Whole panels have a length the compiler knows: then a row is a few vector moves, not a call.
        let (whole, rest) = out[column..to].as_chunks_mut::<C>();
        for (out, sums) in whole.iter_mut().zip(sums) {
            if first {
                *out = *sums;
            } else {
                for (out, sum) in out.iter_mut().zip(sums) {
                    *out += sum;
                }
            }
        }
        for (out, sum) in rest.iter_mut().zip(&sums[whole.len() % P]) {
            *out = if first { *sum } else { *out + sum };
        }
    }
}

/// Rows up to which panels are walked from end to end.
pub(super) const FEW_ROWS: usize = 3;
/// Rows taken at a time: 384 rows of one block are 384 KiB, within a core's second-level cache. With 192 a panel is fetched from afar
/// twice as often (measured on one Zen 3 core at 1024 × 896 × 4864: 79 GFLOP/s, against 82).
pub(super) const CHUNK_ROWS: usize = 384;
/// Values of the left side that are packed at a time, 4 MiB: where K is a vocabulary, all of them would be a copy of the logits.
const LEFT_VALUES: usize = 1 << 20;
/// Columns of C taken at a time: 384 rows of them are 192 KiB.
const GROUP_COLUMNS: usize = 128;
