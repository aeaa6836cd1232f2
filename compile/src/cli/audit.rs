//! `kolm audit`: shows and checks the log, takes a note into it, and proves one entry to somebody who has neither log nor key.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use kolm_runtime::artifact::{Anchor, AuditEntry, AuditLog, Event, Proof, Staged, Timestamp, Words};
use serde_json::{Value, json};

use super::Exit;
use super::arguments::Key;
use super::environment::Environment;
use crate::pipeline::CompileError;

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Show the entries, each checked before it is shown
    Show(Show),
    /// Check the whole log, and show its head as eight words for a logbook
    Verify(Verify),
    /// Write one entry with a proof that it is in the log
    Export(Export),
    /// Check such a proof; needs neither log nor key
    CheckProof(CheckProof),
    /// Add a line of your own to the log
    Note(Note),
}

/// `kolm audit show`
#[derive(Debug, Args)]
pub(super) struct Show {
    /// Only the last N entries
    #[arg(long, value_name = "N")]
    last: Option<usize>,
    #[command(flatten)]
    key: Key,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// `kolm audit verify`
#[derive(Debug, Args)]
pub(super) struct Verify {
    /// Eight words from the logbook: an earlier head that this log must have had
    #[arg(long, value_name = "WORDS", num_args = 1..=8)]
    head: Vec<String>,
    #[command(flatten)]
    key: Key,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// `kolm audit export`
#[derive(Debug, Args)]
pub(super) struct Export {
    /// Number of the entry
    #[arg(long, value_name = "N")]
    entry: u64,
    /// Prove it under this earlier head [default: the newest]
    #[arg(long, value_name = "WORDS", num_args = 1..=8)]
    head: Vec<String>,
    /// File to write [default: stdout]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    key: Key,
}

/// `kolm audit check-proof`
#[derive(Debug, Args)]
pub(super) struct CheckProof {
    /// What `kolm audit export` wrote; - is stdin
    proof: PathBuf,
    /// Eight words from the logbook
    #[arg(long, value_name = "WORDS", num_args = 1..=8, required_unless_present = "root", conflicts_with = "root")]
    head: Vec<String>,
    /// Root of the log in hex
    #[arg(long, value_name = "HEX")]
    root: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// `kolm audit note`
#[derive(Debug, Args)]
pub(super) struct Note {
    /// The text
    text: String,
    #[command(flatten)]
    key: Key,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Runs `kolm audit`.
pub(super) fn audit(verb: &Verb, environment: &Environment) -> Result<Exit, CompileError> {
    match verb {
        Verb::Show(arguments) => show(arguments, environment),
        Verb::Verify(arguments) => verify(arguments, environment),
        Verb::Export(arguments) => export(arguments, environment),
        Verb::CheckProof(arguments) => check_proof(arguments),
        Verb::Note(arguments) => note(arguments, environment),
    }?;
    Ok(Exit::Done)
}

/// Now, as the log writes it.
pub(super) fn now(environment: &Environment) -> Result<Timestamp, CompileError> {
    Timestamp::from_unix(environment.now_seconds).ok_or_else(|| CompileError::Value {
        what: "the clock",
        found: environment.now_seconds.to_string(),
        expected: "a date before the year 10000",
    })
}

fn show(arguments: &Show, environment: &Environment) -> Result<(), CompileError> {
    let key = super::compile::key_source(&arguments.key, environment).load()?;
    let log = AuditLog::open(&environment.kolm_home, &key)?;
    let mut printed = Ok(());
    let mut print = |entry: &AuditEntry| {
        if printed.is_ok() {
            let text = if arguments.json { format!("{}\n", as_json(entry)) } else { line(entry) };
            printed = super::print(&text);
        }
    };
    let checked = match arguments.last {
        None => log.entries(&mut print),
        Some(count) => {
            let mut last: VecDeque<AuditEntry> = VecDeque::new();
            let checked = log.entries(&mut |entry| {
                last.push_back(entry.clone());
                if last.len() > count {
                    last.pop_front();
                }
            });
            last.iter().for_each(print);
            checked
        }
    };
    printed?;
    checked?;
    Ok(())
}

fn verify(arguments: &Verify, environment: &Environment) -> Result<(), CompileError> {
    let key = super::compile::key_source(&arguments.key, environment).load()?;
    let log = AuditLog::open(&environment.kolm_home, &key)?;
    let (report, seen) = match words(&arguments.head)? {
        None => (log.verify()?, None),
        Some(words) => {
            let (report, seen) = log.find(words)?;
            (report, Some(seen))
        }
    };
    if arguments.json {
        return super::print_json(&json!({
            "verified": true,
            "entries": report.entries,
            "keys": report.keys,
            "clock_steps_back": report.clock_steps_back,
            "head": report.words.to_string(),
            "root": report.root,
            "last_line_sha256": report.head,
            "noted": seen.map(|seen| json!({ "entries": seen.entries, "time": seen.time })),
        }));
    }
    let mut text = format!(
        "{:<10}{}, {}, every line and the sealed head hold\n",
        "log:",
        count(report.entries, "entry", "entries"),
        count(report.keys as u64, "key", "keys")
    );
    if report.clock_steps_back > 0 {
        text += &format!("{:<10}went back {}\n", "clock:", count(report.clock_steps_back, "time", "times"));
    }
    text += &format!("{:<10}{}\n{:<10}{}\n", "root:", report.root, "head:", report.words);
    if let Some(seen) = seen {
        let since = report.entries - seen.entries;
        let time = seen.time.map_or_else(String::new, |time| format!(" of {time}"));
        let since = count(since, "entry", "entries");
        text += &format!("{:<10}the head at entry {}{time}; {since} since\n", "noted:", seen.entries);
    }
    super::print(&text)?;
    if seen_nothing(&environment.kolm_home, report.entries) {
        eprintln!(
            "hint: there is no log here and no mark of one; if both were deleted, only a logbook can tell (--head)"
        );
    }
    Ok(())
}

fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

fn seen_nothing(kolm_home: &Path, entries: u64) -> bool {
    entries == 0 && !kolm_home.join("marks").exists()
}

fn export(arguments: &Export, environment: &Environment) -> Result<(), CompileError> {
    let key = super::compile::key_source(&arguments.key, environment).load()?;
    let log = AuditLog::open(&environment.kolm_home, &key)?;
    let proof = log.prove(arguments.entry, words(&arguments.head)?)?;
    let bytes = proof.encode()?;
    match &arguments.out {
        Some(path) => Staged::write(path, &bytes)?.commit()?,
        None => super::print(&String::from_utf8_lossy(&bytes))?,
    }
    if let Some(words) = proof.words() {
        eprintln!("entry {} of {}, under the head: {words}", proof.seq, proof.entries);
    }
    Ok(())
}

fn check_proof(arguments: &CheckProof) -> Result<(), CompileError> {
    let bytes = read_proof(&arguments.proof).map_err(|source| CompileError::Io {
        action: "read",
        path: arguments.proof.clone(),
        source,
    })?;
    let proof = Proof::parse(&bytes)?;
    let anchor = match (&arguments.root, words(&arguments.head)?) {
        (None, Some(words)) => Anchor::Words(words),
        (root, _) => Anchor::Root(root.clone().unwrap_or_default()),
    };
    let entry = proof.check(&anchor)?;
    if arguments.json {
        let (root, entries) = (&proof.root, proof.entries);
        return super::print_json(
            &json!({ "proved": true, "root": root, "entries": entries, "entry": as_json(&entry) }),
        );
    }
    super::print(&format!("{}{:<10}entry {} of a log of {}\n", line(&entry), "proved:", entry.seq, proof.entries))
}

/// At most a mebibyte: a line of the log takes 64 KiB, a path 64 hashes.
fn read_proof(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = 1 << 20;
    if path == Path::new("-") {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes)?;
    } else {
        std::fs::File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    }
    if bytes.len() as u64 == limit { Err(ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
}

fn note(arguments: &Note, environment: &Environment) -> Result<(), CompileError> {
    let key = super::compile::key_source(&arguments.key, environment).load()?;
    let event = Event {
        time: now(environment)?,
        action: "note".to_owned(),
        cid: None,
        outcome: "done".to_owned(),
        detail: arguments.text.clone(),
    };
    let entry = AuditLog::open(&environment.kolm_home, &key)?.append_numbered(&event)?;
    if arguments.json {
        super::print_json(&json!({ "entry": entry }))
    } else {
        super::print(&format!("{:<10}{entry}\n", "entry:"))
    }
}

fn words(typed: &[String]) -> Result<Option<Words>, CompileError> {
    if typed.is_empty() {
        return Ok(None);
    }
    let text = typed.join(" ");
    match text.parse() {
        Ok(words) => Ok(Some(words)),
        Err(_) => {
            Err(CompileError::Value { what: "--head", found: text, expected: "eight words of the BIP-39 English list" })
        }
    }
}

fn as_json(entry: &AuditEntry) -> Value {
    json!({
        "entry": entry.seq, "time": entry.time, "action": entry.action, "outcome": entry.outcome, "cid": entry.cid,
        "detail": entry.detail, "key_id": entry.key_id,
    })
}

/// One entry for people; control characters are shown, not sent to the terminal.
fn line(entry: &AuditEntry) -> String {
    let clean = |text: &str| {
        text.chars()
            .flat_map(|letter| match letter.is_control() {
                true => letter.escape_default().collect::<Vec<_>>(),
                false => vec![letter],
            })
            .collect::<String>()
    };
    let cid = entry
        .cid
        .as_deref()
        .and_then(|cid| cid.rsplit(':').next())
        .map_or("-", |digest| digest.get(..12).unwrap_or(digest));
    let (action, outcome) = (clean(&entry.action), clean(&entry.outcome));
    format!(
        "{:>6}  {}  {}  {action:<9} {outcome:<8} {cid:<12}  {}\n",
        entry.seq,
        entry.time,
        entry.key_id,
        clean(&entry.detail)
    )
}
