//! Traps that caught other readers: files that many a ZIP or JSON reader accepts, or reads as something else than its neighbour does.

use serde_json::json;

use super::draft::{Draft, MANIFEST, RECEIPT, TRACE, zip};
use super::{Vector, example, text, vector};

/// Archives that another ZIP reader opens.
pub(super) fn archives() -> Vec<Vector> {
    let whole = example();
    let entries = Draft::example().0;
    let at = |signature: &[u8]| whole.windows(4).rposition(|window| window == signature).expect("a header");
    let (end, last) = (at(b"PK\x05\x06"), at(b"PK\x01\x02"));
    let second = whole[1..].windows(4).position(|window| window == b"PK\x03\x04").expect("a second header") + 1;
    let directory = whole.windows(4).position(|window| window == b"PK\x01\x02").expect("a directory");
    let patched = |at: usize, bytes: &[u8]| {
        let mut whole = whole.clone();
        whole[at..at + bytes.len()].copy_from_slice(bytes);
        whole
    };
    let inserted = |at: usize, bytes: &[u8]| [&whole[..at], bytes, &whole[at..]].concat();
    let renamed = |name: &str| {
        let mut entries = entries.clone();
        entries[2].0 = name.to_owned();
        zip(&entries)
    };
    let encoding = "container_encoding";
    vec![
        vector("zip-appended", "trailing_bytes", "a second whole archive behind the first", whole.repeat(2)),
        vector(
            "zip-two-directories",
            encoding,
            "the directory is there twice",
            inserted(directory, &whole[directory..end]),
        ),
        vector(
            "zip-two-end-records",
            "trailing_bytes",
            "a second end record behind the first",
            inserted(whole.len(), &whole[end..]),
        ),
        vector(
            "zip-comment",
            encoding,
            "the end record announces a comment",
            [&patched(end + 20, &[2])[..], b"hi"].concat(),
        ),
        vector("zip-gap", encoding, "four bytes between two members", inserted(second, &[0; 4])),
        vector(
            "zip-gap-before-directory",
            encoding,
            "four bytes between content and directory",
            inserted(directory, &[0; 4]),
        ),
        vector(
            "zip-two-names-of-one-content",
            encoding,
            "two directory entries point at one member",
            patched(last + 42, &whole[last - 50..last - 46]),
        ),
        vector(
            "zip-link",
            encoding,
            "the directory calls a member a symbolic link",
            patched(last + 38, &0xa1ff_0000_u32.to_le_bytes()),
        ),
        vector("zip-made-by-unix", encoding, "the directory names a system with permissions", patched(last + 5, &[3])),
        vector("zip-encrypted", encoding, "a member is said to be encrypted", patched(6, &[1])),
        vector("zip-data-descriptor", encoding, "lengths are said to follow the content", patched(6, &[8])),
        vector("zip-utf8-flag", encoding, "the flag for UTF-8 names is set", patched(7, &[8])),
        vector("zip-lengths-differ", encoding, "stored and real length differ", patched(22, &[0xff])),
        vector("zip-zip64", "too_large", "a length that points to a ZIP64 field", patched(18, &[0xff; 8])),
        vector("zip-extra-field", encoding, "a member with an extra field", patched(28, &[4])),
        vector("zip-other-disk", encoding, "the end record stands on disk 1", patched(end + 4, &[1])),
        vector("zip-count-differs", encoding, "the end record counts one member less", patched(end + 8, &[8])),
        vector("zip-name-absolute", "member_unknown", "a member whose path starts at the root", renamed("/task.json")),
        vector(
            "zip-name-backslash",
            "member_unknown",
            "a member with a path of another system",
            renamed("eval\\pack.jsonl"),
        ),
        vector("zip-name-dot", "member_unknown", "a member's path by a detour", renamed("./task.json")),
        vector("zip-name-case", "member_unknown", "a member's name in other letters", renamed("Task.json")),
        vector("zip-name-nul", "member_unknown", "a member's name with a NUL behind it", renamed("task.json\0")),
        vector("zip-name-empty", "member_unknown", "a member without a name", renamed("")),
        vector("zip-name-long", "member_unknown", "a name of 6000 bytes", renamed(&"task.json/".repeat(600))),
        vector(
            "zip-name-dotless",
            "member_unknown",
            "a name that some locales fold to a known one",
            renamed("man\u{131}fest.json"),
        ),
    ]
}

