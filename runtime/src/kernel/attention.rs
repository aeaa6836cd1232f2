//! Scaled dot-product attention, two passes, no online rescaling.
//!
//! For the query at position p and every visible key j: `s_j = chain(q, k_j) · scale` (the product contract over the head
//! dimension, then one multiplication), `P = softmax(s)` with element j in lane j mod 32, `out = Σ_j P_j v_j` by the product
//! contract over absolute key positions, so blocks of 256 begin at multiples of 256 whatever part of the sequence is at hand.
//! Positions after p are skipped, not added as zeros. Hence prefill in any pieces and decode give equal bits.
//!
//! Query head h reads key/value head `h / (heads / kv_heads)`. Shapes: q and out `[T, heads * head_dim]`.

use std::ops::Range;

use rayon::prelude::*;

use super::key_value::KeyValue;
use super::lanes::Lanes;
use super::level::{Level, WithLanes};
use super::product::{BLOCK, interleave, row_strided, tile_strided};
use super::softmax::normalise;
use super::spread::worthwhile;

/// Attends from T query rows at positions `first_position..` to the keys at or before each, as held in `kv`.
///
/// `probabilities`, where asked for, is `[heads, T, kv.len()]` and gets zeros at positions not seen.
///
/// # Panics
///
/// Where the shapes do not fit or a query's own position is not yet in `kv`.
pub fn attend_causal(
    level: Level,
    q: &[f32],
    kv: &KeyValue,
    first_position: usize,
    heads: usize,
    scale: f32,
    out: &mut [f32],
    probabilities: Option<&mut [f32]>,
) {
    let rows = q.len().checked_div(heads * kv.head_dim()).unwrap_or(0);
    assert!(first_position + rows <= kv.len(), "keys up to position {}", first_position + rows);
    attend(
        level,
        Queries { q, kv, heads, scale, visible: Visible::UpTo(first_position + 1) },
        rows,
        out,
        probabilities,
    );
}

/// Attends from each row of q to all `tokens`; k and v are `[tokens, heads * head_dim]`, q and out `[R, heads * head_dim]`.
///
/// `probabilities`, where asked for, is `[heads, R, tokens]`.
///
/// # Panics
///
/// Where the shapes do not fit.
pub fn attend_full(
    level: Level,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    tokens: usize,
    heads: usize,
    head_dim: usize,
    scale: f32,
    out: &mut [f32],
    probabilities: Option<&mut [f32]>,
) {
    if tokens == 0 {
        assert!(q.is_empty(), "queries and no keys");
        return;
    }
    let mut kv = KeyValue::new(heads, head_dim, tokens);
    kv.push(k, v);
    assert_eq!(kv.len(), tokens, "rows of keys and values");
    let rows = q.len() / (heads * head_dim);
    attend(level, Queries { q, kv: &kv, heads, scale, visible: Visible::All(tokens) }, rows, out, probabilities);
}

/// What every task of one call shares.
#[derive(Clone, Copy)]
struct Queries<'a> {
    q: &'a [f32],
    kv: &'a KeyValue,
    heads: usize,
    scale: f32,
    visible: Visible,
}

/// How many keys a row sees.
#[derive(Clone, Copy)]
enum Visible {
    /// Row t sees this many plus t.
    UpTo(usize),
    /// Every row sees this many.
    All(usize),
}

impl Visible {
    #[inline(always)]
    fn of(self, row: usize) -> usize {
        match self {
            Visible::UpTo(first) => first + row,
            Visible::All(count) => count,
        }
    }
}

fn attend(level: Level, queries: Queries<'_>, rows: usize, out: &mut [f32], probabilities: Option<&mut [f32]>) {
    let Queries { q, kv, heads, .. } = queries;
    let (head_dim, len) = (kv.head_dim(), kv.len());
    assert_eq!(q.len(), rows * heads * head_dim, "queries [{rows}, {heads} * {head_dim}]");
    assert_eq!(out.len(), q.len(), "output of attention");
    assert!(kv.kv_heads() > 0 && heads.is_multiple_of(kv.kv_heads()), "{heads} query heads over {}", kv.kv_heads());
    if out.is_empty() {
        return;
    }
    let blocks = rows.div_ceil(TASK_ROWS);
    let mut tasks: Vec<Task<'_>> = (0..blocks * heads)
        .map(|i| Task {
            queries,
            head: i % heads,
            first_row: i / heads * TASK_ROWS,
            out: Vec::new(),
            saved: Vec::new(),
        })
        .collect();
    for (i, part) in out.chunks_exact_mut(head_dim).enumerate() {
        tasks[i / heads / TASK_ROWS * heads + i % heads].out.push(part);
    }
    if let Some(probabilities) = probabilities {
        assert_eq!(probabilities.len(), heads * rows * len, "probabilities [{heads}, {rows}, {len}]");
        for (i, part) in probabilities.chunks_exact_mut(len).enumerate() {
            tasks[i % rows / TASK_ROWS * heads + i / rows].saved.push(part);
        }
    }
    let work = rows.saturating_mul(heads * head_dim).saturating_mul(len);
    if !worthwhile(work, PARALLEL_WORK) {
        tasks.into_iter().for_each(|task| task.compute(level));
    } else {
        tasks.into_par_iter().with_max_len(1).for_each(|task| task.compute(level));
    }
}

