//! The readers, each with sound inputs to start from.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use kolm_runtime::artifact::{
    ArtifactFile, Lineage, Manifest, Member, Opened, OperatorKey, Plan, Receipt, Task, parse_canonical_lines,
};
use kolm_runtime::eval::{Outcome, Pack};
use kolm_runtime::inspect;
use kolm_runtime::kernel::Level;
use kolm_runtime::model::safetensors::{TensorFile, places};
use kolm_runtime::model::{AdapterConfig, DecoderConfig, EncoderConfig};
use kolm_runtime::recall::{Passage, RecallIndex, RecallMembers};
use kolm_runtime::verify::refusal;
use serde_json::Value;

use super::mutate::{join, split};

/// One reader.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    pub(crate) name: &'static str,
    /// What its inputs are made of, beyond bytes.
    pub(crate) shape: Shape,
    pub(crate) seeds: fn() -> Vec<Vec<u8>>,
    /// Reads the input and says what came of it.
    pub(crate) run: fn(&[u8]) -> String,
}

/// What a mutation may know of an input.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A container of members; members are changed inside it too, with CRCs, hashes and MACs made to fit.
    Container,
    /// A length of 8 bytes, a JSON header, data.
    Safetensors,
    /// JSON, or lines of it.
    Json,
    /// Several parts, joined.
    Parts,
}

/// Every reader of the bounded side that takes bytes from outside. The index of a transfer bundle joins here when its reader does.
pub(crate) const TARGETS: [Target; 8] = [
    Target { name: "container", shape: Shape::Container, seeds: containers, run: container },
    Target { name: "safetensors", shape: Shape::Safetensors, seeds: tensors, run: tensor_file },
    Target { name: "manifest", shape: Shape::Json, seeds: || vec![member(Member::Manifest)], run: manifest },
    Target { name: "receipt", shape: Shape::Json, seeds: || vec![member(Member::Receipt)], run: receipt },
    Target { name: "plan", shape: Shape::Json, seeds: plans, run: plan },
    Target { name: "eval", shape: Shape::Parts, seeds: evals, run: eval },
    Target { name: "recall", shape: Shape::Parts, seeds: recalls, run: recall },
    Target { name: "config", shape: Shape::Json, seeds: configs, run: config },
];

fn golden(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden").join(path)
}

fn read(path: &str) -> Vec<u8> {
    fs::read(golden(path)).expect("a golden file")
}

fn example() -> Opened {
    Opened::new(ArtifactFile::from_bytes(read("spec-example/example.kolm")).expect("sound")).expect("sound")
}

fn member(member: Member) -> Vec<u8> {
    example().read(member).or_else(|_| example().file.read(member)).expect("a member of the example")
}

/// The key of the worked example.
pub(crate) fn key() -> OperatorKey {
    OperatorKey::from_bytes(std::array::from_fn(|index| index as u8))
}

fn said<T, E: std::fmt::Display>(result: Result<T, E>) -> String {
    result.map_or_else(|error| error.to_string(), |_| "accepted".to_owned())
}

fn containers() -> Vec<Vec<u8>> {
    let folder = fs::read_dir(golden("refused")).expect("golden/refused");
    let mut paths: Vec<_> = folder.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    let kolm = paths.iter().filter(|path| path.extension().is_some_and(|extension| extension == "kolm"));
    let refused = kolm.map(|path| fs::read(path).expect("a golden file"));
    refused.chain([read("spec-example/example.kolm")]).collect()
}

fn container(input: &[u8]) -> String {
    if let Ok(opened) = ArtifactFile::from_bytes(input.to_vec()).and_then(Opened::new) {
        let _ = (inspect::text(&opened, None), inspect::json(&opened, None));
        let _ = said(Pack::parse(&opened.file.read(Member::EvalPack).unwrap_or_default()));
    }
    refusal(input.to_vec(), &key()).map_or_else(|| "accepted".to_owned(), |error| format!("{} {error}", error.code()))
}

fn tensors() -> Vec<Vec<u8>> {
    let small = ["qwen2-gqa-tied", "qwen2-gqa-untied-sharded-bf16", "qwen2-wide-head-f16", "qwen2-gqa-tied-adapter"];
    let files = small.iter().flat_map(|folder| fs::read_dir(golden(&format!("oracle/{folder}"))).into_iter().flatten());
    let mut paths: Vec<_> = files.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "safetensors"));
    paths.sort();
    let oracle = paths.iter().map(|path| fs::read(path).expect("a golden file")).filter(|bytes| bytes.len() < 1 << 17);
    oracle.chain([member(Member::AdapterModel)]).collect()
}

fn tensor_file(input: &[u8]) -> String {
    let streamed = said(places("input", &mut &input[..], input.len() as u64));
    let whole = TensorFile::from_bytes("input", input.to_vec()).map(|file| {
        file.names().map(|name| said(file.tensor(name).and_then(|view| view.to_f32()))).collect::<String>()
    });
    format!("{streamed} / {}", whole.unwrap_or_else(|error| format!("{} {error}", error.code())))
}

fn manifest(input: &[u8]) -> String {
    said(Manifest::parse(input).and_then(|manifest| manifest.check_cid()))
}

fn receipt(input: &[u8]) -> String {
    static LINEAGE: LazyLock<Lineage> = LazyLock::new(|| {
        let opened = example();
        opened.lineage(&opened.digests().expect("sound"))
    });
    said(Receipt::parse(input).and_then(|receipt| receipt.check(&key(), &LINEAGE)))
}

fn plans() -> Vec<Vec<u8>> {
    vec![member(Member::Plan), member(Member::Task), member(Member::TrainingTrace)]
}

fn plan(input: &[u8]) -> String {
    let lines = said(parse_canonical_lines::<Value>("input", input));
    format!("{} / {} / {lines}", said(Plan::parse(input)), said(Task::parse(input)))
}

fn evals() -> Vec<Vec<u8>> {
    vec![join(&[member(Member::EvalPack), member(Member::EvalReplay)])]
}

fn eval(input: &[u8]) -> String {
    let parts = split(input, 2);
    match Pack::parse(&parts[0]) {
        Ok(pack) => said(Outcome::parse(&pack, &parts[1])),
        Err(error) => error.to_string(),
    }
}

fn recalls() -> Vec<Vec<u8>> {
    let passage = |id: &str| Passage { answer: "a".into(), id: id.into(), text: "t".into() };
    let index = RecallIndex::new(Level::detect(), 2, vec![1.0, 0.0, 0.0, 1.0], vec![passage("1"), passage("2")]);
    let members = index.and_then(|index| index.members()).expect("a sound index");
    vec![join(&[members.config, members.vectors, members.passages])]
}

fn recall(input: &[u8]) -> String {
    let [config, vectors, passages] = split(input, 3).try_into().expect("three parts");
    said(RecallIndex::parse(Level::detect(), &RecallMembers { config, vectors, passages }))
}

fn configs() -> Vec<Vec<u8>> {
    let files =
        ["models/nano/config.json", "models/nano-encoder/config.json", "oracle/llama-bias-llama3-rope/config.json"];
    files.iter().map(|path| read(path)).chain([member(Member::AdapterConfig)]).collect()
}

fn config(input: &[u8]) -> String {
    let decoder = said(DecoderConfig::parse(input, Some(input)));
    let encoder = said(EncoderConfig::parse(input, None, None, "input"));
    format!("{decoder} / {encoder} / {}", said(AdapterConfig::parse(input)))
}
