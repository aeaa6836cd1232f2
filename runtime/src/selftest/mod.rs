//! What a binary proves about itself on the machine it stands on: it refuses every broken artifact of `golden/refused` for the right
//! reason, accepts the sound one, and its kernels give the golden bits at every level this CPU has.
//!
//! All it needs is inside the binary. It reads no file, needs no key, and says nothing about any artifact of the operator's.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::as_conversions)
)]

mod stored;
mod vectors;

use std::io::{self, Write};

use include_dir::{Dir, File, include_dir};
use rayon::prelude::*;
use serde::Serialize;
use serde_json::json;

use crate::artifact::OperatorKey;
use crate::kernel::Level;
use crate::verify::{Exit, refusal};
pub use vectors::check_vector;

/// One thing that was tried; it holds if what was found is what was expected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trial {
    /// Name of the artifact or of the vector, with its level.
    pub name: String,
    /// Code of the refusal, `accepted`, or `golden bits`.
    pub expected: String,
    /// The same, or what differs.
    pub found: String,
}

impl Trial {
    /// Whether it holds.
    pub fn holds(&self) -> bool {
        self.found == self.expected
    }
}

/// Everything that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Every file of `golden/refused`, and the sound artifact.
    pub artifacts: Vec<Trial>,
    /// Every vector of `golden/kernels`, at every level.
    pub kernels: Vec<Trial>,
    /// The levels of this CPU.
    pub levels: Vec<&'static str>,
}

impl Report {
    /// Whether all of it holds, and there was something to try.
    pub fn passed(&self) -> bool {
        !self.artifacts.is_empty() && !self.kernels.is_empty() && self.failures().next().is_none()
    }

    fn failures(&self) -> impl Iterator<Item = &Trial> {
        self.artifacts.iter().chain(&self.kernels).filter(|trial| !trial.holds())
    }
}

/// Tries everything.
pub fn run() -> Report {
    let levels = Level::available();
    let files: Vec<&File<'_>> = REFUSED.files().filter(|file| extension(file) == "kolm").collect();
    let artifacts = files.into_par_iter().map(refused).chain(rayon::iter::once(accepted())).collect();
    let pairs: Vec<_> = KERNELS.files().flat_map(|file| levels.iter().map(move |level| (file, *level))).collect();
    let kernels = pairs.into_par_iter().map(|(file, level)| vector(file, level)).collect();
    Report { artifacts, kernels, levels: levels.iter().map(|level| level.name()).collect() }
}

/// `selftest`, as both binaries mount it; `tool` is the binary's name and version.
///
/// # Errors
/// Only when `out` cannot be written.
pub fn verb(tool: &str, as_json: bool, out: &mut dyn Write) -> io::Result<Exit> {
    let report = run();
    let exit = if report.passed() { Exit::Done } else { Exit::Refused };
    if as_json {
        let result = json!({
            "passed": report.passed(),
            "exit": exit.code(),
            "tool": tool,
            "levels": report.levels,
            "artifacts": report.artifacts,
            "kernels": report.kernels,
        });
        writeln!(out, "{result:#}")?;
    } else {
        text(tool, &report, out)?;
    }
    Ok(exit)
}

fn text(tool: &str, report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let count =
        |trials: &[Trial]| format!("{} of {}", trials.iter().filter(|trial| trial.holds()).count(), trials.len());
    writeln!(out, "{:<12}{tool}", "selftest:")?;
    writeln!(
        out,
        "{:<12}{} broken or sound, each judged for the right reason",
        "artifacts:",
        count(&report.artifacts)
    )?;
    let levels = report.levels.join(", ");
    writeln!(out, "{:<12}{} vectors give the golden bits   levels {levels}", "kernels:", count(&report.kernels))?;
    for trial in report.failures() {
        writeln!(out, "{:<12}{}: found {}, expected {}", "differs:", trial.name, trial.found, trial.expected)?;
    }
    match report.passed() {
        true => writeln!(out, "{:<12}this binary refuses and computes on this machine as it must", "PASS"),
        false => writeln!(out, "{:<12}do not use this binary on this machine", "FAIL"),
    }
}

fn refused(file: &File<'_>) -> Trial {
    let about = REFUSED.get_file(file.path().with_extension("json"));
    let about = about.and_then(|about| serde_json::from_slice::<serde_json::Value>(about.contents()).ok());
    let code = about.as_ref().and_then(|about| about.get("code")?.as_str()).unwrap_or("a code beside it");
    Trial { name: name(file), expected: code.to_owned(), found: judged(file.contents()) }
}

fn accepted() -> Trial {
    Trial { name: "example".to_owned(), expected: ACCEPTED.to_owned(), found: judged(EXAMPLE) }
}

/// What checks 1, 3 and 4 say.
fn judged(bytes: &[u8]) -> String {
    refusal(bytes.to_vec(), &OperatorKey::from_bytes(EXAMPLE_KEY))
        .map_or_else(|| ACCEPTED.to_owned(), |error| error.code().to_owned())
}

fn vector(file: &File<'_>, level: Level) -> Trial {
    let found = check_vector(level, file.contents()).err().unwrap_or_else(|| GOLDEN.to_owned());
    Trial { name: format!("{} at {}", name(file), level.name()), expected: GOLDEN.to_owned(), found }
}

fn name(file: &File<'_>) -> String {
    file.path().file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn extension<'a>(file: &'a File<'_>) -> &'a str {
    file.path().extension().and_then(|extension| extension.to_str()).unwrap_or_default()
}

const ACCEPTED: &str = "accepted";
const GOLDEN: &str = "golden bits";
/// The key of SPEC.md's worked example, under which all of `golden/refused` is made; bytes 00 to 1f.
const EXAMPLE_KEY: [u8; 32] = *b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f";
const EXAMPLE: &[u8] = include_bytes!("../../../golden/spec-example/example.kolm");
static REFUSED: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../golden/refused");
static KERNELS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../golden/kernels");

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn everything_holds_here() {
        let report = run();
        assert!(report.passed(), "{:?}", report.failures().collect::<Vec<_>>());
        assert!(report.artifacts.len() > 100 && report.kernels.len() > 100);
    }

    /// What is inside is what lies in the repository. After adding a file there, touch this file: the compiler sees only changed ones.
    #[test]
    fn what_is_embedded_is_golden() {
        for (folder, embedded) in [("refused", &REFUSED), ("kernels", &KERNELS)] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden").join(folder);
            let there = fs::read_dir(&folder).unwrap().count();
            assert_eq!(embedded.files().count(), there, "touch runtime/src/selftest/mod.rs");
            for file in embedded.files() {
                assert!(fs::read(folder.join(file.path())).unwrap() == file.contents(), "{}", file.path().display());
            }
        }
    }

    #[test]
    fn a_failure_is_told() {
        let trial = |found: &str| Trial { name: "x".into(), expected: "cid".into(), found: found.into() };
        let report = Report { artifacts: vec![trial("accepted")], kernels: vec![trial("cid")], levels: vec!["scalar"] };
        assert!(!report.passed());
        let mut out = Vec::new();
        text("kolm 0", &report, &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert!(out.contains("differs:    x: found accepted, expected cid") && out.contains("\nFAIL"), "{out}");
        assert!(!Report { artifacts: Vec::new(), ..report }.passed());
    }
}
