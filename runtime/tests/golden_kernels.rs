//! Runs every vector of golden/kernels at every level this CPU has.
//!
//! Written so that a port can do the same from the files alone: an unknown key, kernel or generator, an input not used, an
//! output not compared, or an empty folder is a failure.

use std::collections::BTreeMap;
use std::path::Path;

use kolm_runtime::kernel::{
    KeyValue, Level, PackedMatrix, RopeScaling, RopeTable, SplitMix, Vectorized, add, add_bias, argmax, attend_causal,
    attend_full, cross_entropy, dot, fma, gelu, gelu_tanh, layer_norm, log_probability, math, max, product,
    product_transposed, rms_norm, scaled_add, silu_multiply, softmax, sum, sum_squares, weighted_rows,
};
use serde::Deserialize;
use sha2::{Digest, Sha256};

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
    len: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Output {
    bits: Option<Vec<String>>,
    sha256: Option<String>,
    len: Option<usize>,
}

impl Input {
    fn values(&self) -> Vec<f32> {
        match (&self.bits, &self.splitmix64, &self.every, self.len) {
            (Some(bits), None, None, None) => bits.iter().map(|b| f32::from_bits(parse(b))).collect(),
            (None, Some(seed), None, Some(len)) => SplitMix(seed.parse().expect("a seed")).uniforms(len),
            (None, None, Some(step), Some(len)) => {
                let patterns = (0..len as u32).map(|i| f32::from_bits(i.wrapping_mul(parse(step))));
                patterns.map(|x| if x.is_nan() { 0.0 } else { x }).collect()
            }
            _ => panic!("an input is bits, splitmix64 with len, or every with len"),
        }
    }
}

impl Output {
    fn check(&self, got: &[f32], what: &str) {
        let bits: Vec<u32> = got.iter().map(|x| if x.is_nan() { 0x7fc0_0000 } else { x.to_bits() }).collect();
        match (&self.bits, &self.sha256, self.len) {
            (Some(want), None, None) => {
                assert_eq!(bits, want.iter().map(|b| parse(b)).collect::<Vec<u32>>(), "{what}");
            }
            (None, Some(want), Some(len)) => {
                assert_eq!(bits.len(), len, "{what}: length");
                let mut digest = Sha256::new();
                bits.iter().for_each(|b| digest.update(b.to_le_bytes()));
                let got: String = digest.finalize().iter().map(|b| format!("{b:02x}")).collect();
                assert_eq!(&got, want, "{what}: digest");
            }
            _ => panic!("{what}: an output is bits, or sha256 with len"),
        }
    }
}

/// One vector's parts, each taken once; what is left over at the end was not understood.
struct Parts {
    level: Level,
    shape: BTreeMap<String, usize>,
    parameters: BTreeMap<String, String>,
    inputs: BTreeMap<String, Vec<f32>>,
    got: BTreeMap<&'static str, Vec<f32>>,
}

impl Parts {
    fn size(&mut self, name: &str) -> usize {
        self.shape.remove(name).unwrap_or_else(|| panic!("no shape {name}"))
    }

    fn text(&mut self, name: &str) -> String {
        self.parameters.remove(name).unwrap_or_else(|| panic!("no parameter {name}"))
    }

    fn number(&mut self, name: &str) -> f32 {
        f32::from_bits(parse(&self.text(name)))
    }

    fn input(&mut self, name: &str) -> Vec<f32> {
        self.inputs.remove(name).unwrap_or_else(|| panic!("no input {name}"))
    }

    fn output(&mut self, name: &'static str, values: Vec<f32>) {
        self.got.insert(name, values);
    }

    fn map(&mut self, f: impl FnOnce(Level, &mut [f32])) {
        let mut x = self.input("x");
        f(self.level, &mut x);
        self.output("y", x);
    }
}

fn parse(bits: &str) -> u32 {
    assert_eq!(bits.len(), 8, "eight hexadecimal digits: {bits}");
    u32::from_str_radix(bits, 16).expect("eight hexadecimal digits")
}

