//! The verbs of the bounded side, as both binaries mount them: typed options in, text out, an exit code back.
//!
//! Results go to `out`, talk (hints, errors before there is a result) to `talk`. With `json` the result is one object and says
//! the same.

use std::cell::RefCell;
use std::io::{self, Write};
use std::path::PathBuf;

use serde_json::json;

use crate::artifact::{ArtifactError, ArtifactFile, KeySource, Opened, OperatorKey, Timestamp};
use crate::inspect;
use crate::kernel::Level;

use super::checks::{ReplayWith, check_members, verify as run_checks};
use super::models::{ModelPlaces, Role};
use super::replay::{Replayed, replay as run_replay};
use super::site::{Done, Site, check_age};
use super::{Exit, hint, render};

/// `inspect`.
#[derive(Clone, Debug)]
pub struct Inspect {
    /// The artifact.
    pub artifact: PathBuf,
    /// Now, for the age; none leaves the age out.
    pub now: Option<Timestamp>,
    /// One JSON object in place of text.
    pub json: bool,
}

/// `verify`.
#[derive(Clone, Debug)]
pub struct Verify {
    /// The artifact.
    pub artifact: PathBuf,
    /// Where the operator's key is.
    pub key: KeySource,
    /// Where base and encoder are looked for.
    pub places: ModelPlaces,
    /// Whether check 5 is made.
    pub replay: bool,
    /// Whether an artifact below its gate is refused.
    pub gate: bool,
    /// Now, for the age; none leaves the age out.
    pub now: Option<Timestamp>,
    /// Most days that the artifact may be old.
    pub max_age_days: Option<i64>,
    /// Log and marks of this machine; none neither asks nor records.
    pub site: Option<Site>,
    /// One JSON object in place of text.
    pub json: bool,
}

/// `replay`.
#[derive(Clone, Debug)]
pub struct Replay {
    /// The artifact.
    pub artifact: PathBuf,
    /// Where base and encoder are looked for.
    pub places: ModelPlaces,
    /// Whether a K below the gate is refused.
    pub gate: bool,
    /// One JSON object in place of text.
    pub json: bool,
}

/// Says what the artifact says about itself; reads no weights and checks no hash.
///
/// # Errors
/// Only when `out` or `talk` cannot be written.
pub fn inspect(options: &Inspect, out: &mut dyn Write, talk: &mut dyn Write) -> io::Result<Exit> {
    match ArtifactFile::open(&options.artifact).and_then(Opened::new) {
        Ok(opened) if options.json => write_json(out, &inspect::json(&opened, options.now)),
        Ok(opened) => out.write_all(inspect::text(&opened, options.now).as_bytes()),
        Err(error) => return refuse(&error, options.json, out, talk),
    }?;
    Ok(Exit::Done)
}

/// Makes the five checks.
///
/// # Errors
/// Only when `out` or `talk` cannot be written.
pub fn verify(
    options: &Verify,
    level: Level,
    progress: &mut (dyn FnMut(usize, usize) + Send),
    out: &mut dyn Write,
    talk: &mut dyn Write,
) -> io::Result<Exit> {
    let (report, exit) = checked(options, level, progress);
    if options.json {
        write_json(out, &render::json(&report, exit))?;
    } else {
        out.write_all(render::text(&report).as_bytes())?;
    }
    if let Some(hint) = report.failure().and_then(hint) {
        writeln!(talk, "hint: {hint}")?;
    }
    Ok(exit)
}

/// Makes the checks and what else was asked, and records the outcome.
fn checked(options: &Verify, level: Level, progress: &mut (dyn FnMut(usize, usize) + Send)) -> (render::Report, Exit) {
    let with = options.replay.then_some(ReplayWith { level, progress });
    let (mut standing, mut demand) = (None, None);
    let file = ArtifactFile::open(&options.artifact);
    // Loaded once: a descriptor may be a pipe.
    let used = RefCell::new(None);
    let key = |id: &str| {
        let key = options.key.load_for(id)?;
        *used.borrow_mut() = Some(key.clone());
        Ok(key)
    };
    let verification = run_checks(file, key, &options.places, with, &mut |opened| {
        let manifest = &opened.manifest;
        if let (Some(site), Some(key)) = (&options.site, used.borrow().as_ref()) {
            let found = site.standing(key, manifest)?;
            demand = site.check_rollback(&found, manifest).err();
            standing = Some(found);
        }
        if let (Some(days), Some(now), None) = (options.max_age_days, options.now, &demand) {
            demand = check_age(manifest.created, now, days).err();
        }
        Ok(demand.is_none())
    });
    let demand = demand.or_else(|| verification.opened.as_ref().and_then(|opened| below_gate(opened, options.gate)));
    let mut report = render::Report { verification, demand, standing, entry: None, unrecorded: None, now: options.now };
    record(options, used.into_inner(), &mut report);
    let exit = report.failure().map_or(Exit::Done, Exit::of);
    (report, exit)
}

