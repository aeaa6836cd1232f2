//! `golden/refused`: artifacts that a reader must refuse, one reason each; and `golden/spec-example`, the one it accepts.
//!
//! All come from one small synthetic artifact, written by the real writer under the example key (bytes 00 to 1f), then changed
//! in one respect. Where the change is not about hashes or MACs, both are made anew, so that nothing else is wrong.
//! It holds no model: checks 1, 3 and 4 refuse every one of them.

mod chain;
mod containers;
pub(crate) mod draft;
mod json_texts;
mod sound;
mod traps;
mod values;

use kolm_runtime::artifact::{OperatorKey, canonical, hex};
use serde_json::{Value, json};

use draft::{Draft, MANIFEST, RECEIPT};

/// The example key: bytes 00 to 1f. Printed in SPEC.md, so no binary loads it.
pub fn example_key() -> OperatorKey {
    OperatorKey::from_bytes(KEY)
}

/// The example artifact.
pub fn example() -> Vec<u8> {
    Draft::example().bytes()
}

/// `golden/spec-example`: paths below that folder, and contents.
pub fn spec_example() -> Vec<(String, Vec<u8>)> {
    let draft = Draft::example();
    let (manifest, receipt) = (draft.json(MANIFEST), draft.json(RECEIPT));
    let steps: Vec<Value> = receipt["steps"].as_array().into_iter().flatten().cloned().collect();
    let facts = json!({
        "cid": manifest["cid"],
        "key": hex(&KEY),
        "key_id": example_key().id(),
        "macs": steps.iter().map(|step| &step["mac"]).collect::<Vec<_>>(),
        "messages": steps
            .iter()
            .map(|step| text(canonical(&json!({ "name": step["name"], "body": step["body"] })).expect("no floats")))
            .collect::<Vec<_>>(),
    });
    vec![("example.kolm".to_owned(), draft.bytes()), ("example.json".to_owned(), pretty(&facts))]
}

/// `golden/refused`: paths below that folder, and contents; `NAME.kolm` beside `NAME.json`.
pub fn files() -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for vector in vectors() {
        let about = json!({ "code": vector.code, "why": vector.why });
        files.push((format!("{}.kolm", vector.name), vector.bytes));
        files.push((format!("{}.json", vector.name), pretty(&about)));
    }
    files
}

/// Every vector.
fn vectors() -> impl Iterator<Item = Vector> {
    let containers = containers::containers().into_iter().chain(traps::archives());
    let texts = json_texts::json_texts().into_iter().chain(traps::texts());
    let values = values::values().into_iter().chain(values::agreements());
    let receipts = chain::hashes_and_macs().into_iter().chain(traps::receipts());
    containers.chain(texts).chain(values).chain(receipts)
}

struct Vector {
    name: &'static str,
    code: &'static str,
    why: &'static str,
    bytes: Vec<u8>,
}

fn vector(name: &'static str, code: &'static str, why: &'static str, bytes: Vec<u8>) -> Vector {
    Vector { name, code, why, bytes }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("JSON is UTF-8")
}

fn pretty(value: &Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}

const KEY: [u8; 32] = [
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30,
    31,
];
