//! The matrix product, NUMERICS rule 2.
//!
//! `C[i, j] = ((c_0 + c_1) + c_2) + …`, `c_b` the chain of fused multiply-adds over k in `256 b .. 256 (b + 1)`, ascending, from
//! +0. SIMD lanes run over j and register rows over i, so neither the width of a vector, the tile, the split over threads nor
//! the number of rows can show: every output depends on its own row of A and column of B alone.

mod across;
mod column;
mod integers;
mod left;
mod rows;
mod run;
mod storage;
mod tile;

use std::cell::Cell;

use rayon::prelude::*;

use super::activation::add_bias;
use super::aligned::Aligned;
use super::fma::Fma;
use super::level::{Level, Vectorized};
use super::reduce::LANES;
use super::spread::worthwhile;
pub(crate) use left::interleave;
use left::{Left, pack_shared};
use run::{CHUNK_ROWS, Part, Task};
pub use storage::PackedMatrix;
pub(crate) use tile::{row_strided, tile_strided};

/// Length of one chain: K is cut in blocks of this many.
pub const BLOCK: usize = 256;

/// Computes C = A B: `a` is `[M, K]`, `b` holds `[K, N]`, `c` is `[M, N]`; uses the current thread pool when large.
///
/// # Panics
///
/// Where the shapes do not fit or `b` was packed for another level.
pub fn product(level: Level, a: &[f32], m: usize, b: &PackedMatrix, c: &mut [f32]) {
    products(level, a, m, vec![(b, None, c)]);
}

/// Computes C = A Bᵀ: `a` is `[M, K]`, `b` holds `[N, K]`, `c` is `[M, N]`. The backward pass of a linear layer needs it of the weight
/// that the forward pass packed.
///
/// # Panics
///
/// As [`product`].
pub fn product_by_transpose(level: Level, a: &[f32], m: usize, b: &PackedMatrix, c: &mut [f32]) {
    assert_eq!(a.len(), m * b.n(), "left side of a product by a transpose [{m}, {}]", b.n());
    let left = Left { values: a, stride: b.n(), transposed: false };
    multiply(level, left, m, Needed::All, vec![(Right { matrix: b, across: true, bias: None }, c)]);
}

/// Computes several products of the same left side, as if one after the other: the left side is packed once for all of them, and there are
/// fewer hand-overs where each is small. To every row of one with a bias `[N]`, that is added last, as [`super::add_bias`] does.
///
/// # Panics
///
/// As [`product`].
pub fn products(level: Level, a: &[f32], m: usize, right: Vec<(&PackedMatrix, Option<&[f32]>, &mut [f32])>) {
    for (b, bias, _) in &right {
        assert_eq!(a.len(), m * b.k(), "left side of a product [{m}, {}]", b.k());
        assert!(bias.is_none_or(|bias| bias.len() == b.n()), "bias of a product [{m}, {}]", b.n());
    }
    let stride = right.first().map_or(0, |(b, ..)| b.k());
    let right = right.into_iter().map(|(matrix, bias, c)| (Right { matrix, across: false, bias }, c)).collect();
    multiply(level, Left { values: a, stride, transposed: false }, m, Needed::All, right);
}

/// Computes C = Aᵀ B: `a` is `[K, M]`, `b` is `[K, N]`, `c` is `[M, N]`.
///
/// # Panics
///
/// Where the shapes do not fit.
pub fn product_transposed(level: Level, a: &[f32], b: &[f32], k: usize, m: usize, n: usize, c: &mut [f32]) {
    transposed(level, a, b, (k, m, n), Needed::All, c);
}

/// Computes C = A B where only the lower triangle counts: `a` is `[T, K]`, `b` holds `[K, T]`, and of `c` `[T, T]` the elements (i, j)
/// with j ≤ i are written; any other may be, with its value.
///
/// # Panics
///
/// As [`product`].
pub fn product_lower(level: Level, a: &[f32], b: &PackedMatrix, c: &mut [f32]) {
    let (k, m) = (b.k(), b.n());
    assert_eq!(a.len(), m * k, "left side of a product [{m}, {k}]");
    let left = Left { values: a, stride: k, transposed: false };
    multiply(level, left, m, Needed::LowerResult, vec![(Right { matrix: b, across: false, bias: None }, c)]);
}

