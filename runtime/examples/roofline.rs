//! What each kernel achieves beside what this machine can do, measured in the same run: `roofline [--json]`.
//!
//! The two limits are measured first: fused multiply-adds on registers alone, and reading memory, both on all threads. A kernel is
//! held to the limit that binds it: operations where each value read is used often, bytes where it is used once. `share` is achieved over
//! limit. Medians of at least five repetitions; `RAYON_NUM_THREADS` says how many threads.

use std::hint::black_box;
use std::time::Instant;

use kolm_runtime::kernel::{
    self, Fma, HalfType, IntegerBits, KeyValue, Level, PackedMatrix, QuantizedRows, SplitMix, Vectorized, attend_causal,
};
use rayon::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let level = Level::from_environment()?;
    let json = std::env::args().nth(1).is_some_and(|flag| flag == "--json");
    let operations = peak_operations(level);
    let bytes = peak_bytes(level);
    if !json {
        println!("{} threads, level {}", rayon::current_num_threads(), level.name());
        println!("limits: {operations:.1} GFLOP/s of fused multiply-adds, {bytes:.1} GB/s of memory read\n");
        println!("{:44} {:>9} {:8} {:>6}", "kernel", "achieved", "unit", "share");
    }
    let mut rows = Vec::new();
    for (name, achieved, unit) in products(level).into_iter().chain(others(level)) {
        let share = achieved / if unit == "GFLOP/s" { operations } else { bytes };
        if !json {
            println!("{name:44} {achieved:9.1} {unit:8} {share:6.2}");
        }
        rows.push(serde_json::json!({ "name": name, "achieved": achieved, "unit": unit, "share": share }));
    }
    if json {
        let threads = rayon::current_num_threads();
        let limits = serde_json::json!({ "GFLOP/s": operations, "GB/s": bytes });
        println!(
            "{}",
            serde_json::json!({ "level": level.name(), "threads": threads, "limits": limits, "rows": rows })
        );
    }
    Ok(())
}

