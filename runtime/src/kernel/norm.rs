//! RMSNorm and LayerNorm over the last axis; `C` is a row's length.
//!
//! RMSNorm: `r = 1 / √(Σ x² / C + eps)`, `y_i = (x_i r) w_i`.
//! LayerNorm: `μ = Σ x / C`, `d_i = x_i - μ`, `r = 1 / √(Σ d² / C + eps)`, `y_i = fma(d_i r, w_i, b_i)`.
//! Sums are the 32-lane reduction; √ and / are IEEE.

use super::fma::Fma;
use super::lanes::Lanes;
use super::level::{Level, WithLanes};
use super::reduce::{dot_lanes, sum_lanes};
use super::spread::in_parts;

/// Normalises each row of `x` `[T, C]` by its root mean square into `out` `[T, C]`; `weight` is `[C]`.
///
/// # Panics
///
/// Where the shapes do not fit.
pub fn rms_norm(level: Level, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "input and output of rms_norm");
    let width = weight.len();
    if x.is_empty() {
        return;
    }
    assert!(width > 0 && x.len().is_multiple_of(width), "whole rows in rms_norm");
    in_parts(width, [out], [x], |[out], [x]| level.with_lanes(Rms { x, weight, eps, out }));
}

/// Normalises each row of `x` `[T, C]` to mean 0 and variance 1 into `out` `[T, C]`; `weight` and `bias` are `[C]`.
///
/// # Panics
///
/// Where the shapes do not fit.
pub fn layer_norm(level: Level, x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "input and output of layer_norm");
    assert_eq!(weight.len(), bias.len(), "weight and bias of layer_norm");
    let width = weight.len();
    if x.is_empty() {
        return;
    }
    assert!(width > 0 && x.len().is_multiple_of(width), "whole rows in layer_norm");
    in_parts(width, [out], [x], |[out], [x]| level.with_lanes(Layer { x, weight, bias, eps, out }));
}

struct Rms<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    eps: f32,
    out: &'a mut [f32],
}

impl WithLanes for Rms<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes, const ROWS: usize, const COLUMNS: usize>(self, lanes: L) {
        let width = self.weight.len();
        let count = width as f32;
        for (x, out) in self.x.chunks_exact(width).zip(self.out.chunks_exact_mut(width)) {
            let r = 1.0 / (dot_lanes(lanes, x, x) / count + self.eps).sqrt();
            for ((out, x), w) in out.iter_mut().zip(x).zip(self.weight) {
                *out = (x * r) * w;
            }
        }
    }
}

struct Layer<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    eps: f32,
    out: &'a mut [f32],
}

impl WithLanes for Layer<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes, const ROWS: usize, const COLUMNS: usize>(self, lanes: L) {
        let width = self.weight.len();
        let count = width as f32;
        for (x, out) in self.x.chunks_exact(width).zip(self.out.chunks_exact_mut(width)) {
            let mean = sum_lanes(lanes, x) / count;
            for (out, x) in out.iter_mut().zip(x) {
                *out = x - mean;
            }
            let r = 1.0 / (dot_lanes(lanes, out, out) / count + self.eps).sqrt();
            for ((out, w), b) in out.iter_mut().zip(self.weight).zip(self.bias) {
                *out = L::Fma::fma(*out * r, *w, *b);
            }
        }
    }
}
