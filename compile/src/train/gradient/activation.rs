//! Backward of `silu(gate) · up` and of GELU (erf form).
//!
//! `d gate = (d · up) · (σ + silu · (1 − σ))`, `d up = d · silu`, with `σ = sigmoid(gate)`, `silu = gate · σ`.
//! GELU: `d x = d · (Φ(x) + x φ(x))`. Element by element, in the order written below.

use kolm_runtime::kernel::{self, Buffer, Fma, Level, Vectorized, math};

/// Gradients of gate and up, each as long as `gradient`.
pub(crate) fn silu_multiply_backward(level: Level, gate: &[f32], up: &[f32], gradient: &[f32]) -> (Buffer, Buffer) {
    let mut gate_gradient = Buffer::unwritten(gate.len());
    let mut up_gradient = Buffer::unwritten(gate.len());
    kernel::in_parts(
        1,
        [&mut gate_gradient, &mut up_gradient],
        [gate, up, gradient],
        |[gate_gradient, up_gradient], [gate, up, gradient]| {
            level.vectorize(SiluMultiply { gate, up, gradient, gate_gradient, up_gradient });
        },
    );
    (gate_gradient, up_gradient)
}

/// Gradient of GELU's argument `x`, written over the gradient of its result.
pub(crate) fn gelu_backward(level: Level, x: &[f32], gradient: &mut [f32]) {
    kernel::in_parts(1, [gradient], [x], |[gradient], [x]| level.vectorize(Gelu { x, gradient }));
}

struct SiluMultiply<'a> {
    gate: &'a [f32],
    up: &'a [f32],
    gradient: &'a [f32],
    gate_gradient: &'a mut [f32],
    up_gradient: &'a mut [f32],
}

impl Vectorized for SiluMultiply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        let inputs = self.gate.iter().zip(self.up).zip(self.gradient);
        for (((&g, &u), &d), (dg, du)) in inputs.zip(self.gate_gradient.iter_mut().zip(self.up_gradient.iter_mut())) {
            let s = math::sigmoid::<F>(g);
            let silu = g * s;
            *du = d * silu;
            *dg = d * u * F::fma(silu, 1.0 - s, s);
        }
    }
}

struct Gelu<'a> {
    x: &'a [f32],
    gradient: &'a mut [f32],
}

impl Vectorized for Gelu<'_> {
    type Output = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        for (&x, d) in self.x.iter().zip(self.gradient) {
            let cumulative = 0.5 * (1.0 + math::erf::<F>(x * HALF_ROOT));
            let density = math::exp::<F>(-0.5 * x * x) * DENSITY_AT_0;
            *d *= F::fma(x, density, cumulative);
        }
    }
}

/// 1/√2.
const HALF_ROOT: f32 = std::f32::consts::FRAC_1_SQRT_2;
/// 1/√(2π), the normal density at 0.
const DENSITY_AT_0: f32 = f32::from_bits(0x3ecc_422a);