type Row = (String, f64, &'static str);

/// Products with many rows, and with one row over more weights than any cache holds.
fn products(level: Level) -> Vec<Row> {
    let mut random = SplitMix(1);
    let mut rows = Vec::new();
    for (m, k, n) in [(1024, 896, 4864), (256, 4864, 896), (16, 896, 4864)] {
        for (form, b) in forms(level, &random.uniforms(k * n), n, k) {
            let a = random.uniforms(m * k);
            let mut c = vec![0.0; m * n];
            let seconds = median_seconds(|| kernel::product(level, &a, m, &b, &mut c));
            rows.push((format!("product {m}x{k}x{n}, {form}"), 2.0 * (m * k * n) as f64 / seconds / 1e9, "GFLOP/s"));
        }
    }
    let (k, n) = (4096, 16384);
    for (form, b) in forms(level, &random.uniforms(k * n), n, k) {
        let a = random.uniforms(k);
        let mut c = vec![0.0; n];
        let seconds = median_seconds(|| kernel::product(level, &a, 1, &b, &mut c));
        rows.push((format!("product 1x{k}x{n}, {form}"), b.len_bytes() as f64 / seconds / 1e9, "GB/s"));
    }
    rows
}

/// A weight `[n, k]` in every form it can be kept in; integers of eight bits with minima are read as those without.
fn forms(level: Level, weight: &[f32], n: usize, k: usize) -> Vec<(&'static str, PackedMatrix)> {
    let bf16: Vec<f32> = weight.iter().map(|x| f32::from_bits(x.to_bits() & 0xffff_0000)).collect();
    let f16: Vec<f32> = weight.iter().map(|x| HalfType::F16.value(kernel::f16_bits(*x))).collect();
    let quantized = |bits| QuantizedRows::quantize(weight, n, k, bits, 32);
    let integers = |bits| PackedMatrix::from_quantized_columns(level, &quantized(bits));
    let four = quantized(IntegerBits::Four);
    let with_minima = QuantizedRows { minima: four.scales.iter().map(|scale| 8.0 * scale).collect(), ..four };
    vec![
        ("f32", PackedMatrix::from_columns(level, weight, n, k)),
        ("bf16", PackedMatrix::frozen_from_columns(level, &bf16, n, k)),
        ("f16", PackedMatrix::frozen_from_columns(level, &f16, n, k)),
        ("int8", integers(IntegerBits::Eight)),
        ("int4", integers(IntegerBits::Four)),
        ("int4 with minima", PackedMatrix::from_quantized_columns(level, &with_minima)),
    ]
}

/// Attention over a prompt, and what passes memory once.
fn others(level: Level) -> Vec<Row> {
    let mut random = SplitMix(2);
    let (tokens, heads, head_dim) = (512, 14, 64);
    let q = random.uniforms(tokens * heads * head_dim);
    let mut kv = KeyValue::new(2, head_dim, tokens);
    let keys = random.uniforms(tokens * 2 * head_dim);
    kv.push(&keys, &keys);
    let mut out = vec![0.0; q.len()];
    let seconds = median_seconds(|| attend_causal(level, &q, &kv, 0, heads, 0.125, &mut out, None));
    let operations = 4 * heads * head_dim * tokens * (tokens + 1) / 2;
    let mut rows = vec![(
        format!("attention, causal, {tokens} tokens, {heads} heads"),
        operations as f64 / seconds / 1e9,
        "GFLOP/s",
    )];

    let (count, width) = (1 << 14, 1024);
    let (x, y, weight) = (random.uniforms(count * width), random.uniforms(count * width), random.uniforms(width));
    let mut out = vec![0.0; count * width];
    let mut pass = |name: &str, arrays: usize, body: &mut dyn FnMut(&mut [f32])| {
        let seconds = median_seconds(|| body(&mut out));
        rows.push((name.to_owned(), (4 * arrays * count * width) as f64 / seconds / 1e9, "GB/s"));
    };
    pass("silu(gate) * up", 3, &mut |out| kernel::silu_multiply(level, &x, &y, out));
    pass("rms_norm, rows of 1024", 2, &mut |out| kernel::rms_norm(level, &x, &weight, 1e-6, out));
    pass("layer_norm, rows of 1024", 2, &mut |out| kernel::layer_norm(level, &x, &weight, &weight, 1e-6, out));
    pass("gelu", 2, &mut |out| kernel::gelu(level, out));
    rows
}

/// Fused multiply-adds a second that never leave the registers, in GFLOP/s.
fn peak_operations(level: Level) -> f64 {
    let threads = rayon::current_num_threads();
    let (count, _) = kernel::multiply_adds(level, ROUNDS, 0.999);
    let seconds = median_seconds(|| {
        (0..threads).into_par_iter().with_max_len(1).for_each(|_| {
            black_box(kernel::multiply_adds(level, ROUNDS, black_box(0.999)));
        });
    });
    (2 * threads * count) as f64 / seconds / 1e9
}

/// Reads of more memory than any cache holds, in GB/s: four streams a thread, as one alone does not keep a core's queue full.
fn peak_bytes(level: Level) -> f64 {
    let values = vec![1.0f32; 1 << 27];
    let part = values.len() / rayon::current_num_threads();
    let seconds = median_seconds(|| {
        let sums: Vec<f32> = values.par_chunks(part).map(|part| level.vectorize(Streams(part))).collect();
        black_box(sums);
    });
    size_of_val(values.as_slice()) as f64 / seconds / 1e9
}

struct Streams<'a>(&'a [f32]);

impl Vectorized for Streams<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<F: Fma>(self) -> f32 {
        let (first, second) = self.0.split_at(self.0.len() / 2);
        let (a, b) = first.split_at(first.len() / 2);
        let (c, d) = second.split_at(second.len() / 2);
        let mut sums = [[0.0f32; 16]; 4];
        for (((a, b), c), d) in
            a.chunks_exact(16).zip(b.chunks_exact(16)).zip(c.chunks_exact(16)).zip(d.chunks_exact(16))
        {
            for (sums, x) in sums.iter_mut().zip([a, b, c, d]) {
                for (sum, x) in sums.iter_mut().zip(x) {
                    *sum += x;
                }
            }
        }
        sums.iter().flatten().sum()
    }
}

fn median_seconds(mut body: impl FnMut()) -> f64 {
    body();
    let begin = now();
    let mut times = Vec::new();
    while times.len() < 5 || begin.elapsed().as_secs_f64() < 0.5 {
        let start = now();
        body();
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

#[expect(clippy::disallowed_methods, reason = "this program measures time")]
fn now() -> Instant {
    Instant::now()
}

/// Steps of each chain of multiply-adds.
const ROUNDS: usize = 1 << 20;
