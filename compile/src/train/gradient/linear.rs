//! Backward of a linear layer `y = x Wᵀ + b`, with or without a LoRA pair `y += s · (x Aᵀ) Bᵀ`.
//!
//! `d x = d W`, `d W = dᵀ x`, `d b` = the ascending sum of d's rows. LoRA, with `u = s · d` and `h = x Aᵀ`: `d B = uᵀ h`,
//! `e = u B`, `d A = eᵀ x`, and `e A` is added to `d x`. Every product follows rule 2; those of dW, dA and dB run over the tokens.

use kolm_runtime::kernel::{self, Fma, Level, PackedMatrix, Vectorized};
use kolm_runtime::model::Matrix;

/// A weight `[out, in]`, packed for `d W`.
pub(crate) struct BackwardWeight {
    packed: PackedMatrix,
}

impl BackwardWeight {
    /// Packs a weight `[outputs, inputs]`.
    pub(crate) fn new(level: Level, weight: &[f32], outputs: usize, inputs: usize) -> Self {
        Self { packed: PackedMatrix::frozen_from_rows(level, weight, outputs, inputs) }
    }

    /// Packs a frozen base's weight `[outputs, inputs]` as it is stored.
    pub(crate) fn of_matrix(level: Level, weight: &Matrix, outputs: usize, inputs: usize) -> Self {
        Self { packed: weight.pack_transposed(level, outputs, inputs) }
    }

    /// `d W`: from the gradient of the result `[T, out]` to that of the argument `[T, in]`.
    pub(crate) fn apply(&self, level: Level, gradient: &[f32]) -> Vec<f32> {
        let tokens = gradient.len() / self.packed.k();
        let mut out = vec![0.0; tokens * self.packed.n()];
        kernel::product(level, gradient, tokens, &self.packed, &mut out);
        out
    }
}

/// A LoRA pair, packed for the backward pass.
pub(crate) struct BackwardPair {
    /// `A` `[rank, in]`.
    pub(crate) a: BackwardWeight,
    /// `B` `[out, rank]`.
    pub(crate) b: BackwardWeight,
}

impl BackwardPair {
    /// Packs `a` `[rank, inputs]` and `b` `[outputs, rank]`.
    pub(crate) fn new(level: Level, a: &[f32], b: &[f32], rank: usize, outputs: usize, inputs: usize) -> Self {
        Self { a: BackwardWeight::new(level, a, rank, inputs), b: BackwardWeight::new(level, b, outputs, rank) }
    }

    /// Writes the gradients of `A` and `B`; gives `e A`, the pair's share of the argument's gradient, when `wants_input`.
    pub(crate) fn apply(
        &self,
        level: Level,
        scaling: f32,
        x: &[f32],
        hidden: &[f32],
        gradient: &[f32],
        a_gradient: &mut [f32],
        b_gradient: &mut [f32],
        wants_input: bool,
    ) -> Option<Vec<f32>> {
        let mut scaled = gradient.to_vec();
        level.vectorize(Scale { values: &mut scaled, factor: scaling });
        weight_gradient(level, &scaled, hidden, self.b.packed.k(), self.b.packed.n(), b_gradient);
        let e = self.b.apply(level, &scaled);
        weight_gradient(level, &e, x, self.a.packed.k(), self.a.packed.n(), a_gradient);
        wants_input.then(|| self.a.apply(level, &e))
    }
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
    values: &'a mut [f32],
    factor: f32,
}

impl Vectorized for Scale<'_> {
    type Output = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        for value in self.values {
            *value *= self.factor;
        }
    }
}
