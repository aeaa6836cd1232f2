//! Error bounds of the functions, against the f64 functions of `libm` on a stride through all f32.

use super::*;
use crate::kernel::fma::Software;

/// Inputs checked are every `STRIDE`-th bit pattern; unoptimised builds take fewer.
const STRIDE: u32 = if cfg!(debug_assertions) { 25_013 } else { 251 };

/// Largest error in ulp of the true value over all inputs in the domain, with the input where it occurs. Each level must
/// give the same bits as `function`.
fn worst(
    slice: fn(Level, &mut [f32]),
    function: fn(f32) -> f32,
    oracle: fn(f64) -> f64,
    domain: impl Fn(f32) -> bool,
) -> (f64, f32) {
    let inputs: Vec<f32> = (0..=u32::MAX / STRIDE).map(|i| f32::from_bits(i * STRIDE)).filter(|x| domain(*x)).collect();
    let plain: Vec<f32> = inputs.iter().map(|x| function(*x)).collect();
    for level in Level::available() {
        let mut fast = inputs.clone();
        slice(level, &mut fast);
        let differs = (0..inputs.len()).find(|i| fast[*i].to_bits() != plain[*i].to_bits());
        assert_eq!(differs.map(|i| inputs[i]), None, "bits at {level:?}");
    }
    let mut worst = (0.0, 0.0);
    for (x, got) in inputs.iter().zip(plain) {
        let want = oracle(f64::from(*x));
        let error = if (want as f32).is_infinite() {
            if got.to_bits() == (want as f32).to_bits() { 0.0 } else { f64::INFINITY }
        } else {
            (f64::from(got) - want).abs() / ulp(want)
        };
        if error > worst.0 {
            worst = (error, *x);
        }
    }
    worst
}

/// Distance between the f32 around a value.
fn ulp(value: f64) -> f64 {
    let exponent = ((value.to_bits() >> 52) & 0x7ff) as i32 - 1023;
    f64::from_bits(((exponent.clamp(-126, 127) - 23 + 1023) as u64) << 52)
}

fn check(name: &str, bound: f64, (error, at): (f64, f32)) {
    eprintln!("{name}: at most {error:.4} ulp, at {at:e} ({:08x})", at.to_bits());
    assert!(error <= bound, "{name}: {error} ulp at {at:e}, bound {bound}");
}

#[test]
fn exp_is_within_its_bound() {
    check("exp", 0.9, worst(exp_slice, exp::<Software>, libm::exp, |x| !x.is_nan()));
}

#[test]
fn ln_is_within_its_bound() {
    check("ln", 0.9, worst(ln_slice, ln::<Software>, libm::log, |x| x > 0.0));
}

#[test]
fn sigmoid_is_within_its_bound() {
    let oracle = |x: f64| 1.0 / (1.0 + libm::exp(-x));
    check("sigmoid", 2.5, worst(sigmoid_slice, sigmoid::<Software>, oracle, |x| x >= -88.0));
}

#[test]
fn tanh_is_within_its_bound() {
    check("tanh", 1.5, worst(tanh_slice, tanh::<Software>, libm::tanh, |x| !x.is_nan()));
}

#[test]
fn erf_is_within_its_bound() {
    check("erf", 1.1, worst(erf_slice, erf::<Software>, libm::erf, |x| !x.is_nan()));
}

#[test]
fn edges_have_their_values() {
    type Case = (fn(f32) -> f32, f32, f32);
    let cases: [Case; 22] = [
        (exp::<Software>, 0.0, 1.0),
        (exp::<Software>, -0.0, 1.0),
        (exp::<Software>, f32::INFINITY, f32::INFINITY),
        (exp::<Software>, f32::NEG_INFINITY, 0.0),
        (exp::<Software>, f32::from_bits(0x42b1_7218), f32::INFINITY),
        (exp::<Software>, f32::from_bits(0xc2cf_f1b4), f32::from_bits(1)),
        (exp::<Software>, f32::from_bits(0xc2cf_f1b5), 0.0),
        (ln::<Software>, 1.0, 0.0),
        (ln::<Software>, 0.0, f32::NEG_INFINITY),
        (ln::<Software>, -0.0, f32::NEG_INFINITY),
        (ln::<Software>, f32::INFINITY, f32::INFINITY),
        (sigmoid::<Software>, 0.0, 0.5),
        (sigmoid::<Software>, 200.0, 1.0),
        (sigmoid::<Software>, -200.0, 0.0),
        (tanh::<Software>, -0.0, -0.0),
        (tanh::<Software>, f32::INFINITY, 1.0),
        (tanh::<Software>, -30.0, -1.0),
        (tanh::<Software>, f32::from_bits(1), f32::from_bits(1)),
        (erf::<Software>, -0.0, -0.0),
        (erf::<Software>, f32::INFINITY, 1.0),
        (erf::<Software>, f32::NEG_INFINITY, -1.0),
        (erf::<Software>, 4.5, 1.0),
    ];
    for (i, (f, x, want)) in cases.iter().enumerate() {
        assert_eq!(f(*x).to_bits(), want.to_bits(), "case {i}: f({x:e}) gave {:e}", f(*x));
    }
    for f in [exp::<Software>, ln::<Software>, sigmoid::<Software>, tanh::<Software>, erf::<Software>] {
        assert!(f(f32::NAN).is_nan());
    }
    assert!(ln::<Software>(-1.0).is_nan() && ln::<Software>(f32::NEG_INFINITY).is_nan());
}
