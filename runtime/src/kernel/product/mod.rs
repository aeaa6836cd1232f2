//! The matrix product, NUMERICS rule 2.
//!
//! `C[i, j] = ((c_0 + c_1) + c_2) + …`, `c_b` the chain of fused multiply-adds over k in `256 b .. 256 (b + 1)`, ascending, from
//! +0. SIMD lanes run over j and register rows over i, so neither the width of a vector, the tile, the split over threads nor
//! the number of rows can show: every output depends on its own row of A and column of B alone.

mod integers;
mod pack;
mod tile;

use rayon::prelude::*;

use super::fma::Fma;
use super::lanes::Lanes;
use super::level::{Level, Vectorized, WithLanes};
use super::reduce::LANES;
pub use pack::PackedMatrix;
use pack::pack_left;
use tile::tile;
pub(crate) use tile::tile_strided;

/// Length of one chain: K is cut in blocks of this many.
pub const BLOCK: usize = 256;

/// Computes C = A B: `a` is `[M, K]`, `b` holds `[K, N]`, `c` is `[M, N]`; uses the current thread pool when large.
///
/// # Panics
///
/// Where the shapes do not fit or `b` was packed for another level.
pub fn product(level: Level, a: &[f32], m: usize, b: &PackedMatrix, c: &mut [f32]) {
    assert_eq!(a.len(), m * b.k(), "left side of a product [{m}, {}]", b.k());
    multiply(level, Left { values: a, stride: b.k(), transposed: false }, m, b, c);
}

/// Computes C = Aᵀ B: `a` is `[K, M]`, `b` is `[K, N]`, `c` is `[M, N]`.
///
/// # Panics
///
/// Where the shapes do not fit.
pub fn product_transposed(level: Level, a: &[f32], b: &[f32], k: usize, m: usize, n: usize, c: &mut [f32]) {
    assert_eq!(a.len(), k * m, "left side of a transposed product [{k}, {m}]");
    let b = PackedMatrix::from_rows(level, b, k, n);
    multiply(level, Left { values: a, stride: m, transposed: true }, m, &b, c);
}

/// Computes one output row of the product contract, `out[j] = Σ_k c_k row_k[j]`: `c_k` is every `stride_c`-th coefficient, `row_k`
/// begins at `k * stride_r` and has the length of `out`.
///
/// # Panics
///
/// Where a stride is 0 or a row would end beyond `rows`.
pub fn weighted_rows(
    level: Level,
    coefficients: &[f32],
    stride_c: usize,
    rows: &[f32],
    stride_r: usize,
    out: &mut [f32],
) {
    level.vectorize(WeightedRows { coefficients, stride_c, rows, stride_r, out });
}

/// The left side of a product: element (i, k) at `i * stride + k`, or at `k * stride + i` where transposed.
#[derive(Clone, Copy)]
struct Left<'a> {
    values: &'a [f32],
    stride: usize,
    transposed: bool,
}

fn multiply(level: Level, a: Left<'_>, m: usize, b: &PackedMatrix, c: &mut [f32]) {
    assert_eq!(level, b.level(), "level of a packed matrix");
    assert_eq!(c.len(), m * b.n(), "output of a product [{m}, {}]", b.n());
    if c.is_empty() {
        return;
    }
    if b.k() == 0 {
        c.fill(0.0);
        return;
    }
    let panels = b.panel_count();
    let (row_groups, column_groups) = grid(level, m, panels, b.k());
    if row_groups * column_groups == 1 {
        let out = c.chunks_exact_mut(b.n()).collect();
        Task { a, first_row: 0, b, first_panel: 0, out }.compute(level);
        return;
    }
    let rows = m.div_ceil(row_groups).next_multiple_of(level.tile_rows()).min(m);
    let panels_each = panels.div_ceil(column_groups);
    let width = panels_each * level.panel_columns();
    let mut tasks = Vec::with_capacity(row_groups * column_groups);
    for (group, c) in c.chunks_mut(rows * b.n()).enumerate() {
        let from = tasks.len();
        for first_panel in (0..panels).step_by(panels_each) {
            tasks.push(Task { a, first_row: group * rows, b, first_panel, out: Vec::with_capacity(rows) });
        }
        for row in c.chunks_exact_mut(b.n()) {
            for (task, part) in tasks[from..].iter_mut().zip(row.chunks_mut(width)) {
                task.out.push(part);
            }
        }
    }
    tasks.into_par_iter().with_max_len(1).for_each(|task| task.compute(level));
}