struct FmaEach(Vec<f32>, Vec<f32>, Vec<f32>);

impl Vectorized for FmaEach {
    type Output = Vec<f32>;

    #[inline(always)]
    fn run<F: kolm_runtime::kernel::Fma>(self) -> Vec<f32> {
        self.0.iter().zip(&self.1).zip(&self.2).map(|((a, b), c)| F::fma(*a, *b, *c)).collect()
    }
}

fn compute(kernel: &str, p: &mut Parts) {
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
        "fma" => {
            let (a, b, c) = (p.input("a"), p.input("b"), p.input("c"));
            for ((a, b), c) in a.iter().zip(&b).zip(&c) {
                let (free, leveled) = (fma(*a, *b, *c), level.vectorize(FmaEach(vec![*a], vec![*b], vec![*c])));
                assert!(free.to_bits() == leveled[0].to_bits() || free.is_nan() && leveled[0].is_nan());
            }
            p.output("y", level.vectorize(FmaEach(a, b, c)));
        }
        "sum" | "sum_squares" | "max" | "argmax" => {
            let x = p.input("x");
            let y = match kernel {
                "sum" => sum(level, &x),
                "sum_squares" => sum_squares(level, &x),
                "max" => max(&x),
                _ => argmax(&x) as f32,
            };
            p.output("y", vec![y]);
        }
        "dot" => {
            let y = dot(level, &p.input("x"), &p.input("w"));
            p.output("y", vec![y]);
        }
        "silu_multiply" => {
            let (x, w) = (p.input("x"), p.input("w"));
            let mut y = vec![f32::NAN; x.len()];
            silu_multiply(level, &x, &w, &mut y);
            p.output("y", y);
        }
        "add" => {
            let w = p.input("w");
            p.map(|level, x| add(level, x, &w));
        }
        "scaled_add" => {
            let (s, w) = (p.number("s"), p.input("w"));
            p.map(|level, x| scaled_add(level, x, s, &w));
        }
        "add_bias" => {
            let w = p.input("w");
            p.map(|level, x| add_bias(level, x, &w));
        }
        "rms_norm" | "layer_norm" => norm(kernel, p),
        "product" | "product_transposed" => products(kernel, p),
        "weighted_rows" => {
            let (stride_c, stride_r, n) = (p.size("stride_c"), p.size("stride_r"), p.size("n"));
            let mut y = vec![f32::NAN; n];
            weighted_rows(level, &p.input("coefficients"), stride_c, &p.input("rows"), stride_r, &mut y);
            p.output("y", y);
        }
        "rope" => rope(p),
        "attend_causal" | "attend_full" => attention(kernel, p),
        "cross_entropy" => {
            let (target, x) = (p.size("target"), p.input("x"));
            let mut gradient = vec![f32::NAN; x.len()];
            let loss = cross_entropy(level, &x, target, Some(&mut gradient));
            assert_eq!((-log_probability(level, &x, target)).to_bits(), loss.to_bits());
            p.output("loss", vec![loss]);
            p.output("gradient", gradient);
        }
        other => panic!("unknown kernel {other}"),
    }
}

fn norm(kernel: &str, p: &mut Parts) {
    let (t, c) = (p.size("t"), p.size("c"));
    let (x, weight, eps) = (p.input("x"), p.input("weight"), p.number("eps"));
    assert_eq!((x.len(), weight.len()), (t * c, c));
    let mut y = vec![f32::NAN; t * c];
    if kernel == "rms_norm" {
        rms_norm(p.level, &x, &weight, eps, &mut y);
    } else {
        layer_norm(p.level, &x, &weight, &p.input("bias"), eps, &mut y);
    }
    p.output("y", y);
}

