//! The report as text, Markdown, or JSON; JUnit and SARIF have files of their own.

use clap::ValueEnum;

use super::{Report, junit, sarif};
use crate::diff::answers::{Flip, signed};

/// How to report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Text,
    /// One JSON object
    Json,
    /// JUnit XML: one test case an eval case, and one a condition
    Junit,
    /// SARIF 2.1.0: one result a regression, condition not met, or refusal
    Sarif,
    /// Markdown, for a job summary
    Md,
}

/// The report in `format`.
pub fn show(report: &Report, format: Format) -> String {
    match format {
        Format::Text => text(report),
        Format::Json => {
            let json = serde_json::to_string_pretty(report).expect("reports hold strings, numbers and lists only");
            format!("{json}\n")
        }
        Format::Junit => junit::xml(report),
        Format::Sarif => sarif::json(report),
        Format::Md => markdown(report),
    }
}

/// Label and value of every fact that text and Markdown share.
fn facts(report: &Report) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    match &report.identity {
        Some(identity) => {
            facts.push(("artifact", format!("{} {}", identity.name, identity.version)));
            facts.push(("cid", identity.cid.clone()));
        }
        None => facts.push(("artifact", report.artifact.clone())),
    }
    if let Some(measured) = &report.measured {
        let [low, high] = measured.wilson;
        let cases = measured.cases.len();
        facts.push(("replayed", format!("K={}, 95 % interval {low} to {high}, {cases} cases", measured.k)));
        facts.push(("recorded", format!("K={}", measured.recorded_k)));
    }
    if let Some(baseline) = &report.baseline {
        let answers = &baseline.answers;
        facts.push(("baseline", format!("{} {}", baseline.version, baseline.cid)));
        let [low, high] = baseline.wilson;
        facts.push(("", format!("K={}, 95 % interval {low} to {high}", answers.k[0])));
        facts.push((
            "",
            match &baseline.not_replayed {
                None => "replayed on this machine".to_owned(),
                Some(why) => format!("recorded answers, not replayed: {why}"),
            },
        ));
        let delta = answers.delta_ppm.map_or_else(|| "none in common".to_owned(), signed);
        facts.push(("delta", format!("K {delta} over {} common cases", answers.common)));
        let (lost, won) = (answers.lost.len(), answers.won.len());
        facts.push(("flipped", format!("{lost} right -> wrong, {won} wrong -> right")));
    }
    facts
}

fn text(report: &Report) -> String {
    let mut out: String = facts(report)
        .iter()
        .map(|(label, value)| match label.is_empty() {
            true => format!("{:<11}{}\n", "", plain(value)),
            false => format!("{:<11}{}\n", format!("{label}:"), plain(value)),
        })
        .collect();
    for (what, flip) in flips(report) {
        out.push_str(&format!(
            "  {what}  {}  expected {}, {} -> {}\n",
            plain(&flip.id),
            plain(&flip.expected),
            plain(&flip.a),
            plain(&flip.b)
        ));
    }
    for condition in &report.conditions {
        let mark = if condition.met { "ok" } else { "FAIL" };
        out.push_str(&format!(
            "{mark:<5} {:<16} {}, expected {}\n",
            condition.name, condition.found, condition.expected
        ));
    }
    if let Some(error) = &report.error {
        out.push_str(&format!("FAIL  {} ({})\n", plain(&error.message), error.code));
    }
    out.push_str(&format!("verdict:   {}\n", report.verdict.words()));
    out
}

fn markdown(report: &Report) -> String {
    let mut out = format!("### kolm gate: {}\n\n| | |\n|---|---|\n", report.verdict.words());
    for (label, value) in facts(report) {
        out.push_str(&format!("| {label} | {} |\n", cell(&value)));
    }
    if let Some(error) = &report.error {
        out.push_str(&format!("| {} | {} |\n", error.code, cell(&error.message)));
    }
    if !report.conditions.is_empty() {
        out.push_str("\n| condition | found | expected | |\n|---|---|---|---|\n");
        for condition in &report.conditions {
            let mark = if condition.met { "met" } else { "**not met**" };
            out.push_str(&format!("| {} | {} | {} | {mark} |\n", condition.name, condition.found, condition.expected));
        }
    }
    let flips: Vec<_> = flips(report).collect();
    if !flips.is_empty() {
        out.push_str("\n| flip | case | expected | baseline | now |\n|---|---|---|---|---|\n");
        for (what, flip) in flips {
            let [id, expected, a, b] = [&flip.id, &flip.expected, &flip.a, &flip.b].map(|text| cell(text));
            out.push_str(&format!("| {what} | {id} | {expected} | {a} | {b} |\n"));
        }
    }
    out
}

fn flips(report: &Report) -> impl Iterator<Item = (&'static str, &Flip)> {
    let answers = report.baseline.iter().map(|baseline| &baseline.answers);
    answers.flat_map(|answers| {
        let lost = answers.lost.iter().map(|flip| ("right -> wrong", flip));
        lost.chain(answers.won.iter().map(|flip| ("wrong -> right", flip)))
    })
}

