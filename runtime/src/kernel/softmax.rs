//! Softmax of a row: `m = max x`, `e_i = exp(x_i - m)`, `s = Σ e` by the 32-lane reduction, `p_i = e_i / s`.
//!
//! Each quotient is an IEEE division. A row that holds NaN gives NaN; an empty row stays empty.

use super::lanes::Lanes;
use super::level::{Level, WithLanes};
use super::math::exp;
use super::reduce::{Held, LANES, apart, dot_lanes, greatest, held, tree, vectors};

/// Replaces a row by its softmax.
pub fn softmax(level: Level, row: &mut [f32]) {
    level.with_lanes(Softmax(row));
}

/// Takes the gradients of rows of `width` probabilities, [`softmax`] of scores times `scale`, back to the scores, over themselves:
/// `(p · (d − s)) · scale`, `s` the [`super::dot`] of the row's p and d. Where `causal`, row i is of i + 1 scores, and +0 is put beyond.
///
/// # Panics
///
/// Where the shapes do not fit.
pub fn softmax_backward(level: Level, p: &[f32], d: &mut [f32], width: usize, scale: f32, causal: bool) {
    assert_eq!(p.len(), d.len(), "probabilities and their gradients");
    assert!(d.is_empty() || width > 0 && d.len().is_multiple_of(width), "whole rows of gradients");
    assert!(!causal || d.len() <= width * width, "no more rows than scores in one");
    level.with_lanes(Backward { p, d, width, scale, causal });
}

struct Softmax<'a>(&'a mut [f32]);

impl WithLanes for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes, const ROWS: usize, const COLUMNS: usize>(self, lanes: L) {
        normalise(lanes, self.0, 1.0);
    }
}

struct Backward<'a> {
    p: &'a [f32],
    d: &'a mut [f32],
    width: usize,
    scale: f32,
    causal: bool,
}

impl WithLanes for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes, const ROWS: usize, const COLUMNS: usize>(self, lanes: L) {
        let Backward { p, d, width, scale, causal } = self;
        for (row, (p, d)) in p.chunks_exact(width.max(1)).zip(d.chunks_exact_mut(width.max(1))).enumerate() {
            let (seen, unseen) = d.split_at_mut(if causal { row + 1 } else { width });
            let p = &p[..seen.len()];
            let dot = dot_lanes(lanes, p, seen);
            for (d, p) in seen.iter_mut().zip(p) {
                *d = p * (*d - dot) * scale;
            }
            unseen.fill(0.0);
        }
    }
}

/// Replaces a row by the softmax of itself times `scale`; gives the maximum of that and the sum of its exponentials.
///
/// Rows are short and of any length: what is left over of whole vectors is taken as one more, in which places beyond the row hold -inf.
/// Their exponentials are +0 and show in no sum.
#[allow(clippy::needless_range_loop)] // one index for several arrays, of a length the level says
#[inline(always)]
pub(super) fn normalise<L: Lanes>(lanes: L, row: &mut [f32], scale: f32) -> (f32, f32) {
    let (chunks, rest) = row.as_chunks_mut::<LANES>();
    let mut last = [f32::NEG_INFINITY; LANES];
    for (last, x) in last.iter_mut().zip(rest.iter()) {
        *last = *x * scale;
    }
    let factor = lanes.splat(scale);
    let mut most = held(lanes, f32::NEG_INFINITY);
    for chunk in chunks.iter_mut() {
        for v in 0..vectors::<L>() {
            let place = &mut chunk[v * L::WIDTH..];
            let x = lanes.multiply(lanes.load(place), factor);
            lanes.store(x, place);
            most[v] = lanes.greater(x, most[v]);
        }
    }
    for v in 0..vectors::<L>() {
        most[v] = lanes.greater(lanes.load(&last[v * L::WIDTH..]), most[v]);
    }
    let max = greatest(apart(lanes, most));
    let mut sums = held(lanes, 0.0);
    for chunk in chunks.iter_mut() {
        exponentials(lanes, chunk, max, &mut sums);
    }
    if !rest.is_empty() {
        exponentials(lanes, &mut last, max, &mut sums);
    }
    let sum = tree(lanes, apart(lanes, sums));
    for chunk in chunks {
        divide(lanes, chunk, sum);
    }
    if !rest.is_empty() {
        divide(lanes, &mut last, sum);
    }
    rest.copy_from_slice(&last[..rest.len()]);
    (max, sum)
}

/// Replaces each value by its e^(x - max) and adds it to its lane.
#[allow(clippy::needless_range_loop)] // one index for several arrays, of a length the level says
#[inline(always)]
pub(super) fn exponentials<L: Lanes>(lanes: L, chunk: &mut [f32; LANES], max: f32, sums: &mut Held<L>) {
    for x in chunk.iter_mut() {
        *x = exp::<L::Fma>(*x - max);
    }
    for v in 0..vectors::<L>() {
        sums[v] = lanes.add(sums[v], lanes.load(&chunk[v * L::WIDTH..]));
    }
}

#[inline(always)]
fn divide<L: Lanes>(lanes: L, chunk: &mut [f32; LANES], by: f32) {
    for v in 0..vectors::<L>() {
        let place = &mut chunk[v * L::WIDTH..];
        lanes.store(lanes.divide(lanes.load(place), lanes.splat(by)), place);
    }
}
