//! The one place of this crate that reads the environment and the clock.
//!
//! Everything the process takes from outside besides its arguments and files becomes a typed value here, once, at start-up.
//! Nothing read here may change the bytes of an artifact's content; dates go into manifest and receipt only.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use kolm_runtime::model::HubCache;

/// What this process was given by its surroundings.
#[derive(Debug, Clone)]
pub struct Environment {
    /// `HOME`; the working folder where it is not set.
    pub home: PathBuf,
    /// `~/.kolm`.
    pub kolm_home: PathBuf,
    /// Root of the Hugging Face cache: `HF_HUB_CACHE`, `HF_HOME/hub`, or `~/.cache/huggingface/hub`.
    pub hub_cache: PathBuf,
    /// `HF_ENDPOINT`: a mirror of the hub.
    pub hub_endpoint: Option<String>,
    /// `KOLM_KEY_FILE`.
    pub key_file: Option<PathBuf>,
    /// `CREDENTIALS_DIRECTORY`: where systemd passes a service its secrets.
    pub credentials: Option<PathBuf>,
    /// The variable that forbids the network, with its value, if one does.
    pub offline: Option<Offline>,
    /// `SOURCE_DATE_EPOCH` in seconds, as typed.
    pub source_date_epoch: Option<String>,
    /// Seconds since 1970-01-01T00:00:00Z when the process started.
    pub now_seconds: u64,
    /// `KOLM_THREADS`, as typed.
    pub threads: Option<String>,
}

/// A switch that keeps the process off the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offline {
    /// Name of the variable.
    pub variable: &'static str,
    /// Where its value came from: `environment` or the path of `airgap.env`.
    pub source: String,
    /// Whether this is the air gap proper (`KOLM_AIRGAP`), not only an offline hint to the hub.
    pub air_gap: bool,
}

impl Environment {
    /// Reads the environment, the clock and `~/.kolm/airgap.env`. The environment wins over the file.
    pub fn read() -> Environment {
        let home = variable("HOME").map_or_else(|| PathBuf::from("."), PathBuf::from);
        let kolm_home = home.join(".kolm");
        let hub_cache =
            HubCache::from_variables(&variable).map_or_else(|| home.join(".cache"), |cache| cache.folder().to_owned());
        let offline = offline(&kolm_home.join("airgap.env"));
        Environment {
            hub_cache,
            hub_endpoint: text("HF_ENDPOINT"),
            key_file: variable("KOLM_KEY_FILE").map(PathBuf::from),
            credentials: variable("CREDENTIALS_DIRECTORY").map(PathBuf::from),
            offline,
            source_date_epoch: text("SOURCE_DATE_EPOCH"),
            now_seconds: now_seconds(),
            threads: text("KOLM_THREADS"),
            kolm_home,
            home,
        }
    }

    /// Where unfinished compiles keep their checkpoints.
    pub fn work_folder(&self) -> PathBuf {
        self.kolm_home.join("work")
    }
}

fn offline(file: &Path) -> Option<Offline> {
    let from_file = std::fs::read_to_string(file).unwrap_or_default();
    for (name, air_gap) in [("KOLM_AIRGAP", true), ("HF_HUB_OFFLINE", false), ("TRANSFORMERS_OFFLINE", false)] {
        if let Some(value) = text(name) {
            if is_on(&value) {
                return Some(Offline { variable: name, source: "environment".to_owned(), air_gap });
            }
            continue;
        }
        let set_in_file = from_file.lines().any(|line| {
            let line = line.trim();
            let line = line.strip_prefix("export ").unwrap_or(line);
            line.split_once('=').is_some_and(|(key, value)| key.trim() == name && is_on(value.trim()))
        });
        if set_in_file {
            return Some(Offline { variable: name, source: file.display().to_string(), air_gap });
        }
    }
    None
}

fn is_on(value: &str) -> bool {
    matches!(value.trim_matches('"').to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on")
}

fn text(name: &str) -> Option<String> {
    variable(name).and_then(|value| value.into_string().ok())
}

#[expect(clippy::disallowed_methods, reason = "the one home of the environment in this crate")]
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

#[expect(clippy::disallowed_methods, reason = "the one home of the clock in this crate")]
fn now_seconds() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
