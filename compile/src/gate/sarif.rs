//! The report as SARIF 2.1.0: one result for each regression, condition not met, and refusal.

use serde_json::{Value, json};

use super::{Report, Verdict};

pub(super) fn json(report: &Report) -> String {
    let result = |rule: &str, level: &str, message: String| {
        json!({
            "ruleId": rule,
            "level": level,
            "message": { "text": message },
            "locations": [{ "physicalLocation": { "artifactLocation": { "uri": uri(&report.artifact) } } }],
        })
    };
    let level = if report.verdict == Verdict::Passed { "warning" } else { "error" };
    let lost = report.baseline.iter().flat_map(|baseline| &baseline.answers.lost).map(|flip| {
        let message =
            format!("case {}: expected {}, the baseline answered {}, now {}", flip.id, flip.expected, flip.a, flip.b);
        result("regression", level, message)
    });
    let unmet = report.conditions.iter().filter(|condition| !condition.met).map(|condition| {
        let message = format!("{} is {}, expected {}", condition.name, condition.found, condition.expected);
        result("gate-condition", "error", message)
    });
    let refused =
        report.error.iter().map(|error| result("refused", "error", format!("{} ({})", error.message, error.code)));
    let results: Vec<Value> = lost.chain(unmet).chain(refused).collect();
    let rule = |id: &str, text: &str| json!({ "id": id, "shortDescription": { "text": text } });
    let log = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "kolm gate",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": [
                    rule("regression", "A case the baseline answers right is answered wrong"),
                    rule("gate-condition", "A condition of the gate is not met"),
                    rule("refused", "The artifact or its baseline was checked and refused, or an input is missing"),
                ],
            } },
            "results": results,
        }],
    });
    format!("{log:#}\n")
}

/// A path as a relative reference: what a URI does not hold is escaped byte by byte.
fn uri(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    path.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
