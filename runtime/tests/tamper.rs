//! The tamper matrix: the smallest artifact, changed in every way of a list, and nothing gets past checks 1, 3 and 4.
//!
//! Whoever tampers is given everything but the operator's key: hashes, CID and receipt bodies are made to fit again, and the MACs are
//! the old ones, or those of another key. Each test counts its cases, asserts the count and prints what refused them.

use std::collections::BTreeMap;

use kolm_runtime::artifact::{OperatorKey, canonical};
use kolm_runtime::verify::refusal;
use rayon::prelude::*;
use serde_json::{Value, json};

#[path = "../../repro/src/golden/refused/mod.rs"]
#[allow(unreachable_pub, reason = "public in the crate that owns it")]
#[expect(dead_code, reason = "tests/refused.rs takes the vectors, this file what they are made with")]
mod generator;

use generator::draft::{Draft, MANIFEST, RECEIPT, zip};
use generator::{example, example_key};

/// Refuses every case and gives how many there were and which code refused how many.
fn all_refused(what: &str, cases: Vec<(String, Vec<u8>)>) -> usize {
    let (whole, key, count) = (example(), example_key(), cases.len());
    let codes: Vec<&str> = cases
        .into_par_iter()
        .map(|(name, bytes)| {
            assert!(bytes != whole, "{name}: nothing was changed");
            refusal(bytes, &key).unwrap_or_else(|| panic!("{name} was accepted")).code()
        })
        .collect();
    let mut tally: BTreeMap<&str, usize> = BTreeMap::new();
    codes.into_iter().for_each(|code| *tally.entry(code).or_default() += 1);
    println!("{what}: {count} of {count} refused: {tally:?}");
    count
}

#[test]
fn every_truncation() {
    let whole = example();
    let cases = (0..whole.len()).map(|len| (format!("{len} bytes"), whole[..len].to_vec())).collect();
    assert_eq!(all_refused("truncations", cases), whole.len());
}

#[test]
fn every_flipped_bit() {
    let (whole, key) = (example(), example_key());
    let refused = (0..8 * whole.len())
        .into_par_iter()
        .filter(|bit| {
            let mut changed = whole.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(refusal(changed, &key).is_some(), "bit {} of byte {} was accepted", bit % 8, bit / 8);
            true
        })
        .count();
    println!("flipped bits: {refused} of {refused} refused");
    assert_eq!(refused, 8 * whole.len());
}

#[test]
fn every_byte_taken_out_or_put_in() {
    let whole = example();
    let cases = (0..whole.len()).flat_map(|at| {
        let without = [&whole[..at], &whole[at + 1..]].concat();
        let with = [&whole[..at], &[0], &whole[at..]].concat();
        [(format!("without byte {at}"), without), (format!("a zero before byte {at}"), with)]
    });
    assert_eq!(all_refused("bytes out and in", cases.collect()), 2 * whole.len());
}

