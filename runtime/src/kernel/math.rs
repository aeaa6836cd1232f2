//! exp, ln, sigmoid, tanh and erf in f32: fixed sequences of add, multiply, fused multiply-add, divide, select and bit moves.
//!
//! Generic over [`Fma`] and branch-free, so that one source is vectorised for each level and each level gives the same
//! bits. Polynomials are this project's own minimax fits (iteratively reweighted least squares in 40 digits, coefficients
//! rounded one by one). Bounds are in units in the last place of the true value, found by comparison with f64 over a
//! stride through all f32 (`math/tests.rs`). No function here calls the platform's mathematics library.

use super::fma::Fma;
use super::level::{Level, Vectorized};

/// Computes e^x.
///
/// `n = round(x / ln 2)`, `r = x - n ln 2` in two steps, e^r as `1 + r + r² q(r)` with q of degree 4 on |r| ≤ 0.35
/// (relative error 2^-27.6), then times 2^⌊n/2⌋ and 2^(n - ⌊n/2⌋). Above 88.722839 gives +inf, below -103.97208 gives +0.
/// NaN gives NaN. Within 0.9 ulp.
#[inline(always)]
pub fn exp<F: Fma>(x: f32) -> f32 {
    let shifted = F::fma(x, LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = F::fma(n, -LN_2_HIGH, x);
    let r = F::fma(n, -LN_2_LOW, r);
    let mut p = EXP[4];
    p = F::fma(p, r, EXP[3]);
    p = F::fma(p, r, EXP[2]);
    p = F::fma(p, r, EXP[1]);
    #[cfg(not(feature = "planted"))]
    let square = EXP[0];
    #[cfg(feature = "planted")]
    let square = f32::from_bits(EXP[0].to_bits() + u32::from(super::planted(super::Plant::Exp)));
    p = F::fma(p, r, square);
    p = F::fma(p, r, 1.0);
    p = F::fma(p, r, 1.0);
    let n = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let half = n >> 1;
    let y = (p * power_of_two(half)) * power_of_two(n.wrapping_sub(half));
    let y = if x > EXP_MAX { f32::INFINITY } else { y };
    if x < EXP_MIN { 0.0 } else { y }
}

/// Computes the natural logarithm.
///
/// `x = 2^k m` with m in √½..√2, `f = m - 1`, `s = f / (2 + f)`, `ln m = f - (f²/2 - s (f²/2 + R(s²)))` with R of degree 4
/// without constant term (absolute error 2^-30); k ln 2 is added in two parts. ±0 gives -inf, negatives and NaN give NaN,
/// +inf gives +inf. Within 0.9 ulp.
#[inline(always)]
pub fn ln<F: Fma>(x: f32) -> f32 {
    let subnormal = x < f32::MIN_POSITIVE;
    let scaled = if subnormal { x * TWO_23 } else { x };
    let bias: i32 = if subnormal { 127 + 23 } else { 127 };
    // Moves the mantissa to √½..√2: adding the distance from √½ to 1 carries into the exponent exactly when m ≥ √2.
    let moved = scaled.to_bits().wrapping_add(0x3f80_0000 - SQRT_HALF);
    let k = ((moved >> 23) as i32).wrapping_sub(bias);
    let m = f32::from_bits((moved & 0x007f_ffff).wrapping_add(SQRT_HALF));
    let k = k as f32;
    let f = m - 1.0;
    let s = f / (2.0 + f);
    let z = s * s;
    let mut p = LN[3];
    p = F::fma(p, z, LN[2]);
    p = F::fma(p, z, LN[1]);
    p = F::fma(p, z, LN[0]);
    let remainder = p * z;
    let half_square = (0.5 * f) * f;
    let low = F::fma(s, half_square + remainder, k * LN_2_LOW);
    let y = F::fma(k, LN_2_HIGH, f - (half_square - low));
    let y = if x == f32::INFINITY { x } else { y };
    let y = if x == 0.0 { f32::NEG_INFINITY } else { y };
    if x >= 0.0 { y } else { f32::NAN }
}

/// Computes `1 / (1 + exp(-x))`.
///
/// Within 2.5 ulp for x ≥ -88; below that the result is +0 where the true value is under 2^-128.
#[inline(always)]
pub fn sigmoid<F: Fma>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<F>(-x))
}

/// Computes the hyperbolic tangent.
///
/// With a = |x|: below 0.625 `a + a z P(z)`, z = x², P of degree 4 (relative error 2^-26.7); above, `1 - 2 / (exp(2a) + 1)`;
/// then the sign of x. Within 1.5 ulp.
#[inline(always)]
pub fn tanh<F: Fma>(x: f32) -> f32 {
    let a = f32::from_bits(x.to_bits() & 0x7fff_ffff);
    let z = x * x;
    let mut p = TANH[4];
    p = F::fma(p, z, TANH[3]);
    p = F::fma(p, z, TANH[2]);
    p = F::fma(p, z, TANH[1]);
    p = F::fma(p, z, TANH[0]);
    let small = F::fma(p * z, a, a);
    let large = 1.0 - 2.0 / (exp::<F>(a + a) + 1.0);
    let y = if a < 0.625 { small } else { large };
    f32::from_bits(y.to_bits() | (x.to_bits() & 0x8000_0000))
}

