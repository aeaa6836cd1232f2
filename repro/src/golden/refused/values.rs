//! Values outside their rules, and members that state different facts, under hashes and MACs that fit.

use serde_json::{Value, json};

use super::draft::{Draft, MANIFEST, PACK, RECEIPT};
use super::{Vector, text, vector};

/// Values outside their rules, under hashes and MACs that fit.
pub(super) fn values() -> Vec<Vector> {
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
pub(super) fn agreements() -> Vec<Vector> {
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
