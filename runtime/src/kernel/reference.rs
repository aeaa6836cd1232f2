//! Each kernel once more, as the plain loop that reads like its formula.
//!
//! These define the bits; the fast kernels are tested against them. They are slow and not meant for use.

use super::fma::{Software, fma};
use super::math;

/// `C[i, j] = Σ_blocks (chain over k)`: NUMERICS rule 2.
pub fn product(a: &[f32], m: usize, b: &[f32], k: usize, n: usize, c: &mut [f32]) {
    for i in 0..m {
        for j in 0..n {
            c[i * n + j] = blocked(k, |kk| a[i * k + kk], |kk| b[kk * n + j]);
        }
    }
}

/// `C = A Bᵀ` with A `[M, K]`, B `[N, K]`.
pub fn product_by_transpose(a: &[f32], m: usize, b: &[f32], k: usize, n: usize, c: &mut [f32]) {
    for i in 0..m {
        for j in 0..n {
            c[i * n + j] = blocked(k, |kk| a[i * k + kk], |kk| b[j * k + kk]);
        }
    }
}

/// `C = Aᵀ B` with A `[K, M]`, B `[K, N]`.
pub fn product_transposed(a: &[f32], b: &[f32], k: usize, m: usize, n: usize, c: &mut [f32]) {
    for i in 0..m {
        for j in 0..n {
            c[i * n + j] = blocked(k, |kk| a[kk * m + i], |kk| b[kk * n + j]);
        }
    }
}

/// `out[j] = Σ_k c_k row_k[j]`.
pub fn weighted_rows(coefficients: &[f32], stride_c: usize, rows: &[f32], stride_r: usize, out: &mut [f32]) {
    let k = coefficients.len().div_ceil(stride_c);
    for (j, out) in out.iter_mut().enumerate() {
        *out = blocked(k, |kk| coefficients[kk * stride_c], |kk| rows[kk * stride_r + j]);
    }
}

/// The scales of groups of `group` values, and integers of at most `limit` as f32: NUMERICS 12.1.
pub fn quantize(values: &[f32], group: usize, limit: f32) -> (Vec<f32>, Vec<f32>) {
    let (mut scales, mut integers) = (Vec::new(), Vec::new());
    for values in values.chunks(group) {
        let scale = max(&values.iter().map(|w| w.abs()).collect::<Vec<f32>>()) / limit;
        scales.push(scale);
        for w in values {
            let q = if scale == 0.0 { 0.0 } else { (w / scale).round_ties_even() };
            // an integer has no -0
            integers.push(q.clamp(-limit, limit) + 0.0);
        }
    }
    (scales, integers)
}

/// The nearest f16, of two the even one, of a value below its greatest: the unit of its last place goes down to 2^-24.
pub fn f16(value: f32) -> f32 {
    let exponent = (value.to_bits() >> 23 & 255).max(127 - 14);
    let unit = f32::from_bits((exponent - 10) << 23);
    (value / unit).round_ties_even() * unit
}

/// One output of a product: chains of 256, ascending, then the chains in ascending order.
fn blocked(k: usize, a: impl Fn(usize) -> f32, b: impl Fn(usize) -> f32) -> f32 {
    let mut total = 0.0;
    for block in 0..k.div_ceil(256) {
        let mut chain = 0.0;
        for kk in block * 256..k.min(block * 256 + 256) {
            chain = fma(a(kk), b(kk), chain);
        }
        total = if block == 0 { chain } else { total + chain };
    }
    total
}

/// Sum of a row: NUMERICS rule 3.
pub fn sum(x: &[f32]) -> f32 {
    let mut lanes = [0.0; 32];
    for (i, x) in x.iter().enumerate() {
        lanes[i % 32] += x;
    }
    tree(lanes, |a, b| a + b)
}

/// Sum of squares of a row.
pub fn sum_squares(x: &[f32]) -> f32 {
    dot(x, x)
}

/// Sum of products of two rows.
pub fn dot(x: &[f32], y: &[f32]) -> f32 {
    let mut lanes = [0.0; 32];
    for (i, (x, y)) in x.iter().zip(y).enumerate() {
        lanes[i % 32] = fma(*x, *y, lanes[i % 32]);
    }
    tree(lanes, |a, b| a + b)
}

/// Greatest value of a row.
pub fn max(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; 32];
    for (i, x) in x.iter().enumerate() {
        if *x > lanes[i % 32] {
            lanes[i % 32] = *x;
        }
    }
    tree(lanes, |a, b| if b > a { b } else { a })
}

fn tree(mut lanes: [f32; 32], join: impl Fn(f32, f32) -> f32) -> f32 {
    for stride in [16, 8, 4, 2, 1] {
        for i in 0..stride {
            lanes[i] = join(lanes[i], lanes[i + stride]);
        }
    }
    lanes[0]
}

/// e^x.
pub fn exp(x: f32) -> f32 {
    math::exp::<Software>(x)
}

/// Natural logarithm.
pub fn ln(x: f32) -> f32 {
    math::ln::<Software>(x)
}

/// `1 / (1 + exp(-x))`.
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// Hyperbolic tangent.
pub fn tanh(x: f32) -> f32 {
    math::tanh::<Software>(x)
}

/// Error function.
pub fn erf(x: f32) -> f32 {
    math::erf::<Software>(x)
}

/// Softmax of a row, in place.
pub fn softmax(row: &mut [f32]) {
    let max = max(row);
    for x in row.iter_mut() {
        *x = exp(*x - max);
    }
    let sum = sum(row);
    for x in row.iter_mut() {
        *x /= sum;
    }
}