/// Computes C = Aᵀ B of a lower triangle: `a` is `[T, T]` with +0 at (k, i) for k < i, `b` is `[T, N]`, `c` is `[T, N]`. What is added there
/// is not computed: chains begin with it, from +0, and stay +0 for any finite `b`.
///
/// # Panics
///
/// As [`product_transposed`].
pub fn product_transposed_lower(level: Level, a: &[f32], b: &[f32], t: usize, n: usize, c: &mut [f32]) {
    transposed(level, a, b, (t, t, n), Needed::UpperLeft, c);
}

fn transposed(level: Level, a: &[f32], b: &[f32], (k, m, n): (usize, usize, usize), needed: Needed, c: &mut [f32]) {
    assert_eq!(a.len(), k * m, "left side of a transposed product [{k}, {m}]");
    let b = PackedMatrix::from_rows_in(level, b, k, n, RIGHT_ROOM.take());
    let left = Left { values: a, stride: m, transposed: true };
    multiply(level, left, m, needed, vec![(Right { matrix: &b, across: false, bias: None }, c)]);
    let room = b.into_room();
    if room.len() <= MOST_RIGHT_ROOM {
        RIGHT_ROOM.set(room);
    }
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

/// What of a product is computed.
#[derive(Clone, Copy)]
enum Needed {
    All,
    /// Elements (i, j) with j ≤ i.
    LowerResult,
    /// All, of a left side whose elements (i, k) with k < i are +0.
    UpperLeft,
}

/// The right side of a product: a packed matrix, or its transpose where `across`; and what is added to every row of the product.
#[derive(Clone, Copy)]
struct Right<'a> {
    matrix: &'a PackedMatrix,
    across: bool,
    bias: Option<&'a [f32]>,
}

impl Right<'_> {
    /// Length of the chains.
    fn depth(&self) -> usize {
        if self.across { self.matrix.n() } else { self.matrix.k() }
    }

    /// Columns of the product.
    fn columns(&self) -> usize {
        if self.across { self.matrix.k() } else { self.matrix.n() }
    }

    /// Columns of the product in panels of the level's width.
    fn panel_count(&self) -> usize {
        self.columns().div_ceil(self.matrix.level().panel_columns())
    }
}

fn multiply(level: Level, a: Left<'_>, m: usize, needed: Needed, right: Vec<(Right<'_>, &mut [f32])>) {
    let mut whole = Vec::with_capacity(right.len());
    for (b, c) in right {
        assert_eq!(level, b.matrix.level(), "level of a packed matrix");
        assert_eq!(c.len(), m * b.columns(), "output of a product [{m}, {}]", b.columns());
        if b.depth() == 0 || c.is_empty() {
            c.fill(0.0);
            if let Some(bias) = b.bias {
                add_bias(level, c, bias);
            }
        } else {
            whole.push((b, c));
        }
    }
    let Some((first, _)) = whole.first() else { return };
    let (depth, across) = (first.depth(), first.across);
    let panels = whole.iter().map(|(b, _)| panel_pairs(*b)).sum();
    let work = m.saturating_mul(panels * level.panel_columns()).saturating_mul(depth);
    let mut groups = (1, 1);
    if worthwhile(work, PARALLEL_WORK) {
        groups = grid(m, panels, across, work);
    }
    let mut room = ROOM.take();
    let packed = (groups.0 == 1 && groups.1 > 1).then(|| pack_shared(level, a, m, depth, &mut room)).flatten();
    let tasks = cut(level, (a, needed, packed), m, whole, groups, panels);
    if groups == (1, 1) {
        tasks.into_iter().for_each(|task| task.compute(level));
    } else {
        tasks.into_par_iter().with_max_len(1).for_each(|task| task.compute(level));
    }
    ROOM.set(room);
}