/// JSON that another parser accepts.
pub(super) fn texts() -> Vec<Vector> {
    // The trace's lines may hold any value, so that nothing but the spelling is at fault.
    let line = |name, code, why, line: &[u8]| {
        let mut draft = Draft::example();
        draft.set(TRACE, [line, b"\n"].concat());
        vector(name, code, why, draft.resealed())
    };
    let plan = |name, code, why, change: &dyn Fn(String) -> Vec<u8>| {
        let mut draft = Draft::example();
        let before = text(draft.get("plan.json").to_vec());
        draft.set("plan.json", change(before));
        vector(name, code, why, draft.resealed())
    };
    let syntax = "json_syntax";
    vec![
        line(
            "json-key-order-by-code-point",
            "json_not_canonical",
            "U+FFFF before U+10000, which UTF-16 puts first",
            "{\"\u{ffff}\":1,\"\u{10000}\":2}".as_bytes(),
        ),
        line("json-minus-zero", "json_float", "an integer spelled -0", b"{\"loss\":-0}"),
        line("json-exponent", "json_float", "a number with an exponent", b"{\"loss\":1e-7}"),
        line("json-leading-zero", syntax, "an integer spelled 07", b"{\"step\":07}"),
        line("json-nan", syntax, "a number that JSON does not have", b"{\"loss\":NaN}"),
        line("json-lone-surrogate", syntax, "half of a surrogate pair", b"{\"loss\":\"\\ud83d\"}"),
        line("json-control-character", syntax, "a raw control character in a text", b"{\"loss\":\"\x01\"}"),
        line("json-not-utf8", syntax, "an overlong form of a slash", b"{\"loss\":\"\xc0\xaf\"}"),
        line("json-nested-deep", syntax, "20 000 lists inside each other", &b"[".repeat(20_000)),
        line("json-line-empty", syntax, "an empty line", b""),
        line("json-two-values", syntax, "two values on one line", b"{\"step\":1}{\"step\":2}"),
        line(
            "json-key-twice-escaped",
            "json_duplicate_key",
            "one key twice, once with an escape",
            b"{\"loss\":1,\"l\\u006fss\":2}",
        ),
        line(
            "json-integer-huge",
            "json_float",
            "an integer of 40 digits",
            b"{\"step\":1000000000000000000000000000000000000000}",
        ),
        plan("json-byte-order-mark", syntax, "a byte order mark", &|text| format!("\u{feff}{text}").into_bytes()),
        plan("json-line-feed-behind", "json_not_canonical", "a line feed behind the value", &|text| {
            format!("{text}\n").into_bytes()
        }),
        plan("json-bytes-behind", syntax, "a second value behind the first", &|text| {
            format!("{text}{{}}").into_bytes()
        }),
        plan("json-not-an-object", "json_schema", "a list where an object belongs", &|_| b"[]".to_vec()),
        plan("json-nothing", syntax, "a JSON member without bytes", &|_| Vec::new()),
    ]
}

/// Receipts that belong elsewhere, and dates and hashes that only look like such.
pub(super) fn receipts() -> Vec<Vector> {
    let mut other = Draft::example();
    other.edit("task.json", "/description", json!("Another artifact under the same key"));
    let mut other = Draft::of(&other.resealed());
    let mut exchanged = Draft::example();
    exchanged.set(RECEIPT, other.get(RECEIPT).to_vec());
    other.set(RECEIPT, Draft::example().get(RECEIPT).to_vec());
    let cid = other.json(MANIFEST)["cid"].clone();
    other.edit(RECEIPT, "/cid", cid);

    let steps = |change: &dyn Fn(&mut Vec<serde_json::Value>)| {
        let mut draft = Draft::example();
        let mut steps = draft.json(RECEIPT)["steps"].as_array().cloned().unwrap_or_default();
        change(&mut steps);
        draft.edit(RECEIPT, "/steps", json!(steps));
        draft.bytes()
    };
    let field = |name, code, why, member: &str, pointer: &str, value: serde_json::Value| {
        let mut draft = Draft::example();
        draft.edit(member, pointer, value);
        vector(name, code, why, draft.bytes())
    };
    let upper = Draft::example().json(RECEIPT)["steps"][4]["mac"].as_str().unwrap_or_default().to_uppercase();
    vec![
        vector("receipt-of-another", "members_disagree", "the receipt of another artifact", exchanged.bytes()),
        vector(
            "receipt-of-another-renamed",
            "receipt_body",
            "the receipt of another artifact, with this one's CID in its head",
            other.bytes(),
        ),
        vector(
            "receipt-steps-swapped",
            "field_value",
            "two steps in the other order",
            steps(&|steps| steps.swap(2, 3)),
        ),
        vector("receipt-step-missing", "field_value", "four steps", steps(&|steps| drop(steps.pop()))),
        vector(
            "receipt-step-twice",
            "field_value",
            "six steps, the last one twice",
            steps(&|steps| steps.extend_from_within(4..)),
        ),
        vector("receipt-no-steps", "field_value", "a chain without a link", steps(&|steps| steps.clear())),
        vector(
            "receipt-macs-swapped",
            "receipt_mac",
            "two steps with each other's MAC",
            steps(&|steps| {
                let mac = steps[2]["mac"].take();
                steps[2]["mac"] = steps[3]["mac"].take();
                steps[3]["mac"] = mac;
            }),
        ),
        field(
            "receipt-mac-upper-case",
            "field_value",
            "a MAC in upper-case hex",
            RECEIPT,
            "/steps/4/mac",
            json!(upper),
        ),
        field("receipt-mac-short", "field_value", "a MAC of 31 bytes", RECEIPT, "/steps/4/mac", json!("0".repeat(62))),
        field("receipt-mac-empty", "field_value", "a MAC of no bytes", RECEIPT, "/steps/0/mac", json!("")),
        field(
            "date-impossible",
            "json_schema",
            "a day that no year has",
            MANIFEST,
            "/created",
            json!("2026-02-30T00:00:00Z"),
        ),
        field(
            "date-with-offset",
            "json_schema",
            "a time by another clock than UTC",
            MANIFEST,
            "/created",
            json!("2026-11-23T05:45:00+05:45"),
        ),
        field(
            "date-before-1970",
            "json_schema",
            "a time before the epoch",
            MANIFEST,
            "/created",
            json!("1969-12-31T23:59:59Z"),
        ),
    ]
}
