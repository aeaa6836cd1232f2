//! The pack's and the replay file's refusals, one reason each, and their round trips.

use proptest::prelude::*;

use super::{Case, CaseResult, Difference, EvalError, Metric, Outcome, Pack, Ppm, compare};

fn case(id: &str, expected: &str, metric: Metric) -> Case {
    Case { id: id.to_owned(), prompt: format!("Queue of {id}?"), expected: expected.to_owned(), weight: 1, metric }
}

fn labels(names: &[&str]) -> Option<Vec<String>> {
    Some(names.iter().map(|name| (*name).to_owned()).collect())
}

fn valid() -> Pack {
    let cases = vec![case("1", "billing", Metric::Label), case("2", "{\"a\": 1}", Metric::Json)];
    Pack::new(labels(&["outage", "billing"]), 16, cases).unwrap()
}

fn refused(result: Result<Pack, EvalError>, code: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.code(), code, "{error}");
}

#[test]
fn bytes_of_a_pack() {
    let text = concat!(
        "{\"format\":\"kolm-eval-1\",\"labels\":[\"outage\",\"billing\"],\"max_new_tokens\":16}\n",
        "{\"expected\":\"billing\",\"id\":\"1\",\"metric\":\"label\",\"prompt\":\"Queue of 1?\",\"weight\":1}\n",
        "{\"expected\":\"{\\\"a\\\": 1}\",\"id\":\"2\",\"metric\":\"json\",\"prompt\":\"Queue of 2?\",\"weight\":1}\n",
    );
    assert_eq!(std::str::from_utf8(valid().bytes()).unwrap(), text);
    let pack = Pack::parse(text.as_bytes()).unwrap();
    assert_eq!(pack, valid());
    assert_eq!((pack.metric_name(), pack.labels().len(), pack.max_new_tokens()), ("mixed", 2, 16));
}

#[test]
fn refused_values() {
    let one = |case: Case| Pack::new(None, 8, vec![case]);
    let label = |names: &[&str]| Pack::new(labels(names), 8, vec![case("1", "a", Metric::Label)]);
    refused(Pack::new(None, 8, vec![]), "empty_pack");
    refused(Pack::new(labels(&["a", "b"]), 8, vec![]), "empty_pack");
    refused(one(case("", "a", Metric::Exact)), "empty_id");
    refused(Pack::new(None, 8, vec![case("1", "a", Metric::Exact), case("1", "b", Metric::Exact)]), "duplicate_id");
    refused(one(Case { prompt: String::new(), ..case("1", "a", Metric::Exact) }), "empty_prompt");
    refused(one(case("1", "", Metric::Exact)), "empty_expected");
    refused(one(case("1", " \u{3000}\n", Metric::Contains)), "empty_expected");
    refused(one(case("1", "?!", Metric::TokenF1)), "empty_expected");
    refused(one(case("1", "—", Metric::RougeL)), "empty_expected");
    refused(one(case("1", "{a:1}", Metric::Json)), "expected_not_json");
    refused(one(Case { weight: 0, ..case("1", "a", Metric::Exact) }), "zero_weight");
    refused(one(Case { weight: 1_000_001, ..case("1", "a", Metric::Exact) }), "overweight");
    refused(one(case("1", &"a".repeat((256 << 10) + 1), Metric::Exact)), "too_large");
    refused(one(case(&"i".repeat(257), "a", Metric::Exact)), "too_large");
    refused(one(Case { prompt: "p".repeat(2 << 20), ..case("1", "a", Metric::Exact) }), "too_large");
    refused(one(case("1", "a", Metric::Label)), "too_few_labels");
    refused(label(&["a"]), "too_few_labels");
    refused(label(&["a", "b", "a"]), "duplicate_label");
    refused(label(&["a", " "]), "empty_label");
    refused(label(&["b", "c"]), "label_outside_set");
    refused(label(&["a", &"l".repeat(1025)]), "too_large");
    refused(Pack::new(labels(&["a", "b"]), 8, vec![case("1", "a", Metric::Exact)]), "unused_labels");
    refused(Pack::new(None, 0, vec![case("1", "a", Metric::Exact)]), "new_tokens");
    refused(Pack::new(None, 4097, vec![case("1", "a", Metric::Exact)]), "new_tokens");
}

