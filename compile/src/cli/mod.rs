//! The command line: arguments, environment, one function per verb, one exit code per kind of failure.
//!
//! stdout is data, stderr is talk. Every error names what was found and what was expected; advice stands on its own `hint:` line.

mod airgap;
mod arguments;
mod audit;
mod base;
mod bounded;
mod compile;
mod corpus;
pub mod environment;
mod exit;
mod gate;
mod key;
pub mod progress;
mod refresh;
mod selftest;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use kolm_runtime::kernel::Level;
use serde::Serialize;

use crate::network::{Lock, lock_out};
use crate::pipeline::CompileError;
use arguments::{Arguments, CorpusVerb, Verb};
pub use compile::micro_batch;
use environment::Environment;
pub use exit::{Exit, hint};

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
    let lock = keep_off_the_network(&environment);
    match run(&arguments, &environment, &lock) {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("error: {error}");
            if let Some(hint) = hint(&error) {
                eprintln!("hint: {hint}");
            }
            Exit::of(&error).into()
        }
    }
}

/// In air-gap mode the kernel takes the network away, before any thread is started.
pub fn keep_off_the_network(environment: &Environment) -> Lock {
    if !environment.offline.as_ref().is_some_and(|switch| switch.air_gap) {
        return Lock::NotAsked;
    }
    let lock = lock_out();
    if let Lock::Unavailable(reason) = &lock {
        eprintln!("warning: air-gap mode is on, but this kernel cannot keep the process off the network: {reason}");
    }
    lock
}

fn run(arguments: &Arguments, environment: &Environment, lock: &Lock) -> Result<Exit, CompileError> {
    let level = Level::from_environment().map_err(|error| CompileError::Value {
        what: "KOLM_SIMD",
        found: error.to_string(),
        expected: "scalar, v3, v4 or neon",
    })?;
    set_threads(arguments.threads, environment)?;
    match &arguments.verb {
        Verb::Init(arguments) => compile::init(arguments).map(|()| Exit::Done),
        Verb::Compile(arguments) => compile::compile(arguments, level, environment).map(|()| Exit::Done),
        Verb::Refresh(arguments) => refresh::refresh(arguments, level, environment).map(|()| Exit::Done),
        Verb::Inspect(arguments) => bounded::inspect(arguments, environment),
        Verb::Verify(arguments) => bounded::verify(arguments, level, environment),
        Verb::Airgap(verb) => airgap::run(verb, level, environment, lock),
        Verb::Selftest(arguments) => selftest::selftest(arguments),
        Verb::Run(arguments) => bounded::run(arguments, level, environment),
        Verb::Diff(arguments) => bounded::diff(arguments),
        Verb::Gate(arguments) => gate::gate(arguments, level, environment),
        Verb::Key(verb) => key::key(verb, environment),
        Verb::Audit(verb) => audit::audit(verb, environment),
        Verb::Base(verb) => base::run(verb, environment).map(|()| Exit::Done),
        Verb::Corpus(CorpusVerb::Check(arguments)) => corpus::check(arguments, environment),
        Verb::Corpus(CorpusVerb::Scan(arguments)) => corpus::scan(arguments),
        Verb::Corpus(CorpusVerb::Deidentify(arguments)) => corpus::deidentify(arguments, environment),
    }
}

/// Sizes the one thread pool: `--threads`, else `KOLM_THREADS`, else all cores.
///
/// # Errors
/// [`CompileError::Value`] for anything but a number of at least 1.
pub fn set_threads(typed: Option<usize>, environment: &Environment) -> Result<(), CompileError> {
    let wrong = |what, found: String| CompileError::Value { what, found, expected: "a number of at least 1" };
    let threads = match (typed, &environment.threads) {
        (Some(0), _) => return Err(wrong("--threads", "0".to_owned())),
        (Some(threads), _) => threads,
        (None, Some(text)) => {
            text.parse().ok().filter(|threads| *threads > 0).ok_or_else(|| wrong("KOLM_THREADS", text.clone()))?
        }
        (None, None) => return Ok(()),
    };
    // Fails only if a pool exists already, which cannot be before any work was done.
    let _ = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    Ok(())
}

/// Writes data to stdout; a closed pipe ends it quietly.
///
/// # Errors
/// [`CompileError::Io`].
pub fn print(text: &str) -> Result<(), CompileError> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(CompileError::Io { action: "write", path: "stdout".into(), source: error })
        }
        _ => Ok(()),
    }
}

/// Writes one JSON value and a line feed to stdout.
///
/// # Errors
/// [`CompileError::Io`].
pub fn print_json<T: Serialize>(value: &T) -> Result<(), CompileError> {
    let text = serde_json::to_string_pretty(value).expect("reports hold strings, numbers and lists only");
    print(&format!("{text}\n"))
}