/// Chooses into how many groups of rows and of columns a product is cut; (1, 1) where handing it over would cost more.
fn grid(level: Level, m: usize, panels: usize, k: usize) -> (usize, usize) {
    let work = m.saturating_mul(panels * level.panel_columns()).saturating_mul(k);
    let threads = rayon::current_num_threads();
    if threads == 1 || work < PARALLEL_WORK {
        return (1, 1);
    }
    let tasks = (work / (PARALLEL_WORK / 2)).clamp(2, threads * 2);
    let row_groups = (m / TASK_ROWS).clamp(1, tasks);
    (row_groups, tasks.div_ceil(row_groups).clamp(1, panels))
}

/// One thread's part: the rows from `first_row` on, `out` holding of each the columns from panel `first_panel` on.
struct Task<'a> {
    a: Left<'a>,
    first_row: usize,
    b: &'a PackedMatrix,
    first_panel: usize,
    out: Vec<&'a mut [f32]>,
}

impl Task<'_> {
    fn compute(self, level: Level) {
        let mut scratch = SCRATCH.take();
        level.with_lanes(Run { task: self, scratch: &mut scratch });
        SCRATCH.set(scratch);
    }
}

thread_local! {
    /// Packed left rows, kept from one product to the next.
    static SCRATCH: std::cell::Cell<Vec<f32>> = const { std::cell::Cell::new(Vec::new()) };
}

struct Run<'a> {
    task: Task<'a>,
    scratch: &'a mut Vec<f32>,
}

impl WithLanes for Run<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes, const ROWS: usize, const COLUMNS: usize>(mut self, lanes: L) {
        let rows = self.task.out.len();
        let step = match rows {
            0..=3 => rows.max(1),
            _ => rows.div_ceil(rows.div_ceil(CHUNK_ROWS)).next_multiple_of(ROWS),
        };
        // Behind the rows, room for one block of a panel that is not f32.
        let needed = step * BLOCK + BLOCK * COLUMNS;
        if self.scratch.len() < needed {
            self.scratch.resize(needed, 0.0);
        }
        for k in (0..self.task.b.k()).step_by(BLOCK) {
            for row in (0..rows).step_by(step) {
                match rows {
                    1 if self.task.b.is_widened() => self.block::<L, 1, COLUMNS, 1>(lanes, k, row, step),
                    2 if self.task.b.is_widened() => self.block::<L, 2, COLUMNS, 1>(lanes, k, row, step),
                    3 if self.task.b.is_widened() => self.block::<L, 3, COLUMNS, 1>(lanes, k, row, step),
                    1 => self.block::<L, 1, COLUMNS, 4>(lanes, k, row, step),
                    2 => self.block::<L, 2, COLUMNS, 2>(lanes, k, row, step),
                    3 => self.block::<L, 3, COLUMNS, 2>(lanes, k, row, step),
                    _ => self.block::<L, ROWS, COLUMNS, 1>(lanes, k, row, step),
                }
            }
        }
    }
}

