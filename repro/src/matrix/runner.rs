//! The one way in which a condition is run: a child process with an environment of its own, in folders of its own.
//!
//! The environment is empty but for what the machine needs, a fixed date, and what the condition sets; so each run has its own home
//! folder, operator key and audit log. What is compared is what `kolm compile --json` says; the rest of a run is removed or kept whole.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::condition::{Condition, Folder, Life};
use super::error::MatrixError;
use super::machine::{Machine, last_line};

/// What all runs share.
pub(super) struct Runner<'a> {
    /// What this machine can do.
    pub(super) machine: &'a Machine,
    /// The job file, absolute.
    pub(super) job: &'a Path,
    /// Where the runs' folders are made.
    pub(super) scratch: &'a Path,
    /// Whether they stay.
    pub(super) keep: bool,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// With an artifact.
    Made(Made),
    /// It was not tried, or could not be what it should have been.
    Skipped(String),
    /// With an error: exit code, and what it said last.
    Failed {
        /// Exit code; `None` after a signal.
        code: Option<i32>,
        /// What was said.
        message: String,
    },
}

/// What must be equal in every run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Made {
    /// Content id.
    pub(super) cid: String,
    /// K-score.
    pub(super) k: String,
    /// Digest over every replayed answer.
    pub(super) replay_digest: String,
}

impl Runner<'_> {
    /// Runs one condition; `index` numbers its folder.
    ///
    /// # Errors
    /// [`MatrixError::Io`] when the harness' own folders cannot be made. What goes wrong in the run is an outcome.
    pub(super) fn run(&self, index: usize, condition: &Condition) -> Result<Outcome, MatrixError> {
        if let Some(reason) = &condition.skipped {
            return Ok(Outcome::Skipped(reason.clone()));
        }
        let folder = self.scratch.join(format!("{index:02}-{}", slug(&condition.label)));
        let run = Run { runner: self, condition, folders: Folders::new(&folder, &condition.odd) };
        run.folders.create()?;
        let outcome = match &condition.life {
            Life::Whole => run.whole(),
            Life::Killed => run.killed()?,
            Life::Emulated(script) => run.emulated(script),
        };
        if !self.keep {
            // What cannot be removed now goes with the scratch folder.
            let _ = fs::remove_dir_all(&folder);
        }
        Ok(outcome)
    }
}

struct Run<'a> {
    runner: &'a Runner<'a>,
    condition: &'a Condition,
    folders: Folders,
}

impl Run<'_> {
    fn whole(&self) -> Outcome {
        self.outcome(self.command().output())
    }

    /// A first life on one thread at the slowest level, so that a checkpoint can be caught, then a second one as it comes.
    fn killed(&self) -> Result<Outcome, MatrixError> {
        for _ in 0..CATCHES {
            self.folders.remove()?;
            self.folders.create()?;
            let mut command = self.command();
            command.env("KOLM_THREADS", "1").env("KOLM_SIMD", "scalar").args(["--micro-batch", "1"]);
            let started = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
            let mut child = match started {
                Ok(child) => child,
                Err(error) => return Ok(self.outcome(Err(error))),
            };
            let io = |source| MatrixError::Io { action: "wait for", path: self.condition.build.path.clone(), source };
            let ended = loop {
                if self.has_checkpoint() {
                    child.kill().map_err(io)?;
                    break child.wait().map_err(io)?;
                }
                if let Some(status) = child.try_wait().map_err(io)? {
                    break status;
                }
                std::thread::sleep(Duration::from_millis(1));
            };
            if ended.code().is_none() && self.has_checkpoint() {
                return Ok(self.whole());
            }
        }
        Ok(Outcome::Skipped("it ended before a checkpoint was there; lower [train] checkpoint_every".to_owned()))
    }

    fn has_checkpoint(&self) -> bool {
        let runs = fs::read_dir(self.folders.home.join(".kolm/work")).into_iter().flatten().flatten();
        let mut files = runs.flat_map(|run| fs::read_dir(run.path()).into_iter().flatten().flatten());
        files.any(|file| file.file_name().to_string_lossy().ends_with(".kolm-checkpoint"))
    }

    fn emulated(&self, script: &Path) -> Outcome {
        let job = self.job();
        if job.file_name().is_none_or(|name| name != "kolm.toml") {
            return Outcome::Skipped("the emulated machine takes a job that is called kolm.toml".to_owned());
        }
        let output = Command::new(script)
            .arg(&self.condition.build.path)
            .arg(job.parent().unwrap_or(job))
            .stdin(Stdio::null())
            .output();
        match output {
            Ok(output) if output.status.code() == Some(NOT_TO_BE_HAD) => {
                Outcome::Skipped(last_line(&output.stderr, "no emulator"))
            }
            output => self.outcome(output),
        }
    }

    fn job(&self) -> &Path {
        self.condition.job.as_ref().map_or(self.runner.job, |copy| &copy.path)
    }

    /// `kolm compile` as the condition wants it.
    fn command(&self) -> Command {
        let condition = self.condition;
        let mut words = condition.before.iter().map(|word| word.as_os_str()).chain([condition.build.path.as_os_str()]);
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).arg("compile").arg(self.job()).arg("--out").arg(&self.folders.out);
        command.args(["--json", "--quiet", "--allow-below-gate"]).args(&condition.flags);
        command.env_clear().envs(self.runner.machine.inherited.iter().cloned());
        command.env("SOURCE_DATE_EPOCH", SOURCE_DATE_EPOCH);
        command.env("HOME", &self.folders.home).env("TMPDIR", &self.folders.temporary);
        command.envs(condition.set.iter().cloned());
        for name in &condition.unset {
            command.env_remove(name);
        }
        command.current_dir(&self.folders.working).stdin(Stdio::null());
        command
    }

    fn outcome(&self, output: std::io::Result<Output>) -> Outcome {
        let output = match output {
            Ok(output) => output,
            Err(error) => return Outcome::Failed { code: None, message: format!("cannot be started: {error}") },
        };
        if self.runner.keep {
            // A help for people; the verdict does not depend on it.
            let _ = fs::write(self.folders.root.join("stderr.txt"), &output.stderr);
        }
        if !output.status.success() {
            let message = last_line(&output.stderr, &output.status.to_string());
            return Outcome::Failed { code: output.status.code(), message };
        }
        match serde_json::from_slice(&output.stdout) {
            Ok(made) => Outcome::Made(made),
            Err(error) => Outcome::Failed {
                code: output.status.code(),
                message: format!("found {error}, expected a report with cid, k and replay_digest on stdout"),
            },
        }
    }
}

