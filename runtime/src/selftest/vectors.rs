//! Runs one vector of `golden/kernels`.
//!
//! Written so that a port can do the same from the files alone: an unknown key, kernel or generator, an input not used or an output
//! not compared is a failure, said in words.

use std::collections::BTreeMap;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::stored;
use crate::artifact::hex;
use crate::kernel::{
    Fma, KeyValue, Level, PackedMatrix, RopeScaling, RopeTable, SplitMix, Vectorized, add, add_bias, argmax,
    attend_causal, attend_full, cross_entropy, dot, fma, gelu, gelu_tanh, layer_norm, log_probability, math, max,
    product, product_by_transpose, product_transposed, rms_norm, scaled_add, silu_multiply, softmax, sum, sum_squares,
    weighted_rows,
};

/// Computes the vector at `level` and compares every output bit by bit.
///
/// # Errors
/// What was not understood, or the first output that differs.
pub fn check_vector(level: Level, bytes: &[u8]) -> Result<(), String> {
    let vector: Vector = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if vector.format != FORMAT {
        return Err(format!("format {:?}, expected {FORMAT:?}", vector.format));
    }
    let inputs = vector.inputs.into_iter().map(|(name, input)| Ok((name, input.values()?)));
    let mut parts = Parts {
        level,
        shape: vector.shape,
        parameters: vector.parameters,
        inputs: inputs.collect::<Result<_, String>>()?,
        got: BTreeMap::new(),
    };
    compute(&vector.kernel, &mut parts)?;
    let unused = parts.shape.keys().chain(parts.parameters.keys()).chain(parts.inputs.keys()).next();
    if let Some(name) = unused {
        return Err(format!("{name} was not understood"));
    }
    if !vector.outputs.keys().map(String::as_str).eq(parts.got.keys().copied()) {
        return Err(format!("outputs {:?}, computed {:?}", vector.outputs.keys(), parts.got.keys()));
    }
    for (output, (name, got)) in vector.outputs.values().zip(&parts.got) {
        output.check(got).map_err(|what| format!("{name}: {what}"))?;
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    format: String,
    kernel: String,
    #[serde(rename = "reason")]
    _reason: String,
    shape: BTreeMap<String, usize>,
    parameters: BTreeMap<String, String>,
    inputs: BTreeMap<String, Input>,
    outputs: BTreeMap<String, Output>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    bits: Option<Vec<String>>,
    splitmix64: Option<String>,
    every: Option<String>,
    len: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Output {
    bits: Option<Vec<String>>,
    sha256: Option<String>,
    len: Option<usize>,
}

impl Input {
    fn values(&self) -> Result<Vec<f32>, String> {
        match (&self.bits, &self.splitmix64, &self.every, self.len) {
            (Some(bits), None, None, None) => bits.iter().map(|bits| Ok(f32::from_bits(word(bits)?))).collect(),
            (None, Some(seed), None, Some(len)) => {
                let seed = seed.parse().map_err(|_| format!("seed {seed:?}"))?;
                Ok(SplitMix(seed).uniforms(usize::try_from(len).map_err(|error| error.to_string())?))
            }
            (None, None, Some(step), Some(len)) => {
                let step = word(step)?;
                let patterns = (0..len).map(|index| f32::from_bits(index.wrapping_mul(step)));
                Ok(patterns.map(|x| if x.is_nan() { 0.0 } else { x }).collect())
            }
            _ => Err("an input is bits, splitmix64 with len, or every with len".to_owned()),
        }
    }
}

impl Output {
    fn check(&self, got: &[f32]) -> Result<(), String> {
        let bits = got.iter().map(|x| if x.is_nan() { 0x7fc0_0000 } else { x.to_bits() });
        match (&self.bits, &self.sha256, self.len) {
            (Some(want), None, None) if want.len() == got.len() => {
                for (index, (bits, want)) in bits.zip(want).enumerate() {
                    if bits != word(want)? {
                        return Err(format!("element {index} is {bits:08x}, expected {want}"));
                    }
                }
                Ok(())
            }
            (None, Some(want), Some(len)) if len == got.len() => {
                let mut digest = Sha256::new();
                bits.for_each(|bits| digest.update(bits.to_le_bytes()));
                let found = hex(&digest.finalize());
                if found == *want { Ok(()) } else { Err(format!("SHA-256 {found}, expected {want}")) }
            }
            _ => Err(format!("{} elements; an output is bits, or sha256 with len", got.len())),
        }
    }
}

/// One vector's parts, each taken once; what is left over at the end was not understood.
pub(super) struct Parts {
    pub(super) level: Level,
    shape: BTreeMap<String, usize>,
    parameters: BTreeMap<String, String>,
    inputs: BTreeMap<String, Vec<f32>>,
    got: BTreeMap<&'static str, Vec<f32>>,
}

impl Parts {
    pub(super) fn size(&mut self, name: &str) -> Result<usize, String> {
        self.shape.remove(name).ok_or_else(|| format!("no shape {name}"))
    }

    pub(super) fn text(&mut self, name: &str) -> Result<String, String> {
        self.parameters.remove(name).ok_or_else(|| format!("no parameter {name}"))
    }

    fn number(&mut self, name: &str) -> Result<f32, String> {
        Ok(f32::from_bits(word(&self.text(name)?)?))
    }

    pub(super) fn input(&mut self, name: &str) -> Result<Vec<f32>, String> {
        self.inputs.remove(name).ok_or_else(|| format!("no input {name}"))
    }

    pub(super) fn output(&mut self, name: &'static str, values: Vec<f32>) {
        self.got.insert(name, values);
    }

    fn map(&mut self, f: impl FnOnce(Level, &mut [f32])) -> Result<(), String> {
        let mut x = self.input("x")?;
        f(self.level, &mut x);
        self.output("y", x);
        Ok(())
    }
}

fn word(bits: &str) -> Result<u32, String> {
    let value = u32::from_str_radix(bits, 16).ok().filter(|_| bits.len() == 8);
    value.ok_or_else(|| format!("{bits:?}, expected eight hexadecimal digits"))
}

struct FmaEach(Vec<f32>, Vec<f32>, Vec<f32>);

impl Vectorized for FmaEach {
    type Output = Vec<f32>;

    #[inline(always)]
    fn run<F: Fma>(self) -> Vec<f32> {
        self.0.iter().zip(&self.1).zip(&self.2).map(|((a, b), c)| F::fma(*a, *b, *c)).collect()
    }
}

fn compute(kernel: &str, p: &mut Parts) -> Result<(), String> {
    let level = p.level;
    match kernel {
        "exp" => p.map(math::exp_slice),
        "ln" => p.map(math::ln_slice),
        "sigmoid" => p.map(math::sigmoid_slice),
        "tanh" => p.map(math::tanh_slice),
        "erf" => p.map(math::erf_slice),
        "softmax" => p.map(softmax),
        "gelu" => p.map(gelu),
        "gelu_tanh" => p.map(gelu_tanh),
        "fma" => fused(p),
        "sum" | "sum_squares" | "max" | "argmax" | "dot" => reduction(kernel, p),
        "silu_multiply" => {
            let (x, w) = (p.input("x")?, p.input("w")?);
            let mut y = vec![f32::NAN; x.len()];
            silu_multiply(level, &x, &w, &mut y);
            p.output("y", y);
            Ok(())
        }
        "add" => {
            let w = p.input("w")?;
            p.map(|level, x| add(level, x, &w))
        }
        "scaled_add" => {
            let (s, w) = (p.number("s")?, p.input("w")?);
            p.map(|level, x| scaled_add(level, x, s, &w))
        }
        "add_bias" => {
            let w = p.input("w")?;
            p.map(|level, x| add_bias(level, x, &w))
        }
        "rms_norm" | "layer_norm" => norm(kernel, p),
        "product" | "product_by_transpose" | "product_transposed" => products(kernel, p),
        "stored_product" => stored::products(p),
        "weighted_rows" => {
            let (stride_c, stride_r, n) = (p.size("stride_c")?, p.size("stride_r")?, p.size("n")?);
            let mut y = vec![f32::NAN; n];
            weighted_rows(level, &p.input("coefficients")?, stride_c, &p.input("rows")?, stride_r, &mut y);
            p.output("y", y);
            Ok(())
        }
        "rope" => rope(p),
        "attend_causal" | "attend_full" => attention(kernel, p),
        "cross_entropy" => {
            let (target, x) = (p.size("target")?, p.input("x")?);
            let mut gradient = x.clone();
            let loss = cross_entropy(level, &mut gradient, target);
            let again = -log_probability(level, &x, target);
            if again.to_bits() != loss.to_bits() {
                return Err(format!("loss {loss:e}, by log_probability {again:e}"));
            }
            p.output("loss", vec![loss]);
            p.output("gradient", gradient);
            Ok(())
        }
        other => Err(format!("unknown kernel {other}")),
    }
}

fn fused(p: &mut Parts) -> Result<(), String> {
    let (a, b, c) = (p.input("a")?, p.input("b")?, p.input("c")?);
    let free = a.iter().zip(&b).zip(&c).map(|((a, b), c)| fma(*a, *b, *c)).collect::<Vec<_>>();
    let leveled = p.level.vectorize(FmaEach(a, b, c));
    let same = |(x, y): (&f32, &f32)| x.to_bits() == y.to_bits() || x.is_nan() && y.is_nan();
    if let Some(index) = free.iter().zip(&leveled).position(|pair| !same(pair)) {
        return Err(format!("element {index}: the free function and this level differ"));
    }
    p.output("y", leveled);
    Ok(())
}

fn reduction(kernel: &str, p: &mut Parts) -> Result<(), String> {
    let x = p.input("x")?;
    let y = match kernel {
        "sum" => sum(p.level, &x),
        "sum_squares" => sum_squares(p.level, &x),
        "max" => max(p.level, &x),
        "dot" => dot(p.level, &x, &p.input("w")?),
        #[expect(clippy::as_conversions, reason = "an index below 2^24, which f32 holds")]
        _ => argmax(&x) as f32,
    };
    p.output("y", vec![y]);
    Ok(())
}

fn norm(kernel: &str, p: &mut Parts) -> Result<(), String> {
    let (t, c) = (p.size("t")?, p.size("c")?);
    let (x, weight, eps) = (p.input("x")?, p.input("weight")?, p.number("eps")?);
    if (x.len(), weight.len()) != (t * c, c) {
        return Err(format!("{} and {} elements, expected {t} rows of {c}", x.len(), weight.len()));
    }
    let mut y = vec![f32::NAN; t * c];
    if kernel == "rms_norm" {
        rms_norm(p.level, &x, &weight, eps, &mut y);
    } else {
        layer_norm(p.level, &x, &weight, &p.input("bias")?, eps, &mut y);
    }
    p.output("y", y);
    Ok(())
}

fn products(kernel: &str, p: &mut Parts) -> Result<(), String> {
    let (m, k, n) = (p.size("m")?, p.size("k")?, p.size("n")?);
    let (a, b) = (p.input("a")?, p.input("b")?);
    let mut c = vec![f32::NAN; m * n];
    match kernel {
        "product" => product(p.level, &a, m, &PackedMatrix::from_rows(p.level, &b, k, n), &mut c),
        "product_by_transpose" => {
            product_by_transpose(p.level, &a, m, &PackedMatrix::from_rows(p.level, &b, n, k), &mut c);
        }
        _ => product_transposed(p.level, &a, &b, k, m, n, &mut c),
    }
    p.output("c", c);
    Ok(())
}

fn rope(p: &mut Parts) -> Result<(), String> {
    let (heads, head_dim, first) = (p.size("heads")?, p.size("head_dim")?, p.size("first_position")?);
    let scaling = p.text("scaling")?;
    let words: Vec<&str> = scaling.split(' ').collect();
    let number = |word: &str| word.parse::<f64>().map_err(|_| format!("{word:?} is no number"));
    let scaling = match *words.as_slice() {
        ["none"] => RopeScaling::None,
        ["linear", factor] => RopeScaling::Linear(number(factor)?),
        ["llama3", factor, low, high, original] => RopeScaling::Llama3 {
            factor: number(factor)?,
            low_frequency_factor: number(low)?,
            high_frequency_factor: number(high)?,
            original_max_positions: number(original)?,
        },
        _ => return Err(format!("unknown scaling {scaling}")),
    };
    let theta = number(&p.text("theta")?)?;
    let rows = p.inputs.get("x").map_or(0, Vec::len) / (heads * head_dim).max(1);
    let table = RopeTable::new(theta, head_dim, first + rows, scaling);
    p.map(|level, x| table.apply(level, x, heads, first))?;
    p.output("cos", table.cos);
    p.output("sin", table.sin);
    Ok(())
}

fn attention(kernel: &str, p: &mut Parts) -> Result<(), String> {
    let (t, heads, head_dim) = (p.size("t")?, p.size("heads")?, p.size("head_dim")?);
    let (q, k, v, scale) = (p.input("q")?, p.input("k")?, p.input("v")?, p.number("scale")?);
    let mut y = vec![f32::NAN; q.len()];
    let probabilities = if kernel == "attend_full" {
        let mut probabilities = vec![f32::NAN; heads * t * t];
        attend_full(p.level, &q, &k, &v, t, heads, head_dim, scale, &mut y, Some(&mut probabilities));
        probabilities
    } else {
        let (first, kv_heads) = (p.size("first_position")?, p.size("kv_heads")?);
        let mut kv = KeyValue::new(kv_heads, head_dim, first + t);
        kv.push(&k, &v);
        let mut probabilities = vec![f32::NAN; heads * t * (first + t)];
        attend_causal(p.level, &q, &kv, first, heads, scale, &mut y, Some(&mut probabilities));
        probabilities
    };
    p.output("y", y);
    p.output("probabilities", probabilities);
    Ok(())
}

const FORMAT: &str = "kolm-kernel-vector-1";
