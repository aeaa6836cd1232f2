//! `diff`, as both binaries mount it: typed arguments in, text out, an exit code back.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use kolm_runtime::artifact::Staged;
use serde_json::json;

use super::{Diff, DiffError, html, report};

/// `diff A.kolm B.kolm`
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// One artifact
    pub a: PathBuf,
    /// The other
    pub b: PathBuf,
    /// As JSON
    #[arg(long)]
    pub json: bool,
    /// Write one self-contained page besides
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// Compares and prints; gives the exit code: 0 for one CID, 1 for two, and that of the error otherwise.
///
/// # Errors
/// Only when `out` or `talk` cannot be written.
pub fn run(arguments: &Arguments, out: &mut dyn Write, talk: &mut dyn Write) -> io::Result<u8> {
    let diff = match compare(arguments) {
        Ok(diff) => diff,
        Err(error) => {
            let code = error.exit_code();
            if arguments.json {
                let error = json!({ "code": error.code(), "message": error.to_string() });
                writeln!(out, "{:#}", json!({ "exit": code, "error": error }))?;
            } else {
                writeln!(talk, "error: {error}")?;
            }
            return Ok(code);
        }
    };
    if arguments.json {
        writeln!(out, "{:#}", super::value(&diff))?;
    } else {
        out.write_all(report::text(&diff).as_bytes())?;
    }
    Ok(u8::from(!diff.identical))
}

fn compare(arguments: &Arguments) -> Result<Diff, DiffError> {
    let diff = Diff::of(&arguments.a, &arguments.b)?;
    if let Some(path) = &arguments.html {
        let written = Staged::write(path, html::page(&diff).as_bytes()).and_then(Staged::commit);
        written.map_err(|source| DiffError::Page(Box::new(source)))?;
    }
    Ok(diff)
}
