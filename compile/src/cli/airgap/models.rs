//! `kolm airgap preflight|prime`: what an artifact loads, file by file, and the command that brings what is missing.

use std::fmt::Write;

use kolm_runtime::artifact::{ArtifactFile, Opened};
use kolm_runtime::model::HubCache;
use serde_json::json;

use super::arguments::{Preflight, Prime};
use super::entry::Entry;
use crate::airgap::needs::Need;
use crate::airgap::preflight::{self, Checked, Depth, Model, State};
use crate::airgap::{imported_places, prime as fetching};
use crate::cli::environment::Environment;
use crate::cli::{Exit, bounded, print, print_json};
use crate::network::may_leave;
use crate::pipeline::CompileError;

/// Runs `kolm airgap preflight`.
pub(super) fn preflight(arguments: &Preflight, environment: &Environment) -> Result<Exit, CompileError> {
    let places = bounded::places(&arguments.models, environment);
    let mut rows = Vec::new();
    let mut text = String::new();
    let mut exit = Exit::Done;
    for path in &arguments.artifacts {
        let mut models = Vec::new();
        for need in Need::of_file(path)? {
            let places = imported_places(&need, &places, &environment.kolm_home);
            models.push(preflight::check(&need, &places, Depth::Content)?);
        }
        let _ = writeln!(text, "artifact: {}", path.display());
        models.iter().for_each(|model| list(&mut text, model));
        let (missing, wrong) =
            (models.iter().map(Model::missing).sum::<usize>(), models.iter().map(Model::wrong).sum::<usize>());
        let _ = match (missing, wrong) {
            (0, 0) => writeln!(text, "PASS      every file this artifact loads is here and is the recorded one"),
            (missing, wrong) => writeln!(text, "FAIL      {missing} files missing, {wrong} files wrong"),
        };
        let bring = format!("kolm airgap prime {}", path.display());
        for model in models.iter().filter(|model| model.missing() + model.wrong() > 0) {
            let _ = writeln!(text, "bring:    {}", command(model, &bring));
        }
        // A wrong file says more than a missing one: content was checked and refused.
        exit = match (missing, wrong, exit) {
            (_, 1.., _) | (_, _, Exit::Refused) => Exit::Refused,
            (1.., _, _) => Exit::MissingInput,
            (_, _, exit) => exit,
        };
        rows.push(
            json!({ "artifact": path.display().to_string(), "complete": missing + wrong == 0, "models": models }),
        );
    }
    if arguments.json {
        print_json(&json!({ "artifacts": rows, "exit": exit as u8 }))?
    } else {
        print(&text)?
    }
    Ok(exit)
}

/// Runs `kolm airgap prime`.
pub(super) fn prime(arguments: &Prime, environment: &Environment) -> Result<Exit, CompileError> {
    let permit = may_leave("kolm airgap prime", environment.offline.as_ref())
        .map_err(crate::pipeline::fetch::FetchError::Forbidden)?;
    let cache = arguments.cache.clone().unwrap_or_else(|| environment.hub_cache.clone());
    let entry = Entry::prepare(&arguments.key, environment, "prime")?;
    let mut rows = Vec::new();
    let mut text = String::new();
    let mut exit = Exit::Done;
    for path in &arguments.artifacts {
        let _ = writeln!(text, "artifact: {}", path.display());
        let opened = Opened::new(ArtifactFile::open(path)?)?;
        let cid = Some(opened.manifest.cid.as_str());
        let label = format!("{}-{}", opened.manifest.name, opened.manifest.version);
        let mut models = Vec::new();
        for need in Need::of(&opened) {
            let endpoint = environment.hub_endpoint.as_deref();
            let mut say = |what: &str| eprintln!("fetching {what}");
            let primed = match fetching::prime(&permit, &need, &cache, endpoint, &mut say) {
                Ok(primed) => primed,
                Err(error) => {
                    entry.enter(cid, "failed", &format!("{label} {error}"))?;
                    return Err(error);
                }
            };
            list(&mut text, &primed.model);
            let _ = match primed.fetched.len() {
                0 => writeln!(text, "          nothing fetched"),
                count => writeln!(text, "          {count} of {} files fetched", need.files.len()),
            };
            if primed.wrote_ref {
                let _ = writeln!(text, "          refs/main written: {}", need.revision);
            }
            if primed.model.wrong() > 0 {
                exit = Exit::Refused;
            } else if primed.model.missing() > 0 && exit != Exit::Refused {
                exit = Exit::MissingInput;
                eprintln!("hint: {} is a local folder; name it with --{} at export", need.repo, need.role);
            }
            models.push(primed);
        }
        let (fetched, missing, wrong) = models.iter().fold((0, 0, 0), |(fetched, missing, wrong), primed| {
            (fetched + primed.fetched.len(), missing + primed.model.missing(), wrong + primed.model.wrong())
        });
        let outcome = match (missing, wrong) {
            (_, 1..) => "refused",
            (1.., _) => "incomplete",
            _ => "done",
        };
        entry.enter(cid, outcome, &format!("{label} {fetched} fetched, {missing} missing, {wrong} wrong"))?;
        rows.push(json!({ "artifact": path.display().to_string(), "models": models }));
    }
    let cache = HubCache::new(cache).folder().display().to_string();
    if arguments.json {
        print_json(&json!({ "cache": cache, "artifacts": rows, "exit": exit as u8 }))?;
    } else {
        let _ = writeln!(text, "cache:    {cache}");
        print(&text)?;
    }
    Ok(exit)
}

fn list(text: &mut String, model: &Model) {
    let label = format!("{}:", model.role);
    let _ = writeln!(text, "{label:<10}{}  rev={}", model.repo, model.revision);
    for Checked { path, size, sha256, state } in &model.files {
        let said = match state {
            State::Whole => "ok".to_owned(),
            State::Embedded => "ok (inside this binary)".to_owned(),
            State::Missing => "MISSING".to_owned(),
            State::Differs { found } => format!("DIFFERS: found {found}"),
            State::Misnamed { blob } => format!("MISNAMED: its blob is called {blob}"),
            State::Extra => "EXTRA: the artifact was made without this file".to_owned(),
        };
        let _ = match state {
            State::Extra => writeln!(text, "{:<12}{path:<40} {said}", ""),
            _ => writeln!(text, "{:<12}{path:<40} {size:>12}  sha256:{sha256}  {said}", ""),
        };
    }
}

/// The command that brings a model.
fn command(model: &Model, prime: &str) -> String {
    if model.repo.starts_with("local/") {
        return format!(
            "{} is a local folder: name it with --{} DIR, or import a bundle that holds it",
            model.repo, model.role
        );
    }
    if model.repo.starts_with("kolm/") {
        return format!("use a build of kolm that carries {} rev={}", model.repo, model.revision);
    }
    let by_hand = format!("hf download {} --revision {}", model.repo, model.revision);
    format!("on the connected side `{prime}` (or `{by_hand}`), then `kolm airgap export`")
}