fn products(kernel: &str, p: &mut Parts) {
    let (m, k, n) = (p.size("m"), p.size("k"), p.size("n"));
    let (a, b) = (p.input("a"), p.input("b"));
    let mut c = vec![f32::NAN; m * n];
    if kernel == "product" {
        product(p.level, &a, m, &PackedMatrix::from_rows(p.level, &b, k, n), &mut c);
    } else {
        product_transposed(p.level, &a, &b, k, m, n, &mut c);
    }
    p.output("c", c);
}

fn rope(p: &mut Parts) {
    let (heads, head_dim, first) = (p.size("heads"), p.size("head_dim"), p.size("first_position"));
    let scaling = p.text("scaling");
    let words: Vec<&str> = scaling.split(' ').collect();
    let number = |word: &str| word.parse::<f64>().expect("a number");
    let scaling = match words[..] {
        ["none"] => RopeScaling::None,
        ["linear", factor] => RopeScaling::Linear(number(factor)),
        ["llama3", factor, low, high, original] => RopeScaling::Llama3 {
            factor: number(factor),
            low_frequency_factor: number(low),
            high_frequency_factor: number(high),
            original_max_positions: number(original),
        },
        _ => panic!("unknown scaling {scaling}"),
    };
    let theta = p.text("theta").parse().expect("a number");
    let rows = p.inputs["x"].len() / (heads * head_dim);
    let table = RopeTable::new(theta, head_dim, first + rows, scaling);
    p.map(|level, x| table.apply(level, x, heads, first));
    p.output("cos", table.cos);
    p.output("sin", table.sin);
}

fn attention(kernel: &str, p: &mut Parts) {
    let (t, heads, head_dim) = (p.size("t"), p.size("heads"), p.size("head_dim"));
    let (q, k, v, scale) = (p.input("q"), p.input("k"), p.input("v"), p.number("scale"));
    let mut y = vec![f32::NAN; q.len()];
    let probabilities = if kernel == "attend_full" {
        let mut probabilities = vec![f32::NAN; heads * t * t];
        attend_full(p.level, &q, &k, &v, t, heads, head_dim, scale, &mut y, Some(&mut probabilities));
        probabilities
    } else {
        let (first, kv_heads) = (p.size("first_position"), p.size("kv_heads"));
        let mut kv = KeyValue::new(kv_heads, head_dim, first + t);
        kv.push(&k, &v);
        let mut probabilities = vec![f32::NAN; heads * t * (first + t)];
        attend_causal(p.level, &q, &kv, first, heads, scale, &mut y, Some(&mut probabilities));
        probabilities
    };
    p.output("y", y);
    p.output("probabilities", probabilities);
}

#[test]
fn every_vector_holds_at_every_level() {
    for name in Level::NAMES.iter().filter(|name| Level::named(name).is_err()) {
        eprintln!("skipped: level {name} (this CPU does not have it)");
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden/kernels");
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).expect("golden/kernels") {
        let path = entry.expect("an entry").path();
        let vector: Vector = serde_json::from_slice(&std::fs::read(&path).expect("a readable file"))
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(vector.format, "kolm-kernel-vector-1", "{}", path.display());
        for level in Level::available() {
            let inputs = vector.inputs.iter().map(|(name, input)| (name.clone(), input.values())).collect();
            let mut parts = Parts {
                level,
                shape: vector.shape.clone(),
                parameters: vector.parameters.clone(),
                inputs,
                got: BTreeMap::new(),
            };
            compute(&vector.kernel, &mut parts);
            let unused = (parts.shape.len(), parts.parameters.len(), parts.inputs.len());
            assert_eq!(unused, (0, 0, 0), "{}: shape, parameters, inputs not understood", path.display());
            assert!(vector.outputs.keys().eq(parts.got.keys()), "{}: outputs", path.display());
            for (name, output) in &vector.outputs {
                output.check(&parts.got[name.as_str()], &format!("{} {name} at {level:?}", path.display()));
            }
        }
        count += 1;
    }
    assert!(count > 0, "no vectors in {}", folder.display());
}
