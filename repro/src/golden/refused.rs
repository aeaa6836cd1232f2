//! `golden/refused`: artifacts that a reader must refuse, one reason each; and `golden/spec-example`, the one it accepts.
//!
//! All come from one small synthetic artifact, written by the real writer under the example key (bytes 00 to 1f), then changed
//! in one respect. Where the change is not about hashes or MACs, both are made anew, so that nothing else is wrong.
//! It holds no model: checks 1, 3 and 4 refuse every one of them.

use std::collections::BTreeMap;

use kolm_runtime::artifact::{
    AdapterBody, BaseBody, Content, EvalBody, Lineage, ManifestBody, Measured, OperatorKey, Plan, Receipt, Task,
    TaskBody, Timestamp, Tool, canonical, cid, encode, hex, seal, sha256_hex,
};
use kolm_runtime::eval::{Case, CaseResult, Metric, Outcome, Pack, Ppm};
use kolm_runtime::model::AdapterConfig;
use kolm_runtime::model::safetensors::{self, Dtype};
use serde_json::{Value, json};

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
    for vector in [containers(), json_texts(), values(), agreements(), hashes_and_macs()].into_iter().flatten() {
        let about = json!({ "code": vector.code, "why": vector.why });
        files.push((format!("{}.kolm", vector.name), vector.bytes));
        files.push((format!("{}.json", vector.name), pretty(&about)));
    }
    files
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

/// The container: cut, prolonged, rearranged, re-zipped.
fn containers() -> Vec<Vector> {
    let whole = example();
    let entries = Draft::example().0;
    let cut = |len: usize| whole[..len].to_vec();
    let with = |change: &dyn Fn(&mut Vec<(String, Vec<u8>)>)| {
        let mut entries = entries.clone();
        change(&mut entries);
        zip(&entries)
    };
    let patched = |at: usize, bytes: &[u8]| {
        let mut whole = whole.clone();
        whole[at..at + bytes.len()].copy_from_slice(bytes);
        whole
    };
    let directory = whole.windows(4).rposition(|window| window == b"PK\x01\x02").unwrap_or(0);
    let adapter = whole.windows(12).position(|window| window == b"data_offsets").expect("the adapter has a header");
    vec![
        vector("empty", "not_an_artifact", "no bytes at all", Vec::new()),
        vector(
            "not-a-zip",
            "not_an_artifact",
            "some other file",
            b"GGUF\x03\0\0\0 is another format, and long enough".to_vec(),
        ),
        vector("leading-byte", "not_an_artifact", "a byte before the first header", [b"\n", &whole[..]].concat()),
        vector(
            "other-zip",
            "not_an_artifact",
            "a ZIP whose first entry is something else",
            zip(&[("a.txt".to_owned(), b"a".to_vec())]),
        ),
        vector("cut-in-a-member", "truncated", "the file ends inside a member", cut(whole.len() / 4)),
        vector("cut-by-one-byte", "truncated", "the end record lacks its last byte", cut(whole.len() - 1)),
        vector("trailing-byte", "trailing_bytes", "a byte after the end record", [&whole[..], b"\0"].concat()),
        vector(
            "member-too-large",
            "too_large",
            "the manifest claims 16 MiB",
            patched(18, &[0, 0, 0, 1, 0, 0, 0, 1])[..200].to_vec(),
        ),
        vector("method-deflated", "container_encoding", "compression method 8", patched(8, &[8])),
        vector("other-time", "container_encoding", "an entry with a time of day", patched(10, &[1])),
        vector(
            "directory-differs",
            "container_encoding",
            "the central directory states another name",
            patched(directory + 46, b"T"),
        ),
        vector(
            "member-unknown",
            "member_unknown",
            "a member the format does not have",
            with(&|entries| entries.push(("notes.txt".to_owned(), b"hello".to_vec()))),
        ),
        vector(
            "member-outside",
            "member_unknown",
            "a member whose path leaves the folder",
            with(&|entries| entries[2].0 = "../task.json".to_owned()),
        ),
        vector(
            "member-duplicate",
            "member_duplicate",
            "task.json is there twice",
            with(&|entries| entries.insert(3, entries[2].clone())),
        ),
        vector("member-order", "member_order", "plan.json before task.json", with(&|entries| entries.swap(2, 3))),
        vector(
            "member-missing",
            "member_missing",
            "no training trace",
            with(&|entries| entries.truncate(entries.len() - 1)),
        ),
        vector(
            "content-damaged",
            "member_checksum",
            "a byte of the adapter changed, its CRC-32 did not",
            patched(adapter, b"X"),
        ),
    ]
}

