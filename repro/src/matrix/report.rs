//! The table: a row for each condition, written out as soon as it is known, and one line with the counts.
//!
//! The first row is the one the others are compared with: in CID, K and replay digest, whole, not as shortened in the table. `--json`
//! states the same facts in one document, and the table goes to stderr.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use super::condition::Condition;
use super::error::MatrixError;
use super::runner::{Made, Outcome};

/// Everything the verb found.
#[derive(Debug, Serialize)]
pub struct Summary {
    name: String,
    version: String,
    rows: Vec<Row>,
    counts: Counts,
    machines: BTreeSet<String>,
    compilers: BTreeSet<String>,
}

#[derive(Debug, Serialize)]
struct Row {
    condition: String,
    machine: String,
    compiler: Option<String>,
    verdict: Verdict,
    #[serde(flatten)]
    made: Option<Made>,
    reason: Option<String>,
}

/// What a row says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    /// The first row, with which the others are compared.
    Reference,
    /// Equal in CID, K and replay digest.
    Same,
    /// Unequal in at least one.
    Differs,
    /// No artifact.
    Failed,
    /// Not tried.
    Skipped,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct Counts {
    /// Rows with an artifact that agrees, the first one among them.
    same: usize,
    differ: usize,
    failed: usize,
    skipped: usize,
}

/// Writes the rows as they come.
pub(super) struct Printer {
    json: bool,
    summary: Summary,
}

impl Printer {
    /// Writes the heading.
    pub(super) fn new(json: bool, name: &str, version: &str) -> Result<Printer, MatrixError> {
        let summary = Summary {
            name: name.to_owned(),
            version: version.to_owned(),
            rows: Vec::new(),
            counts: Counts::default(),
            machines: BTreeSet::new(),
            compilers: BTreeSet::new(),
        };
        let printer = Printer { json, summary };
        printer.line(&columns("CID", "K", "replay digest", "verdict", "condition"))?;
        Ok(printer)
    }

    /// Takes the next row and writes it.
    pub(super) fn row(&mut self, condition: &Condition, outcome: Outcome) -> Result<(), MatrixError> {
        let line = self.summary.take(condition, outcome);
        self.line(&line)
    }

    /// Writes the last line, or the document.
    pub(super) fn finish(self) -> Result<Summary, MatrixError> {
        self.line(&self.summary.last_line())?;
        if self.json {
            let text = serde_json::to_string_pretty(&self.summary).expect("strings, numbers and lists only");
            write(io::stdout(), &text)?;
        }
        Ok(self.summary)
    }

    fn line(&self, line: &str) -> Result<(), MatrixError> {
        if self.json { write(io::stderr(), line) } else { write(io::stdout(), line) }
    }
}

impl Summary {
    /// Whether no condition differs and none failed.
    pub fn agrees(&self) -> bool {
        self.counts.differ == 0 && self.counts.failed == 0
    }

    /// What to do where they do not agree.
    pub(super) fn hint(&self, kept: Option<&Path>) -> Option<String> {
        match kept {
            _ if self.agrees() => None,
            Some(kept) => Some(format!(
                "{} holds each run's artifact and stderr; `kolm-repro diff` says what differs",
                kept.display()
            )),
            None => Some("--keep DIR keeps each run's artifact and stderr".to_owned()),
        }
    }

    /// Judges an outcome, counts it, and gives its line.
    fn take(&mut self, condition: &Condition, outcome: Outcome) -> String {
        let (verdict, made, reason) = match outcome {
            Outcome::Made(made) => match self.rows.first().and_then(|first| first.made.as_ref()) {
                None => (Verdict::Reference, Some(made), None),
                Some(first) if *first == made => (Verdict::Same, Some(made), None),
                Some(_) => (Verdict::Differs, Some(made), None),
            },
            Outcome::Skipped(reason) => (Verdict::Skipped, None, Some(reason)),
            Outcome::Failed { message, .. } => (Verdict::Failed, None, Some(message)),
        };
        match verdict {
            Verdict::Reference | Verdict::Same => self.counts.same += 1,
            Verdict::Differs => self.counts.differ += 1,
            Verdict::Failed => self.counts.failed += 1,
            Verdict::Skipped => self.counts.skipped += 1,
        }
        if made.is_some() {
            self.machines.insert(condition.machine.clone());
            self.compilers.extend(condition.build.compiler.clone());
        }
        let row = Row {
            condition: condition.label.clone(),
            machine: condition.machine.clone(),
            compiler: condition.build.compiler.clone(),
            verdict,
            made,
            reason,
        };
        let line = row.line();
        self.rows.push(row);
        line
    }

    fn last_line(&self) -> String {
        let Counts { same, differ, failed, skipped } = self.counts;
        let verdict = if self.agrees() { "one CID, one K, one replay digest" } else { "they do not agree" };
        format!(
            "matrix: {} {}: {} conditions ({same} same, {differ} differ, {failed} failed, {skipped} skipped); \
             machines or CPU levels: {}; compilers: {}; {verdict}",
            self.name,
            self.version,
            self.rows.len(),
            self.machines.len(),
            if self.compilers.is_empty() { "unknown".to_owned() } else { list(&self.compilers) },
        )
    }
}

