//! `kolm gate`: from what was typed to limits, and the report to stdout.

use std::io::IsTerminal;

use kolm_runtime::eval::Ppm;
use kolm_runtime::kernel::Level;

use super::environment::Environment;
use super::progress::Progress;
use super::{Exit, arguments};
use crate::gate::{self, Limits, Options};
use crate::pipeline::CompileError;

/// Runs `kolm gate`.
pub(super) fn gate(arguments: &arguments::Gate, level: Level, environment: &Environment) -> Result<Exit, CompileError> {
    let options = Options {
        artifact: arguments.artifact.clone(),
        baseline: arguments.baseline.clone(),
        limits: Limits {
            min_k: share("--min-k", arguments.min_k.as_deref())?,
            max_regressions: arguments.max_regressions,
            max_drop: share("--max-drop", arguments.max_drop.as_deref())?,
        },
        key: super::compile::key_source(&arguments.key, environment),
        places: super::bounded::places_of(&arguments.artifact, &arguments.models, environment),
    };
    let mut progress = Progress::new(!std::io::stderr().is_terminal());
    let mut shown = |done: usize, total: usize| progress.replayed(done as u64, total as u64);
    let report = gate::run(&options, level, &mut shown);
    super::print(&gate::show(&report, arguments.format))?;
    if let Some(hint) = report.error.as_ref().and_then(|error| error.hint.as_ref()) {
        eprintln!("hint: {hint}");
    }
    Ok(Exit::from_code(report.exit))
}

/// A decimal of at most six places, exactly.
fn share(what: &'static str, typed: Option<&str>) -> Result<Option<Ppm>, CompileError> {
    let expected = "0 to 1 with at most six decimals";
    typed
        .map(|typed| {
            Ppm::from_decimal(typed).map_err(|_| CompileError::Value { what, found: typed.to_owned(), expected })
        })
        .transpose()
}