/// Members dropped, doubled, renamed, moved, emptied, filled with another's content, and added.
#[test]
fn members() {
    let honest = Draft::example();
    let count = honest.0.len();
    let mut cases: Vec<(String, Draft)> = Vec::new();
    let mut case = |name: String, change: &dyn Fn(&mut Vec<(String, Vec<u8>)>)| {
        let mut draft = honest.clone();
        change(&mut draft.0);
        cases.push((name, draft));
    };
    for (at, (name, content)) in honest.0.iter().enumerate() {
        case(format!("{name} dropped"), &|members| drop(members.remove(at)));
        case(format!("{name} emptied"), &|members| members[at].1.clear());
        case(format!("{name} doubled"), &|members| members[at].1.extend_from_slice(content));
        case(format!("{name} renamed"), &|members| members[at].0.push('2'));
        for to in 0..=count {
            case(format!("{name} twice, also at {to}"), &|members| {
                members.insert(to, (name.clone(), content.to_vec()))
            });
        }
        for (to, (other, foreign)) in honest.0.iter().enumerate().filter(|(to, _)| *to != at) {
            case(format!("{name} moved to {to}"), &|members| {
                let moved = members.remove(at);
                members.insert(to, moved);
            });
            case(format!("{name} called {other}"), &|members| members[at].0.clone_from(other));
            case(format!("{name} with {other}'s content"), &|members| members[at].1.clone_from(foreign));
            case(format!("{name} and {other} exchanged"), &|members| {
                let (one, two) = (members[at].1.clone(), members[to].1.clone());
                (members[at].1, members[to].1) = (two, one);
            });
        }
    }
    for added in
        ["notes.txt", "recall/config.json", "recall/vectors.safetensors", "recall/passages.jsonl", "MANIFEST.JSON"]
    {
        for at in 0..=count {
            case(format!("{added} added at {at}"), &|members| members.insert(at, (added.to_owned(), b"{}".to_vec())));
        }
    }
    case("a whole recall index added".to_owned(), &|members| {
        let index = ["recall/config.json", "recall/vectors.safetensors", "recall/passages.jsonl"];
        members.splice(6..6, index.map(|name| (name.to_owned(), b"{}".to_vec())));
    });
    let per_member = 4 + (count + 1) + 4 * (count - 1);
    assert_eq!(cases.len(), count * per_member + 5 * (count + 1) + 1);
    let plain = cases.iter().map(|(name, draft)| (name.clone(), zip(&draft.0)));
    // Moving and exchanging two members with equal content is the only way to change nothing.
    let made_to_fit = cases
        .iter()
        .flat_map(|(name, draft)| forged(draft, true).map(move |bytes| (format!("{name}, made to fit"), bytes)));
    let (mut all, whole) = (plain.chain(made_to_fit).collect::<Vec<_>>(), example());
    all.retain(|(_, bytes)| *bytes != whole);
    assert!(all_refused("members", all) > cases.len());
}

/// Every field of the manifest in several ways, every object with a field less and one more; hashes, CID and receipt made to fit.
#[test]
fn every_field_of_the_manifest() {
    let honest = Draft::example();
    let altered = alterations(&honest.json(MANIFEST));
    assert!(altered.len() > 200, "{}", altered.len());
    let cases = altered.iter().flat_map(|(name, manifest)| {
        let mut draft = honest.clone();
        draft.set(MANIFEST, canonical(manifest).expect("no floats"));
        let plain = (format!("manifest: {name}"), draft.bytes());
        let made_to_fit = [false, true].map(|rehash| {
            forged(&draft, rehash).map(move |bytes| (format!("manifest: {name}, made to fit, rehash {rehash}"), bytes))
        });
        std::iter::once(plain).chain(made_to_fit.into_iter().flatten())
    });
    let whole = example();
    let cases: Vec<_> = cases.filter(|(_, bytes)| *bytes != whole).collect();
    assert!(all_refused("manifest fields", cases) >= 3 * altered.len());
}

/// Every field of every other JSON member, likewise; what is not JSON is `members`' and the flipped bits'.
#[test]
fn every_field_of_task_plan_and_adapter_configuration() {
    let honest = Draft::example();
    let mut cases = Vec::new();
    for member in ["task.json", "plan.json", "adapter/adapter_config.json"] {
        for (name, value) in alterations(&honest.json(member)) {
            let mut draft = honest.clone();
            // PEFT's own file is not canonical JSON; any spelling will do.
            draft.set(
                member,
                canonical(&value).or_else(|_| serde_json::to_vec(&value).map_err(|_| ())).expect("encodes"),
            );
            cases.extend(forged(&draft, true).map(|bytes| (format!("{member}: {name}, made to fit"), bytes)));
        }
    }
    assert!(all_refused("fields of other members", cases) > 500);
}

