//! `kolm-repro` with one deliberately wrong kernel, named by `KOLM_PLANT`: what the proof of `bisect` runs as "another build".

use std::process::ExitCode;

fn main() -> ExitCode {
    kolm_repro::cli::main()
}
