//! What this machine can do: SIMD levels, tools, namespaces. The one place of the matrix that looks at its surroundings.
//!
//! Every fact that is missing comes with the reason, which becomes the text of a skipped row.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kolm_compile::cli::environment::Environment;
use kolm_runtime::kernel::Level;

use super::error::MatrixError;

/// The facts of this machine.
pub(super) struct Machine {
    /// Names of the SIMD levels the CPU has, from the slowest up.
    pub(super) levels: Vec<&'static str>,
    /// Variables that every run needs whatever the condition: where programs and models are, and what forbids the network.
    pub(super) inherited: Vec<(&'static str, OsString)>,
    path: OsString,
}

/// A command that goes before another one, or why this machine has none.
pub(super) type Possible = Result<Vec<OsString>, String>;

impl Machine {
    /// Looks once.
    pub(super) fn detect() -> Machine {
        let environment = Environment::read();
        let path = variable("PATH").unwrap_or_default();
        let mut inherited = vec![("PATH", path.clone()), ("HF_HUB_CACHE", environment.hub_cache.into_os_string())];
        if let Some(offline) = environment.offline {
            inherited.push((offline.variable, "1".into()));
        }
        for name in ["LD_LIBRARY_PATH", "SYSTEMROOT"] {
            inherited.extend(variable(name).map(|value| (name, value)));
        }
        Machine { levels: Level::available().into_iter().map(Level::name).collect(), inherited, path }
    }

    /// The level kolm chooses by itself.
    pub(super) fn fastest_level(&self) -> &'static str {
        self.levels.last().copied().unwrap_or("scalar")
    }

    /// An executable in the same folder as this one.
    pub(super) fn sibling(&self, name: &str) -> Result<PathBuf, MatrixError> {
        let io = |source| MatrixError::Io { action: "find", path: name.into(), source };
        Ok(std::env::current_exe().map_err(io)?.with_file_name(format!("{name}{}", std::env::consts::EXE_SUFFIX)))
    }

    /// Finds the first of `names` in `PATH`.
    pub(super) fn tool(&self, names: &[&str]) -> Result<PathBuf, String> {
        let found = names.iter().find_map(|name| {
            std::env::split_paths(&self.path).map(|folder| folder.join(name)).find(|candidate| candidate.is_file())
        });
        found.ok_or_else(|| format!("{} is not installed", names.first().copied().unwrap_or_default()))
    }

    /// Finds the tool and tries it: the command of its path and `arguments` must be able to run `true`.
    pub(super) fn before(&self, tool: &str, arguments: &[&OsStr]) -> Possible {
        let mut command = vec![self.tool(&[tool])?.into_os_string()];
        command.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        let target = self.tool(&["true"])?;
        let tried = Command::new(&command[0])
            .args(&command[1..])
            .arg(target)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("{tool}: {error}"))?;
        if tried.status.success() {
            Ok(command)
        } else {
            Err(last_line(&tried.stderr, &format!("{tool} is refused here")))
        }
    }

    /// A private namespace that `flags` ask for, as the user that runs this or, where that is refused, as root of a user namespace.
    pub(super) fn namespace(&self, flags: &str, inside: &[&OsStr]) -> Possible {
        let with = |flags: &str| {
            let mut arguments = vec![OsStr::new(flags)];
            arguments.extend(inside);
            self.before("unshare", &arguments)
        };
        with(&format!("-{flags}")).or_else(|_| with(&format!("-r{flags}")))
    }

    /// The script that emulates a CPU with AVX-512, in the repository around the working folder or around this executable.
    pub(super) fn avx512_script(&self) -> Result<PathBuf, String> {
        let starts = [std::env::current_dir().ok(), std::env::current_exe().ok()];
        let found = starts.iter().flatten().flat_map(|start| start.ancestors()).find_map(|folder| {
            let script = folder.join("ci/avx512");
            script.is_file().then_some(script)
        });
        found.ok_or_else(|| "this CPU lacks it, and ci/avx512, which emulates one, is not found".to_owned())
    }
}

/// The last line that says what went wrong: the last that begins with `error`, else the last with anything on it.
pub(super) fn last_line(stderr: &[u8], otherwise: &str) -> String {
    let text = String::from_utf8_lossy(stderr);
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty()).rev();
    let error = lines.clone().find(|line| line.starts_with("error"));
    error.or_else(|| lines.next()).unwrap_or(otherwise).to_owned()
}

/// The folders of this machine that may list files in another order than the one that holds `scratch`.
pub(super) fn listing_places(scratch: &Path) -> Vec<PathBuf> {
    [scratch, Path::new("/dev/shm")].into_iter().filter(|place| place.is_dir()).map(Path::to_owned).collect()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one home of the environment in the matrix; it never reaches a compile's content"
)]
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::last_line;

    #[test]
    fn prefers_the_error_to_a_later_hint_and_a_later_line_to_nothing() {
        assert_eq!(last_line(b"warning: x\nerror: no base\nhint: fetch it\n", "-"), "error: no base");
        assert_eq!(last_line(b"one\n two \n\n", "-"), "two");
        assert_eq!(last_line(b"\n", "nothing said"), "nothing said");
    }
}
