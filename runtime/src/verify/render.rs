//! How verification reads: ten columns of label, thirty-three of name, then the result. The JSON form states the same facts.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::artifact::{ArtifactError, Opened, Timestamp};
use crate::eval::Ppm;
use crate::inspect::{created, size};

use super::checks::{Outcome, Verification};
use super::detail::{detail, drift};
use super::site::Standing;
use super::{Exit, hint};

/// A verification and what else was asked of the artifact.
pub(super) struct Report {
    pub(super) verification: Verification,
    /// A demand beside the five checks that it does not meet: gate, age, rollback.
    pub(super) demand: Option<ArtifactError>,
    /// How it stands on this machine.
    pub(super) standing: Option<Standing>,
    /// Log entry that recorded the check.
    pub(super) entry: Option<u64>,
    /// Why it could not be recorded.
    pub(super) unrecorded: Option<ArtifactError>,
    pub(super) now: Option<Timestamp>,
}

impl Report {
    /// The refusal that decides.
    pub(super) fn failure(&self) -> Option<&ArtifactError> {
        self.verification.failure().or(self.demand.as_ref()).or(self.unrecorded.as_ref())
    }
}

/// The five lines, the verdict, and what this machine knows.
pub(super) fn text(report: &Report) -> String {
    let verification = &report.verification;
    let mut text = String::new();
    for (index, check) in verification.checks.iter().enumerate() {
        let label = format!("[{}/5]", index + 1);
        let result = match &check.outcome {
            Outcome::Passed => passed(verification, index),
            Outcome::Failed(error) => format!("FAILED ({})", error.code()),
            Outcome::NotRun => "not run".to_owned(),
        };
        let _ = writeln!(text, "{label:<10}{:<33}{result}", check.name);
    }
    let _ = match report.failure() {
        Some(error) => writeln!(text, "{:<10}{error}", "FAIL"),
        None if verification.checks.iter().all(|check| check.outcome.passed()) => {
            writeln!(text, "{:<10}artifact verifies entirely offline", "PASS")
        }
        None => writeln!(text, "{:<10}checks 1 to 4 hold; the eval pack was not replayed", "PASS"),
    };
    if let (Some(opened), Some(now)) = (&verification.opened, report.now) {
        let _ = writeln!(
            text,
            "{:<10}{}; manifest and receipt agree",
            "created:",
            created(opened.manifest.created, Some(now))
        );
    }
    let mut log = Vec::new();
    log.extend(report.entry.map(|entry| format!("entry {entry}")));
    log.extend(report.standing.as_ref().map(known));
    if !log.is_empty() {
        let _ = writeln!(text, "{:<10}{}", "log:", log.join("; "));
    }
    text
}

/// `this CID is known here since entry 3`.
fn known(standing: &Standing) -> String {
    let known = match standing.known_since {
        Some(since) => format!("this CID is known here since entry {since}"),
        None => "this CID is new here".to_owned(),
    };
    match &standing.newer {
        Some(newer) => format!("{known}; {newer} was accepted here before"),
        None => known,
    }
}

/// The same facts as one JSON object.
pub(super) fn json(report: &Report, exit: Exit) -> Value {
    let verification = &report.verification;
    let checks: Vec<Value> = verification
        .checks
        .iter()
        .map(|check| {
            let (outcome, error) = match &check.outcome {
                Outcome::Passed => ("ok", Value::Null),
                Outcome::Failed(error) => ("failed", refusal(error)),
                Outcome::NotRun => ("not_run", Value::Null),
            };
            json!({ "name": check.name, "outcome": outcome, "error": error })
        })
        .collect();
    let opened = verification.opened.as_ref();
    let manifest = opened.map(|opened| &opened.manifest);
    let replayed = verification.replayed.as_ref();
    json!({
        "verified": exit == Exit::Done,
        "exit": exit.code(),
        "cid": manifest.map(|manifest| &manifest.cid),
        "name": manifest.map(|manifest| &manifest.name),
        "version": manifest.map(|manifest| &manifest.version),
        "key_id": opened.map(|opened| &opened.receipt.key_id),
        "created": opened.map(|opened| json!({ "manifest": opened.manifest.created, "receipt": opened.receipt.created })),
        "age_days": manifest.zip(report.now).map(|(manifest, now)| manifest.created.days_until(now)),
        "checks": checks,
        "eval": manifest.map(|manifest| json!({
            "k": manifest.eval.k,
            "gate": manifest.eval.gate,
            "met": manifest.eval.met,
            "replay_digest": manifest.eval.replay_digest,
            "replayed_k": replayed.map(|replay| replay.k.to_string()),
            "replayed_digest": replayed.map(|replay| &replay.replay_digest),
            "drifts": verification.drifts.iter().map(drift).collect::<Vec<_>>(),
        })),
        "log": report.entry.map(|entry| json!({
            "entry": entry,
            "new": report.standing.as_ref().map(|standing| standing.known_since.is_none()),
            "known_since": report.standing.as_ref().and_then(|standing| standing.known_since),
            "newer_version": report.standing.as_ref().and_then(|standing| standing.newer.as_ref()),
        })),
        "error": report.failure().map(refusal),
    })
}

/// A refusal as JSON.
pub(super) fn refusal(error: &ArtifactError) -> Value {
    json!({ "code": error.code(), "message": error.to_string(), "detail": detail(error), "hint": hint(error) })
}

/// `K=0.917 (gate 0.85)`.
pub(super) fn score(k: &str, gate: &str, met: bool) -> String {
    let parse = |text: &str| text.parse::<Ppm>().unwrap_or_default();
    let fallen = if met { "" } else { ", not met" };
    format!("K={} (gate {}{fallen})", parse(k).short(), parse(gate).trimmed())
}

fn passed(verification: &Verification, index: usize) -> String {
    let Some(Opened { manifest, .. }) = &verification.opened else { return "ok".to_owned() };
    match index {
        1 => {
            let encoder = match &manifest.recall {
                Some(recall) => format!(" + {}", size(recall.encoder.size)),
                None => String::new(),
            };
            format!("ok ({} + {}{encoder})", size(manifest.base.size), size(manifest.adapter.size))
        }
        3 => format!("ok ({})", manifest.cid),
        4 => score(&manifest.eval.k, &manifest.eval.gate, manifest.eval.met),
        _ => "ok".to_owned(),
    }
}