/// Canonical JSON: what is no JSON, and what is not its one form.
fn json_texts() -> Vec<Vector> {
    let plan = |from: &str, to: &str| {
        let mut draft = Draft::example();
        let before = text(draft.get("plan.json").to_vec());
        assert!(before.contains(from), "plan.json holds {from}");
        draft.set("plan.json", before.replacen(from, to, 1).into_bytes());
        draft.resealed()
    };
    let pack = |change: &dyn Fn(String) -> String| {
        let mut draft = Draft::example();
        let before = text(draft.get(PACK).to_vec());
        draft.set(PACK, change(before).into_bytes());
        draft.resealed()
    };
    vec![
        vector("json-comma", "json_syntax", "a comma too many", plan("{\"adapter\"", "{,\"adapter\"")),
        vector(
            "json-key-twice",
            "json_duplicate_key",
            "plan.json says the seed twice",
            plan("\"seed\":\"0\"", "\"seed\":\"0\",\"seed\":\"0\""),
        ),
        vector("json-fraction", "json_float", "a rank of 2.0", plan("\"rank\":2", "\"rank\":2.0")),
        vector(
            "json-integer-beyond-2-53",
            "json_integer",
            "a size of 2^53 + 1",
            plan("\"size\":26", "\"size\":9007199254740993"),
        ),
        vector(
            "json-unknown-field",
            "json_schema",
            "a field the plan does not have",
            plan("{\"adapter\"", "{\"aaa\":1,\"adapter\""),
        ),
        vector(
            "json-null-left-out",
            "json_not_canonical",
            "a field that must be null is left out",
            plan(",\"recall\":null", ""),
        ),
        vector("json-space", "json_not_canonical", "a space after a colon", plan("\"seed\":", "\"seed\": ")),
        vector(
            "json-escape",
            "json_not_canonical",
            "an escape where the letter itself stands",
            plan("\"num-1\"", "\"num\\u002d1\""),
        ),
        vector(
            "json-line-without-end",
            "json_syntax",
            "the eval pack lacks its last line feed",
            pack(&|text| text.trim_end().to_owned()),
        ),
        vector(
            "json-line-crlf",
            "json_not_canonical",
            "the eval pack's lines end in CR LF",
            pack(&|text| text.replace('\n', "\r\n")),
        ),
    ]
}

/// Values outside their rules, under hashes and MACs that fit.
fn values() -> Vec<Vector> {
    let field = |name, why, member: &str, pointer: &str, value: Value| {
        let mut draft = Draft::example();
        draft.edit(member, pointer, value);
        vector(name, "field_value", why, draft.resealed())
    };
    vec![
        field("value-format-2", "a format of the future", "plan.json", "/format", json!("kolm-plan-2")),
        field("value-revision-main", "a branch where a commit belongs", "plan.json", "/base/revision", json!("main")),
        field(
            "value-path-outside",
            "a model file outside its folder",
            "plan.json",
            "/base/files/0/path",
            json!("../config.json"),
        ),
        field("value-rank-0", "an adapter of rank 0", "plan.json", "/adapter/rank", json!(0)),
        field("value-gate-above-1", "a gate that nothing reaches", "plan.json", "/eval/gate", json!("1.500000")),
        field("value-met-lies", "met is true although K is below the gate", MANIFEST, "/eval/met", json!(true)),
    ]
}

/// Two members that state different facts, under hashes and MACs that fit.
fn agreements() -> Vec<Vector> {
    let other = |name, why, member: &str, pointer: &str, value: Value| {
        let mut draft = Draft::example();
        draft.edit(member, pointer, value);
        vector(name, "members_disagree", why, draft.resealed())
    };
    let mut empty = Draft::example();
    let header = text(empty.get(PACK).to_vec()).lines().next().unwrap_or_default().to_owned();
    empty.set(PACK, format!("{header}\n").into_bytes());
    let mut receipt = Draft::example();
    receipt.edit(RECEIPT, "/created", json!("2026-11-24T00:00:00Z"));
    vec![
        other("name-differs", "task.json has another name than the manifest", "task.json", "/name", json!("other")),
        other("rank-differs", "PEFT's configuration has another rank", "adapter/adapter_config.json", "/r", json!(3)),
        other("k-differs", "K is not that of the recorded answers", MANIFEST, "/eval/k", json!("0.250000")),
        other("cases-differ", "the plan has more cases than the pack", "plan.json", "/eval/cases", json!(3)),
        vector(
            "receipt-date-differs",
            "members_disagree",
            "the receipt has another date than the manifest",
            receipt.bytes(),
        ),
        vector("pack-empty", "eval", "an eval pack without cases", empty.resealed()),
    ]
}

