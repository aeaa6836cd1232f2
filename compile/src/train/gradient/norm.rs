//! Backward of RMSNorm and LayerNorm.
//!
//! RMSNorm `y = (x · r) · w`, `r = 1/√(Σx²/C + ε)`: with `g = d · w`, `k = (r·r·r) · (g·x / C)`, `d x = fma(−x, k, r·g)`.
//! LayerNorm `y = n · w + b`, `n = (x − μ) · r`: with `g = d · w`, `d x = r · fma(−n, g·n / C, g − Σg / C)`.
//! Sums and dots along a row are rule 3; the weight's gradient is an ascending chain over the rows: `fma(d, n, ·)`.

use kolm_runtime::kernel::{self, Buffer, Fma, Level, Vectorized};

/// Gradient of `x` `[T, C]`; adds the weight's gradient to `weight_gradient` `[C]` where there is one.
pub(crate) fn rms_norm_backward(
    level: Level,
    x: &[f32],
    weight: &[f32],
    eps: f32,
    gradient: &[f32],
    weight_gradient: Option<&mut [f32]>,
) -> Buffer {
    let width = weight.len();
    let size = width as f32;
    let scale = |x: &[f32]| 1.0 / (kernel::sum_squares(level, x) / size + eps).sqrt();
    if let Some(sum) = weight_gradient {
        for (x, d) in x.chunks_exact(width).zip(gradient.chunks_exact(width)) {
            level.vectorize(WeightRow { x, d, r: scale(x), mean: 0.0, sum });
        }
    }
    let mut out = Buffer::unwritten(x.len());
    kernel::in_parts(width, [&mut out], [x, gradient], |[out], [x, gradient]| {
        let mut g = vec![0.0; width];
        for ((x, d), out) in x.chunks_exact(width).zip(gradient.chunks_exact(width)).zip(out.chunks_exact_mut(width)) {
            let r = scale(x);
            level.vectorize(Multiply { x: d, y: weight, out: &mut g });
            let k = (r * r * r) * (kernel::dot(level, &g, x) / size);
            level.vectorize(RmsRow { x, g: &g, r, k, out });
        }
    });
    out
}

/// Gradient of `x` `[T, C]`; adds the gradients of weight and bias to `weight_gradient` and `bias_gradient`, each `[C]`.
pub(crate) fn layer_norm_backward(
    level: Level,
    x: &[f32],
    weight: &[f32],
    eps: f32,
    gradient: &[f32],
    weight_gradient: &mut [f32],
    bias_gradient: &mut [f32],
) -> Buffer {
    let width = weight.len();
    let size = width as f32;
    let mut out = Buffer::unwritten(x.len());
    let mut g = vec![0.0; width];
    let mut n = vec![0.0; width];
    for ((x, d), out) in x.chunks_exact(width).zip(gradient.chunks_exact(width)).zip(out.chunks_exact_mut(width)) {
        let mean = kernel::sum(level, x) / size;
        for (n, x) in n.iter_mut().zip(x) {
            *n = x - mean;
        }
        let r = 1.0 / (kernel::sum_squares(level, &n) / size + eps).sqrt();
        for n in &mut n {
            *n *= r;
        }
        level.vectorize(WeightRow { x, d, r, mean, sum: weight_gradient });
        kernel::add(level, bias_gradient, d);
        level.vectorize(Multiply { x: d, y: weight, out: &mut g });
        let a = kernel::sum(level, &g) / size;
        let b = kernel::dot(level, &g, &n) / size;
        level.vectorize(LayerRow { n: &n, g: &g, r, a, b, out });
    }
    out
}

struct Multiply<'a> {
    x: &'a [f32],
    y: &'a [f32],
    out: &'a mut [f32],
}

impl Vectorized for Multiply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        for ((out, x), y) in self.out.iter_mut().zip(self.x).zip(self.y) {
            *out = x * y;
        }
    }
}

struct WeightRow<'a> {
    x: &'a [f32],
    d: &'a [f32],
    r: f32,
    mean: f32,
    sum: &'a mut [f32],
}

impl Vectorized for WeightRow<'_> {
    type Output = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        for ((sum, x), &d) in self.sum.iter_mut().zip(self.x).zip(self.d) {
            *sum = F::fma(d, (x - self.mean) * self.r, *sum);
        }
    }
}

struct RmsRow<'a> {
    x: &'a [f32],
    g: &'a [f32],
    r: f32,
    k: f32,
    out: &'a mut [f32],
}

impl Vectorized for RmsRow<'_> {
    type Output = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        for ((out, x), g) in self.out.iter_mut().zip(self.x).zip(self.g) {
            *out = F::fma(-x, self.k, self.r * g);
        }
    }
}

struct LayerRow<'a> {
    n: &'a [f32],
    g: &'a [f32],
    r: f32,
    a: f32,
    b: f32,
    out: &'a mut [f32],
}

impl Vectorized for LayerRow<'_> {
    type Output = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        for ((out, n), g) in self.out.iter_mut().zip(self.n).zip(self.g) {
            *out = self.r * F::fma(-n, self.b, g - self.a);
        }
    }
}
