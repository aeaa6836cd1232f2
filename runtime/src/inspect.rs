//! What an artifact says about itself, for people and as JSON.
//!
//! Reads the four JSON members, of an index with lists its configuration, and nothing else: no weights, no hashing, so an artifact of a
//! gigabyte takes no longer than a small one. What it shows is what the file states; `verify` says whether it holds.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::as_conversions)
)]

use std::fmt::Write;

use serde_json::{Value, json};

use crate::artifact::{FileIdentity, Member, ModelSummary, Opened, RecallUse, Timestamp};
use crate::eval::Ppm;
use crate::recall::{ListsSummary, RecallIndex};

/// The lines that `inspect` prints.
pub fn text(opened: &Opened, now: Option<Timestamp>) -> String {
    let mut text = String::new();
    for (label, value) in summary(opened, now) {
        let _ = writeln!(text, "{label:<10}{value}");
    }
    let mut label = "weights:";
    let mut model = |repo: &str, revision: &str, files: &[FileIdentity]| {
        let _ = writeln!(text, "{label:<10}{repo}  rev={revision}");
        label = "";
        for file in files {
            let _ = writeln!(text, "{:<12}{:<40} {:>10}  sha256:{}", "", file.path, size(file.size), file.sha256);
        }
    };
    let plan = &opened.plan;
    model(&plan.base.repo, &plan.base.revision, &plan.base.files);
    if let Some(recall) = &plan.recall {
        model(&recall.encoder.repo, &recall.encoder.revision, &recall.encoder.files);
    }
    let _ = writeln!(text, "{:<10}in this file", "");
    for (member, len, sha256) in carried(opened) {
        let _ = writeln!(text, "{:<12}{:<40} {:>10}  sha256:{sha256}", "", member.name(), size(len));
    }
    text
}

/// The same facts as one JSON object; its keys stay.
pub fn json(opened: &Opened, now: Option<Timestamp>) -> Value {
    let (manifest, plan) = (&opened.manifest, &opened.plan);
    let recall = manifest.recall.as_ref().zip(plan.recall.as_ref()).map(|(summary, plan)| {
        let mut value = model_json(&summary.encoder, &plan.encoder.files);
        extend(&mut value, json!({ "use": summary.usage, "k": summary.k, "passages": summary.passages }));
        if let Some(kind) = plan.vectors {
            extend(&mut value, json!({ "vectors": kind }));
        }
        if let Some(lists) = lists(opened) {
            extend(&mut value, json!({ "lists": lists }));
        }
        value
    });
    let carried: Vec<Value> = carried(opened)
        .map(|(member, size, sha256)| json!({ "path": member.name(), "size": size, "sha256": sha256 }))
        .collect();
    json!({
        "cid": manifest.cid,
        "name": manifest.name,
        "version": manifest.version,
        "description": opened.task.description,
        "base": model_json(&manifest.base, &plan.base.files),
        "adapter": {
            "type": "lora",
            "rank": manifest.adapter.rank,
            "alpha": manifest.adapter.alpha,
            "targets": manifest.adapter.targets,
            "size": manifest.adapter.size,
            "files": carried,
        },
        "recall": recall,
        "eval": manifest.eval,
        "training": manifest.training,
        "receipt": {
            "key_id": opened.receipt.key_id,
            "algorithm": "HMAC-SHA256",
            "steps": opened.receipt.steps.iter().map(|step| &step.name).collect::<Vec<_>>(),
        },
        "created": manifest.created,
        "receipt_created": opened.receipt.created,
        "age_days": now.map(|now| manifest.created.days_until(now)),
        "tool": manifest.tool,
        "supersedes": manifest.supersedes,
        "size": opened.file.len_bytes(),
    })
}