/// Hashes, CID and the receipt chain.
fn hashes_and_macs() -> Vec<Vector> {
    let trace = "/hashes/training~1trace.jsonl";
    let mut unlisted = Draft::example();
    let mut manifest = unlisted.json(MANIFEST);
    if let Some(hashes) = manifest["hashes"].as_object_mut() {
        hashes.remove("training/trace.jsonl");
    }
    unlisted.set(MANIFEST, canonical(&manifest).expect("no floats"));
    unlisted.recid();
    unlisted.reseal(&example_key());

    let mut lied = Draft::example();
    lied.edit(MANIFEST, trace, json!("0".repeat(64)));
    lied.edit(MANIFEST, "/training/trace_sha256", json!("0".repeat(64)));
    lied.recid();
    lied.reseal(&example_key());

    let mut content_id = Draft::example();
    content_id.edit(MANIFEST, "/cid", json!(format!("cidv1:sha256:{}", "0".repeat(64))));
    content_id.reseal(&example_key());

    let mut other_key = Draft::example();
    other_key.reseal(&OperatorKey::from_bytes([0x42; 32]));

    // Whoever lacks the key can make everything fit but the chain.
    let mut swapped = Draft::example();
    let mut weights = swapped.get(ADAPTER).to_vec();
    if let Some(last) = weights.last_mut() {
        *last ^= 1;
    }
    swapped.set(ADAPTER, weights);
    let old = swapped.get(RECEIPT).to_vec();
    swapped.rehash();
    let mut bodies = swapped.clone();
    bodies.reseal(&example_key());
    let (mut forged, honest) = (bodies.json(RECEIPT), Draft::example().json(RECEIPT));
    for step in 0..5 {
        forged["steps"][step]["mac"] = honest["steps"][step]["mac"].clone();
    }
    bodies.set(RECEIPT, canonical(&forged).expect("no floats"));
    swapped.set(RECEIPT, old);
    let content_id_now = swapped.json(MANIFEST)["cid"].clone();
    swapped.edit(RECEIPT, "/cid", content_id_now);

    let mut reused = Draft::example();
    let mac = reused.json(RECEIPT)["steps"][0]["mac"].clone();
    reused.edit(RECEIPT, "/steps/1/mac", mac);
    vec![
        vector("hash-unlisted", "hashes_set", "a member that the manifest does not list", unlisted.bytes()),
        vector("hash-lies", "member_hash", "the key's owner states a wrong hash", lied.bytes()),
        vector("cid-lies", "cid", "the key's owner states a wrong CID", content_id.bytes()),
        vector("other-key", "wrong_key", "sound, and made with another key", other_key.bytes()),
        vector("adapter-swapped", "receipt_body", "another adapter under hashes and CID that fit", swapped.bytes()),
        vector("receipt-forged", "receipt_mac", "receipt bodies that fit under old MACs", bodies.bytes()),
        vector("mac-reused", "receipt_mac", "step 2 carries the MAC of step 1", reused.bytes()),
    ]
}

/// Members by name, in file order, open to every change.
#[derive(Clone)]
struct Draft(Vec<(String, Vec<u8>)>);

impl Draft {
    /// The example as the real writer makes it.
    fn example() -> Self {
        let members = seal(&content(), &measured(), &example_key()).expect("the example is sound");
        let draft = Self(members.iter().map(|(member, bytes)| (member.name().to_owned(), bytes.to_vec())).collect());
        assert_eq!(draft.bytes(), encode(&members).expect("the example is small"), "two writers of one container");
        draft
    }

    fn bytes(&self) -> Vec<u8> {
        zip(&self.0)
    }

    fn get(&self, name: &str) -> &[u8] {
        self.0.iter().find(|(member, _)| member == name).map_or(&[], |(_, bytes)| bytes)
    }

    fn set(&mut self, name: &str, content: Vec<u8>) {
        for (member, bytes) in &mut self.0 {
            if member == name {
                bytes.clone_from(&content);
            }
        }
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_slice(self.get(name)).expect("an example's JSON member")
    }

