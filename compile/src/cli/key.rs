//! `kolm key`: makes, names, replaces and lists the operator's keys. Never shows one.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use kolm_runtime::artifact::{KeyState, Keyring, OperatorKey, Rotated};
use serde_json::json;

use super::arguments::Key;
use super::environment::Environment;
use super::{Exit, audit};
use crate::pipeline::CompileError;

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Make the operator's key
    Generate(Generate),
    /// Show the id of the key that would be used
    Id(Id),
    /// Replace the operator's key; the old one stays in the keyring, so that its receipts still verify
    Rotate(Report),
    /// List the keyring
    List(Report),
}

/// `kolm key generate`
#[derive(Debug, Args)]
pub(super) struct Generate {
    /// File to write, which must not exist [default: ~/.kolm/keys/operator.key]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    report: Report,
}

/// `kolm key id`
#[derive(Debug, Args)]
pub(super) struct Id {
    #[command(flatten)]
    key: Key,
    #[command(flatten)]
    report: Report,
}

#[derive(Debug, Args)]
pub(super) struct Report {
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Runs `kolm key`.
pub(super) fn key(verb: &Verb, environment: &Environment) -> Result<Exit, CompileError> {
    match verb {
        Verb::Generate(arguments) => generate(arguments, environment),
        Verb::Id(arguments) => id(arguments, environment),
        Verb::Rotate(report) => rotate(report, environment),
        Verb::List(report) => list(report, environment),
    }
}

fn generate(arguments: &Generate, environment: &Environment) -> Result<Exit, CompileError> {
    let ring = Keyring::of(&environment.kolm_home);
    let (path, key) = match &arguments.out {
        Some(path) => (path.clone(), OperatorKey::create(path)?),
        None => {
            only_the_ring(environment)?;
            (ring.current(), ring.generate(audit::now(environment)?)?)
        }
    };
    let id = key.id();
    if arguments.report.json {
        super::print_json(&json!({ "key_id": id, "path": path }))?;
    } else {
        super::print(&format!("{:<10}{id}\n{:<10}{}\n", "key:", "file:", path.display()))?;
        eprintln!("hint: keep a copy where artifacts are verified; who holds it can also make receipts");
    }
    Ok(Exit::Done)
}

fn id(arguments: &Id, environment: &Environment) -> Result<Exit, CompileError> {
    let source = super::compile::key_source(&arguments.key, environment);
    let id = source.load()?.id();
    if arguments.report.json {
        super::print_json(&json!({ "key_id": id, "path": source.path() }))?;
    } else {
        super::print(&format!("{id}\n"))?;
    }
    Ok(Exit::Done)
}

fn rotate(report: &Report, environment: &Environment) -> Result<Exit, CompileError> {
    only_the_ring(environment)?;
    let ring = Keyring::of(&environment.kolm_home);
    let Rotated { from, to, retired } = ring.rotate(audit::now(environment)?)?;
    if report.json {
        super::print_json(
            &json!({ "key_id": to, "path": ring.current(), "retired": { "key_id": from, "path": retired } }),
        )?;
    } else {
        super::print(&format!(
            "{:<10}{to}   {}\n{:<10}{from}   {}\n",
            "key:",
            ring.current().display(),
            "retired:",
            retired.display()
        ))?;
        eprintln!(
            "hint: copy both files to where artifacts are verified; new pseudonyms of `kolm corpus deidentify` differ from now on"
        );
    }
    Ok(Exit::Done)
}

fn list(report: &Report, environment: &Environment) -> Result<Exit, CompileError> {
    let entries = Keyring::of(&environment.kolm_home).list()?;
    let sound = entries.iter().all(|entry| entry.id.is_ok());
    if report.json {
        let keys: Vec<_> = entries
            .iter()
            .map(|entry| {
                let error = entry.id.as_ref().err().map(|error| json!({ "code": error.code(), "message": error.to_string() }));
                json!({ "key_id": entry.id.as_ref().ok(), "state": entry.state.name(), "path": entry.path, "error": error })
            })
            .collect();
        super::print_json(&json!({ "keys": keys }))?;
    } else {
        for entry in &entries {
            let id = entry.id.as_ref().map_or_else(|error| format!("({})", error.code()), Clone::clone);
            super::print(&format!("{id:<10}{:<10}{}\n", entry.state.name(), entry.path.display()))?;
        }
        for error in entries.iter().filter_map(|entry| entry.id.as_ref().err()) {
            eprintln!("error: {error}");
        }
        if entries.is_empty() {
            eprintln!("hint: the keyring is empty; `kolm key generate` makes a key");
        }
        if entries.iter().any(|entry| entry.state == KeyState::Next) {
            eprintln!("hint: a rotation was broken off; `kolm key rotate` finishes it");
        }
    }
    Ok(if sound { Exit::Done } else { Exit::Refused })
}

/// Making and replacing keys concerns the keyring; with another key in use they would not do what they seem to.
fn only_the_ring(environment: &Environment) -> Result<(), CompileError> {
    match &environment.key_file {
        Some(path) => Err(CompileError::Value {
            what: "KOLM_KEY_FILE",
            found: path.display().to_string(),
            expected: "it to be unset: this verb works on ~/.kolm/keys",
        }),
        None => Ok(()),
    }
}