#[test]
fn refused_bytes() {
    let text = String::from_utf8(valid().bytes().to_vec()).unwrap();
    let changed = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        Pack::parse(text.replacen(from, to, 1).as_bytes())
    };
    refused(Pack::parse(b""), "empty_pack");
    refused(Pack::parse(b"\n"), "malformed");
    refused(Pack::parse(text.trim_end().as_bytes()), "torn_line");
    refused(Pack::parse(text.split_inclusive('\n').next().unwrap().as_bytes()), "empty_pack");
    refused(Pack::parse(format!("{text}\n").as_bytes()), "malformed");
    refused(Pack::parse(format!("\u{feff}{text}").as_bytes()), "malformed");
    refused(changed("kolm-eval-1", "kolm-eval-2"), "unknown_format");
    refused(changed("\"metric\":\"label\"", "\"metric\":\"bleu\""), "malformed");
    refused(changed("\"weight\":1", "\"weight\":1.0"), "malformed");
    refused(changed("\"weight\":1", "\"weight\":-1"), "malformed");
    refused(changed("\"weight\":1", "\"weight\":1,\"more\":1"), "malformed");
    refused(changed("\"weight\":1", "\"weight\":1,\"weight\":1"), "malformed");
    refused(changed(",\"weight\":1", ""), "malformed");
    refused(changed("\"weight\":1}", "\"weight\":1} "), "not_canonical");
    refused(changed("\"weight\":1}\n", "\"weight\":1}\r\n"), "not_canonical");
    refused(changed("\"id\":\"1\"", "\"id\": \"1\""), "not_canonical");
    refused(changed("Queue", "\\u0051ueue"), "not_canonical");
    refused(
        changed("{\"expected\":\"billing\",\"id\":\"1\"", "{\"id\":\"1\",\"expected\":\"billing\""),
        "not_canonical",
    );
    refused(changed("\"labels\":[\"outage\",\"billing\"],", ""), "not_canonical");
    let mut broken = text.clone().into_bytes();
    broken.insert(text.find("Queue").unwrap(), 0xff);
    refused(Pack::parse(&broken), "malformed");
}

fn results() -> Vec<CaseResult> {
    let result = |id: &str, answer: &str, tokens: &[u32], score| CaseResult {
        answer: answer.to_owned(),
        id: id.to_owned(),
        logits_sha256: "0123456789abcdef".repeat(4),
        score,
        tokens: tokens.to_vec(),
    };
    vec![result("1", "billing", &[4, 2], Ppm::ONE), result("2", "{}", &[7, 8, 2], Ppm::ZERO)]
}

#[test]
fn replay_round_trip_and_digest() {
    let outcome = Outcome::new(&valid(), results());
    let bytes = outcome.bytes().unwrap();
    let first = concat!(
        "{\"answer\":\"billing\",\"id\":\"1\",\"logits_sha256\":\"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\",",
        "\"score\":\"1.000000\",\"tokens\":[4,2]}"
    );
    assert_eq!(std::str::from_utf8(&bytes).unwrap().lines().next().unwrap(), first);
    assert_eq!(Outcome::parse(&valid(), &bytes).unwrap(), outcome);
    assert_eq!(outcome.k.to_string(), "0.500000");
    // printf 'kolm-replay-1\n' and the fields of SPEC-eval's worked example, through sha256sum.
    assert_eq!(outcome.replay_digest, "4185f93cf4c22bf8644b332af0d4a1586c2a9a974fe8475a4552b647c7036839");
}