    fn edit(&mut self, name: &str, pointer: &str, value: Value) {
        let mut json = self.json(name);
        *json.pointer_mut(pointer).expect("a field of the example") = value;
        self.set(name, canonical(&json).expect("no floats"));
    }

    /// Makes hashes, CID and receipt fit the members again.
    fn resealed(mut self) -> Vec<u8> {
        self.rehash();
        self.reseal(&example_key());
        self.bytes()
    }

    fn rehash(&mut self) {
        for (name, bytes) in self.0.clone() {
            if name != MANIFEST && name != RECEIPT {
                let pointer = format!("/hashes/{}", name.replace('/', "~1"));
                self.edit(MANIFEST, &pointer, json!(sha256_hex(&bytes)));
            }
        }
        self.recid();
    }

    fn recid(&mut self) {
        let hashes: BTreeMap<String, String> =
            serde_json::from_value(self.json(MANIFEST)["hashes"].clone()).expect("hashes of strings");
        self.edit(MANIFEST, "/cid", json!(cid(&hashes).expect("strings only")));
    }

    fn reseal(&mut self, key: &OperatorKey) {
        let manifest = self.json(MANIFEST);
        let hash = |name: &str| sha256_hex(self.get(name));
        let string = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        // A plan that does not parse is refused before its base is looked at.
        let plan = serde_json::from_slice::<Value>(self.get("plan.json")).unwrap_or_default();
        let lineage = Lineage {
            task: TaskBody {
                name: string(&manifest["name"]),
                plan_sha256: hash("plan.json"),
                task_sha256: hash("task.json"),
                version: string(&manifest["version"]),
            },
            base: BaseBody {
                files: serde_json::from_value(plan["base"]["files"].clone())
                    .ok()
                    .filter(|files: &Vec<kolm_runtime::model::FileIdentity>| {
                        files.iter().all(|file| file.size < 1 << 53)
                    })
                    .unwrap_or_default(),
                repo: string(&plan["base"]["repo"]),
                revision: string(&plan["base"]["revision"]),
            },
            adapter: AdapterBody { config_sha256: hash("adapter/adapter_config.json"), weights_sha256: hash(ADAPTER) },
            eval: EvalBody { pack_sha256: hash(PACK), replay_sha256: hash("eval/replay.jsonl") },
            manifest: ManifestBody {
                cid: string(&manifest["cid"]),
                created: Timestamp::parse(&string(&manifest["created"])).expect("the example's date"),
                manifest_sha256: hash(MANIFEST),
            },
        };
        let receipt = Receipt::seal(key, &lineage).and_then(|receipt| receipt.encode());
        self.set(RECEIPT, receipt.expect("strings and small numbers"));
    }
}

fn content() -> Content {
    let adapter_config = AdapterConfig::new(2, 4, &["q_proj".to_owned()]).expect("a known target");
    let tensor = |name: &'static str, values: [f32; 4], shape: &'static [usize; 2]| {
        (name, Dtype::F32, &shape[..], safetensors::f32_bytes(&values))
    };
    let a = tensor("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight", [0.5, -0.25, 1.0, 0.125], &[2, 2]);
    let b = tensor("base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight", [0.0, 2.0, -1.0, 0.75], &[2, 2]);
    let adapter_model =
        safetensors::write(&[(a.0, a.1, a.2, &a.3), (b.0, b.1, b.2, &b.3)], None).expect("shapes fit their bytes");
    let (pack, outcome) = graded();
    Content {
        task: Task {
            format: Task::FORMAT.to_owned(),
            name: "example".to_owned(),
            version: "1.0.0".to_owned(),
            description: "Sends a ticket to its queue".to_owned(),
        },
        plan: plan(),
        adapter_config: adapter_config.to_json("kolm/example"),
        adapter_model,
        recall: None,
        eval_pack: pack.bytes().to_vec(),
        eval_replay: outcome.bytes().expect("strings and numbers"),
        training_trace: b"{\"loss\":\"3f800000\",\"step\":1}\n".to_vec(),
    }
}

