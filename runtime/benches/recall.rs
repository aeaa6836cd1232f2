//! Speed of the exact search; `cargo bench -p kolm_runtime --bench recall`.
//!
//! One million passages of 384 numbers, ten hits for each of 32 queries, on two threads: what `ci/peers/faiss_flat.py` measures of
//! the peer with the same vectors.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kolm_runtime::kernel::{Level, SplitMix, dot, scores};
use kolm_runtime::recall::{Passage, RecallIndex};

fn unit_vectors(seed: u64, rows: usize) -> Vec<f32> {
    let level = Level::detect();
    let mut vectors = SplitMix(seed).uniforms(rows * DIMENSION);
    for vector in vectors.chunks_exact_mut(DIMENSION) {
        let length = dot(level, vector, vector).sqrt();
        vector.iter_mut().for_each(|x| *x /= length);
    }
    vectors
}

fn kernel(c: &mut Criterion) {
    let (queries, rows) = (unit_vectors(1, QUERIES), unit_vectors(2, BLOCK_ROWS));
    let mut out = vec![0.0; QUERIES * BLOCK_ROWS];
    let mut group = c.benchmark_group("scores, one thread");
    group.throughput(Throughput::Elements((2 * QUERIES * BLOCK_ROWS * DIMENSION) as u64));
    for level in Level::available() {
        group.bench_function(level.name(), |bench| {
            bench.iter(|| scores(level, &queries, &rows, DIMENSION, &mut out));
        });
    }
    group.finish();
}

fn flat(c: &mut Criterion) {
    let level = Level::detect();
    let queries = unit_vectors(1, QUERIES);
    let passage = |row: usize| Passage { id: row.to_string(), text: "text".to_owned(), answer: String::new() };
    let passages = (0..PASSAGES).map(passage).collect();
    let index =
        RecallIndex::new(level, DIMENSION, unit_vectors(2, PASSAGES), passages).expect("unit vectors and distinct ids");
    let mut group = c.benchmark_group("flat search, 1 M x 384, top 10, batch 32");
    group.sample_size(10);
    group.throughput(Throughput::Elements(QUERIES as u64));
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool");
        group.bench_function(format!("f32, {threads} threads"), |bench| {
            pool.install(|| bench.iter(|| index.search_batch(level, &queries, 10, &|_, _| false)));
        });
    }
    group.finish();
}

/// Numbers in a vector, queries in a batch, and rows that fit the second-level cache.
const DIMENSION: usize = 384;
const QUERIES: usize = 32;
const BLOCK_ROWS: usize = 96;
const PASSAGES: usize = 1_000_000;

criterion_group!(benches, kernel, flat);
criterion_main!(benches);