fn summary(opened: &Opened, now: Option<Timestamp>) -> Vec<(&'static str, String)> {
    let manifest = &opened.manifest;
    let (adapter, eval) = (&manifest.adapter, &manifest.eval);
    let recall = manifest.recall.as_ref().map_or("off".to_owned(), |recall| model_line(&recall.encoder));
    let fallen = if eval.met { "" } else { ", not met" };
    let mut lines = vec![
        ("base:", model_line(&manifest.base)),
        ("adapter:", format!("lora rank {} on {}", adapter.rank, adapter.targets.join(", "))),
        ("recall:", recall),
        (
            "eval:",
            format!(
                "embedded ({} cases, {})   K={} (gate {}{fallen})",
                eval.cases,
                eval.metric,
                share(&eval.k).short(),
                share(&eval.gate).trimmed()
            ),
        ),
        (
            "receipt:",
            format!("chain of {} HMAC-SHA256 steps   key {}", opened.receipt.steps.len(), opened.receipt.key_id),
        ),
        // `Opened` refuses a receipt of another date.
        ("created:", format!("{}; manifest and receipt agree", created(manifest.created, now))),
        ("name:", format!("{} {}", manifest.name, manifest.version)),
        ("cid:", manifest.cid.clone()),
        (
            "beside K:",
            format!(
                "95 % interval {} to {}   base alone {}   majority answer {}",
                share(&eval.wilson_low).short(),
                share(&eval.wilson_high).short(),
                share(&eval.k_base).short(),
                share(&eval.k_majority).short()
            ),
        ),
    ];
    if let Some((recall, at_k)) = manifest.recall.as_ref().zip(eval.recall_at_k.as_ref()) {
        let usage = match recall.usage {
            RecallUse::Context => "context",
            RecallUse::Cite => "cite",
        };
        let (passages, k, at_k) = (recall.passages, recall.k, share(at_k).short());
        lines.push(("index:", format!("{passages} passages, use {usage}   recall@{k} {at_k}")));
    }
    let kind = opened.plan.recall.as_ref().and_then(|recall| recall.vectors);
    match (lists(opened), kind) {
        (None, None) => {}
        (None, Some(kind)) => lines.push(("vectors:", kind.name().to_owned())),
        (Some(None), kind) => {
            let kind = kind.unwrap_or_default().name();
            lines.push(("vectors:", format!("{kind} in lists that cannot be read; `verify` says why")));
        }
        (Some(Some(ListsSummary { count, probes, recall_at_10 })), kind) => {
            let (kind, recall) = (kind.unwrap_or_default().name(), recall_at_10.short());
            lines.push((
                "vectors:",
                format!("{kind} in {count} lists, {probes} probed   recall@10 {recall} of an exact search"),
            ));
        }
    }
    if let Some(supersedes) = &manifest.supersedes {
        lines.push(("replaces:", supersedes.clone()));
    }
    lines
}

/// What the index's configuration says of its lists, where the plan has any; nothing of them where it cannot be read.
fn lists(opened: &Opened) -> Option<Option<ListsSummary>> {
    opened.plan.recall.as_ref()?.lists?;
    let read = || RecallIndex::lists_of_config(&opened.file.read(Member::RecallConfig).ok()?).ok()?;
    Some(read())
}

fn model_line(model: &ModelSummary) -> String {
    format!("{}  rev={}   approx {} {}", model.repo, model.revision, size(model.size), model.dtype.name())
}

fn model_json(model: &ModelSummary, files: &[FileIdentity]) -> Value {
    json!({
        "repo": model.repo,
        "revision": model.revision,
        "dtype": model.dtype,
        "size": model.size,
        "files": files,
    })
}

fn extend(value: &mut Value, more: Value) {
    if let (Value::Object(value), Value::Object(more)) = (value, more) {
        value.extend(more);
    }
}

/// The weights inside the artifact: member, length, stated hash.
fn carried(opened: &Opened) -> impl Iterator<Item = (Member, u64, &str)> {
    [Member::AdapterModel, Member::RecallVectors].into_iter().filter_map(|member| {
        let len = opened.file.member_len_bytes(member)?;
        let sha256 = opened.manifest.hashes.get(member.name())?;
        Some((member, len, sha256.as_str()))
    })
}

pub(crate) fn created(created: Timestamp, now: Option<Timestamp>) -> String {
    let date = created.date();
    match now.map(|now| created.days_until(now)) {
        None => date,
        Some(1) => format!("{date} (1 day ago)"),
        Some(days) if days >= 0 => format!("{date} ({days} days ago)"),
        Some(days) => format!("{date} (in the future by {} days)", days.unsigned_abs()),
    }
}

fn share(text: &str) -> Ppm {
    text.parse().unwrap_or_default() // `Manifest::parse` refused every other spelling
}

/// A size for people, decimal units: `1.84 GB`, `0.04 GB`; below ten megabytes `6.43 MB`, below ten kilobytes bytes.
pub fn size(bytes: u64) -> String {
    let (unit, name) = match bytes {
        10_000_000.. => (1_000_000_000, "GB"),
        10_000.. => (1_000_000, "MB"),
        _ => return format!("{bytes} B"),
    };
    let hundredths = (u128::from(bytes) * 100 + unit / 2) / unit;
    format!("{}.{:02} {name}", hundredths / 100, hundredths % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (bytes, shown) in [
            (0, "0 B"),
            (9_999, "9999 B"),
            (10_000, "0.01 MB"),
            (6_430_000, "6.43 MB"),
            (9_999_999, "10.00 MB"),
            (10_000_000, "0.01 GB"),
            (133_466_304, "0.13 GB"),
            (6_170_000_000, "6.17 GB"),
        ] {
            assert_eq!(size(bytes), shown);
        }
    }

    #[test]
    fn ages() {
        let at = |text| Timestamp::parse(text).unwrap();
        let made = at("2026-11-23T10:00:00Z");
        let show = |now| created(made, Some(at(now)));
        assert_eq!(show("2026-11-23T09:00:00Z"), "2026-11-23 (0 days ago)");
        assert_eq!(show("2026-11-24T00:00:00Z"), "2026-11-23 (1 day ago)");
        assert_eq!(show("2026-12-03T00:00:00Z"), "2026-11-23 (10 days ago)");
        assert_eq!(show("2026-11-21T00:00:00Z"), "2026-11-23 (in the future by 2 days)");
        assert_eq!(created(made, None), "2026-11-23");
    }
}