/// Some rows of one head.
struct Task<'a> {
    queries: Queries<'a>,
    head: usize,
    first_row: usize,
    out: Vec<&'a mut [f32]>,
    saved: Vec<&'a mut [f32]>,
}

impl Task<'_> {
    fn compute(self, level: Level) {
        let mut scratch = SCRATCH.take();
        level.with_lanes(Run { task: self, scratch: &mut scratch });
        SCRATCH.set(scratch);
    }
}

#[derive(Default)]
struct Scratch {
    /// Scores, then probabilities, `[rows, score_stride]`.
    scores: Vec<f32>,
    /// The left side of the tile at hand, `[depth, R]`.
    packed: Vec<f32>,
}

thread_local! {
    /// Kept from one call to the next.
    static SCRATCH: std::cell::Cell<Scratch> =
        const { std::cell::Cell::new(Scratch { scores: Vec::new(), packed: Vec::new() }) };
}

struct Run<'a> {
    task: Task<'a>,
    scratch: &'a mut Scratch,
}

impl WithLanes for Run<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes, const ROWS: usize, const COLUMNS: usize>(mut self, lanes: L) {
        let rows = self.task.out.len();
        let held = rows.next_multiple_of(ROWS) * self.task.queries.kv.score_stride();
        if self.scratch.scores.len() < held {
            self.scratch.scores.resize(held, 0.0);
        }
        self.scratch.packed.resize(BLOCK * TASK_ROWS.next_multiple_of(ROWS), 0.0);
        if rows == 1 {
            self.scores::<L, 1, 32>(lanes);
            self.normalise(lanes);
            self.weigh::<L, 1, 32>(lanes);
        } else {
            self.scores::<L, ROWS, COLUMNS>(lanes);
            self.normalise(lanes);
            self.weigh::<L, ROWS, COLUMNS>(lanes);
        }
    }
}