/// Text on one line, without control characters.
fn plain(text: &str) -> String {
    let escape = |letter: char| match letter.is_control() {
        true => letter.escape_default().to_string(),
        false => letter.to_string(),
    };
    text.chars().map(escape).collect()
}

/// Text inside a table cell of Markdown: neither markup nor the end of the cell.
fn cell(text: &str) -> String {
    let mut out = String::new();
    for letter in plain(text).chars() {
        match letter {
            '<' => out.push_str("&lt;"),
            '&' => out.push_str("&amp;"),
            '\\' | '|' | '`' | '*' | '_' | '[' | ']' | '>' => out.extend(['\\', letter]),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use kolm_runtime::eval::Ppm;

    use super::*;
    use crate::diff::answers::Answers;
    use crate::gate::{Baseline, CaseLine, Condition, Measured};

    fn report() -> Report {
        let mut report = Report::new(Path::new("new.kolm"));
        let case = |id: &str, answer: &str, score| CaseLine {
            id: id.into(),
            expected: "yes".into(),
            answer: answer.into(),
            score,
        };
        report.measured = Some(Measured {
            k: Ppm::new(500_000).unwrap(),
            wilson: [Ppm::ZERO, Ppm::ONE],
            recorded_k: "0.500000".into(),
            cases: vec![case("c1", "no<|>\n", Ppm::ZERO), case("c2", "yes", Ppm::ONE)],
        });
        let flip = Flip { id: "c1".into(), expected: "yes".into(), a: "yes".into(), b: "no<|>\n".into() };
        report.baseline = Some(Baseline {
            path: "old.kolm".into(),
            version: "1.0.0".into(),
            cid: "cidv1:sha256:00".into(),
            wilson: [Ppm::ZERO, Ppm::ONE],
            not_replayed: None,
            answers: Answers {
                common: 2,
                k: [Ppm::ONE, Ppm::new(500_000).unwrap()],
                k_common: None,
                delta_ppm: Some(-500_000),
                answers_changed: 1,
                logits_changed: 0,
                lost: vec![flip],
                won: Vec::new(),
            },
        });
        report.conditions = vec![
            Condition { name: "min-k", met: true, found: "0.500000".into(), expected: "at least 0.500000".into() },
            Condition { name: "max-regressions", met: false, found: "1".into(), expected: "at most 0".into() },
        ];
        report.decide(None);
        report
    }

    #[test]
    fn text_snapshot() {
        assert_eq!(
            show(&report(), Format::Text),
            "artifact:  new.kolm
replayed:  K=0.500000, 95 % interval 0.000000 to 1.000000, 2 cases
recorded:  K=0.500000
baseline:  1.0.0 cidv1:sha256:00
           K=1.000000, 95 % interval 0.000000 to 1.000000
           replayed on this machine
delta:     K -0.500000 over 2 common cases
flipped:   1 right -> wrong, 0 wrong -> right
  right -> wrong  c1  expected yes, yes -> no<|>\\n
ok    min-k            0.500000, expected at least 0.500000
FAIL  max-regressions  1, expected at most 0
verdict:   gate not met
"
        );
    }

    #[test]
    fn markdown_holds_its_cells() {
        let shown = show(&report(), Format::Md);
        assert!(shown.starts_with("### kolm gate: gate not met\n"));
        assert!(shown.contains("| right -> wrong | c1 | yes | yes | no&lt;\\|\\>\\\\n |\n"), "{shown}");
    }

    #[test]
    fn junit_fails_what_the_verdict_fails_on() {
        let shown = show(&report(), Format::Junit);
        assert!(
            shown.contains("<testsuite name=\"eval cases\" tests=\"2\" disabled=\"0\" errors=\"0\" failures=\"1\">"),
            "{shown}"
        );
        assert!(
            shown.contains("<testsuite name=\"gate\" tests=\"2\" disabled=\"0\" errors=\"0\" failures=\"1\">"),
            "{shown}"
        );
        assert!(!shown.contains("no<|>"), "escaped: {shown}");
    }

    #[test]
    fn sarif_names_regression_and_condition() {
        let shown: serde_json::Value = serde_json::from_str(&show(&report(), Format::Sarif)).unwrap();
        assert_eq!(shown["version"], "2.1.0");
        let results = shown["runs"][0]["results"].as_array().unwrap();
        let rules: Vec<_> = results.iter().map(|result| result["ruleId"].as_str().unwrap()).collect();
        assert_eq!(rules, ["regression", "gate-condition"]);
    }

    #[test]
    fn json_carries_verdict_and_exit() {
        let shown: serde_json::Value = serde_json::from_str(&show(&report(), Format::Json)).unwrap();
        assert_eq!((shown["verdict"].as_str(), shown["exit"].as_u64()), (Some("gate_not_met"), Some(3)));
    }
}