/// Gradients of softmax's rows `[R, width]`, taken back to scores that were multiplied with `scale`, in place; row i of i + 1 scores where
/// `causal`.
pub fn softmax_backward(p: &[f32], d: &mut [f32], width: usize, scale: f32, causal: bool) {
    for row in 0..d.len() / width {
        let (p, d) = (&p[row * width..][..width], &mut d[row * width..][..width]);
        let seen = if causal { row + 1 } else { width };
        let s = dot(&p[..seen], &d[..seen]);
        for i in 0..width {
            d[i] = if i < seen { p[i] * (d[i] - s) * scale } else { 0.0 };
        }
    }
}

/// `y = (x r) w`, `r = 1 / √(Σ x² / C + eps)`.
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let width = weight.len();
    for (x, out) in x.chunks(width).zip(out.chunks_mut(width)) {
        let r = 1.0 / (sum_squares(x) / width as f32 + eps).sqrt();
        for i in 0..width {
            out[i] = (x[i] * r) * weight[i];
        }
    }
}

/// `y = fma((x - μ) r, w, b)`, `r = 1 / √(Σ (x - μ)² / C + eps)`.
pub fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
    let width = weight.len();
    for (x, out) in x.chunks(width).zip(out.chunks_mut(width)) {
        let mean = sum(x) / width as f32;
        let centred: Vec<f32> = x.iter().map(|x| x - mean).collect();
        let r = 1.0 / (sum_squares(&centred) / width as f32 + eps).sqrt();
        for i in 0..width {
            out[i] = fma(centred[i] * r, weight[i], bias[i]);
        }
    }
}

/// Rotates the pairs (i, i + d/2) of each head; `cos` and `sin` are `[T, d / 2]`, the table's rows of these positions.
pub fn rope(x: &mut [f32], heads: usize, cos: &[f32], sin: &[f32], half: usize) {
    let width = heads * half * 2;
    for (t, row) in x.chunks_mut(width).enumerate() {
        for head in row.chunks_mut(half * 2) {
            for i in 0..half {
                let (c, s) = (cos[t * half + i], sin[t * half + i]);
                let (x1, x2) = (head[i], head[i + half]);
                head[i] = fma(x1, c, -(x2 * s));
                head[i + half] = fma(x2, c, x1 * s);
            }
        }
    }
}

/// `out = (g sigmoid(g)) u`.
pub fn silu_multiply(gate: &[f32], up: &[f32], out: &mut [f32]) {
    for i in 0..out.len() {
        out[i] = (gate[i] * sigmoid(gate[i])) * up[i];
    }
}

/// `(0.5 x) (1 + erf(x √½))`.
pub fn gelu(x: &mut [f32]) {
    for x in x {
        *x = (0.5 * *x) * (1.0 + erf(*x * std::f32::consts::FRAC_1_SQRT_2));
    }
}

/// `(0.5 x) (1 + tanh(√(2/π) fma((0.044715 x) x, x, x)))`.
pub fn gelu_tanh(x: &mut [f32]) {
    for x in x {
        let inner = fma((0.044_715 * *x) * *x, *x, *x);
        *x = (0.5 * *x) * (1.0 + tanh(f32::from_bits(0x3f4c_422a) * inner));
    }
}

/// `y = y + b`, row by row.
pub fn add_bias(y: &mut [f32], bias: &[f32]) {
    for (i, y) in y.iter_mut().enumerate() {
        *y += bias[i % bias.len()];
    }
}

/// `y = y + x`.
pub fn add(y: &mut [f32], x: &[f32]) {
    for i in 0..y.len() {
        y[i] += x[i];
    }
}

/// `y = fma(s, x, y)`.
pub fn scaled_add(y: &mut [f32], s: f32, x: &[f32]) {
    for i in 0..y.len() {
        y[i] = fma(s, x[i], y[i]);
    }
}

/// Attention of T rows over keys and values `[len, kv_heads * head_dim]`; row t sees the keys up to `first_position + t`, or all
/// where `first_position` is none. `probabilities` is `[heads, T, len]`.
pub fn attend(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    len: usize,
    first_position: Option<usize>,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    scale: f32,
    out: &mut [f32],
    probabilities: &mut [f32],
) {
    let rows = q.len() / (heads * head_dim);
    for t in 0..rows {
        for h in 0..heads {
            let at = (t * heads + h) * head_dim;
            let kv = |j: usize, d: usize| (j * kv_heads + h / (heads / kv_heads)) * head_dim + d;
            let seen = first_position.map_or(len, |first| first + t + 1);
            let mut p: Vec<f32> =
                (0..seen).map(|j| blocked(head_dim, |d| q[at + d], |d| k[kv(j, d)]) * scale).collect();
            softmax(&mut p);
            for d in 0..head_dim {
                out[at + d] = blocked(seen, |j| p[j], |j| v[kv(j, d)]);
            }
            p.resize(len, 0.0);
            probabilities[(h * rows + t) * len..][..len].copy_from_slice(&p);
        }
    }
}

/// `(x_t - m) - ln Σ exp(x - m)`.
pub fn log_probability(logits: &[f32], target: usize) -> f32 {
    let max = max(logits);
    let e: Vec<f32> = logits.iter().map(|x| exp(x - max)).collect();
    (logits[target] - max) - ln(sum(&e))
}

/// `-log p` of the target, and the gradient `p - 1_t`.
pub fn cross_entropy(logits: &[f32], target: usize, gradient: &mut [f32]) -> f32 {
    gradient.copy_from_slice(logits);
    softmax(gradient);
    gradient[target] -= 1.0;
    -log_probability(logits, target)
}

/// Index of the greatest value, the lowest on a tie.
pub fn argmax(x: &[f32]) -> usize {
    (0..x.len()).rev().fold(0, |best, i| if x[i] >= x[best] { i } else { best })
}
