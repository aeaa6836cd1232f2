//! The audit log: checking every line, looking an artifact up, adding an entry; `cargo bench -p kolm_runtime --bench audit`.
//!
//! The log lies in /dev/shm where there is one, so that adding an entry shows what the log costs and not what the disk does.

use std::path::Path;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kolm_runtime::artifact::{ArtifactFile, AuditLog, Event, Manifest, Opened, OperatorKey, Timestamp};
use kolm_runtime::verify::{Rollback, Site};

const ENTRIES: u64 = 20_000;

fn audit(c: &mut Criterion) {
    let memory = Path::new("/dev/shm");
    let home = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.expect("a folder");
    let key = OperatorKey::from_bytes(std::array::from_fn(|index| index as u8));
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden/spec-example/example.kolm");
    let manifest = Opened::new(ArtifactFile::open(&example).expect("sound")).expect("sound").manifest;
    let log = AuditLog::open(home.path(), &key).expect("a log");
    for number in 0..ENTRIES {
        log.append(&event(number, &manifest)).expect("appended");
    }
    let now = Timestamp::from_unix(1_790_000_000).expect("a time");
    let site = Site { kolm_home: home.path().to_owned(), now, rollback: Rollback::Refuse };

    let mut group = c.benchmark_group("audit");
    group.sample_size(10);
    group.throughput(Throughput::Elements(ENTRIES));
    group.bench_function("20 000 entries, verify", |bench| bench.iter(|| log.verify().expect("sound")));
    group.throughput(Throughput::Elements(1));
    group.bench_function("20 000 entries, look up", |bench| {
        bench.iter(|| site.standing(&key, &manifest).expect("sound"));
    });
    group.bench_function("20 000 entries, append", |bench| {
        bench.iter(|| log.append(&event(ENTRIES, &manifest)).expect("appended"));
    });
    group.finish();
}

/// Entries about a hundred artifacts, in turn.
fn event(number: u64, manifest: &Manifest) -> Event {
    Event {
        time: Timestamp::from_unix(1_700_000_000 + number).expect("a time"),
        action: "verify".to_owned(),
        cid: Some(manifest.cid.clone()),
        outcome: "done".to_owned(),
        detail: format!("support-tickets-1.{}.0 without replay", number % 100),
    }
}

criterion_group!(benches, audit);
criterion_main!(benches);
