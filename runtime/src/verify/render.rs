//! How verification reads: ten columns of label, thirty-three of name, then the result. The JSON form states the same facts.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::artifact::{ArtifactError, Opened};
use crate::eval::Ppm;
use crate::inspect::size;

use super::checks::{Outcome, Verification};
use super::{Exit, hint};

/// The five lines and the verdict.
pub(super) fn text(verification: &Verification, gate: Option<&ArtifactError>) -> String {
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
    let _ = match verification.failure().or(gate) {
        Some(error) => writeln!(text, "{:<10}{error}", "FAIL"),
        None if verification.checks.iter().all(|check| check.outcome.passed()) => {
            writeln!(text, "{:<10}artifact verifies entirely offline", "PASS")
        }
        None => writeln!(text, "{:<10}checks 1 to 4 hold; the eval pack was not replayed", "PASS"),
    };
    text
}

/// The same facts as one JSON object.
pub(super) fn json(verification: &Verification, gate: Option<&ArtifactError>, exit: Exit) -> Value {
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
    let manifest = verification.opened.as_ref().map(|opened| &opened.manifest);
    let replayed = verification.replayed.as_ref();
    json!({
        "verified": exit == Exit::Done,
        "exit": exit.code(),
        "cid": manifest.map(|manifest| &manifest.cid),
        "name": manifest.map(|manifest| &manifest.name),
        "version": manifest.map(|manifest| &manifest.version),
        "key_id": verification.opened.as_ref().map(|opened| &opened.receipt.key_id),
        "checks": checks,
        "eval": manifest.map(|manifest| json!({
            "k": manifest.eval.k,
            "gate": manifest.eval.gate,
            "met": manifest.eval.met,
            "replay_digest": manifest.eval.replay_digest,
            "replayed_k": replayed.map(|replay| replay.k.to_string()),
            "replayed_digest": replayed.map(|replay| &replay.replay_digest),
        })),
        "error": verification.failure().or(gate).map(refusal),
    })
}

/// A refusal as JSON.
pub(super) fn refusal(error: &ArtifactError) -> Value {
    json!({ "code": error.code(), "message": error.to_string(), "hint": hint(error) })
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
