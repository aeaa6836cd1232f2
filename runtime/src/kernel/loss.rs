//! Cross-entropy, log-probability and greedy choice over a row of logits `[V]`.
//!
//! `m = max x`, `s = Σ exp(x_i - m)` by the 32-lane reduction, `log p_t = (x_t - m) - ln s`; the loss is `-log p_t`.
//! Its gradient is `p_i = exp(x_i - m) / s`, less 1 at the target.

use rayon::prelude::*;

use super::lanes::Lanes;
use super::level::{Level, WithLanes};
use super::math::{exp, ln};
use super::reduce::{LANES, apart, held, max_lanes, tree};
use super::softmax::{exponentials, normalise};
use super::spread::worthwhile;

/// Computes `-log p` of the target and replaces the logits `[V]` by its gradient with respect to each.
///
/// # Panics
///
/// Where the target is not below V.
pub fn cross_entropy(level: Level, logits: &mut [f32], target: usize) -> f32 {
    level.with_lanes(CrossEntropy { logits, target })
}

/// [`cross_entropy`] of every row of logits `[R, V]`, one target each; the rows are spread over the current thread pool.
///
/// # Panics
///
/// As [`cross_entropy`], and where the number of logits is not R · V.
pub fn cross_entropies(level: Level, logits: &mut [f32], vocabulary: usize, targets: &[u32]) -> Vec<f32> {
    assert_eq!(logits.len(), targets.len() * vocabulary, "logits [{}, {vocabulary}]", targets.len());
    let one = |(row, target): (&mut [f32], &u32)| cross_entropy(level, row, *target as usize);
    if !worthwhile(logits.len(), PARALLEL_LOGITS) {
        return logits.chunks_exact_mut(vocabulary).zip(targets).map(one).collect();
    }
    logits.par_chunks_exact_mut(vocabulary).zip(targets).map(one).collect()
}

/// Computes the natural logarithm of the target's softmax probability.
///
/// # Panics
///
/// Where the target is not below V.
pub fn log_probability(level: Level, logits: &[f32], target: usize) -> f32 {
    LogSoftmax::new(level, logits).of(target)
}

/// A row of logits `[V]` and its softmax denominator: the log-probability of any target, for one pass over the row.
#[derive(Clone, Copy, Debug)]
pub struct LogSoftmax<'a> {
    logits: &'a [f32],
    max: f32,
    ln_sum: f32,
}

impl<'a> LogSoftmax<'a> {
    /// Computes the denominator.
    pub fn new(level: Level, logits: &'a [f32]) -> Self {
        level.with_lanes(Denominator(logits))
    }

    /// The natural logarithm of the target's softmax probability.
    ///
    /// # Panics
    ///
    /// Where the target is not below V.
    pub fn of(&self, target: usize) -> f32 {
        (self.logits[target] - self.max) - self.ln_sum
    }
}

/// Finds the index of the greatest value; the lowest index wins a tie, a NaN is passed over, an empty row gives 0.
pub fn argmax(x: &[f32]) -> usize {
    let mut best = 0;
    let mut value = f32::NEG_INFINITY;
    for (i, x) in x.iter().enumerate() {
        if *x > value {
            (best, value) = (i, *x);
        }
    }
    best
}

struct CrossEntropy<'a> {
    logits: &'a mut [f32],
    target: usize,
}

impl WithLanes for CrossEntropy<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<L: Lanes, const ROWS: usize, const COLUMNS: usize>(self, lanes: L) -> f32 {
        let logit = self.logits[self.target];
        let (max, sum) = normalise(lanes, self.logits, 1.0);
        self.logits[self.target] -= 1.0;
        -((logit - max) - ln::<L::Fma>(sum))
    }
}

struct Denominator<'a>(&'a [f32]);

impl<'a> WithLanes for Denominator<'a> {
    type Output = LogSoftmax<'a>;

    #[inline(always)]
    fn run<L: Lanes, const ROWS: usize, const COLUMNS: usize>(self, lanes: L) -> LogSoftmax<'a> {
        let logits = self.0;
        let max = max_lanes(lanes, logits);
        let mut sums = held(lanes, 0.0);
        let (chunks, tail) = logits.as_chunks::<LANES>();
        for chunk in chunks {
            exponentials(lanes, &mut chunk.clone(), max, &mut sums);
        }
        let mut sums = apart(lanes, sums);
        for (sum, x) in sums.iter_mut().zip(tail) {
            *sum += exp::<L::Fma>(x - max);
        }
        LogSoftmax { logits, max, ln_sum: ln::<L::Fma>(tree(lanes, sums)) }
    }
}

/// Logits below which rows stay on the calling thread.
const PARALLEL_LOGITS: usize = 1 << 14;
