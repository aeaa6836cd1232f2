//! `kolm airgap enable|disable|status`: the three variables, where each value comes from, and what else could call home.

use std::fs;
use std::path::{Path, PathBuf};

use kolm_runtime::artifact::Staged;
use kolm_runtime::model::HubCache;
use kolm_runtime::verify::ModelPlaces;
use serde_json::json;

use super::arguments::{Status, Switching};
use super::entry::Entry;
use crate::airgap::make_kolm_home;
use crate::airgap::needs::Need;
use crate::airgap::preflight::{self, Depth};
use crate::cli::environment::{CallsHome, Environment, SWITCHES, Switch, switches};
use crate::cli::{Exit, print, print_json};
use crate::network::Lock;
use crate::pipeline::CompileError;

/// Runs `kolm airgap enable`.
pub(super) fn enable(arguments: &Switching, environment: &Environment) -> Result<Exit, CompileError> {
    let file = environment.airgap_file();
    make_kolm_home(&environment.kolm_home).map_err(io("create", &environment.kolm_home))?;
    let lines: String = SWITCHES.iter().map(|name| format!("{name}=1\n")).collect();
    let staged = Staged::write(&file, lines.as_bytes())?;
    record(arguments, environment, "airgap enable")?;
    staged.commit()?;
    report(arguments, environment, true)
}

/// Runs `kolm airgap disable`.
pub(super) fn disable(arguments: &Switching, environment: &Environment) -> Result<Exit, CompileError> {
    let file = environment.airgap_file();
    if file.exists() {
        record(arguments, environment, "airgap disable")?;
        fs::remove_file(&file).map_err(io("remove", &file))?;
    }
    report(arguments, environment, false)
}

/// Enters the switch in the audit log, where there is a key to do it with.
fn record(arguments: &Switching, environment: &Environment, action: &'static str) -> Result<(), CompileError> {
    let entry = Entry::prepare(&arguments.key, environment, action)?;
    entry.enter(None, "done", &environment.airgap_file().display().to_string())
}

/// Says how things stand now, and what the environment makes of it.
fn report(arguments: &Switching, environment: &Environment, wanted: bool) -> Result<Exit, CompileError> {
    let file = environment.airgap_file();
    let (found, _) = switches(&file);
    let closed = found.first().is_some_and(Switch::is_on);
    if arguments.json {
        print_json(&json!({ "airgap": closed, "file": file.display().to_string(), "variables": variables(&found) }))?;
    } else {
        print(&head(&found, environment))?;
    }
    for switch in found.iter().filter(|switch| switch.is_on() != wanted && switch.in_environment.is_some()) {
        let value = switch.in_environment.as_deref().unwrap_or_default();
        eprintln!("warning: {}={value} is set in the environment, which wins over the file", switch.name);
    }
    Ok(Exit::Done)
}

/// Runs `kolm airgap status`.
pub(super) fn status(arguments: &Status, environment: &Environment, lock: &Lock) -> Result<Exit, CompileError> {
    let (found, fault) = switches(&environment.airgap_file());
    let calls_home = CallsHome::read(&environment.home);
    let artifacts = artifacts(environment);
    let (models, size) = cache_content(&environment.hub_cache);
    let incomplete = incomplete(&artifacts, environment);
    let closed = environment.offline.as_ref().is_some_and(|switch| switch.air_gap);
    if arguments.json {
        print_json(&json!({
            "airgap": closed,
            "file": environment.airgap_file().display().to_string(),
            "file_error": fault.map(|error| error.to_string()),
            "variables": variables(&found),
            "kernel_lock": match lock { Lock::NotAsked => "not asked", Lock::InForce => "in force", Lock::Unavailable(_) => "unavailable" },
            "artifacts": { "folder": environment.artifacts_folder().display().to_string(), "count": artifacts.len() },
            "cache": { "folder": environment.hub_cache.display().to_string(), "models": models, "size": size },
            "tokens": calls_home.tokens,
            "telemetry": calls_home.telemetry,
            "proxies": calls_home.proxies,
            "incomplete": incomplete.iter().map(|(path, why)| json!({ "artifact": path.display().to_string(), "why": why })).collect::<Vec<_>>(),
        }))?;
    } else {
        let cache_folder = match environment.hub_cache.strip_prefix(environment.home.join(".cache/huggingface")) {
            Ok(_) => environment.home.join(".cache/huggingface"),
            Err(_) => environment.hub_cache.clone(),
        };
        let mut text = head(&found, environment);
        if let Some(error) = fault {
            text.push_str(&line("", &format!("the env file cannot be read ({error}), so the gap counts as closed")));
        }
        let folder = environment.shown(&environment.artifacts_folder());
        text.push_str(&line("on-disk artifacts:", &format!("{} in {folder}", artifacts.len())));
        let count = if models == 1 { "1 base model".to_owned() } else { format!("{models} base models") };
        let size = kolm_runtime::inspect::size(size);
        text.push_str(&line("hf cache:", &format!("{} ({count}, {size})", environment.shown(&cache_folder))));
        text.push_str(&line("kernel lock:", &lock_line(lock)));
        for (label, names) in
            [("tokens:", &calls_home.tokens), ("telemetry:", &calls_home.telemetry), ("proxies:", &calls_home.proxies)]
        {
            text.push_str(&line(label, &if names.is_empty() { "none".to_owned() } else { names.join(", ") }));
        }
        let flight = match (artifacts.len(), incomplete.len()) {
            (0, _) => "nothing to check".to_owned(),
            (_, 0) => "complete (files and lengths; `kolm airgap preflight` compares content)".to_owned(),
            (all, some) => format!("incomplete for {some} of {all}"),
        };
        text.push_str(&line("pre-flight:", &flight));
        for (path, why) in &incomplete {
            text.push_str(&line("", &format!("{}: {why}", environment.shown(path))));
        }
        print(&text)?;
    }
    if incomplete.is_empty() {
        return Ok(Exit::Done);
    }
    eprintln!("hint: `kolm airgap preflight ARTIFACT` names each file and the command that brings it");
    Ok(Exit::MissingInput)
}

