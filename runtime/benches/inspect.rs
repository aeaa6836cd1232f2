//! What `inspect` costs on an artifact of a gigabyte, from opening the file to the text; `cargo bench -p kolm_runtime --bench inspect`.
//!
//! With `KOLM_KEEP` naming a file, the artifact is left there, and its key beside it as `operator.key`, to time the binaries on it.

mod large;

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use criterion::{Criterion, criterion_group, criterion_main};
use kolm_runtime::artifact::{ArtifactFile, Opened, Staged, encode};
use kolm_runtime::inspect;

const WEIGHTS_LEN_BYTES: usize = 1 << 30;

fn gigabyte(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    // Written when first asked for: a filter that leaves this bench out leaves the gigabyte unwritten.
    let written = OnceCell::new();
    c.bench_function("inspect, 1 GB", |bench| {
        let path = written.get_or_init(|| write(folder.path()));
        bench.iter(|| inspect::text(&Opened::new(ArtifactFile::open(path).expect("a file")).expect("opens"), None));
    });
}

fn write(folder: &Path) -> PathBuf {
    #[expect(clippy::disallowed_methods, reason = "where a person wants the file kept")]
    let kept = std::env::var_os("KOLM_KEEP").map(PathBuf::from);
    let path = kept.unwrap_or_else(|| folder.join("large.kolm"));
    let members = large::members(WEIGHTS_LEN_BYTES, path.parent().expect("a file has a folder"));
    Staged::write(&path, &encode(&members).expect("encodes")).expect("writes").commit().expect("renames");
    path
}

criterion_group!(benches, gigabyte);
criterion_main!(benches);