impl Run<'_> {
    /// Computes the unscaled scores of every row, `R` rows and `C` keys at a time.
    #[inline(always)]
    fn scores<L: Lanes, const R: usize, const C: usize>(&mut self, lanes: L) {
        let Queries { q, kv, heads, visible, .. } = self.task.queries;
        let (head_dim, stride) = (kv.head_dim(), kv.score_stride());
        let kv_head = self.task.head / (heads / kv.kv_heads());
        let (rows, first) = (self.task.out.len(), self.task.first_row);
        for d in (0..head_dim).step_by(BLOCK) {
            let depth = BLOCK.min(head_dim - d);
            let packed = &mut self.scratch.packed[..rows.div_ceil(R) * R * depth];
            for (group, packed) in packed.chunks_exact_mut(R * depth).enumerate() {
                let row = group * R;
                let from = &q[((first + row) * heads + self.task.head) * head_dim + d..];
                interleave::<L, R>(lanes, from, heads * head_dim, R.min(rows - row), packed);
            }
            let seen = visible.of(first + rows - 1);
            for (start, part) in kv.parts() {
                let (keys, key_stride, end) = (part.keys(kv_head), part.key_stride(), start + part.part_len());
                // One tile of keys stays in the nearest cache while every group of rows passes over it.
                for key in (start..seen.min(end)).step_by(C) {
                    let groups = self.scratch.scores.chunks_mut(R * stride).zip(packed.chunks_exact(R * depth));
                    for (group, (scores, packed)) in groups.enumerate() {
                        let last = rows.min(group * R + R) - 1;
                        if key >= visible.of(first + last) {
                            continue;
                        }
                        let (columns, _) = packed.as_chunks::<R>();
                        let from = &keys[d * key_stride + key - start..];
                        if d == 0 {
                            // What lies behind a part's last key is padding; the next part's scores come in its place.
                            tile_strided::<L, R, C, false>(
                                lanes,
                                columns,
                                from,
                                key_stride,
                                &mut scores[key..],
                                stride,
                            );
                            continue;
                        }
                        let mut sums = [0.0f32; MAX_TILE];
                        tile_strided::<L, R, C, false>(lanes, columns, from, key_stride, &mut sums, C);
                        let count = last + 1 - group * R;
                        for (sums, scores) in sums.chunks_exact(C).zip(scores.chunks_exact_mut(stride)).take(count) {
                            for (score, sum) in scores[key..].iter_mut().zip(&sums[..C.min(end - key)]) {
                                *score += sum;
                            }
                        }
                    }
                }
            }
        }
    }

    /// Scales each row's visible scores, makes them probabilities, and saves them where asked.
    #[inline(always)]
    fn normalise<L: Lanes>(&mut self, lanes: L) {
        let Queries { kv, scale, visible, .. } = self.task.queries;
        let rows = self.scratch.scores.chunks_exact_mut(kv.score_stride()).take(self.task.out.len());
        for (r, row) in rows.enumerate() {
            let row = &mut row[..visible.of(self.task.first_row + r)];
            normalise(lanes, row, scale);
            if let Some(saved) = self.task.saved.get_mut(r) {
                let (seen, unseen) = saved.split_at_mut(row.len());
                seen.copy_from_slice(row);
                unseen.fill(0.0);
            }
        }
    }

    /// Adds up the values by the probabilities, `R` rows and `C` columns of the head dimension at a time.
    #[inline(always)]
    fn weigh<L: Lanes, const R: usize, const C: usize>(&mut self, lanes: L) {
        let Queries { kv, heads, visible, .. } = self.task.queries;
        let (head_dim, stride, score_stride) = (kv.head_dim(), kv.value_stride(), kv.score_stride());
        let kv_head = self.task.head / (heads / kv.kv_heads());
        let most = visible.of(self.task.first_row + self.task.out.len() - 1);
        for block in (0..most).step_by(BLOCK) {
            for (group, out) in self.task.out.chunks_mut(R).enumerate() {
                let first = self.task.first_row + group * R;
                if visible.of(first + out.len() - 1) <= block {
                    continue;
                }
                let rows = &self.scratch.scores[group * R * score_stride..][..out.len() * score_stride];
                // Keys that every row of the group sees go through the tile; the few after them row by row.
                let shared = visible.of(first).clamp(block, block + BLOCK) - block;
                let packed = &mut self.scratch.packed[..shared * R];
                interleave::<L, R>(lanes, &rows[block..], score_stride, out.len(), packed);
                let (packed_columns, _) = packed.as_chunks::<R>();
                for column in (0..head_dim).step_by(C) {
                    let mut sums = [0.0f32; MAX_TILE];
                    for (start, part) in kv.parts() {
                        let keys = part_of(block..block + shared, start, part);
                        if !keys.is_empty() {
                            let columns = &packed_columns[keys.start - block..keys.end - block];
                            let from = &part.values(kv_head)[(keys.start - start) * stride + column..];
                            tile_strided::<L, R, C, true>(lanes, columns, from, stride, &mut sums, C);
                        }
                    }
                    let width = C.min(head_dim - column);
                    let rows = rows.chunks_exact(score_stride).zip(sums.chunks_exact_mut(C));
                    for (r, ((row, sums), out)) in rows.zip(out.iter_mut()).enumerate() {
                        let seen = visible.of(first + r);
                        if seen <= block {
                            continue;
                        }
                        for (start, part) in kv.parts() {
                            let keys = part_of(block + shared..seen.min(block + BLOCK), start, part);
                            if !keys.is_empty() {
                                let from = &part.values(kv_head)[(keys.start - start) * stride + column..];
                                row_strided::<L, C>(lanes, &row[keys], from, stride, sums);
                            }
                        }
                        let out = &mut out[column..column + width];
                        if block == 0 {
                            out.copy_from_slice(&sums[..width]);
                        } else {
                            for (out, sum) in out.iter_mut().zip(sums) {
                                *out += *sum;
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The positions of `range` that lie in a part which begins at position `start`.
#[inline(always)]
fn part_of(range: Range<usize>, start: usize, part: &KeyValue) -> Range<usize> {
    range.start.max(start)..range.end.min(start + part.part_len())
}

/// Rows of one task: a multiple of every level's tile.
const TASK_ROWS: usize = 24;
/// Multiplications below which attention stays on the calling thread.
const PARALLEL_WORK: usize = 1 << 16;
/// Values of the largest tile: 12 rows of two AVX-512 vectors.
const MAX_TILE: usize = 12 * 32;

#[cfg(test)]
mod tests;