/// The folders of one run.
struct Folders {
    root: PathBuf,
    home: PathBuf,
    working: PathBuf,
    temporary: PathBuf,
    out: PathBuf,
}

impl Folders {
    fn new(root: &Path, odd: &[Folder]) -> Folders {
        let name = |folder, plain: &str| {
            root.join(if odd.contains(&folder) {
                format!("{plain} with a space, \u{fc}n\u{ef}c\u{f6}de")
            } else {
                plain.to_owned()
            })
        };
        Folders {
            root: root.to_owned(),
            home: name(Folder::Home, "home"),
            working: name(Folder::Working, "cwd"),
            temporary: name(Folder::Temporary, "tmp"),
            out: root.join("out"),
        }
    }

    fn create(&self) -> Result<(), MatrixError> {
        [&self.home, &self.working, &self.temporary, &self.out].into_iter().try_for_each(|folder| {
            fs::create_dir_all(folder).map_err(|source| MatrixError::Io {
                action: "create",
                path: folder.clone(),
                source,
            })
        })
    }

    fn remove(&self) -> Result<(), MatrixError> {
        let io = |source| MatrixError::Io { action: "remove", path: self.root.clone(), source };
        fs::remove_dir_all(&self.root).map_err(io)
    }
}

/// A label as part of a file name.
fn slug(label: &str) -> String {
    let words = label.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-").chars().take(SLUG_LEN_MAX).collect()
}

/// 2026-01-01T00:00:00Z.
const SOURCE_DATE_EPOCH: &str = "1767225600";
/// How often a checkpoint is waited for.
const CATCHES: usize = 3;
/// Exit code with which a script of `ci/` says that what it needs cannot be had.
const NOT_TO_BE_HAD: i32 = 77;
const SLUG_LEN_MAX: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_named_after_its_row() {
        assert_eq!(slug("LANG=tr_TR.UTF-8"), "LANG-tr-TR-UTF-8");
        assert_eq!(slug("faked caches: 4 KiB L1, no L3 (sysfs)"), "faked-caches-4-KiB-L1-no-L3-sysfs");
    }

    #[test]
    fn only_what_must_be_equal_is_read_from_a_report() {
        let report = r#"{"path":"x","cid":"cidv1:sha256:00","k":"0.5","replay_digest":"11","created":"now"}"#;
        let made: Made = serde_json::from_str(report).expect("a report");
        assert_eq!((made.cid.as_str(), made.k.as_str(), made.replay_digest.as_str()), ("cidv1:sha256:00", "0.5", "11"));
    }
}
