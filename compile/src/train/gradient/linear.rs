//! Backward of a linear layer `y = x Wᵀ + b`, with or without a LoRA pair `y += s · (x Aᵀ) Bᵀ`.
//!
//! `d x = d W`, `d W = dᵀ x`, `d b` = the ascending sum of d's rows. LoRA, with `u = s · d` and `h = x Aᵀ`: `d B = uᵀ h`,
//! `e = u B`, `d A = eᵀ x`, and `e A` is added to `d x`. Every product follows rule 2; those of dW, dA and dB run over the tokens.

use kolm_runtime::kernel::{self, Buffer, Fma, Level, PackedMatrix, Vectorized};
use kolm_runtime::model::LoraPair;

/// `d W`: from the gradient of a layer's result `[T, out]` to that of its argument `[T, in]`; `weight` is what the forward pass reads.
pub(crate) fn argument_gradient(level: Level, gradient: &[f32], weight: &PackedMatrix) -> Buffer {
    let tokens = gradient.len() / weight.n();
    let mut out = Buffer::unwritten(tokens * weight.k());
    kernel::product_by_transpose(level, gradient, tokens, weight, &mut out);
    out
}

/// Writes the gradients of a LoRA pair's `A` and `B`; gives `e A`, the pair's share of the argument's gradient, when `wants_input`.
pub(crate) fn pair_gradient(
    level: Level,
    pair: &LoraPair,
    scaling: f32,
    x: &[f32],
    low: &[f32],
    gradient: &[f32],
    a_gradient: &mut [f32],
    b_gradient: &mut [f32],
    wants_input: bool,
) -> Option<Buffer> {
    let mut scaled = Buffer::unwritten(gradient.len());
    kernel::in_parts(1, [&mut scaled], [gradient], |[out], [values]| {
        level.vectorize(Scale { values, factor: scaling, out });
    });
    weight_gradient(level, &scaled, low, pair.out_features, pair.rank, b_gradient);
    let e = argument_gradient(level, &scaled, &pair.b);
    weight_gradient(level, &e, x, pair.rank, pair.in_features, a_gradient);
    wants_input.then(|| argument_gradient(level, &e, &pair.a))
}

/// `dᵀ x` into `out` `[outputs, inputs]`.
pub(crate) fn weight_gradient(
    level: Level,
    gradient: &[f32],
    x: &[f32],
    outputs: usize,
    inputs: usize,
    out: &mut [f32],
) {
    kernel::product_transposed(level, gradient, x, x.len() / inputs, outputs, inputs, out);
}

/// Adds every row of `gradient` `[T, out]` to `out` `[out]`, in ascending order.
pub(crate) fn bias_gradient(level: Level, gradient: &[f32], out: &mut [f32]) {
    for row in gradient.chunks_exact(out.len()) {
        kernel::add(level, out, row);
    }
}

struct Scale<'a> {
    values: &'a [f32],
    factor: f32,
    out: &'a mut [f32],
}

impl Vectorized for Scale<'_> {
    type Output = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        for (out, value) in self.out.iter_mut().zip(self.values) {
            *out = value * self.factor;
        }
    }
}
