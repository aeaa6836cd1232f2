//! Rotary position embedding, rotate-half form (Su et al., arXiv 2104.09864; Hugging Face's pairing of i with i + d/2).
//!
//! The table is computed in f64 through the pure-Rust `libm` crate (the same bits on every machine) and rounded once.
//! With `x1` in the first half of a head and `x2` in the second: `y1 = fma(x1, c, -(x2 s))`, `y2 = fma(x2, c, x1 s)`.

use super::fma::Fma;
use super::level::{Level, Vectorized};

/// How the frequencies of a [`RopeTable`] are stretched for long contexts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RopeScaling {
    /// Frequencies as they come.
    None,
    /// Every frequency divided by the factor.
    Linear(f64),
    /// Llama 3's scheme: long waves divided by the factor, short waves kept, a linear blend between.
    Llama3 {
        /// Division of the long waves.
        factor: f64,
        /// Waves longer than `original_max_positions / low_frequency_factor` are long.
        low_frequency_factor: f64,
        /// Waves shorter than `original_max_positions / high_frequency_factor` are short.
        high_frequency_factor: f64,
        /// Context length the model was first trained on.
        original_max_positions: f64,
    },
}

/// Cosines and sines of every position and frequency, each `[positions, head_dim / 2]`.
#[derive(Clone, Debug)]
pub struct RopeTable {
    /// Cosines.
    pub cos: Vec<f32>,
    /// Sines.
    pub sin: Vec<f32>,
    half: usize,
}

impl RopeTable {
    /// Computes the table: angle = position × frequency_i, `frequency_i = theta^(-2i / head_dim)`, scaled as asked.
    ///
    /// # Panics
    ///
    /// Where `head_dim` is odd.
    pub fn new(theta: f64, head_dim: usize, positions: usize, scaling: RopeScaling) -> RopeTable {
        assert!(head_dim.is_multiple_of(2), "rope needs an even head dimension");
        let half = head_dim / 2;
        let frequencies: Vec<f64> =
            (0..half).map(|i| scaled(libm::pow(theta, -(2.0 * i as f64) / head_dim as f64), scaling)).collect();
        let angles = || (0..positions).flat_map(|p| frequencies.iter().map(move |f| p as f64 * f));
        RopeTable {
            cos: angles().map(|angle| libm::cos(angle) as f32).collect(),
            sin: angles().map(|angle| libm::sin(angle) as f32).collect(),
            half,
        }
    }

    /// Number of positions the table holds.
    pub fn positions(&self) -> usize {
        self.cos.len().checked_div(self.half).unwrap_or(usize::MAX)
    }

    /// Rotates each head of each row of `x` `[T, heads * head_dim]`; row t is at position `first_position + t`.
    ///
    /// # Panics
    ///
    /// Where `x` is not whole rows or a position is beyond the table.
    pub fn apply(&self, level: Level, x: &mut [f32], heads: usize, first_position: usize) {
        self.rotate(level, x, heads, first_position, false);
    }

    /// Rotates back: the transpose of [`RopeTable::apply`], which is its gradient.
    ///
    /// # Panics
    ///
    /// As [`RopeTable::apply`].
    pub fn apply_inverse(&self, level: Level, x: &mut [f32], heads: usize, first_position: usize) {
        self.rotate(level, x, heads, first_position, true);
    }

    fn rotate(&self, level: Level, x: &mut [f32], heads: usize, first_position: usize, inverse: bool) {
        let width = heads * self.half * 2;
        if x.is_empty() || width == 0 {
            return;
        }
        assert!(x.len().is_multiple_of(width), "whole rows in rope");
        let rows = x.len() / width;
        let (from, to) = (first_position * self.half, (first_position + rows) * self.half);
        let (cos, sin) = (&self.cos[from..to], &self.sin[from..to]);
        level.vectorize(Rotate { x, cos, sin, heads, half: self.half, inverse });
    }
}

/// Stretches one frequency.
fn scaled(frequency: f64, scaling: RopeScaling) -> f64 {
    match scaling {
        RopeScaling::None => frequency,
        RopeScaling::Linear(factor) => frequency / factor,
        RopeScaling::Llama3 { factor, low_frequency_factor, high_frequency_factor, original_max_positions } => {
            let wavelength = 2.0 * std::f64::consts::PI / frequency;
            if wavelength < original_max_positions / high_frequency_factor {
                frequency
            } else if wavelength > original_max_positions / low_frequency_factor {
                frequency / factor
            } else {
                let smooth = (original_max_positions / wavelength - low_frequency_factor)
                    / (high_frequency_factor - low_frequency_factor);
                (1.0 - smooth) * (frequency / factor) + smooth * frequency
            }
        }
    }
}

struct Rotate<'a> {
    x: &'a mut [f32],
    cos: &'a [f32],
    sin: &'a [f32],
    heads: usize,
    half: usize,
    inverse: bool,
}

impl Vectorized for Rotate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        let half = self.half;
        let rows = self.x.chunks_exact_mut(self.heads * half * 2);
        for ((row, cos), sin) in rows.zip(self.cos.chunks_exact(half)).zip(self.sin.chunks_exact(half)) {
            for head in row.chunks_exact_mut(half * 2) {
                let (first, second) = head.split_at_mut(half);
                for (((x1, x2), c), s) in first.iter_mut().zip(second).zip(cos).zip(sin) {
                    let s = if self.inverse { -*s } else { *s };
                    let (a, b) = (*x1, *x2);
                    *x1 = F::fma(a, *c, -(b * s));
                    *x2 = F::fma(b, *c, a * s);
                }
            }
        }
    }
}