#[test]
fn every_field_of_the_receipt() {
    let honest = Draft::example();
    let altered = alterations(&honest.json(RECEIPT));
    assert!(altered.len() > 150, "{}", altered.len());
    let cases = altered.iter().map(|(name, receipt)| {
        let mut draft = honest.clone();
        draft.set(RECEIPT, canonical(receipt).expect("no floats"));
        (format!("receipt: {name}"), draft.bytes())
    });
    assert_eq!(all_refused("receipt fields", cases.collect()), altered.len());
}

/// Every other order of the five steps: whole, under the names of the right order, and of the MACs alone.
#[test]
fn every_order_of_the_steps() {
    let honest = Draft::example();
    let steps: Vec<Value> = honest.json(RECEIPT)["steps"].as_array().cloned().unwrap_or_default();
    assert_eq!(steps.len(), 5);
    let mut cases = Vec::new();
    for order in permutations(5).into_iter().filter(|order| !order.is_sorted()) {
        let mut case = |what: &str, fields: &[&str]| {
            let mut draft = honest.clone();
            for (to, &from) in order.iter().enumerate() {
                for field in fields {
                    draft.edit(RECEIPT, &format!("/steps/{to}/{field}"), steps[from][field].clone());
                }
            }
            cases.push((format!("{what} {order:?}"), draft.bytes()));
        };
        case("steps", &["name", "body", "mac"]);
        case("bodies and MACs", &["body", "mac"]);
        case("MACs", &["mac"]);
    }
    assert_eq!(all_refused("orders of the steps", cases), 3 * 119);
}

/// Two artifacts under one key: whole receipts, and any choice of steps from both.
#[test]
fn receipts_of_another_artifact() {
    let honest = Draft::example();
    let mut other = Draft::example();
    other.edit("task.json", "/description", json!("Another artifact under the same key"));
    other.edit("adapter/adapter_config.json", "/lora_dropout", json!(1));
    other.edit("plan.json", "/base/revision", json!("f".repeat(40)));
    other.edit(MANIFEST, "/base/revision", json!("f".repeat(40)));
    other.edit(MANIFEST, "/created", json!("2026-11-24T00:00:00Z"));
    let other = Draft::of(&other.resealed());
    assert!(refusal(other.bytes(), &example_key()).is_none(), "the other artifact is sound");
    let mut cases = Vec::new();
    for (to, from) in [(&honest, &other), (&other, &honest)] {
        for chosen in 1..32 {
            for head in [false, true] {
                let mut draft = to.clone();
                for step in (0..5).filter(|step| chosen & 1 << step != 0) {
                    let pointer = format!("/steps/{step}");
                    draft.edit(RECEIPT, &pointer, from.json(RECEIPT).pointer(&pointer).cloned().expect("a step"));
                }
                if head {
                    draft.edit(RECEIPT, "/cid", from.json(RECEIPT)["cid"].clone());
                    draft.edit(RECEIPT, "/created", from.json(RECEIPT)["created"].clone());
                }
                cases.push((format!("steps {chosen:05b} of the other, head {head}"), draft.bytes()));
            }
        }
    }
    // Step 4 binds the same pack in both: its body alone is no change, its MAC is.
    assert_eq!(all_refused("receipts exchanged", cases), 2 * 31 * 2);
}

/// What whoever lacks the key can do about a changed artifact: everything fits but the MACs. They are the old ones, those of another
/// key, or those of another key under the operator's key id. `rehash` also makes hashes and CID fit.
fn forged(draft: &Draft, rehash: bool) -> impl Iterator<Item = Vec<u8>> + use<> {
    let honest = Draft::example().json(RECEIPT);
    let has = |name: &str| draft.0.iter().any(|(member, content)| member == name && !content.is_empty());
    let readable =
        has(MANIFEST) && serde_json::from_slice::<Value>(draft.get(MANIFEST)).is_ok_and(|value| value.is_object());
    let mut made = Vec::new();
    if readable && has(RECEIPT) {
        let mut draft = draft.clone();
        if rehash {
            draft.rehash();
        }
        draft.reseal(&OperatorKey::from_bytes([0x42; 32]));
        made.push(draft.bytes());
        draft.edit(RECEIPT, "/key_id", honest["key_id"].clone());
        made.push(draft.bytes());
        for step in 0..5 {
            draft.edit(RECEIPT, &format!("/steps/{step}/mac"), honest["steps"][step]["mac"].clone());
        }
        made.push(draft.bytes());
    }
    made.into_iter()
}

