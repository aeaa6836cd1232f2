//! The verbs of the bounded side, mounted from runtime: `inspect`, `verify`, `airgap verify`, `run`; and `diff`, which needs
//! neither key nor model.

use std::io::{BufRead, IsTerminal};
use std::path::Path;

use kolm_runtime::artifact::{ArtifactError, ArtifactFile, Opened, Timestamp};
use kolm_runtime::eval::{Response, ServeError, Served};
use kolm_runtime::kernel::Level;
use kolm_runtime::model::HubCache;
use kolm_runtime::verify::{ModelPlaces, Role, verb};
use serde_json::json;

use super::environment::Environment;
use super::progress::Progress;
use super::{Exit, arguments};
use crate::airgap::imported_places;
use crate::airgap::needs::Need;
use crate::pipeline::CompileError;

/// Runs `kolm inspect`.
pub(super) fn inspect(arguments: &arguments::Inspect, environment: &Environment) -> Result<Exit, CompileError> {
    let options = verb::Inspect {
        artifact: arguments.artifact.clone(),
        now: Timestamp::from_unix(environment.now_seconds),
        json: arguments.json,
    };
    ended(verb::inspect(&options, &mut std::io::stdout().lock(), &mut std::io::stderr().lock()))
}

/// Runs `kolm verify`.
pub(super) fn verify(
    arguments: &arguments::Verify,
    level: Level,
    environment: &Environment,
) -> Result<Exit, CompileError> {
    let options = verb::Verify {
        artifact: arguments.artifact.clone(),
        key: super::compile::key_source(&arguments.key, environment),
        places: places_of(&arguments.artifact, &arguments.models, environment),
        replay: !arguments.no_replay,
        gate: arguments.gate,
        json: arguments.json,
    };
    let mut progress = Progress::new(!std::io::stderr().is_terminal());
    let mut shown = |done: usize, total: usize| progress.replayed(done as u64, total as u64);
    ended(verb::verify(&options, level, &mut shown, &mut std::io::stdout().lock(), &mut std::io::stderr()))
}

/// Runs `kolm run`: one answer for each text, with the passages it rests on.
pub(super) fn run(arguments: &arguments::Run, level: Level, environment: &Environment) -> Result<Exit, CompileError> {
    let opened = Opened::new(ArtifactFile::open(&arguments.artifact)?)?;
    let digests = opened.digests()?;
    opened.check_content(&digests)?;
    let key = super::compile::key_source(&arguments.key, environment).load()?;
    opened.receipt.check(&key, &opened.lineage(&digests))?;
    let places = places_of(&arguments.artifact, &arguments.models, environment);
    let plan = &opened.plan;
    let base = places.find(Role::Base, &plan.base.repo, &plan.base.revision, &plan.base.files)?;
    let encoder = match &plan.recall {
        None => None,
        Some(recall) => {
            let encoder = &recall.encoder;
            Some(places.find(Role::Encoder, &encoder.repo, &encoder.revision, &encoder.files)?)
        }
    };
    let served = Served::load(level, &opened, &base, encoder.as_ref()).map_err(failed)?;
    let responder = served.responder().map_err(failed)?;
    let answer = |text: &str| -> Result<(), CompileError> {
        let response = responder.answer(text).map_err(failed)?;
        super::print(&shown(&response, arguments.json))
    };
    match &arguments.prompt {
        Some(prompt) => answer(prompt)?,
        None => {
            for line in std::io::stdin().lock().lines() {
                let line = line.map_err(|source| CompileError::Io { action: "read", path: "stdin".into(), source })?;
                if !line.trim().is_empty() {
                    answer(&line)?;
                }
            }
        }
    }
    Ok(Exit::Done)
}

/// Runs `kolm diff`.
pub(super) fn diff(arguments: &crate::diff::verb::Arguments) -> Result<Exit, CompileError> {
    match crate::diff::verb::run(arguments, &mut std::io::stdout().lock(), &mut std::io::stderr()) {
        Ok(code) => Ok(Exit::from_code(code)),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(Exit::Done),
        Err(source) => Err(CompileError::Io { action: "write", path: "stdout".into(), source }),
    }
}

fn shown(response: &Response, as_json: bool) -> String {
    if as_json {
        let passages: Vec<_> = response
            .passages
            .iter()
            .map(|passage| json!({ "id": passage.id, "answer": passage.answer, "text": passage.text, "cosine": format!("{:.4}", passage.cosine) }))
            .collect();
        return format!("{}\n", json!({ "answer": response.answer.text, "passages": passages }));
    }
    let mut text = format!("{}\n", response.answer.text);
    for passage in &response.passages {
        text.push_str(&format!("    {}  {:.4}  {}  {}\n", passage.id, passage.cosine, passage.answer, passage.text));
    }
    text
}

pub(super) fn places(models: &arguments::Models, environment: &Environment) -> ModelPlaces {
    ModelPlaces {
        base: models.base.clone(),
        encoder: models.encoder.clone(),
        cache: Some(HubCache::new(models.cache.clone().unwrap_or_else(|| environment.hub_cache.clone()))),
    }
}

/// Those places, and for a model that was a local folder the one that an import made.
pub(super) fn places_of(artifact: &Path, models: &arguments::Models, environment: &Environment) -> ModelPlaces {
    let places = places(models, environment);
    // An artifact that does not open is refused by whoever asked.
    let needs = Need::of_file(artifact).unwrap_or_default();
    needs.iter().fold(places, |places, need| imported_places(need, &places, &environment.kolm_home))
}

fn failed(error: ServeError) -> CompileError {
    match error {
        ServeError::Artifact(error) => error.into(),
        ServeError::Model(error) => error.into(),
        ServeError::Recall(error) => error.into(),
        ServeError::Eval(error) => error.into(),
        other => ArtifactError::Eval { detail: other.to_string() }.into(),
    }
}

/// Runtime prints for itself; what can fail here is the printing.
fn ended(result: std::io::Result<kolm_runtime::verify::Exit>) -> Result<Exit, CompileError> {
    match result {
        Ok(exit) => Ok(Exit::from_code(exit.code())),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(Exit::Done),
        Err(source) => Err(CompileError::Io { action: "write", path: "stdout".into(), source }),
    }
}