/// Writes the check into this machine's log, unless there was nothing to check or no key to write with.
fn record(options: &Verify, used: Option<OperatorKey>, report: &mut render::Report) {
    let refused = report.failure().is_some_and(|error| Exit::of(error) == Exit::Refused);
    let Some(site) = options.site.as_ref().filter(|_| refused || report.verification.opened.is_some()) else { return };
    let key = match (used, &report.verification.opened) {
        (Some(key), _) => key,
        // The key was asked for and is not there, which the report says.
        (None, Some(_)) => return,
        (None, None) => match options.key.load() {
            Ok(key) => key,
            Err(_) => return,
        },
    };
    let file = options.artifact.file_name().unwrap_or_default().to_string_lossy();
    let done = Done {
        action: "verify",
        file: &file,
        opened: report.verification.opened.as_ref(),
        standing: report.standing.as_ref(),
        failure: report.failure(),
        note: if options.replay { "" } else { "without replay" },
    };
    match site.record(&key, &done) {
        Ok(entry) => report.entry = Some(entry),
        Err(error) => report.unrecorded = Some(error),
    }
}

/// Answers the eval pack again and compares; needs the models and no key, and so proves nothing about who made the artifact.
///
/// # Errors
/// Only when `out` or `talk` cannot be written.
pub fn replay(
    options: &Replay,
    level: Level,
    progress: &mut (dyn FnMut(usize, usize) + Send),
    out: &mut dyn Write,
    talk: &mut dyn Write,
) -> io::Result<Exit> {
    let (opened, replayed) = match answer(options, level, progress) {
        Ok(done) => done,
        Err(error) => return refuse(&error, options.json, out, talk),
    };
    let summary = &opened.manifest.eval;
    let Replayed { outcome, drifts, difference } = &replayed;
    let gate = below_gate(&opened, options.gate);
    let failure = difference.as_ref().or(gate.as_ref());
    let exit = failure.map_or(Exit::Done, Exit::of);
    if options.json {
        let result = json!({
            "replayed": difference.is_none(),
            "exit": exit.code(),
            "cid": opened.manifest.cid,
            "cases": outcome.results.len(),
            "k": outcome.k.to_string(),
            "recorded_k": summary.k,
            "gate": summary.gate,
            "replay_digest": outcome.replay_digest,
            "recorded_digest": summary.replay_digest,
            "drifts": drifts.iter().map(|drift| json!({ "id": drift.id, "difference": drift.to_string() })).collect::<Vec<_>>(),
            "error": failure.map(render::refusal),
        });
        write_json(out, &result)?;
    } else {
        let k = outcome.k.to_string();
        let met = k >= summary.gate;
        writeln!(out, "{:<10}{} cases   {}", "replay:", outcome.results.len(), render::score(&k, &summary.gate, met))?;
        writeln!(out, "{:<10}{}", "digest:", outcome.replay_digest)?;
        for drift in drifts {
            writeln!(out, "{:<10}{drift}", "drift:")?;
        }
        match failure {
            Some(error) => writeln!(out, "{:<10}{error}", "FAIL")?,
            None => writeln!(out, "{:<10}every case as recorded, bit for bit", "PASS")?,
        }
    }
    if let Some(hint) = failure.and_then(hint) {
        writeln!(talk, "hint: {hint}")?;
    }
    Ok(exit)
}

fn answer(
    options: &Replay,
    level: Level,
    progress: &mut (dyn FnMut(usize, usize) + Send),
) -> Result<(Opened, Replayed), ArtifactError> {
    let opened = Opened::new(ArtifactFile::open(&options.artifact)?)?;
    opened.check_content(&opened.digests()?)?;
    check_members(&opened)?;
    let plan = &opened.plan.base;
    let base = options.places.find(Role::Base, &plan.repo, &plan.revision, &plan.files)?;
    let replayed = run_replay(&opened, &base, level, progress)?;
    Ok((opened, replayed))
}

fn below_gate(opened: &Opened, asked: bool) -> Option<ArtifactError> {
    let eval = &opened.manifest.eval;
    (asked && !eval.met).then(|| ArtifactError::GateNotMet { k: eval.k.clone(), gate: eval.gate.clone() })
}

fn refuse(error: &ArtifactError, as_json: bool, out: &mut dyn Write, talk: &mut dyn Write) -> io::Result<Exit> {
    let exit = Exit::of(error);
    if as_json {
        write_json(out, &json!({ "exit": exit.code(), "error": render::refusal(error) }))?;
    } else {
        writeln!(talk, "error: {error}")?;
    }
    if let Some(hint) = hint(error) {
        writeln!(talk, "hint: {hint}")?;
    }
    Ok(exit)
}

fn write_json(out: &mut dyn Write, value: &serde_json::Value) -> io::Result<()> {
    writeln!(out, "{value:#}")
}
