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
        let offline = offline(&kolm_home.join(AIRGAP_FILE));
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

    /// `~/.kolm/airgap.env`.
    pub fn airgap_file(&self) -> PathBuf {
        self.kolm_home.join(AIRGAP_FILE)
    }

    /// Where imported artifacts lie: `~/.kolm/artifacts`.
    pub fn artifacts_folder(&self) -> PathBuf {
        self.kolm_home.join("artifacts")
    }

    /// A path as people write it: the home folder is `~`.
    pub fn shown(&self, path: &Path) -> String {
        match path.strip_prefix(&self.home) {
            Ok(below) if self.home.is_absolute() => format!("~/{}", below.display()),
            _ => path.display().to_string(),
        }
    }

    /// A file that lies beside this binary.
    pub fn beside_binary(name: &str) -> Option<PathBuf> {
        let path = std::env::current_exe().ok()?.with_file_name(name);
        path.is_file().then_some(path)
    }

    /// Where unfinished compiles keep their checkpoints.
    pub fn work_folder(&self) -> PathBuf {
        self.kolm_home.join("work")
    }
}

/// One of the three air-gap variables: its value, and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Switch {
    /// Name of the variable.
    pub name: &'static str,
    /// Its value in the environment.
    pub in_environment: Option<String>,
    /// Its value in `airgap.env`.
    pub in_file: Option<String>,
}

impl Switch {
    /// The value that counts: the environment wins.
    pub fn value(&self) -> Option<&str> {
        self.in_environment.as_deref().or(self.in_file.as_deref())
    }

    /// Whether it forbids the network. Of `KOLM_AIRGAP` only a plain no counts as off: a mistyped value must not open the gap.
    pub fn is_on(&self) -> bool {
        self.value().is_some_and(|value| {
            let value = value.trim_matches('"').to_ascii_lowercase();
            match self.name {
                AIRGAP => !matches!(value.as_str(), "0" | "false" | "no" | "off" | ""),
                _ => matches!(value.as_str(), "1" | "true" | "yes" | "on"),
            }
        })
    }
}

/// The three variables, and what stood in the way of reading `file`.
pub fn switches(file: &Path) -> ([Switch; 3], Option<std::io::Error>) {
    let (lines, fault) = match std::fs::read_to_string(file) {
        Ok(lines) => (lines, None),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => (String::new(), None),
        Err(error) => (String::new(), Some(error)),
    };
    let in_file = |name: &str| {
        let value = |line: &str| {
            let line = line.trim();
            let (key, value) = line.strip_prefix("export ").unwrap_or(line).split_once('=')?;
            (key.trim() == name).then(|| value.trim().to_owned())
        };
        // As a shell reads it: the last one counts.
        lines.lines().filter_map(value).next_back()
    };
    (SWITCHES.map(|name| Switch { name, in_environment: text(name), in_file: in_file(name) }), fault)
}

/// What else around this process could call home: names only, values may be secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallsHome {
    /// Variables and files that hold an access token.
    pub tokens: Vec<String>,
    /// Opt-outs that are not set, and exporters that are.
    pub telemetry: Vec<String>,
    /// Proxies and mirrors.
    pub proxies: Vec<String>,
}

impl CallsHome {
    /// Reads the environment, and looks where the hub's own tools keep a token.
    pub fn read(home: &Path) -> CallsHome {
        let is_set = |name: &&str| variable(name).is_some();
        let named = |names: &[&str]| -> Vec<String> {
            names.iter().copied().filter(is_set).map(|name| format!("{name} (set)")).collect()
        };
        let mut tokens = named(&["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"]);
        let of_hub = variable("HF_HOME").map_or_else(|| home.join(".cache/huggingface"), PathBuf::from);
        let files = [
            variable("HF_TOKEN_PATH").map_or_else(|| of_hub.join("token"), PathBuf::from),
            of_hub.join("stored_tokens"),
        ];
        tokens.extend(files.iter().filter(|file| file.exists()).map(|file| file.display().to_string()));
        let mut telemetry: Vec<String> = ["HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_UPDATE_CHECK", "DO_NOT_TRACK"]
            .iter()
            .filter(|name| !is_set(name))
            .map(|name| format!("{name} (not set)"))
            .collect();
        telemetry
            .extend(names().into_iter().filter(|name| name.starts_with("OTEL_")).map(|name| format!("{name} (set)")));
        let proxies =
            named(&["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy", "HF_ENDPOINT"]);
        CallsHome { tokens, telemetry, proxies }
    }
}

fn offline(file: &Path) -> Option<Offline> {
    let (switches, fault) = switches(file);
    if let Some(switch) = switches.iter().find(|switch| switch.is_on()) {
        let source = match switch.in_environment {
            Some(_) => "the environment".to_owned(),
            None => file.display().to_string(),
        };
        return Some(Offline { variable: switch.name, source, air_gap: switch.name == AIRGAP });
    }
    // Whether the gap is closed cannot be read, so it is; only the environment can say otherwise.
    let said = switches.first().is_some_and(|switch| switch.in_environment.is_some());
    fault.filter(|_| !said).map(|error| Offline {
        variable: AIRGAP,
        source: format!("{}, which cannot be read: {error}", file.display()),
        air_gap: true,
    })
}

fn text(name: &str) -> Option<String> {
    variable(name).and_then(|value| value.into_string().ok())
}

#[expect(clippy::disallowed_methods, reason = "the one home of the environment in this crate")]
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

#[expect(clippy::disallowed_methods, reason = "the one home of the environment in this crate")]
fn names() -> Vec<String> {
    let mut names: Vec<String> = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect();
    names.sort();
    names
}

#[expect(clippy::disallowed_methods, reason = "the one home of the clock in this crate")]
fn now_seconds() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

const AIRGAP: &str = "KOLM_AIRGAP";
const AIRGAP_FILE: &str = "airgap.env";
/// The variables of `airgap.env`, in its order.
pub const SWITCHES: [&str; 3] = [AIRGAP, "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_value_keeps_the_gap_closed_and_hints_stay_hints() {
        let on = |name, value: &str| Switch { name, in_environment: None, in_file: Some(value.to_owned()) }.is_on();
        for (value, airgap, hint) in
            [("1", true, true), ("yse", true, false), ("0", false, false), ("off", false, false)]
        {
            assert_eq!([on(AIRGAP, value), on("HF_HUB_OFFLINE", value)], [airgap, hint], "{value}");
        }
        let both = Switch { name: AIRGAP, in_environment: Some("0".to_owned()), in_file: Some("1".to_owned()) };
        assert!(!both.is_on());
    }

    #[test]
    fn the_file_is_read_as_a_shell_reads_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("airgap.env");
        std::fs::write(&file, "# gap\nexport HF_HUB_OFFLINE=0\n HF_HUB_OFFLINE = 1 \nKOLM_AIRGAPX=1\n")
            .expect("written");
        let (found, fault) = switches(&file);
        let values: Vec<_> = found.iter().map(|switch| switch.in_file.as_deref()).collect();
        assert_eq!(values, [None, Some("1"), None]);
        assert!(fault.is_none());
        let (_, fault) = switches(folder.path());
        assert!(fault.is_some(), "a folder is no file");
    }
}
