//! `kolm corpus check`, `kolm corpus scan` and `kolm corpus deidentify`.

use std::io::IsTerminal;
use std::path::PathBuf;

use serde::Serialize;

use super::environment::Environment;
use super::progress::Progress;
use super::{Exit, arguments};
use crate::corpus;
use crate::corpus::identifiers::{Kind, Located, Replacement, ScanReport, deidentify_file, scan_files};
use crate::job::Job;
use crate::pipeline::{CompileError, SplitTokens, Tokens, count_tokens};

#[derive(Serialize)]
struct Report<'a> {
    rows: u64,
    total: u64,
    counts: std::collections::BTreeMap<&'static str, u64>,
    report_sha256: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    out: Option<&'a PathBuf>,
}

impl<'a> Report<'a> {
    fn of(report: &ScanReport, out: Option<&'a PathBuf>) -> Report<'a> {
        let counts =
            report.counts.iter().filter(|(_, count)| **count > 0).map(|(kind, count)| (kind.name(), *count)).collect();
        Report { rows: report.rows, total: report.total(), counts, report_sha256: report.sha256(), out }
    }
}

#[derive(Serialize)]
struct Checked<'a> {
    read: u64,
    train: u64,
    eval: u64,
    duplicates: u64,
    leaks: u64,
    unused: u64,
    labels: Option<&'a [String]>,
    train_sha256: &'a str,
    eval_sha256: &'a str,
    identifiers: u64,
    scan_sha256: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens: Option<Tokens>,
}

/// Checks, scans and splits the corpus of a job; a fault is an error.
pub(super) fn check(arguments: &arguments::Check, environment: &Environment) -> Result<Exit, CompileError> {
    let job = Job::read(&arguments.job)?;
    let (checked, tokens) = if arguments.tokens {
        let mut progress = Progress::new(!std::io::stderr().is_terminal());
        let (checked, tokens) = count_tokens(&job, &arguments.corpus, environment, &mut progress)?;
        (checked, Some(tokens))
    } else {
        (corpus::check(&corpus::Request::from_job(&job, &arguments.corpus))?, None)
    };
    let corpus::Dropped { duplicates, leaks, unused } = checked.dropped;
    let report = Checked {
        read: checked.read,
        train: checked.train,
        eval: checked.eval,
        duplicates,
        leaks,
        unused,
        labels: checked.labels.as_deref(),
        train_sha256: &checked.train_sha256,
        eval_sha256: &checked.eval_sha256,
        identifiers: checked.scan.total(),
        scan_sha256: checked.scan.sha256(),
        tokens,
    };
    if arguments.json {
        super::print_json(&report)?;
        return Ok(Exit::Done);
    }
    let mut text = format!("{} rows read: {} training rows, {} eval rows\n", report.read, report.train, report.eval);
    text.push_str(&format!("left out: {duplicates} repeated, {leaks} near an eval row, {unused} of no split used\n"));
    if let Some(labels) = report.labels {
        text.push_str(&format!("{} labels\n", labels.len()));
    }
    text.push_str(&format!("{} identifiers; report {}\n", report.identifiers, report.scan_sha256));
    text.push_str(&format!("train {}\neval  {}\n", report.train_sha256, report.eval_sha256));
    if let Some(tokens) = &report.tokens {
        text.push_str(&in_tokens(tokens));
    }
    super::print(&text)?;
    Ok(Exit::Done)
}

fn in_tokens(tokens: &Tokens) -> String {
    let mut text = String::new();
    for (name, split) in [("training", &tokens.train), ("eval", &tokens.eval)] {
        let SplitTokens { rows, left_out, shortened, tokens: count, learned, longest } = split;
        text.push_str(&format!(
            "{count} tokens in {rows} {name} rows, {learned} of them learned (completion, end token); longest row {longest} of at most {}; \
             {left_out} left out as too long, {shortened} shortened\n",
            tokens.limit
        ));
    }
    if tokens.without_recalled_passages {
        text.push_str("recalled passages, which a compile adds to each prompt, are not counted\n");
    }
    text
}

/// Lists findings by kind; exit 1 when there are any.
pub(super) fn scan(arguments: &arguments::Scan) -> Result<Exit, CompileError> {
    let columns = columns(&arguments.columns);
    let mut shown: std::collections::BTreeMap<Kind, Vec<Located>> = std::collections::BTreeMap::new();
    let report = scan_files(&arguments.files, columns, &mut |located| {
        let of_kind = shown.entry(located.kind).or_default();
        if of_kind.len() < arguments.show {
            of_kind.push(located.clone());
        }
    })?;
    let exit = if report.total() == 0 { Exit::Done } else { Exit::Refused };
    if arguments.json {
        super::print_json(&Report::of(&report, None))?;
        return Ok(exit);
    }
    let mut text = String::new();
    for (kind, count) in report.counts.iter().filter(|(_, count)| **count > 0) {
        text.push_str(&format!("{:<24} {count}\n", kind.name()));
        for located in shown.get(kind).into_iter().flatten() {
            let place = format!("{}: row {}, column {}", located.path.display(), located.row, located.column);
            text.push_str(&format!("    {place}: {}\n", located.excerpt));
        }
    }
    text.push_str(&format!("{} findings in {} rows; report {}\n", report.total(), report.rows, report.sha256()));
    super::print(&text)?;
    if report.total() > 0 {
        eprintln!("hint: `kolm corpus deidentify IN --out OUT` replaces them; a clean scan is a floor, not a proof");
    }
    Ok(exit)
}

/// Writes the file with every finding replaced.
pub(super) fn deidentify(arguments: &arguments::Deidentify, environment: &Environment) -> Result<Exit, CompileError> {
    let replacement = if arguments.mask {
        Replacement::mask()
    } else {
        let (key, _) = super::compile::key_source(&arguments.key, environment).load_or_create()?;
        let name = arguments.input.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        Replacement::pseudonyms(key.pseudonym_key().as_ref(), &name)
    };
    let report = deidentify_file(&arguments.input, &arguments.out, columns(&arguments.columns), &replacement)?;
    if arguments.json {
        super::print_json(&Report::of(&report, Some(&arguments.out)))?;
    } else {
        super::print(&format!(
            "{}: {} identifiers replaced in {} rows\n",
            arguments.out.display(),
            report.total(),
            report.rows
        ))?;
    }
    Ok(Exit::Done)
}

fn columns(typed: &[String]) -> Option<&[String]> {
    if typed.is_empty() { None } else { Some(typed) }
}
