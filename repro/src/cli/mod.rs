//! The command line of `kolm-repro`: one function per verb, kolm's own exit codes.
//!
//! stdout is data, stderr is talk; `error[CODE]:` names what was found and what was expected, `hint:` what to do about it.

mod arguments;
mod error;
mod verbs;

use std::process::ExitCode;

use clap::Parser;
use kolm_compile::cli::Exit;
use kolm_compile::cli::environment::Environment;
use kolm_compile::pipeline::CompileError;
use kolm_runtime::kernel::Level;
use serde_json::json;

use arguments::{Arguments, GoldenVerb, Verb};
use error::CliError;

/// Parses the command line, runs the verb, and gives the exit code.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() };
        }
    };
    let environment = Environment::read();
    kolm_compile::cli::keep_off_the_network(&environment);
    match run(&arguments, &environment) {
        Ok(exit) => exit.into(),
        Err(error) => {
            if arguments.verb.json() {
                // As kolm's: a result that is a refusal. A closed pipe has nobody to tell.
                let told = json!({ "code": error.code(), "message": error.to_string(), "hint": error.hint() });
                let _ = kolm_compile::cli::print_json(&json!({ "exit": error.exit() as u8, "error": told }));
            }
            eprintln!("error[{}]: {error}", error.code());
            if let Some(hint) = error.hint() {
                eprintln!("hint: {hint}");
            }
            error.exit().into()
        }
    }
}

fn run(arguments: &Arguments, environment: &Environment) -> Result<Exit, CliError> {
    let level = Level::from_environment().map_err(|error| CompileError::Value {
        what: "KOLM_SIMD",
        found: error.to_string(),
        expected: "scalar, v3, v4 or neon",
    })?;
    kolm_compile::cli::set_threads(arguments.threads, environment)?;
    match &arguments.verb {
        Verb::Rebuild(arguments) => verbs::rebuild(arguments, level, environment),
        Verb::Bisect(arguments) => verbs::bisect(arguments, level, environment),
        Verb::RecordStep(arguments) => verbs::record_step(arguments, level, environment),
        Verb::Keygen { out } => verbs::keygen(out),
        Verb::Compare(arguments) => verbs::compare(arguments),
        Verb::Challenge(arguments) => verbs::challenge(arguments),
        Verb::Matrix(arguments) => Ok(crate::matrix::main(arguments)),
        Verb::Diff(arguments) => verbs::diff(arguments),
        Verb::Golden(GoldenVerb::Check { root }) => {
            crate::golden::check(level, root).map(|()| Exit::Done).map_err(Into::into)
        }
        Verb::Golden(GoldenVerb::Write { root }) => {
            crate::golden::write(level, root).map(|()| Exit::Done).map_err(Into::into)
        }
        Verb::Nano { model, root, work } => verbs::nano(level, *model, root, work),
    }
}
