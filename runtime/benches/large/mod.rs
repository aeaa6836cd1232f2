//! Artifacts of any size: the one of golden/spec-example with zeros in place of its adapter's weights, sealed under a new key.

use std::path::Path;

use kolm_runtime::artifact::{ArtifactFile, Content, Measured, Member, Members, Opened, OperatorKey, seal};

/// The example artifact, opened.
fn example() -> Opened {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden/spec-example/example.kolm");
    Opened::new(ArtifactFile::open(&path).expect("a file")).expect("the example opens")
}

/// The members of an artifact with that many bytes of weights; `folder` receives its key, `operator.key`.
pub(crate) fn members(weights_len_bytes: usize, folder: &Path) -> Members {
    let opened = example();
    let read = |member| opened.read(member).expect("a member");
    let content = Content {
        task: opened.task.clone(),
        plan: opened.plan.clone(),
        adapter_config: read(Member::AdapterConfig),
        adapter_model: vec![0; weights_len_bytes],
        recall: None,
        eval_pack: read(Member::EvalPack),
        eval_replay: read(Member::EvalReplay),
        training_trace: read(Member::TrainingTrace),
    };
    let measured = Measured::of(&opened.manifest);
    let key = folder.join("operator.key");
    OperatorKey::create(&key).expect("a key");
    seal(&content, &measured, &OperatorKey::load(&key).expect("the key")).expect("seals")
}