/// Every single change of a JSON value: each leaf in several ways, each list and object shorter, longer and empty.
fn alterations(value: &Value) -> Vec<(String, Value)> {
    let mut altered = Vec::new();
    for pointer in pointers(value, String::new()) {
        let found = value.pointer(&pointer).expect("a place in the value");
        for (index, replacement) in replacements(found).into_iter().enumerate().filter(|(_, other)| other != found) {
            let mut whole = value.clone();
            *whole.pointer_mut(&pointer).expect("a place in the value") = replacement;
            altered.push((format!("{pointer:?} in way {index}"), whole));
        }
    }
    altered
}

fn pointers(value: &Value, at: String) -> Vec<String> {
    let below: Vec<(String, &Value)> = match value {
        Value::Object(map) => {
            map.iter().map(|(key, value)| (key.replace('~', "~0").replace('/', "~1"), value)).collect()
        }
        Value::Array(values) => values.iter().enumerate().map(|(index, value)| (index.to_string(), value)).collect(),
        _ => Vec::new(),
    };
    let inner = below.into_iter().flat_map(|(key, value)| pointers(value, format!("{at}/{key}")));
    std::iter::once(at.clone()).chain(inner).collect()
}

fn replacements(value: &Value) -> Vec<Value> {
    match value {
        Value::Null => vec![json!(0), json!(""), json!(format!("cidv1:sha256:{}", "0".repeat(64)))],
        Value::Bool(value) => vec![json!(!value), Value::Null, json!(u8::from(*value))],
        Value::Number(number) => {
            let number = number.as_i64().unwrap_or_default();
            vec![
                json!(number + 1),
                json!(number - 1),
                json!(0),
                json!(1_u64 << 53),
                json!(number.to_string()),
                Value::Null,
            ]
        }
        Value::String(text) => {
            let rotated = |at: usize| {
                let turn = |(place, letter): (usize, char)| match letter {
                    _ if place != at => letter,
                    '0'..='8' | 'a'..='e' | 'g'..='y' | 'A'..='Y' => char::from(letter as u8 + 1),
                    '9' => '0',
                    'f' | 'z' => 'a',
                    _ => '-',
                };
                json!(text.chars().enumerate().map(turn).collect::<String>())
            };
            let last = text.chars().count().saturating_sub(1);
            vec![
                rotated(0),
                rotated(last),
                json!(format!("{text} ")),
                json!(""),
                json!(text.to_uppercase()),
                Value::Null,
            ]
        }
        Value::Array(values) => {
            let first = values.first().cloned().unwrap_or_default();
            let shorter = values.get(1..).unwrap_or_default().to_vec();
            let longer = values.iter().cloned().chain([first]).collect::<Vec<_>>();
            vec![json!(shorter), json!(longer), json!([]), json!(values.iter().rev().collect::<Vec<_>>())]
        }
        Value::Object(map) => {
            let without = map.keys().map(|key| {
                let mut map = map.clone();
                map.remove(key);
                Value::Object(map)
            });
            let mut more = map.clone();
            more.insert("note".to_owned(), json!("more"));
            without.chain([Value::Object(more), json!({})]).collect()
        }
    }
}

fn permutations(count: usize) -> Vec<Vec<usize>> {
    match count {
        0 => vec![Vec::new()],
        _ => permutations(count - 1)
            .into_iter()
            .flat_map(|order| {
                (0..count).map(move |at| {
                    let mut order = order.clone();
                    order.insert(at, count - 1);
                    order
                })
            })
            .collect(),
    }
}
