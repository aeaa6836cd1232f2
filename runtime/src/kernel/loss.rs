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
        level.vectorize(Denominator(logits))
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

struct Probabilities<'a>(&'a mut [f32]);

impl Vectorized for Probabilities<'_> {
    type Output = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        softmax_row::<F>(self.0);
    }
}

struct Denominator<'a>(&'a [f32]);

impl<'a> Vectorized for Denominator<'a> {
    type Output = LogSoftmax<'a>;

    #[inline(always)]
    fn run<F: Fma>(self) -> LogSoftmax<'a> {
        let logits = self.0;
        let max = max_lanes(logits);
        let mut lanes = [0.0f32; LANES];
        let (chunks, tail) = logits.as_chunks::<LANES>();
        for chunk in chunks {
            for (lane, x) in lanes.iter_mut().zip(chunk) {
                *lane += exp::<F>(x - max);
            }
        }
        for (lane, x) in lanes.iter_mut().zip(tail) {
            *lane += exp::<F>(x - max);
        }
        LogSoftmax { logits, max, ln_sum: ln::<F>(tree(lanes)) }
    }
}
