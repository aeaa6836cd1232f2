//! Speed of the kernels, one thread and the whole pool; `cargo bench -p kolm_runtime --bench kernels`.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kolm_runtime::kernel::{
    KeyValue, Level, PackedMatrix, SplitMix, attend_causal, product, product_transposed, rms_norm, silu_multiply,
    softmax,
};

/// `[M, K, N]`: a cube, prefill and decode of a 0.5B model's MLP, a step of a small configuration.
const SHAPES: [(usize, usize, usize); 4] = [(512, 512, 512), (1024, 896, 4864), (1, 896, 4864), (128, 256, 704)];

fn products(c: &mut Criterion) {
    let mut random = SplitMix(1);
    for threads in [1, rayon::current_num_threads()] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool");
        let mut group = c.benchmark_group(format!("product, {threads} threads"));
        group.sample_size(10);
        for (m, k, n) in SHAPES {
            let (a, b) = (random.uniforms(m * k), random.uniforms(k * n));
            let mut out = vec![0.0; m * n];
            group.throughput(Throughput::Elements((2 * m * k * n) as u64));
            for level in Level::available() {
                if level.name() == "scalar" && m * n * k > 200_000_000 {
                    continue;
                }
                let packed = PackedMatrix::from_rows(level, &b, k, n);
                group.bench_function(format!("{m}x{k}x{n} {}", level.name()), |bench| {
                    pool.install(|| bench.iter(|| product(level, &a, m, &packed, &mut out)));
                });
            }
        }
        group.finish();
    }
}

fn transposed(c: &mut Criterion) {
    let mut random = SplitMix(2);
    let level = Level::detect();
    let mut group = c.benchmark_group("product_transposed");
    group.sample_size(10);
    for (k, m, n) in [(128, 8, 896), (128, 4864, 8), (128, 256, 704)] {
        let (a, b) = (random.uniforms(k * m), random.uniforms(k * n));
        let mut out = vec![0.0; m * n];
        group.throughput(Throughput::Elements((2 * m * k * n) as u64));
        group.bench_function(format!("{k}x{m}, {k}x{n}"), |bench| {
            bench.iter(|| product_transposed(level, &a, &b, k, m, n, &mut out));
        });
    }
    group.finish();
}

fn rows(c: &mut Criterion) {
    let mut random = SplitMix(3);
    let (tokens, width) = (128, 4864);
    let x = random.uniforms(tokens * width);
    let y = random.uniforms(tokens * width);
    let mut out = vec![0.0; x.len()];
    let mut group = c.benchmark_group("rows");
    group.sample_size(20);
    group.throughput(Throughput::Elements(x.len() as u64));
    for level in Level::available() {
        group.bench_function(format!("softmax {}", level.name()), |bench| {
            bench.iter(|| {
                out.copy_from_slice(&x);
                out.chunks_mut(width).for_each(|row| softmax(level, row));
            });
        });
        group.bench_function(format!("rms_norm {}", level.name()), |bench| {
            bench.iter(|| rms_norm(level, &x, &y[..width], 1e-6, &mut out));
        });
        group.bench_function(format!("silu_multiply {}", level.name()), |bench| {
            bench.iter(|| silu_multiply(level, &x, &y, &mut out));
        });
    }
    group.finish();
}

fn attention(c: &mut Criterion) {
    let mut random = SplitMix(4);
    let (heads, kv_heads, head_dim) = (14, 2, 64);
    let level = Level::detect();
    let mut group = c.benchmark_group("attention");
    group.sample_size(10);
    for tokens in [128, 1024] {
        let mut kv = KeyValue::new(kv_heads, head_dim, tokens);
        kv.push(&random.uniforms(tokens * kv_heads * head_dim), &random.uniforms(tokens * kv_heads * head_dim));
        let q = random.uniforms(tokens * heads * head_dim);
        let mut out = vec![0.0; q.len()];
        group.throughput(Throughput::Elements((2 * tokens * tokens * heads * head_dim) as u64));
        group.bench_function(format!("prefill {tokens}"), |bench| {
            bench.iter(|| attend_causal(level, &q, &kv, 0, heads, 0.125, &mut out, None));
        });
        let row = heads * head_dim;
        group.throughput(Throughput::Elements((4 * tokens * heads * head_dim) as u64));
        group.bench_function(format!("decode {tokens}"), |bench| {
            bench.iter(|| attend_causal(level, &q[..row], &kv, tokens - 1, heads, 0.125, &mut out[..row], None));
        });
    }
    group.finish();
}

criterion_group!(benches, products, transposed, rows, attention);
criterion_main!(benches);