/// Computes the error function.
///
/// With t = |x|: below 0.9277 `t + t P(z)`, z = x², P of degree 5 (relative error 2^-25.4); above, `1 - exp(-(t + t Q(t)))`, Q of
/// degree 6; from t = 4 on, 1; then the sign of x. Within 1.1 ulp.
#[inline(always)]
pub fn erf<F: Fma>(x: f32) -> f32 {
    let t = f32::from_bits(x.to_bits() & 0x7fff_ffff);
    let z = x * x;
    let mut p = ERF_SMALL[5];
    p = F::fma(p, z, ERF_SMALL[4]);
    p = F::fma(p, z, ERF_SMALL[3]);
    p = F::fma(p, z, ERF_SMALL[2]);
    p = F::fma(p, z, ERF_SMALL[1]);
    p = F::fma(p, z, ERF_SMALL[0]);
    let small = F::fma(p, t, t);
    let mut q = ERF_LARGE[6];
    q = F::fma(q, t, ERF_LARGE[5]);
    q = F::fma(q, t, ERF_LARGE[4]);
    q = F::fma(q, t, ERF_LARGE[3]);
    q = F::fma(q, t, ERF_LARGE[2]);
    q = F::fma(q, t, ERF_LARGE[1]);
    q = F::fma(q, t, ERF_LARGE[0]);
    let large = 1.0 - exp::<F>(-F::fma(q, t, t));
    let large = if t >= 4.0 { 1.0 } else { large };
    // A NaN fails both comparisons and leaves by `small`.
    let y = if t >= ERF_SPLIT { large } else { small };
    f32::from_bits(y.to_bits() | (x.to_bits() & 0x8000_0000))
}

/// Replaces each value by its e^x.
pub fn exp_slice(level: Level, x: &mut [f32]) {
    level.vectorize(Map(x, Function::Exp));
}

/// Replaces each value by its natural logarithm.
pub fn ln_slice(level: Level, x: &mut [f32]) {
    level.vectorize(Map(x, Function::Ln));
}

/// Replaces each value by its [`sigmoid`].
pub fn sigmoid_slice(level: Level, x: &mut [f32]) {
    level.vectorize(Map(x, Function::Sigmoid));
}

/// Replaces each value by its hyperbolic tangent.
pub fn tanh_slice(level: Level, x: &mut [f32]) {
    level.vectorize(Map(x, Function::Tanh));
}

/// Replaces each value by its error function.
pub fn erf_slice(level: Level, x: &mut [f32]) {
    level.vectorize(Map(x, Function::Erf));
}

enum Function {
    Exp,
    Ln,
    Sigmoid,
    Tanh,
    Erf,
}

struct Map<'a>(&'a mut [f32], Function);

impl Vectorized for Map<'_> {
    type Output = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        match self.1 {
            Function::Exp => self.0.iter_mut().for_each(|x| *x = exp::<F>(*x)),
            Function::Ln => self.0.iter_mut().for_each(|x| *x = ln::<F>(*x)),
            Function::Sigmoid => self.0.iter_mut().for_each(|x| *x = sigmoid::<F>(*x)),
            Function::Tanh => self.0.iter_mut().for_each(|x| *x = tanh::<F>(*x)),
            Function::Erf => self.0.iter_mut().for_each(|x| *x = erf::<F>(*x)),
        }
    }
}

/// 2^n for n in -126..=127, by its bits.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

const LOG2_E: f32 = f32::from_bits(0x3fb8_aa3b);
/// 1.5 · 2^23: adding it rounds to an integer, which then stands in the low bits.
const ROUND: f32 = f32::from_bits(0x4b40_0000);
/// ln 2 to 16 bits, so that its product with any exponent is exact, and the rest.
const LN_2_HIGH: f32 = f32::from_bits(0x3f31_7200);
const LN_2_LOW: f32 = f32::from_bits(0x35bf_be8e);
const EXP_MAX: f32 = f32::from_bits(0x42b1_7217);
const EXP_MIN: f32 = f32::from_bits(0xc2cf_f1b4);
const TWO_23: f32 = f32::from_bits(0x4b00_0000);
const SQRT_HALF: u32 = 0x3f35_04f3;
const ERF_SPLIT: f32 = f32::from_bits(0x3f6d_7dbf);

const EXP: [f32; 5] = [
    f32::from_bits(0x3eff_fffe),
    f32::from_bits(0x3e2a_aa45),
    f32::from_bits(0x3d2a_ac8b),
    f32::from_bits(0x3c09_1fe9),
    f32::from_bits(0x3ab5_0d35),
];
const LN: [f32; 4] = [
    f32::from_bits(0x3f2a_aaaa),
    f32::from_bits(0x3ecc_cd3e),
    f32::from_bits(0x3e92_1c54),
    f32::from_bits(0x3e71_7eed),
];
const TANH: [f32; 5] = [
    f32::from_bits(0xbeaa_aa99),
    f32::from_bits(0x3e08_8393),
    f32::from_bits(0xbd5c_1e2a),
    f32::from_bits(0x3ca9_1341),
    f32::from_bits(0xbbba_f0bd),
];
const ERF_SMALL: [f32; 6] = [
    f32::from_bits(0x3e03_75d3),
    f32::from_bits(0xbec0_9370),
    f32::from_bits(0x3de7_0cb6),
    f32::from_bits(0xbcdb_3e56),
    f32::from_bits(0x3ba3_7267),
    f32::from_bits(0xba1c_5966),
];
const ERF_LARGE: [f32; 7] = [
    f32::from_bits(0x3e03_bc6f),
    f32::from_bits(0x3f22_9946),
    f32::from_bits(0x3dd9_92c1),
    f32::from_bits(0xbcc2_a8c5),
    f32::from_bits(0x3b6e_b6b7),
    f32::from_bits(0xb9a9_3eb5),
    f32::from_bits(0x373c_7010),
];

#[cfg(test)]
mod tests;
