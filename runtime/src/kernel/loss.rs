//! Cross-entropy, log-probability and greedy choice over a row of logits `[V]`.
//!
//! `m = max x`, `s = Σ exp(x_i - m)` by the 32-lane reduction, `log p_t = (x_t - m) - ln s`; the loss is `-log p_t`.
//! Its gradient is `p_i = exp(x_i - m) / s`, less 1 at the target.

use super::fma::Fma;
use super::level::{Level, Vectorized};
use super::math::{exp, ln};
use super::reduce::{LANES, max_lanes, tree};
use super::softmax::softmax_row;

/// Computes `-log p` of the target, and where asked the gradient with respect to each logit `[V]`.
///
/// # Panics
///
/// Where the target is not below V or the gradient's length is not V.
pub fn cross_entropy(level: Level, logits: &[f32], target: usize, gradient: Option<&mut [f32]>) -> f32 {
    let loss = -log_probability(level, logits, target);
    if let Some(gradient) = gradient {
        gradient.copy_from_slice(logits);
        level.vectorize(Probabilities(gradient));
        gradient[target] -= 1.0;
    }
    loss
}

/// Computes the natural logarithm of the target's softmax probability.
///
/// # Panics
///
/// Where the target is not below V.
pub fn log_probability(level: Level, logits: &[f32], target: usize) -> f32 {
    level.vectorize(LogProbability { logits, target })
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

struct Probabilities<'a>(&'a mut [f32]);

impl Vectorized for Probabilities<'_> {
    type Output = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        softmax_row::<F>(self.0);
    }
}

struct LogProbability<'a> {
    logits: &'a [f32],
    target: usize,
}

impl Vectorized for LogProbability<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<F: Fma>(self) -> f32 {
        let max = max_lanes(self.logits);
        let mut lanes = [0.0f32; LANES];
        let (chunks, tail) = self.logits.as_chunks::<LANES>();
        for chunk in chunks {
            for (lane, x) in lanes.iter_mut().zip(chunk) {
                *lane += exp::<F>(x - max);
            }
        }
        for (lane, x) in lanes.iter_mut().zip(tail) {
            *lane += exp::<F>(x - max);
        }
        (self.logits[self.target] - max) - ln::<F>(tree(lanes))
    }
}
