//! Packed rows past one block of one panel: tile after tile, the sums from where the block before left them to where the next one finds
//! them, or to C.

use super::Needed;
use super::left::Tiles;
use super::rows::{F32Rows, RightRows};
use super::tile::{Ahead, Place, Sums, ask_for, tile};
use crate::kernel::lanes::Lanes;
use crate::kernel::level::WithLanes;

/// Where one block of one panel stands.
#[derive(Clone, Copy)]
pub(super) struct At {
    /// Its first row.
    pub(super) k: usize,
    /// Its first column, in the right side.
    pub(super) panel_column: usize,
    /// The same, in the task's part of C.
    pub(super) column: usize,
    /// Whether no block stands before it.
    pub(super) first: bool,
    /// Whether C takes the sums after it.
    pub(super) last: bool,
}

/// Rows, one block of one panel, and where their products go.
pub(super) struct Column<'a, 'b, const W: usize> {
    pub(super) needed: Needed,
    pub(super) first_row: usize,
    /// `[rows / R, len, R]`.
    pub(super) left: &'a [f32],
    /// `[len, C]`.
    pub(super) right: &'a [f32],
    /// The block that comes next, as far as it can be asked for bit by bit.
    pub(super) ahead: Ahead,
    /// `[rows, C]`, what the blocks before add up to.
    pub(super) sums: &'a mut [[f32; W]],
    /// From the panel's first column on, where C takes the sums.
    pub(super) bias: Option<&'a [f32]>,
    pub(super) out: &'a mut [&'b mut [f32]],
    pub(super) at: At,
}

impl<const W: usize> Column<'_, '_, W> {
    /// Takes the rows past the block: those in high tiles, then those in lower ones.
    #[inline(always)]
    pub(super) fn past(self, tiles: Tiles) {
        let Column { needed, first_row, left, right, ahead, sums, bias, out, at } = self;
        let (high, low) = left.split_at(tiles.high_values(left.len()));
        let (sums, low_sums) = sums.split_at_mut(tiles.high_values(sums.len()));
        let (out, low_out) = out.split_at_mut(tiles.high);
        if !out.is_empty() {
            tiles.level.with_lanes(Column { needed, first_row, left: high, right, ahead, sums, bias, out, at });
        }
        if !low_out.is_empty() {
            let first_row = first_row + tiles.high;
            tiles.level.with_lower_tile(Column {
                needed,
                first_row,
                left: low,
                right,
                ahead,
                sums: low_sums,
                bias,
                out: low_out,
                at,
            });
        }
    }
}

impl<const W: usize> WithLanes for Column<'_, '_, W> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes, const R: usize, const C: usize>(self, lanes: L) {
        let Column { needed, first_row, left, right, ahead, sums, bias, out, at } = self;
        let len = right.len() / C;
        let right = F32Rows::<L>::new(right);
        let tiles = out.len().div_ceil(R);
        let rows = left.chunks_exact(R * len).zip(sums.chunks_exact_mut(R)).zip(out.chunks_mut(R));
        for (group, ((a, sums), out)) in rows.enumerate() {
            let row = first_row + group * R;
            let from = match needed {
                Needed::LowerResult if row + R <= at.panel_column => continue,
                Needed::UpperLeft => row.clamp(at.k, at.k + len) - at.k,
                _ => 0,
            };
            let (a, b, column) = (&a.as_chunks::<R>().0[from..], right.part(from, len - from), at.column);
            let (ahead, whole) = (ahead.part(group, tiles, len), out[0].len() >= column + C);
            if L::ASKS_AHEAD && at.last && whole {
                for out in out.iter() {
                    ask_for(lanes, &out[column..column + C]);
                }
            }
            match (at.first, at.last) {
                (true, true) if whole && out.len() == R && bias.is_none() => {
                    tile(lanes, a, [b], ahead, Place { rows: out, column });
                    continue;
                }
                (true, _) => tile(lanes, a, [b], ahead, Sums::<W, false>(sums)),
                (false, _) => tile(lanes, a, [b], ahead, Sums::<W, true>(sums)),
            }
            if at.last {
                finish::<L, W>(lanes, sums, bias, out, column);
            }
        }
    }
}

/// Takes the columns of C from one on as the sums of the blocks before.
pub(super) fn resume<const C: usize>(out: &[&mut [f32]], column: usize, sums: &mut [[f32; C]]) {
    for (out, sums) in out.iter().zip(sums) {
        let out = &out[column..];
        let count = out.len().min(C);
        sums[..count].copy_from_slice(&out[..count]);
    }
}

/// Puts sums, with the bias if there is one, where they belong in C, whose rows may end before them.
#[inline(always)]
fn finish<L: Lanes, const C: usize>(
    lanes: L,
    sums: &[[f32; C]],
    bias: Option<&[f32]>,
    out: &mut [&mut [f32]],
    column: usize,
) {
    for (sums, out) in sums.iter().zip(out) {
        let out = &mut out[column..];
        if out.len() < C {
            out.copy_from_slice(&sums[..out.len()]);
            for (out, bias) in out.iter_mut().zip(bias.unwrap_or_default()) {
                *out += bias;
            }
            continue;
        }
        for at in [0, L::WIDTH] {
            let mut sum = lanes.load(&sums[at..]);
            if let Some(bias) = bias {
                sum = lanes.add(sum, lanes.load(&bias[at..]));
            }
            lanes.store(sum, &mut out[at..]);
        }
    }
}
