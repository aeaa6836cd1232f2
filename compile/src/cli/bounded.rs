//! The verbs of the bounded side, mounted from runtime: `inspect`, `verify`, `airgap verify`, `run`; and `diff`, which needs
//! neither key nor model.

use std::io::{BufRead, ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};

use kolm_runtime::artifact::{ArtifactError, ArtifactFile, Opened, OperatorKey, Timestamp};
use kolm_runtime::eval::{Response, ServeError, Served};
use kolm_runtime::kernel::Level;
use kolm_runtime::model::HubCache;
use kolm_runtime::verify::{Done, ModelPlaces, Role, Rollback, Site, Standing, check_age, parse_days, verb};
use serde_json::{Value, json};

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

/// Runs `kolm verify`: one artifact, or every one of a folder.
pub(super) fn verify(
    arguments: &arguments::Verify,
    level: Level,
    environment: &Environment,
) -> Result<Exit, CompileError> {
    if arguments.all {
        return verify_all(arguments, level, environment);
    }
    let artifact = arguments.artifact.clone().unwrap_or_default();
    let rollback = if arguments.allow_rollback { Rollback::Allow } else { Rollback::Refuse };
    let options = options(arguments, artifact, rollback, environment)?;
    ended(verify_one(&options, level, &mut std::io::stdout().lock()))
}

fn verify_one(
    options: &verb::Verify,
    level: Level,
    out: &mut dyn Write,
) -> std::io::Result<kolm_runtime::verify::Exit> {
    let mut progress = Progress::new(!std::io::stderr().is_terminal());
    let mut shown = |done: usize, total: usize| progress.replayed(done as u64, total as u64);
    verb::verify(options, level, &mut shown, out, &mut std::io::stderr())
}

fn options(
    arguments: &arguments::Verify,
    artifact: PathBuf,
    rollback: Rollback,
    environment: &Environment,
) -> Result<verb::Verify, CompileError> {
    let now = super::audit::now(environment)?;
    let places = places_of(&artifact, &arguments.models, environment);
    Ok(verb::Verify {
        artifact,
        key: super::compile::key_source(&arguments.key, environment),
        places,
        replay: !arguments.no_replay,
        gate: arguments.gate,
        now: Some(now),
        max_age_days: max_age(arguments.max_age.as_deref())?,
        site: Some(Site { kolm_home: environment.kolm_home.clone(), now, rollback }),
        json: arguments.json,
    })
}

/// Every artifact of a folder, by name. A folder may keep older versions: being one is told, not refused.
fn verify_all(arguments: &arguments::Verify, level: Level, environment: &Environment) -> Result<Exit, CompileError> {
    let folder = arguments.artifact.clone().unwrap_or_else(|| environment.kolm_home.join("artifacts"));
    let io = |source| CompileError::Io { action: "read", path: folder.clone(), source };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.extension().is_some_and(|extension| extension == "kolm") {
            paths.push(path);
        }
    }
    paths.sort();
    if paths.is_empty() {
        return Err(io(std::io::Error::new(ErrorKind::NotFound, "it holds no .kolm file")));
    }
    let (mut worst, mut held, mut reports) = (Exit::Done, 0, Vec::new());
    for path in &paths {
        let options = options(arguments, path.clone(), Rollback::Tell, environment)?;
        let mut out = Vec::new();
        let exit = ended(verify_one(&options, level, &mut out))?;
        held += usize::from(exit == Exit::Done);
        worst = worse(worst, exit);
        if arguments.json {
            let report: Value = serde_json::from_slice(&out).expect("runtime writes one JSON object");
            reports.push(json!({ "path": path, "report": report }));
        } else {
            super::print(&format!("{}\n{}\n", path.display(), String::from_utf8_lossy(&out)))?;
        }
    }
    let count = paths.len();
    if arguments.json {
        super::print_json(
            &json!({ "verified": worst == Exit::Done, "exit": worst as u8, "held": held, "artifacts": reports }),
        )?;
    } else {
        super::print(&format!("{held} of {count} artifacts verify\n"))?;
    }
    Ok(worst)
}

/// Of several endings, the one that a script should see: a refusal before an unreadable medium before a missing input.
fn worse(a: Exit, b: Exit) -> Exit {
    const ORDER: [Exit; 7] =
        [Exit::Done, Exit::GateNotMet, Exit::AirGap, Exit::MissingInput, Exit::Usage, Exit::Io, Exit::Refused];
    let rank = |exit: Exit| ORDER.iter().position(|known| *known == exit);
    if rank(a) < rank(b) { b } else { a }
}

fn max_age(typed: Option<&str>) -> Result<Option<i64>, CompileError> {
    let wrong = |found: &str| CompileError::Value {
        what: "--max-age",
        found: found.to_owned(),
        expected: "a number of days such as 180d",
    };
    typed.map(|typed| parse_days(typed).ok_or_else(|| wrong(typed))).transpose()
}

/// Runs `kolm run`: one answer for each text, with the passages it rests on.
pub(super) fn run(arguments: &arguments::Run, level: Level, environment: &Environment) -> Result<Exit, CompileError> {
    let opened = Opened::new(ArtifactFile::open(&arguments.artifact)?)?;
    let digests = opened.digests()?;
    opened.check_content(&digests)?;
    let key = super::compile::key_source(&arguments.key, environment).load_for(&opened.receipt.key_id)?;
    opened.receipt.check(&key, &opened.lineage(&digests))?;
    let rollback = if arguments.allow_rollback { Rollback::Allow } else { Rollback::Refuse };
    let site = Site { kolm_home: environment.kolm_home.clone(), now: super::audit::now(environment)?, rollback };
    let standing = admit(&site, max_age(arguments.max_age.as_deref())?, &opened, &key)?;
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
    record_run(&site, &key, &opened, &standing, None)?;
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

/// Asks log, marks and clock whether the artifact may be used here; a refusal is recorded.
fn admit(site: &Site, max_age_days: Option<i64>, opened: &Opened, key: &OperatorKey) -> Result<Standing, CompileError> {
    let manifest = &opened.manifest;
    let standing = site.standing(key, manifest)?;
    let young = max_age_days.map_or(Ok(()), |days| check_age(manifest.created, site.now, days));
    if let Err(error) = site.check_rollback(&standing, manifest).and(young) {
        record_run(site, key, opened, &standing, Some(&error))?;
        return Err(error.into());
    }
    Ok(standing)
}

fn record_run(
    site: &Site,
    key: &OperatorKey,
    opened: &Opened,
    standing: &Standing,
    failure: Option<&ArtifactError>,
) -> Result<(), CompileError> {
    let (opened, standing) = (Some(opened), Some(standing));
    site.record(key, &Done { action: "run", file: "", opened, standing, failure, note: "" })?;
    Ok(())
}

/// Runs `kolm diff`.
pub(super) fn diff(arguments: &crate::diff::verb::Arguments) -> Result<Exit, CompileError> {
    match crate::diff::verb::run(arguments, &mut std::io::stdout().lock(), &mut std::io::stderr()) {
        Ok(code) => Ok(Exit::from_code(code)),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Exit::Done),
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
pub(super) fn ended(result: std::io::Result<kolm_runtime::verify::Exit>) -> Result<Exit, CompileError> {
    match result {
        Ok(exit) => Ok(Exit::from_code(exit.code())),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Exit::Done),
        Err(source) => Err(CompileError::Io { action: "write", path: "stdout".into(), source }),
    }
}
