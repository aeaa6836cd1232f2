//! The kernel vectors of `golden/kernels`, made with the plain reference loops of `kolm_runtime::kernel::reference`.
//!
//! One file is one kernel and one case, named by its reason. Inputs are bits or a stated generator, outputs bits or the
//! SHA-256 of bits (little-endian, any NaN as 7fc00000), so a port needs nothing but the file and NUMERICS.md. The files
//! are a function of this program alone: CI writes them again and wants no difference.

mod stored;

use std::collections::BTreeMap;

use kolm_runtime::kernel::{RopeScaling, RopeTable, SplitMix, reference};
use serde::Serialize;
use sha2::{Digest, Sha256};

/// Makes every vector, as (file name, bytes), sorted by name.
pub fn files() -> Vec<(String, Vec<u8>)> {
    let mut cases = Vec::new();
    functions(&mut cases);
    reductions(&mut cases);
    rows(&mut cases);
    element_wise(&mut cases);
    products(&mut cases);
    stored::products(&mut cases);
    rotations(&mut cases);
    attention(&mut cases);
    losses(&mut cases);
    let mut files: Vec<_> = cases.into_iter().map(Case::into_file).collect();
    files.sort();
    files
}

/// One file, its keys in the order they are written.
#[derive(Serialize)]
struct Case {
    format: &'static str,
    kernel: &'static str,
    reason: String,
    shape: BTreeMap<&'static str, usize>,
    parameters: BTreeMap<&'static str, String>,
    inputs: BTreeMap<&'static str, Input>,
    outputs: BTreeMap<&'static str, Output>,
}

/// Where an input comes from.
#[derive(Clone, Serialize)]
#[serde(untagged)]
enum Input {
    Bits { bits: Vec<String> },
    Uniform { splitmix64: String, len: usize },
    Every { every: String, len: usize },
}

#[derive(Serialize)]
#[serde(untagged)]
enum Output {
    Bits { bits: Vec<String> },
    Digest { sha256: String, len: usize },
}

impl Input {
    fn bits(values: &[f32]) -> Input {
        Input::Bits { bits: values.iter().map(|x| hex(*x)).collect() }
    }

    fn uniform(seed: u64, len: usize) -> Input {
        Input::Uniform { splitmix64: seed.to_string(), len }
    }

    /// Bit patterns 0, step, 2 step, … (modulo 2^32), each NaN among them replaced by +0.
    fn every(step: u32, len: usize) -> Input {
        Input::Every { every: format!("{step:08x}"), len }
    }

    fn values(&self) -> Vec<f32> {
        match self {
            Input::Bits { bits } => {
                bits.iter().map(|b| f32::from_bits(u32::from_str_radix(b, 16).unwrap_or(0))).collect()
            }
            Input::Uniform { splitmix64, len } => SplitMix(splitmix64.parse().unwrap_or(0)).uniforms(*len),
            Input::Every { every, len } => {
                let step = u32::from_str_radix(every, 16).unwrap_or(0);
                let patterns = (0..*len as u32).map(|i| f32::from_bits(i.wrapping_mul(step)));
                patterns.map(|x| if x.is_nan() { 0.0 } else { x }).collect()
            }
        }
    }
}

impl Output {
    fn of(values: &[f32]) -> Output {
        if values.len() <= SMALL {
            return Output::Bits { bits: values.iter().map(|x| hex(*x)).collect() };
        }
        let mut digest = Sha256::new();
        for x in values {
            digest.update(canonical(*x).to_le_bytes());
        }
        let sha256 = digest.finalize().iter().map(|b| format!("{b:02x}")).collect();
        Output::Digest { sha256, len: values.len() }
    }
}

impl Case {
    fn new(kernel: &'static str, reason: impl Into<String>) -> Case {
        Case {
            format: "kolm-kernel-vector-1",
            kernel,
            reason: reason.into(),
            shape: BTreeMap::new(),
            parameters: BTreeMap::new(),
            inputs: BTreeMap::new(),
            outputs: BTreeMap::new(),
        }
    }

