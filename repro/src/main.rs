//! `kolm-repro`: rebuilds artifacts, owns `golden/`, trains the embedded models. What it does is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    kolm_repro::cli::main()
}
