//! What `inspect` costs on an artifact of a gigabyte, from opening the file to the text; `cargo bench -p kolm_runtime --bench inspect`.
//!
//! The artifact is the one of golden/spec-example with 1 GB in place of its adapter's weights. With `KOLM_KEEP` naming a file, it is
//! left there, to time the binaries on it.

use std::path::Path;

use criterion::{Criterion, criterion_group, criterion_main};
use kolm_runtime::artifact::{ArtifactFile, Content, Measured, Member, Opened, OperatorKey, Staged, encode, seal};
use kolm_runtime::inspect;

const WEIGHTS_LEN_BYTES: usize = 1 << 30;

fn gigabyte(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    #[expect(clippy::disallowed_methods, reason = "where a person wants the file kept")]
    let kept = std::env::var_os("KOLM_KEEP").map(std::path::PathBuf::from);
    let path = kept.unwrap_or_else(|| folder.path().join("large.kolm"));
    write(&path, folder.path());
    c.bench_function("inspect, 1 GB", |bench| {
        bench.iter(|| inspect::text(&Opened::new(ArtifactFile::open(&path).expect("a file")).expect("opens"), None));
    });
}

fn write(path: &Path, folder: &Path) {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden/spec-example/example.kolm");
    let opened = Opened::new(ArtifactFile::open(&example).expect("a file")).expect("the example opens");
    let read = |member| opened.read(member).expect("a member");
    let (manifest, eval) = (&opened.manifest, &opened.manifest.eval);
    let content = Content {
        task: opened.task.clone(),
        plan: opened.plan.clone(),
        adapter_config: read(Member::AdapterConfig),
        adapter_model: vec![0; WEIGHTS_LEN_BYTES],
        recall: None,
        eval_pack: read(Member::EvalPack),
        eval_replay: read(Member::EvalReplay),
        training_trace: read(Member::TrainingTrace),
    };
    let measured = Measured {
        created: manifest.created,
        tool: manifest.tool.clone(),
        k: eval.k.clone(),
        k_base: eval.k_base.clone(),
        k_majority: eval.k_majority.clone(),
        wilson_low: eval.wilson_low.clone(),
        wilson_high: eval.wilson_high.clone(),
        replay_digest: eval.replay_digest.clone(),
        recall_at_k: eval.recall_at_k.clone(),
        final_loss: manifest.training.final_loss.clone(),
        supersedes: None,
    };
    let key = folder.join("operator.key");
    OperatorKey::create(&key).expect("a key");
    let key = OperatorKey::load(&key).expect("the key");
    let members = seal(&content, &measured, &key).expect("seals");
    Staged::write(path, &encode(&members).expect("encodes")).expect("writes").commit().expect("renames");
}

criterion_group!(benches, gigabyte);
criterion_main!(benches);