fn head(found: &[Switch], environment: &Environment) -> String {
    let closed = found.first().is_some_and(Switch::is_on);
    let file = environment.airgap_file();
    let there = if file.exists() { "" } else { " (not there)" };
    let mut text = line("airgap mode:", if closed { "enabled" } else { "disabled" });
    text.push_str(&line("env file:", &format!("{}{there}", environment.shown(&file))));
    for switch in found {
        let said = match (&switch.in_environment, &switch.in_file) {
            (Some(value), Some(other)) if value != other => {
                format!("{value}   (set in the environment; the env file says {other})")
            }
            (Some(value), None) => format!("{value}   (set in the environment)"),
            (_, Some(value)) => format!("{value}   (set)"),
            (None, None) => "-   (not set)".to_owned(),
        };
        text.push_str(&line(&format!("{}:", switch.name), &said));
    }
    text
}

fn variables(found: &[Switch]) -> serde_json::Value {
    let row = |switch: &Switch| {
        let origin = match (&switch.in_environment, &switch.in_file) {
            (Some(_), _) => "environment",
            (None, Some(_)) => "file",
            (None, None) => "not set",
        };
        json!({ "name": switch.name, "value": switch.value(), "from": origin, "on": switch.is_on() })
    };
    found.iter().map(row).collect()
}

fn lock_line(lock: &Lock) -> String {
    match lock {
        Lock::NotAsked => "off (air-gap mode is disabled)".to_owned(),
        Lock::InForce => "in force (seccomp refuses every socket but local ones, and io_uring)".to_owned(),
        Lock::Unavailable(reason) => format!("warning: not in force, {reason}"),
    }
}

/// The artifacts in `~/.kolm/artifacts`, sorted.
pub(super) fn artifacts(environment: &Environment) -> Vec<PathBuf> {
    let entries = fs::read_dir(environment.artifacts_folder()).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| is_artifact(path)).collect();
    paths.sort();
    paths
}

fn is_artifact(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "kolm") && path.is_file()
}

/// How many models lie in the cache, and their bytes: blobs once, and what lies in snapshots without one.
fn cache_content(cache: &Path) -> (usize, u64) {
    let models: Vec<PathBuf> = fs::read_dir(cache)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("models--"))
        .map(|entry| entry.path())
        .collect();
    let size =
        models.iter().map(|model| bytes_below(&model.join("blobs")) + bytes_below(&model.join("snapshots"))).sum();
    (models.len(), size)
}

fn bytes_below(folder: &Path) -> u64 {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => bytes_below(&entry.path()),
            Ok(kind) if kind.is_file() => entry.metadata().map_or(0, |metadata| metadata.len()),
            _ => 0,
        })
        .sum()
}

/// Artifacts that could not be loaded here, each with the reason; looks at lengths, not at content.
fn incomplete(artifacts: &[PathBuf], environment: &Environment) -> Vec<(PathBuf, String)> {
    let places = ModelPlaces { cache: Some(HubCache::new(&environment.hub_cache)), ..ModelPlaces::default() };
    let fault = |path: &PathBuf| -> Result<(), String> {
        for need in Need::of_file(path).map_err(|error| error.to_string())? {
            let places = crate::airgap::imported_places(&need, &places, &environment.kolm_home);
            let model = preflight::check(&need, &places, Depth::Sizes).map_err(|error| error.to_string())?;
            if model.missing() + model.wrong() > 0 {
                let (missing, wrong) = (model.missing(), model.wrong());
                return Err(format!("{} {}: {missing} files missing, {wrong} wrong", need.role, need.repo));
            }
        }
        Ok(())
    };
    artifacts.iter().filter_map(|path| fault(path).err().map(|why| (path.clone(), why))).collect()
}

fn line(label: &str, value: &str) -> String {
    format!("{label:<22}{value}\n")
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> CompileError {
    let path = path.to_owned();
    move |source| CompileError::Io { action, path, source }
}
