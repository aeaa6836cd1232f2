//! Canonical JSON: what is no JSON, and what is not its one form.

use super::draft::{Draft, PACK};
use super::{Vector, text, vector};

/// Members that spell their values otherwise than the one way.
pub(super) fn json_texts() -> Vec<Vector> {
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