impl Run<'_> {
    /// Adds one k-block of `step` rows: packs them once, then walks the panels of B, `P` side by side.
    #[inline(always)]
    fn block<L: Lanes, const R: usize, const C: usize, const P: usize>(
        &mut self,
        lanes: L,
        k: usize,
        row: usize,
        step: usize,
    ) {
        let depth = BLOCK.min(self.task.b.k() - k);
        let rows = step.min(self.task.out.len() - row);
        let first_row = self.task.first_row + row;
        let (packed, room) = self.scratch.split_at_mut(step * BLOCK);
        let packed = &mut packed[..rows.div_ceil(R) * R * depth];
        pack_left::<R>(self.task.a, first_row, rows, k, packed);
        let panels = self.task.out[row].len().div_ceil(C);
        let mut panel = 0;
        while P > 1 && panel + P <= panels {
            let b =
                std::array::from_fn(|p| self.task.b.block::<C>(self.task.first_panel + panel + p, k, depth, &mut []));
            let out = &mut self.task.out[row..row + rows];
            panels_of::<L, R, C, P>(lanes, packed, b, out, panel * C, k == 0);
            panel += P;
        }
        while panel < panels {
            let b = [self.task.b.block::<C>(self.task.first_panel + panel, k, depth, room)];
            let out = &mut self.task.out[row..row + rows];
            panels_of::<L, R, C, 1>(lanes, packed, b, out, panel * C, k == 0);
            panel += 1;
        }
    }
}

/// Multiplies packed rows with `P` panels and puts the sums into (`first`) or adds them onto the outputs from `column` on.
#[inline(always)]
fn panels_of<L: Lanes, const R: usize, const C: usize, const P: usize>(
    lanes: L,
    packed: &[f32],
    b: [&[[f32; C]]; P],
    out: &mut [&mut [f32]],
    column: usize,
    first: bool,
) {
    let depth = b[0].len();
    for (a, out) in packed.chunks_exact(R * depth).zip(out.chunks_mut(R)) {
        let (a, _) = a.as_chunks::<R>();
        let mut sums = [0.0f32; MAX_TILE];
        #[cfg(feature = "planted")]
        let (a, b) = (&planted_order(a)[..], b.map(planted_order));
        #[cfg(feature = "planted")]
        let b = std::array::from_fn(|p| &b[p][..]);
        tile::<L, R, C, P>(lanes, a, b, &mut sums);
        for (sums, out) in sums.chunks_exact(P * C).zip(out) {
            let to = out.len().min(column + P * C);
            let out = &mut out[column..to];
            if first {
                out.copy_from_slice(&sums[..out.len()]);
            } else {
                for (out, sum) in out.iter_mut().zip(sums) {
                    *out += sum;
                }
            }
        }
    }
}

/// The wrong order, where this process has that fault.
#[cfg(feature = "planted")]
fn planted_order<T: Copy>(chain: &[T]) -> Vec<T> {
    let mut chain = chain.to_vec();
    if super::planted(super::Plant::ProductOrder) {
        chain.reverse();
    }
    chain
}

struct WeightedRows<'a> {
    coefficients: &'a [f32],
    stride_c: usize,
    rows: &'a [f32],
    stride_r: usize,
    out: &'a mut [f32],
}

impl Vectorized for WeightedRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        let count = self.coefficients.len().div_ceil(self.stride_c);
        if count == 0 {
            self.out.fill(0.0);
        }
        for (chunk, out) in self.out.chunks_mut(LANES).enumerate() {
            for k in (0..count).step_by(BLOCK) {
                let mut sums = [0.0f32; LANES];
                for k in k..count.min(k + BLOCK) {
                    let c = self.coefficients[k * self.stride_c];
                    let row = &self.rows[k * self.stride_r + chunk * LANES..][..out.len()];
                    for (sum, x) in sums.iter_mut().zip(row) {
                        *sum = F::fma(c, *x, *sum);
                    }
                }
                for (out, sum) in out.iter_mut().zip(sums) {
                    *out = if k == 0 { sum } else { *out + sum };
                }
            }
        }
    }
}

/// Multiplications below which a product stays on the calling thread, some 50 µs of one core.
const PARALLEL_WORK: usize = 1 << 20;
/// Rows a task should at least have before the rows are cut rather than the columns.
const TASK_ROWS: usize = 64;
/// Rows packed at a time: 192 rows of one block are 192 KiB, within a core's second-level cache.
const CHUNK_ROWS: usize = 192;
/// Values of the largest tile: 12 rows of two AVX-512 vectors.
const MAX_TILE: usize = 12 * 32;

#[cfg(test)]
mod tests;
