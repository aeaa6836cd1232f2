//! `kolm`: the whole command line. What it does is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    kolm_compile::cli::main()
}