/// Two cases, one answered rightly: K is 0.5, below the gate.
fn graded() -> (Pack, Outcome) {
    let labels = vec!["billing".to_owned(), "shipping".to_owned()];
    let case = |id: &str, prompt: &str, expected: &str| Case {
        expected: expected.to_owned(),
        id: id.to_owned(),
        metric: Metric::Label,
        prompt: prompt.to_owned(),
        weight: 1,
    };
    let cases = vec![case("1", "Charged twice", "billing"), case("2", "Parcel is late", "shipping")];
    let pack = Pack::new(Some(labels), 8, cases).expect("the example's pack");
    let result = |id: &str, answer: &str, token, score| CaseResult {
        answer: answer.to_owned(),
        id: id.to_owned(),
        logits_sha256: sha256_hex(id.as_bytes()),
        score,
        tokens: vec![token, 0],
    };
    let results = vec![result("1", "billing", 7, Ppm::ONE), result("2", "billing", 7, Ppm::ZERO)];
    let outcome = Outcome::new(&pack, results);
    (pack, outcome)
}

fn plan() -> Plan {
    let sha = |text: &str| sha256_hex(text.as_bytes());
    let plan = json!({
        "format": Plan::FORMAT,
        "numerics": Plan::NUMERICS,
        "seed": "0",
        "task": { "template": "{{ prompt }}", "template_source": "job" },
        "base": {
            "repo": "kolm/example",
            "revision": sha("revision")[..40],
            "dtype": "bf16",
            "architecture": "qwen2",
            "files": [{ "path": "model.safetensors", "size": 26, "sha256": sha("model.safetensors") }],
        },
        "corpus": {
            "files": [{ "role": "train", "sha256": sha("corpus"), "size": 1000, "rows": 10 }],
            "columns": { "id": null, "prompt": "prompt", "completion": "completion", "split": null },
            "overlong": "error",
            "duplicates": "error",
            "rows": { "read": 10, "train": 8, "eval": 2, "dropped": 0 },
            "train_sha256": sha("train"),
            "eval_sha256": sha("eval"),
            "scan_sha256": sha("scan"),
        },
        "split": { "method": "hash", "eval_cases": 2 },
        "adapter": { "rank": 2, "alpha": 4, "targets": ["q_proj"], "init_sha256": null },
        "train": {
            "steps": 1, "epochs": "1", "batch_size": 8, "learning_rate": "0.001", "warmup_steps": 0, "schedule": "linear",
            "beta1": "0.9", "beta2": "0.999", "epsilon": "0.00000001", "weight_decay": "0", "clip_norm": "1",
            "max_length": 64,
        },
        "recall": null,
        "eval": {
            "metric": "label", "labels": ["billing", "shipping"], "cases": 2, "gate": "0.850000", "max_new_tokens": 8,
        },
    });
    serde_json::from_value(plan).expect("the example's plan")
}

fn measured() -> Measured {
    let (_, outcome) = graded();
    Measured {
        created: Timestamp::parse("2026-11-23T00:00:00Z").expect("a date"),
        tool: Tool { name: "kolm".to_owned(), version: "0.1.0".to_owned() },
        k: outcome.k.to_string(),
        k_base: Ppm::ZERO.to_string(),
        k_majority: outcome.k.to_string(),
        wilson_low: outcome.wilson.0.to_string(),
        wilson_high: outcome.wilson.1.to_string(),
        replay_digest: outcome.replay_digest,
        recall_at_k: None,
        final_loss: Some("1".to_owned()),
        supersedes: None,
    }
}

/// A second writer of the container, which asks nothing about names, order or number of the entries.
fn zip(entries: &[(String, Vec<u8>)]) -> Vec<u8> {
    let short = |value: usize| u16::try_from(value).expect("small").to_le_bytes();
    let long = |value: usize| u32::try_from(value).expect("small").to_le_bytes();
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in entries {
        let shared = [
            &[10, 0, 0, 0, 0, 0, 0, 0, 0x21, 0][..],
            &crc32(content).to_le_bytes(),
            &long(content.len()),
            &long(content.len()),
            &short(name.len()),
            &[0, 0],
        ]
        .concat();
        let offset = long(bytes.len());
        directory.extend([b"PK\x01\x02\x0a\0", &shared[..], &[0; 10], &offset, name.as_bytes()].concat());
        bytes.extend([b"PK\x03\x04", &shared[..], name.as_bytes(), content].concat());
    }
    let count = short(entries.len());
    let end = [b"PK\x05\x06\0\0\0\0", &count[..], &count, &long(directory.len()), &long(bytes.len()), &[0, 0]].concat();
    [bytes, directory, end].concat()
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
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
const MANIFEST: &str = "manifest.json";
const RECEIPT: &str = "receipt.json";
const ADAPTER: &str = "adapter/adapter_model.safetensors";
const PACK: &str = "eval/pack.jsonl";