#[test]
fn refused_replays() {
    let pack = valid();
    let bytes = Outcome::new(&pack, results()).bytes().unwrap();
    let text = std::str::from_utf8(&bytes).unwrap();
    let check = |text: &str, code: &str| assert_eq!(Outcome::parse(&pack, text.as_bytes()).unwrap_err().code(), code);
    let rows: Vec<&str> = text.split_inclusive('\n').collect();
    check(rows[0], "replay_count");
    check(&format!("{text}{}", rows[1]), "replay_count");
    check(&format!("{}{}", rows[1], rows[0]), "replay_order");
    check(&text.replacen("0123456789abcdef", "0123456789ABCDEF", 1), "malformed");
    check(&text.replacen("0123456789abcdef", "", 1), "malformed");
    check(&text.replacen("1.000000", "1.0", 1), "malformed");
    check(&text.replacen("[4,2]", "[4, 2]", 1), "not_canonical");
    check(&text.replacen("[4,2]", "[4,-2]", 1), "malformed");
    check(text.trim_end(), "torn_line");
}

#[test]
fn drift_names_the_first_difference() {
    let check = |change: fn(&mut Vec<CaseResult>), expected: &[(&str, Difference)]| {
        let mut replayed = results();
        change(&mut replayed);
        let found: Vec<_> =
            compare(&results(), &replayed).into_iter().map(|drift| (drift.id, drift.difference)).collect();
        let expected: Vec<_> = expected.iter().map(|(id, difference)| ((*id).to_owned(), *difference)).collect();
        assert_eq!(found, expected);
    };
    check(|_| (), &[]);
    check(
        |rows| rows[1].tokens[1] = 9,
        &[("2", Difference::Token { position: 1, recorded: Some(8), replayed: Some(9) })],
    );
    check(
        |rows| rows[1].tokens.truncate(2),
        &[("2", Difference::Token { position: 2, recorded: Some(2), replayed: None })],
    );
    check(|rows| rows[0].answer.clear(), &[("1", Difference::Answer)]);
    check(|rows| rows[0].logits_sha256.replace_range(0..1, "f"), &[("1", Difference::Logits)]);
    check(|rows| rows[0].score = Ppm::ZERO, &[("1", Difference::Score { recorded: Ppm::ONE, replayed: Ppm::ZERO })]);
    check(|rows| rows.truncate(1), &[("2", Difference::Case)]);
    check(|rows| rows.swap(0, 1), &[("1", Difference::Case), ("2", Difference::Case)]);
}

fn any_metric() -> impl Strategy<Value = Metric> {
    proptest::sample::select(vec![Metric::Exact, Metric::Contains, Metric::TokenF1])
}

proptest! {
    #[test]
    fn any_valid_pack_round_trips(
        rows in proptest::collection::vec(("\\PC{0,8}[a-z]", "[\\x00-\\x7f\\PC]{1,20}", any_metric(), 1..=1_000_000_u64), 1..12),
        labels in proptest::option::of(proptest::collection::btree_set("\\PC{0,6}[a-z]", 2..6)),
    ) {
        let mut cases: Vec<Case> = rows.into_iter().enumerate().map(|(row, (expected, prompt, metric, weight))| {
            Case { id: format!("{row}"), prompt, expected, weight, metric }
        }).collect();
        let labels = labels.map(|set| set.into_iter().collect::<Vec<_>>());
        if let Some(first) = labels.as_ref().and_then(|set| set.first()) {
            cases.push(Case { expected: first.clone(), ..case("label", "", Metric::Label) });
        }
        let pack = Pack::new(labels, 8, cases).unwrap();
        prop_assert_eq!(&Pack::parse(pack.bytes()).unwrap(), &pack);
    }

    #[test]
    fn any_bytes_parse_to_themselves_or_not_at_all(row in 0..400_usize, byte in any::<u8>()) {
        let mut bytes = valid().bytes().to_vec();
        let row = row % bytes.len();
        bytes[row] = byte;
        if let Ok(pack) = Pack::parse(&bytes) {
            prop_assert_eq!(pack.bytes(), &bytes[..]);
        }
        let _ = Pack::parse(&bytes[..row]);
    }
}