    fn shape(mut self, sizes: &[(&'static str, usize)]) -> Case {
        self.shape.extend(sizes.iter().copied());
        self
    }

    fn parameter(mut self, name: &'static str, value: f32) -> Case {
        self.parameters.insert(name, hex(value));
        self
    }

    fn input(mut self, name: &'static str, input: Input) -> Case {
        self.inputs.insert(name, input);
        self
    }

    fn output(mut self, name: &'static str, values: &[f32]) -> Case {
        self.outputs.insert(name, Output::of(values));
        self
    }

    fn into_file(self) -> (String, Vec<u8>) {
        let name = format!("{}-{}.json", self.kernel.replace('_', "-"), self.reason.replace(' ', "-"));
        let mut bytes = serde_json::to_vec_pretty(&self).unwrap_or_default();
        bytes.push(b'\n');
        (name, bytes)
    }
}

fn functions(cases: &mut Vec<Case>) {
    let edges = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.5,
        f32::from_bits(1),
        f32::from_bits(0x8000_0001),
        f32::MIN_POSITIVE,
        f32::MAX,
        f32::MIN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::from_bits(0x42b1_7217),
        f32::from_bits(0x42b1_7218),
        f32::from_bits(0xc2cf_f1b4),
        f32::from_bits(0xc2cf_f1b5),
        f32::from_bits(0xc2ae_ac50),
        f32::from_bits(0x3f35_04f2),
        f32::from_bits(0x3f35_04f3),
        f32::from_bits(0x3fb5_04f3),
        f32::from_bits(0x3f1f_ffff),
        f32::from_bits(0x3f20_0000),
        f32::from_bits(0x3f6d_7dbe),
        f32::from_bits(0x3f6d_7dbf),
        f32::from_bits(0x407f_ffff),
        f32::from_bits(0x4080_0000),
    ];
    let all: [(&'static str, fn(f32) -> f32); 5] = [
        ("exp", reference::exp),
        ("ln", reference::ln),
        ("sigmoid", reference::sigmoid),
        ("tanh", reference::tanh),
        ("erf", reference::erf),
    ];
    for (kernel, function) in all {
        for (reason, input) in [("edges", Input::bits(&edges)), ("all binades", Input::every(65_521, 65_552))] {
            let y: Vec<f32> = input.values().into_iter().map(function).collect();
            cases.push(Case::new(kernel, reason).input("x", input).output("y", &y));
        }
    }
    let edges = [(1.0, 1.0, -1.0), (f32::MAX, 2.0, f32::NEG_INFINITY), (f32::MAX, f32::MAX, f32::MIN)];
    let halves = [
        // 1 + 2^-23 squared is 1 + 2^-22 + 2^-46: the last term decides the rounding of a sum.
        (f32::from_bits(0x3f80_0001), f32::from_bits(0x3f80_0001), f32::from_bits(0x3380_0000)),
        (f32::from_bits(0x3f80_0001), f32::from_bits(0x3f80_0001), -1.0),
        (f32::from_bits(0x1a00_0001), f32::from_bits(0x1a00_0001), f32::from_bits(1)),
        (f32::from_bits(0x2000_0000), f32::from_bits(0xa000_0001), f32::MIN_POSITIVE),
        // 24929 · 673 = 2^24 + 1: the sum is 1 + 2^-24 ± 2^-100, which rounded first to f64 is a tie between two f32.
        (24_929.0 / 16_777_216.0, 673.0, f32::from_bits(0x0d80_0000)),
        (24_929.0 / 16_777_216.0, 673.0, f32::from_bits(0x8d80_0000)),
        (0.0, -1.0, 0.0),
        (-0.0, 1.0, -0.0),
    ];
    let triples: Vec<(f32, f32, f32)> = edges.into_iter().chain(halves).collect();
    let column = |f: fn(&(f32, f32, f32)) -> f32| Input::bits(&triples.iter().map(f).collect::<Vec<f32>>());
    fma_case(cases, "edges", column(|t| t.0), column(|t| t.1), column(|t| t.2));
    let mut random = SplitMix(30);
    let mut patterns = || {
        let values: Vec<f32> = (0..512).map(|_| f32::from_bits((random.next() >> 32) as u32)).collect();
        Input::bits(&values.into_iter().map(|x| if x.is_nan() { 1.0 } else { x }).collect::<Vec<f32>>())
    };
    let (a, b, c) = (patterns(), patterns(), patterns());
    fma_case(cases, "random bits", a, b, c);
}

fn fma_case(cases: &mut Vec<Case>, reason: &str, a: Input, b: Input, c: Input) {
    let terms = a.values().into_iter().zip(b.values()).zip(c.values());
    let y: Vec<f32> = terms.map(|((a, b), c)| kolm_runtime::kernel::fma(a, b, c)).collect();
    cases.push(Case::new("fma", reason).input("a", a).input("b", b).input("c", c).output("y", &y));
}

fn reductions(cases: &mut Vec<Case>) {
    for len in [0, 1, 31, 32, 33, 1009] {
        let (x, y) = (Input::uniform(len as u64, len), Input::uniform(len as u64 + 1, len));
        let (xs, ys) = (x.values(), y.values());
        let case = |kernel| Case::new(kernel, format!("length {len}")).input("x", x.clone());
        cases.push(case("sum").output("y", &[reference::sum(&xs)]));
        cases.push(case("sum_squares").output("y", &[reference::sum_squares(&xs)]));
        cases.push(case("max").output("y", &[reference::max(&xs)]));
        cases.push(case("dot").input("w", y).output("y", &[reference::dot(&xs, &ys)]));
    }
}

fn rows(cases: &mut Vec<Case>) {
    for (reason, input) in [
        ("length 1", Input::bits(&[3.0])),
        ("length 33", Input::uniform(2, 33)),
        ("length 1009", Input::uniform(3, 1009)),
        ("far apart", Input::bits(&[-1000.0, 0.0, 100.0, -3.4e38, 99.0])),
    ] {
        let mut y = input.values();
        reference::softmax(&mut y);
        cases.push(Case::new("softmax", reason).input("x", input).output("y", &y));
    }
    for (t, c) in [(1, 1), (3, 64), (2, 1009)] {
        let (x, w, b) = (Input::uniform(10, t * c), Input::uniform(11, c), Input::uniform(12, c));
        let mut y = vec![0.0; t * c];
        reference::rms_norm(&x.values(), &w.values(), 1e-6, &mut y);
        let case = |kernel| {
            let case = Case::new(kernel, format!("{t} rows of {c}")).shape(&[("t", t), ("c", c)]);
            case.input("x", x.clone()).input("weight", w.clone())
        };
        cases.push(case("rms_norm").parameter("eps", 1e-6).output("y", &y));
        reference::layer_norm(&x.values(), &w.values(), &b.values(), 1e-12, &mut y);
        cases.push(case("layer_norm").parameter("eps", 1e-12).input("bias", b).output("y", &y));
    }
}

fn element_wise(cases: &mut Vec<Case>) {
    let (len, reason) = (1009, "length 1009");
    let (x, w) = (Input::uniform(20, len), Input::uniform(21, len));
    let (xs, ws) = (x.values(), w.values());
    let sweep = Input::every(1_048_573, 4099);
    for (reason, x) in [(reason, &x), ("all binades", &sweep)] {
        let mut y = x.values();
        reference::gelu(&mut y);
        cases.push(Case::new("gelu", reason).input("x", x.clone()).output("y", &y));
        let mut y = x.values();
        reference::gelu_tanh(&mut y);
        cases.push(Case::new("gelu_tanh", reason).input("x", x.clone()).output("y", &y));
    }
    let two = |kernel| Case::new(kernel, reason).input("x", x.clone()).input("w", w.clone());
    let mut y = vec![0.0; len];
    reference::silu_multiply(&xs, &ws, &mut y);
    cases.push(two("silu_multiply").output("y", &y));
    let mut y = xs.clone();
    reference::add(&mut y, &ws);
    cases.push(two("add").output("y", &y));
    let mut y = xs.clone();
    reference::scaled_add(&mut y, 0.3, &ws);
    cases.push(two("scaled_add").parameter("s", 0.3).output("y", &y));
    let bias = Input::uniform(22, 7);
    let x = Input::uniform(20, 21);
    let mut y = x.values();
    reference::add_bias(&mut y, &bias.values());
    cases.push(Case::new("add_bias", "3 rows of 7").input("x", x).input("w", bias).output("y", &y));
}

fn products(cases: &mut Vec<Case>) {
    let shapes = [
        (1, 0, 3),
        (1, 1, 1),
        (1, 255, 17),
        (2, 256, 33),
        (3, 257, 31),
        (7, 513, 15),
        (13, 64, 129),
        (1, 896, 151),
        (61, 300, 77),
    ];
    for (m, k, n) in shapes {
        let (a, b) = (Input::uniform(40, m * k), Input::uniform(41, k * n));
        let (a_values, b_values) = (a.values(), b.values());
        let mut c = vec![0.0; m * n];
        let case = |kernel| {
            let case = Case::new(kernel, format!("{m} by {k} by {n}")).shape(&[("m", m), ("k", k), ("n", n)]);
            case.input("a", a.clone()).input("b", b.clone())
        };
        reference::product(&a_values, m, &b_values, k, n, &mut c);
        cases.push(case("product").output("c", &c));
        reference::product_by_transpose(&a_values, m, &b_values, k, n, &mut c);
        cases.push(case("product_by_transpose").output("c", &c));
        reference::product_transposed(&a_values, &b_values, k, m, n, &mut c);
        cases.push(case("product_transposed").output("c", &c));
    }
    // -1e-30 squared underflows: the chain's sign of zero must survive the sum of blocks.
    let (a, b) = (Input::bits(&[1e-30; 257]), Input::bits(&[-1e-30; 257]));
    let mut c = vec![0.0];
    reference::product(&a.values(), 1, &b.values(), 257, 1, &mut c);
    let case = Case::new("product", "negative zero").shape(&[("m", 1), ("k", 257), ("n", 1)]);
    cases.push(case.input("a", a).input("b", b).output("c", &c));
    let (coefficients, rows) = (Input::uniform(42, 300 * 2), Input::uniform(43, 300 * 35));
    let mut out = vec![0.0; 33];
    reference::weighted_rows(&coefficients.values(), 2, &rows.values(), 35, &mut out);
    let sizes = [("stride_c", 2), ("stride_r", 35), ("n", 33)];
    let case = Case::new("weighted_rows", "300 rows of 33").shape(&sizes);
    cases.push(case.input("coefficients", coefficients).input("rows", rows).output("y", &out));
}

fn rotations(cases: &mut Vec<Case>) {
    let llama3 = RopeScaling::Llama3 {
        factor: 8.0,
        low_frequency_factor: 1.0,
        high_frequency_factor: 4.0,
        original_max_positions: 8192.0,
    };
    for (reason, theta, written, scaling) in [
        ("theta 1000000", 1e6, "none", RopeScaling::None),
        ("linear factor 2", 1e4, "linear 2", RopeScaling::Linear(2.0)),
        ("llama3 factor 8", 5e5, "llama3 8 1 4 8192", llama3),
    ] {
        let (heads, head_dim, t, first) = (2, 64, 5, 37);
        let table = RopeTable::new(theta, head_dim, first + t, scaling);
        let half = head_dim / 2;
        let x = Input::uniform(50, t * heads * head_dim);
        let mut y = x.values();
        let (cos, sin) = (&table.cos[first * half..], &table.sin[first * half..]);
        reference::rope(&mut y, heads, cos, sin, half);
        let mut case = Case::new("rope", reason);
        case.parameters.insert("theta", format!("{theta}"));
        case.parameters.insert("scaling", written.to_owned());
        let sizes = [("heads", heads), ("head_dim", head_dim), ("first_position", first)];
        cases
            .push(case.shape(&sizes).input("x", x).output("cos", &table.cos).output("sin", &table.sin).output("y", &y));
    }
}

fn attention(cases: &mut Vec<Case>) {
    for (t, first, heads, kv_heads, head_dim) in
        [(1, 0, 1, 1, 8), (9, 0, 4, 2, 16), (3, 300, 2, 1, 24), (30, 241, 3, 3, 64)]
    {
        let len = first + t;
        let q = Input::uniform(60, t * heads * head_dim);
        let k = Input::uniform(61, len * kv_heads * head_dim);
        let v = Input::uniform(62, len * kv_heads * head_dim);
        let scale = 1.0 / (head_dim as f32).sqrt();
        let (mut out, mut p) = (vec![0.0; t * heads * head_dim], vec![0.0; heads * t * len]);
        reference::attend(
            &q.values(),
            &k.values(),
            &v.values(),
            len,
            Some(first),
            heads,
            kv_heads,
            head_dim,
            scale,
            &mut out,
            &mut p,
        );
        let sizes =
            [("t", t), ("first_position", first), ("heads", heads), ("kv_heads", kv_heads), ("head_dim", head_dim)];
        let case = Case::new(
            "attend_causal",
            format!("{t} queries from {first} with {heads} over {kv_heads} heads of {head_dim}"),
        );
        let case = case.shape(&sizes).parameter("scale", scale).input("q", q).input("k", k).input("v", v);
        cases.push(case.output("y", &out).output("probabilities", &p));
    }
    let (t, heads, head_dim, scale) = (70, 2, 20, 0.25);
    let size = t * heads * head_dim;
    let (q, k, v) = (Input::uniform(63, size), Input::uniform(64, size), Input::uniform(65, size));
    let (mut out, mut p) = (vec![0.0; size], vec![0.0; heads * t * t]);
    reference::attend(&q.values(), &k.values(), &v.values(), t, None, heads, heads, head_dim, scale, &mut out, &mut p);
    let case = Case::new("attend_full", "70 tokens").shape(&[("t", t), ("heads", heads), ("head_dim", head_dim)]);
    let case = case.parameter("scale", scale).input("q", q).input("k", k).input("v", v);
    cases.push(case.output("y", &out).output("probabilities", &p));
}

fn losses(cases: &mut Vec<Case>) {
    for (reason, logits, target) in [
        ("length 1", Input::bits(&[2.5]), 0),
        ("length 1009", Input::uniform(70, 1009), 1000),
        ("certain", Input::bits(&[0.0, 200.0, -200.0]), 1),
        ("improbable", Input::bits(&[0.0, 200.0, -200.0]), 2),
    ] {
        let values = logits.values();
        let mut gradient = vec![0.0; values.len()];
        let loss = reference::cross_entropy(&values, target, &mut gradient);
        let case = Case::new("cross_entropy", reason).shape(&[("target", target)]).input("x", logits);
        cases.push(case.output("loss", &[loss]).output("gradient", &gradient));
    }
    let ties = Input::bits(&[1.0, 7.0, 7.0, -0.0, 0.0]);
    let best = reference::argmax(&ties.values());
    cases.push(Case::new("argmax", "lowest of a tie").input("x", ties).output("y", &[best as f32]));
}

fn hex(value: f32) -> String {
    format!("{:08x}", canonical(value))
}

/// The bits of a value, all NaN being one.
fn canonical(value: f32) -> u32 {
    if value.is_nan() { 0x7fc0_0000 } else { value.to_bits() }
}

/// Outputs up to this many values are written out, longer ones by digest.
const SMALL: usize = 64;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    #[test]
    fn the_folder_holds_exactly_what_this_program_writes() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden/kernels");
        let entries = std::fs::read_dir(folder).expect("golden/kernels");
        let held: BTreeMap<String, Vec<u8>> = entries
            .map(|entry| entry.expect("an entry").path())
            .map(|path| {
                (
                    path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                    std::fs::read(&path).unwrap_or_default(),
                )
            })
            .collect();
        let written: BTreeMap<String, Vec<u8>> = super::files().into_iter().collect();
        assert_eq!(held.keys().collect::<Vec<_>>(), written.keys().collect::<Vec<_>>());
        let differing: Vec<_> =
            held.iter().filter(|(name, bytes)| written[*name] != **bytes).map(|(name, _)| name).collect();
        assert!(differing.is_empty(), "differ from what this program writes: {differing:?}");
    }
}
