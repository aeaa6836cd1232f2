//! The order in which a product's operands lie in memory: panels whose rows are what one step of the inner loop reads.

use rayon::prelude::*;

use super::integers::IntegerPanels;
use super::{BLOCK, Left};
use crate::kernel::level::Level;
use crate::kernel::quantized::QuantizedRows;

/// A right side `[K, N]` of products, cut into panels of the level's width; each panel is `[K, width]`, the last one padded with
/// zeros.
#[derive(Clone, Debug)]
pub struct PackedMatrix {
    level: Level,
    k: usize,
    n: usize,
    panels: Panels,
}

#[derive(Clone, Debug)]
enum Panels {
    Values(Vec<f32>),
    Integers(IntegerPanels),
}

impl PackedMatrix {
    /// Packs `b` `[K, N]`.
    ///
    /// # Panics
    ///
    /// Where the shape does not fit.
    pub fn from_rows(level: Level, b: &[f32], k: usize, n: usize) -> PackedMatrix {
        assert_eq!(b.len(), k * n, "right side of a product [{k}, {n}]");
        PackedMatrix::pack(level, k, n, |column, width, panel| {
            let columns = level.panel_columns();
            for (out, row) in panel.chunks_exact_mut(columns).zip(b.chunks_exact(n)) {
                out[..width].copy_from_slice(&row[column..column + width]);
            }
        })
    }

    /// Packs the transpose of `bt` `[N, K]`, for instance a linear layer's weight `[out, in]`.
    ///
    /// # Panics
    ///
    /// Where the shape does not fit.
    pub fn from_columns(level: Level, bt: &[f32], n: usize, k: usize) -> PackedMatrix {
        assert_eq!(bt.len(), k * n, "transposed right side of a product [{n}, {k}]");
        PackedMatrix::pack(level, k, n, |column, width, panel| {
            let columns = level.panel_columns();
            for (block, out) in panel.chunks_mut(columns * BLOCK).enumerate() {
                let depth = out.len() / columns;
                for (j, source) in bt[column * k..(column + width) * k].chunks_exact(k).enumerate() {
                    let source = &source[block * BLOCK..][..depth];
                    for (out, x) in out.chunks_exact_mut(columns).zip(source) {
                        out[j] = *x;
                    }
                }
            }
        })
    }

    /// Packs the transpose of `bt` `[N, K]`, a linear layer's weight, and keeps it quantised.
    pub fn from_quantized_columns(level: Level, bt: &QuantizedRows) -> PackedMatrix {
        let panels = Panels::Integers(IntegerPanels::of_columns(level, bt));
        PackedMatrix { level, k: bt.columns, n: bt.rows, panels }
    }

    /// Packs `b` `[K, N]` and keeps it quantised.
    pub fn from_quantized_rows(level: Level, b: &QuantizedRows) -> PackedMatrix {
        let panels = Panels::Integers(IntegerPanels::of_rows(level, b));
        PackedMatrix { level, k: b.rows, n: b.columns, panels }
    }

    fn pack(level: Level, k: usize, n: usize, fill: impl Fn(usize, usize, &mut [f32]) + Sync) -> PackedMatrix {
        let columns = level.panel_columns();
        let mut panels = vec![0.0; n.div_ceil(columns) * columns * k];
        if k > 0 {
            let one = |(panel, out): (usize, &mut [f32])| {
                let column = panel * columns;
                fill(column, columns.min(n - column), out);
            };
            if panels.len() < PARALLEL_PACK {
                panels.chunks_exact_mut(columns * k).enumerate().for_each(one);
            } else {
                panels.par_chunks_exact_mut(columns * k).enumerate().for_each(one);
            }
        }
        PackedMatrix { level, k, n, panels: Panels::Values(panels) }
    }

    /// Rows.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Columns.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Level it was packed for.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Bytes held.
    pub fn len_bytes(&self) -> usize {
        match &self.panels {
            Panels::Values(values) => 4 * values.len(),
            Panels::Integers(integers) => integers.len_bytes(),
        }
    }

    pub(super) fn panel_count(&self) -> usize {
        self.n.div_ceil(self.level.panel_columns())
    }

    /// The rows `k..k + depth` of one panel, widened into `room` where they are not f32; `C` is the level's panel width.
    #[inline(always)]
    pub(super) fn block<'a, const C: usize>(
        &'a self,
        panel: usize,
        k: usize,
        depth: usize,
        room: &'a mut [f32],
    ) -> &'a [[f32; C]] {
        match &self.panels {
            Panels::Values(values) => {
                let (rows, _) = values.as_chunks::<C>();
                &rows[panel * self.k + k..][..depth]
            }
            Panels::Integers(integers) => {
                let (room, _) = room.as_chunks_mut::<C>();
                let room = &mut room[..depth];
                integers.widen::<C>(panel, k, room);
                room
            }
        }
    }

    /// Whether a block has to be widened first.
    #[inline(always)]
    pub(super) fn is_widened(&self) -> bool {
        matches!(self.panels, Panels::Integers(_))
    }
}

/// Packs `rows` rows of the left side from `first` on, columns from `k` on, as panels `[depth, R]`; missing rows are zeros.
#[inline(always)]
pub(super) fn pack_left<const R: usize>(a: Left<'_>, first: usize, rows: usize, k: usize, packed: &mut [f32]) {
    let depth = packed.len() / (rows.div_ceil(R) * R);
    for (panel, out) in packed.chunks_exact_mut(R * depth).enumerate() {
        let row = first + panel * R;
        let count = R.min(first + rows - row);
        let (out, _) = out.as_chunks_mut::<R>();
        if count < R {
            out.fill([0.0; R]);
        }
        if a.transposed {
            for (out, source) in out.iter_mut().zip(a.values[k * a.stride..].chunks(a.stride)) {
                out[..count].copy_from_slice(&source[row..row + count]);
            }
        } else {
            for r in 0..count {
                let source = &a.values[(row + r) * a.stride + k..][..depth];
                for (out, x) in out.iter_mut().zip(source) {
                    out[r] = *x;
                }
            }
        }
    }
}

/// Elements below which packing stays on the calling thread.
const PARALLEL_PACK: usize = 1 << 18;
