//! Writing, opening and digesting an artifact of 64 MB in memory; `cargo bench -p kolm_runtime --bench container`.

mod large;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kolm_runtime::artifact::{ArtifactFile, Opened, Staged, encode};

const WEIGHTS_LEN_BYTES: usize = 1 << 26;

fn container(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let members = large::members(WEIGHTS_LEN_BYTES, folder.path());
    let path = folder.path().join("large.kolm");
    let bytes = encode(&members).expect("encodes");
    Staged::write(&path, &bytes).expect("writes").commit().expect("renames");
    let open = || Opened::new(ArtifactFile::open(&path).expect("a file")).expect("opens");
    let mut group = c.benchmark_group("container");
    group.sample_size(20);
    group.bench_function("open", |bench| bench.iter(open));
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("encode, 64 MB", |bench| bench.iter(|| encode(&members).expect("encodes")));
    let opened = open();
    group.bench_function("digests, 64 MB", |bench| bench.iter(|| opened.digests().expect("digests")));
    group.finish();
}

criterion_group!(benches, container);
criterion_main!(benches);
