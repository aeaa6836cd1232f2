//! The readers, each with sound inputs to start from.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use kolm_runtime::artifact::{
    ArtifactFile, Lineage, Manifest, Member, Opened, OperatorKey, Plan, Receipt, Task, Timestamp,
    parse_canonical_lines, sha256_hex,
};
use kolm_runtime::bundle::{Bundle, BundleError, BundlePath, Index, InstallReceipt, Installed, seal};
use kolm_runtime::eval::{Outcome, Pack};
use kolm_runtime::inspect;
use kolm_runtime::kernel::Level;
use kolm_runtime::model::safetensors::{TensorFile, places};
use kolm_runtime::model::{AdapterConfig, Decoder, DecoderConfig, EncoderConfig, ModelSource, TextTokenizer};
use kolm_runtime::recall::{Passage, RecallIndex, RecallMembers};
use kolm_runtime::verify::refusal;
use serde_json::Value;

use super::bundle::with_parts;
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
    /// A bundle's index, its seal and an install receipt, joined; rules and MACs are made to fit after a change.
    Bundle,
    /// A header of numbers and texts, data.
    Gguf,
}

/// Every reader of the bounded side that takes bytes from outside.
pub(crate) const TARGETS: [Target; 10] = [
    Target { name: "container", shape: Shape::Container, seeds: containers, run: container },
    Target { name: "safetensors", shape: Shape::Safetensors, seeds: tensors, run: tensor_file },
    Target { name: "manifest", shape: Shape::Json, seeds: || vec![member(Member::Manifest)], run: manifest },
    Target { name: "receipt", shape: Shape::Json, seeds: || vec![member(Member::Receipt)], run: receipt },
    Target { name: "plan", shape: Shape::Json, seeds: plans, run: plan },
    Target { name: "eval", shape: Shape::Parts, seeds: evals, run: eval },
    Target { name: "recall", shape: Shape::Parts, seeds: recalls, run: recall },
    Target { name: "config", shape: Shape::Json, seeds: configs, run: config },
    Target { name: "bundle", shape: Shape::Bundle, seeds: bundles, run: bundle },
    Target { name: "gguf", shape: Shape::Gguf, seeds: super::gguf::files, run: gguf },
];

/// More than any tokenizer here has: its size is not what is tried.
const VOCABULARY_MAX: usize = 1 << 20;

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

fn gguf(input: &[u8]) -> String {
    let source = match ModelSource::from_bytes("input", [("input.gguf".to_owned(), input.to_vec().into())].into()) {
        Ok(source) => source,
        Err(error) => return format!("{} {error}", error.code()),
    };
    let tokenizer = TextTokenizer::load(&source, VOCABULARY_MAX, &[])
        .and_then(|tokenizer| tokenizer.decode(&tokenizer.encode_prompt("abc ab")?));
    format!("{} / {}", said(tokenizer), said(Decoder::load(Level::detect(), &source)))
}

/// A bundle of three files, one content twice, in two parts; and one that adds to it.
fn bundles() -> Vec<Vec<u8>> {
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let row = |path: &str, content: &str, size: u64| {
        (BundlePath::parse(path).expect("a sound path"), sha256_hex(content.as_bytes()), size)
    };
    let rows = || {
        vec![
            row("artifacts/support-tickets-1.0.0.kolm", "a", 1_000_000),
            row(&format!("models/kolm-models--small/{commit}/config.json"), "b", 700),
            row(&format!("models/kolm-models--small/{commit}/onnx/model.safetensors"), "c", 200_000),
            row(&format!("local/small/{commit}/config.json"), "b", 700),
        ]
    };
    let first = with_parts(Index::plan(rows(), 1 << 20, None).expect("a sound plan"));
    let first_bytes = first.to_bytes().expect("a sound index");
    let more = rows().into_iter().chain([row("bin/kolm-verify", "d", 3)]).collect();
    let second =
        with_parts(Index::plan(more, 1 << 20, Some((&Index::id(&first_bytes), &first))).expect("a sound plan"));
    let second_bytes = second.to_bytes().expect("a sound index");
    let installed = Installed {
        cid: format!("cidv1:sha256:{}", sha256_hex(b"a")),
        name: "support-tickets".to_owned(),
        sha256: sha256_hex(b"a"),
        version: "1.0.0".to_owned(),
    };
    let time = Timestamp::from_unix(1_700_000_000).expect("a sound time");
    let receipt = InstallReceipt::new(&Index::id(&first_bytes), (4, 1_201_400), vec![installed], time, &key());
    let receipt = receipt.to_bytes(&key()).expect("a sound receipt");
    let sealed = |index: Vec<u8>| join(&[index.clone(), seal(&index, &key()).into_bytes(), receipt.clone()]);
    vec![sealed(first_bytes), sealed(second_bytes)]
}

fn bundle(input: &[u8]) -> String {
    let parts = split(input, 3);
    let told = |error: BundleError| format!("{} {error}", error.code());
    let opened = match Bundle::parse(Path::new(""), &parts[0], &parts[1], &key()) {
        Err(error) => {
            format!("{} / {}", told(error), Index::parse(&parts[0]).map_or_else(told, |_| "sound".to_owned()))
        }
        Ok(bundle) => {
            let index = &bundle.index;
            // What an import counts on: contents end where the stream does, and what was read is written again as it was.
            let end = index.contents().filter_map(|entry| entry.offset?.checked_add(entry.size)).max().unwrap_or(0);
            assert_eq!(end, index.stream_len_bytes(), "the contents are the stream");
            assert_eq!(index.to_bytes().expect("a sound index"), parts[0], "one value has one encoding");
            assert!(
                index
                    .files
                    .iter()
                    .all(|entry| BundlePath::parse(&entry.path).is_ok_and(|path| path.to_string() == entry.path))
            );
            format!("accepted {}", index.contents().count())
        }
    };
    let receipt = InstallReceipt::parse(Path::new(""), &parts[2], &key());
    format!("{opened} / {}", receipt.map_or_else(told, |_| "accepted".to_owned()))
}
