//! Element-wise activations and additions; no element depends on another.

use super::fma::Fma;
use super::level::{Level, Vectorized};
use super::math::{erf, sigmoid, tanh};
use super::spread::in_parts;

/// Computes `out_i = (g_i sigmoid(g_i)) u_i`, the SwiGLU product.
///
/// # Panics
///
/// Where the lengths differ.
pub fn silu_multiply(level: Level, gate: &[f32], up: &[f32], out: &mut [f32]) {
    assert_eq!(gate.len(), out.len(), "gate and output of silu_multiply");
    assert_eq!(up.len(), out.len(), "up and output of silu_multiply");
    in_parts(1, [out], [gate, up], |[out], [gate, up]| level.vectorize(SiluMultiply { gate, up, out }));
}

/// Replaces each x by `(0.5 x) (1 + erf(x √½))`, √½ rounded to f32.
pub fn gelu(level: Level, x: &mut [f32]) {
    in_parts(1, [x], [], |[x], []| level.vectorize(Gelu(x)));
}

/// Replaces each x by `(0.5 x) (1 + tanh(√(2/π) (x + 0.044715 x³)))`, the inner sum as `fma(0.044715 x², x, x)`.
pub fn gelu_tanh(level: Level, x: &mut [f32]) {
    in_parts(1, [x], [], |[x], []| level.vectorize(GeluTanh(x)));
}

/// Adds `bias` `[N]` to each row of `y` `[T, N]`.
///
/// # Panics
///
/// Where `y` is not whole rows.
pub fn add_bias(level: Level, y: &mut [f32], bias: &[f32]) {
    if y.is_empty() {
        return;
    }
    assert!(!bias.is_empty() && y.len().is_multiple_of(bias.len()), "whole rows in add_bias");
    in_parts(bias.len(), [y], [], |[y], []| level.vectorize(AddBias { y, bias }));
}

/// Computes `y_i = y_i + x_i`.
///
/// # Panics
///
/// Where the lengths differ.
pub fn add(level: Level, y: &mut [f32], x: &[f32]) {
    assert_eq!(y.len(), x.len(), "terms of add");
    in_parts(1, [y], [x], |[y], [x]| level.vectorize(Add { y, x }));
}

/// Computes `y_i = fma(s, x_i, y_i)`.
///
/// # Panics
///
/// Where the lengths differ.
pub fn scaled_add(level: Level, y: &mut [f32], s: f32, x: &[f32]) {
    assert_eq!(y.len(), x.len(), "terms of scaled_add");
    in_parts(1, [y], [x], |[y], [x]| level.vectorize(ScaledAdd { y, s, x }));
}

struct SiluMultiply<'a> {
    gate: &'a [f32],
    up: &'a [f32],
    out: &'a mut [f32],
}

impl Vectorized for SiluMultiply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        for ((out, g), u) in self.out.iter_mut().zip(self.gate).zip(self.up) {
            *out = (g * sigmoid::<F>(*g)) * u;
        }
    }
}

struct Gelu<'a>(&'a mut [f32]);

impl Vectorized for Gelu<'_> {
    type Output = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        for x in self.0 {
            *x = (0.5 * *x) * (1.0 + erf::<F>(*x * SQRT_HALF));
        }
    }
}

struct GeluTanh<'a>(&'a mut [f32]);

impl Vectorized for GeluTanh<'_> {
    type Output = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        for x in self.0 {
            let inner = F::fma((CUBIC * *x) * *x, *x, *x);
            *x = (0.5 * *x) * (1.0 + tanh::<F>(SQRT_2_OVER_PI * inner));
        }
    }
}

struct AddBias<'a> {
    y: &'a mut [f32],
    bias: &'a [f32],
}

impl Vectorized for AddBias<'_> {
    type Output = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        for row in self.y.chunks_exact_mut(self.bias.len()) {
            for (y, b) in row.iter_mut().zip(self.bias) {
                *y += b;
            }
        }
    }
}

struct Add<'a> {
    y: &'a mut [f32],
    x: &'a [f32],
}

impl Vectorized for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        for (y, x) in self.y.iter_mut().zip(self.x) {
            *y += x;
        }
    }
}

struct ScaledAdd<'a> {
    y: &'a mut [f32],
    s: f32,
    x: &'a [f32],
}

impl Vectorized for ScaledAdd<'_> {
    type Output = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        for (y, x) in self.y.iter_mut().zip(self.x) {
            *y = F::fma(self.s, *x, *y);
        }
    }
}

const SQRT_HALF: f32 = f32::from_bits(0x3f35_04f3);
const SQRT_2_OVER_PI: f32 = f32::from_bits(0x3f4c_422a);
const CUBIC: f32 = f32::from_bits(0x3d37_2713);