/// Panels of a right side, an even number: integers lie by pairs of panels.
fn panel_pairs(b: Right<'_>) -> usize {
    b.panel_count().next_multiple_of(2)
}

/// Cuts products of one left side into tasks: so many groups of rows by so many of columns, those of all right sides in a line. A group of
/// columns' tasks follow one another, so that a thread stays with its part of the right sides.
fn cut<'a>(
    level: Level,
    (a, needed, packed): (Left<'a>, Needed, Option<&'a [f32]>),
    m: usize,
    right: Vec<(Right<'a>, &'a mut [f32])>,
    (row_groups, column_groups): (usize, usize),
    panels: usize,
) -> Vec<Task<'a>> {
    let rows = m.div_ceil(row_groups).next_multiple_of(level.tile_rows()).min(m);
    let row_groups = m.div_ceil(rows);
    let firsts = even_cuts(panels, column_groups);
    let mut tasks: Vec<Task<'a>> = (0..row_groups * (firsts.len() - 1))
        .map(|i| Task { a, needed, packed, first_row: i % row_groups * rows, parts: Vec::new() })
        .collect();
    let mut start = 0;
    for (b, c) in right {
        let (columns, end) = (b.columns(), start + panel_pairs(b));
        let groups = firsts.partition_point(|first| *first <= start) - 1..firsts.partition_point(|first| *first < end);
        for (row_group, c) in c.chunks_mut(rows * columns).enumerate() {
            let mut parts: Vec<Part<'a>> = firsts[groups.clone()]
                .iter()
                .map(|first| first.saturating_sub(start))
                .map(|first_panel| Part { b, first_panel, out: Vec::with_capacity(rows) })
                .collect();
            for row in c.chunks_exact_mut(columns) {
                // From the last part on: each ends where the one after it begins.
                let mut rest = row;
                for part in parts.iter_mut().rev() {
                    let (before, here) = rest.split_at_mut(part.first_panel * level.panel_columns());
                    part.out.push(here);
                    rest = before;
                }
            }
            for (group, part) in groups.clone().zip(parts) {
                tasks[group * row_groups + row_group].parts.push(part);
            }
        }
        start = end;
    }
    tasks
}

/// Where at most `groups` groups of an even number of panels begin, and the end: no run of groups, of those that a thread may get, holds
/// more than its share and one pair.
fn even_cuts(panels: usize, groups: usize) -> Vec<usize> {
    let pairs = panels / 2;
    let groups = groups.min(pairs);
    (0..=groups).map(|group| 2 * (pairs * group / groups)).collect()
}

/// Chooses into how many groups of rows and of columns products of so many multiplications are cut.
fn grid(m: usize, panels: usize, across: bool, work: usize) -> (usize, usize) {
    let threads = rayon::current_num_threads();
    // Each chunk of rows widens or transposes what it reads of the right side: where there is one chunk, columns are cut first.
    let one_chunk = m <= CHUNK_ROWS;
    let most = if across && !one_chunk { threads } else { threads * 2 };
    let tasks = (work / (PARALLEL_WORK / 2)).clamp(1, most);
    let row_groups = if across || one_chunk { (m / CHUNK_ROWS).max(tasks / panels) } else { m / TASK_ROWS };
    let row_groups = row_groups.clamp(1, tasks);
    (row_groups, tasks.div_ceil(row_groups).clamp(1, panels))
}

thread_local! {
    /// Where left sides are packed that several tasks read.
    static ROOM: Cell<Aligned<f32>> = Cell::default();
    /// Where the right sides of transposed products are packed.
    static RIGHT_ROOM: Cell<Aligned<f32>> = Cell::default();
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

/// Multiplications below which products stay on the calling thread: some 15 µs of one core where each weight is used once.
const PARALLEL_WORK: usize = 1 << 18;
/// Values that stay for the next transposed product's right side: 8 MiB.
const MOST_RIGHT_ROOM: usize = 1 << 21;
/// Rows a task should at least have before the rows are cut rather than the columns.
const TASK_ROWS: usize = 64;
#[cfg(test)]
mod tests;
