//! SHA-256, canonical JSON and the CID; `cargo bench -p kolm_runtime --bench hashing`.

mod large;

use std::collections::BTreeMap;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kolm_runtime::artifact::{Manifest, canonical, canonical_lines, cid, parse_canonical_lines, sha256_hex};
use serde_json::{Value, json};

const LEN_BYTES: usize = 1 << 24;
const LINES: usize = 10_000;

fn hashing(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let members = large::members(0, folder.path());
    let bytes = members.get(kolm_runtime::artifact::Member::Manifest).expect("a manifest");
    let manifest = Manifest::parse(bytes).expect("parses");
    let hashes: BTreeMap<String, String> = manifest.hashes.clone();

    let mut group = c.benchmark_group("hashing");
    group.throughput(Throughput::Bytes(LEN_BYTES as u64));
    let block = vec![0x5a; LEN_BYTES];
    group.bench_function("sha-256, 16 MB", |bench| bench.iter(|| sha256_hex(&block)));
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("manifest, parse", |bench| bench.iter(|| Manifest::parse(bytes).expect("parses")));
    group.bench_function("manifest, canonical", |bench| bench.iter(|| canonical(&manifest).expect("no floats")));
    let lines: Vec<Value> = (0..LINES).map(|step| json!({ "loss": "3f800000", "step": step, "text": "é €" })).collect();
    let encoded = canonical_lines(&lines).expect("no floats");
    group.throughput(Throughput::Bytes(encoded.len() as u64));
    group.bench_function("10 000 lines, parse", |bench| {
        bench.iter(|| parse_canonical_lines::<Value>("bench", &encoded).expect("canonical"));
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("cid", |bench| bench.iter(|| cid(&hashes).expect("strings only")));
    group.finish();
}

criterion_group!(benches, hashing);
criterion_main!(benches);