impl Row {
    fn line(&self) -> String {
        let condition = match &self.reason {
            Some(reason) => format!("{}: {reason}", self.condition),
            None => self.condition.clone(),
        };
        match &self.made {
            Some(made) => {
                columns(short(&made.cid), &made.k, short(&made.replay_digest), self.verdict.word(), &condition)
            }
            None => columns("-", "-", "-", self.verdict.word(), &condition),
        }
    }
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Verdict::Reference => "reference",
            Verdict::Same => "same",
            Verdict::Differs => "DIFFERS",
            Verdict::Failed => "FAILED",
            Verdict::Skipped => "skipped",
        }
    }
}

fn columns(cid: &str, k: &str, replay: &str, verdict: &str, condition: &str) -> String {
    format!("{cid:<16} {k:<8} {replay:<16} {verdict:<9} {condition}")
}

/// The first 16 hex digits, without the scheme before them.
fn short(digest: &str) -> &str {
    let hex = digest.rsplit(':').next().unwrap_or(digest);
    hex.get(..16).unwrap_or(hex)
}

fn list(words: &BTreeSet<String>) -> String {
    words.iter().map(String::as_str).collect::<Vec<_>>().join(" and ")
}

fn write(mut stream: impl Write, line: &str) -> Result<(), MatrixError> {
    let written = stream.write_all(format!("{line}\n").as_bytes()).and_then(|()| stream.flush());
    written.map_err(|source| MatrixError::Io { action: "write", path: "the table".into(), source })
}

#[cfg(test)]
mod tests {
    use super::super::build::Build;
    use super::*;

    fn summary() -> Summary {
        Summary {
            name: "micro".to_owned(),
            version: "1.0.0".to_owned(),
            rows: Vec::new(),
            counts: Counts::default(),
            machines: BTreeSet::new(),
            compilers: BTreeSet::new(),
        }
    }

    fn condition(label: &str, machine: &str) -> Condition {
        let build = Build {
            label: "kolm".to_owned(),
            path: "kolm".into(),
            arch: std::env::consts::ARCH,
            dynamic: true,
            compiler: Some("rustc 1.95.0".to_owned()),
        };
        Condition::new(label, machine.to_owned(), &build)
    }

    fn made(cid: &str, k: &str, replay: &str) -> Outcome {
        Outcome::Made(Made { cid: cid.to_owned(), k: k.to_owned(), replay_digest: replay.to_owned() })
    }

    /// Feeds the outcomes and gives the verdicts and whether all agree.
    fn check(outcomes: Vec<Outcome>) -> (Vec<Verdict>, bool) {
        let mut summary = summary();
        for outcome in outcomes {
            summary.take(&condition("x", "x86_64 v3"), outcome);
        }
        (summary.rows.iter().map(|row| row.verdict).collect(), summary.agrees())
    }

    #[test]
    fn any_of_the_three_makes_a_difference() {
        let first = || made("cidv1:sha256:aa", "0.5", "bb");
        let (verdicts, agrees) = check(vec![first(), first(), made("cidv1:sha256:ab", "0.5", "bb")]);
        assert_eq!((verdicts, agrees), (vec![Verdict::Reference, Verdict::Same, Verdict::Differs], false));
        assert!(!check(vec![first(), made("cidv1:sha256:aa", "0.6", "bb")]).1);
        assert!(!check(vec![first(), made("cidv1:sha256:aa", "0.5", "bc")]).1);
        assert!(check(vec![first(), first()]).1);
    }

    #[test]
    fn digests_are_compared_whole_though_shown_short() {
        let digest = |last: char| format!("cidv1:sha256:{}{last}", "0".repeat(63));
        assert!(!check(vec![made(&digest('0'), "0.5", "bb"), made(&digest('1'), "0.5", "bb")]).1);
        assert_eq!(short(&digest('1')), "0".repeat(16));
        assert_eq!(short("bb"), "bb");
    }

    #[test]
    fn a_failure_is_no_agreement_and_a_skip_is_neither() {
        let failed = Outcome::Failed { code: Some(1), message: "error: x".to_owned() };
        let (verdicts, agrees) = check(vec![made("a", "0.5", "b"), failed]);
        assert_eq!((verdicts, agrees), (vec![Verdict::Reference, Verdict::Failed], false));
        let (verdicts, agrees) = check(vec![made("a", "0.5", "b"), Outcome::Skipped("no qemu".to_owned())]);
        assert_eq!((verdicts, agrees), (vec![Verdict::Reference, Verdict::Skipped], true));
    }

    #[test]
    fn rows_and_last_line_as_printed() {
        let mut summary = summary();
        let digest = "7493910a9a3f8fb3540f3498";
        let line = summary.take(&condition("this machine", "x86_64 v3"), made(digest, "0.375000", digest));
        assert_eq!(line, "7493910a9a3f8fb3 0.375000 7493910a9a3f8fb3 reference this machine");
        let line = summary.take(&condition("qemu", "x86_64 Nehalem"), Outcome::Skipped("no qemu".to_owned()));
        assert_eq!(line, "-                -        -                skipped   qemu: no qemu");
        assert_eq!(
            summary.last_line(),
            "matrix: micro 1.0.0: 2 conditions (1 same, 0 differ, 0 failed, 1 skipped); machines or CPU levels: 1; \
             compilers: rustc 1.95.0; one CID, one K, one replay digest"
        );
    }
}
