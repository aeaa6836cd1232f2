//! Speed of the exact search; `cargo bench -p kolm_runtime --bench recall`.
//!
//! One million passages of 384 numbers, as f32, f16 and int8, ten hits for one query and for each of 32: at 32, f32 and two threads,
//! what `ci/peers/faiss_flat.py` measures of the peer with the same vectors.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kolm_runtime::kernel::{Level, SplitMix, dot, scores};
use kolm_runtime::recall::{Passage, RecallIndex, VectorType, Vectors};

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
    let (queries, rows) = (unit_vectors(1, QUERIES), unit_vectors(2, PASSAGES));
    let mut group = c.benchmark_group("flat search, 1 M x 384, top 10");
    group.sample_size(10);
    for kind in VectorType::ALL {
        let mut vectors = Vectors::new(kind, DIMENSION);
        vectors.extend(level, &rows).expect("unit vectors");
        let passage = |row: usize| Passage { id: row.to_string(), text: "text".to_owned(), answer: String::new() };
        let passages = (0..PASSAGES).map(passage).collect();
        let index = RecallIndex::of_vectors(level, vectors, passages).expect("unit vectors and distinct ids");
        group.throughput(Throughput::Bytes(index.vectors().len_bytes() as u64));
        for (threads, batch) in [(1, 1), (2, 1), (1, QUERIES), (2, QUERIES)] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool");
            let queries = &queries[..batch * DIMENSION];
            group.bench_function(format!("{}, batch {batch}, {threads} threads", kind.name()), |bench| {
                pool.install(|| bench.iter(|| index.search_batch(level, queries, 10, &|_, _| false)));
            });
        }
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
