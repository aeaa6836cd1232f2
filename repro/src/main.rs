//! `kolm-repro`: rebuilds artifacts, owns `golden/`, trains the embedded models.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use kolm_repro::golden::{self, nano};
use kolm_repro::matrix;
use kolm_runtime::kernel::Level;

/// The harness of kolm: golden files and the embedded models.
#[derive(Parser)]
#[command(name = "kolm-repro", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Everything under golden/ and the generated files under corpora/
    #[command(subcommand)]
    Golden(GoldenVerb),
    /// Train an embedded model from scratch, by its recipe, into golden/models (a quarter of an hour on two cores; resumes if killed)
    Nano {
        /// Which model
        #[arg(value_enum)]
        model: nano::Model,
        /// Root of the repository
        #[arg(long, default_value = ".")]
        root: PathBuf,
        /// Folder for checkpoints
        #[arg(long, default_value = "target/nano")]
        work: PathBuf,
    },
    /// Compile one job under many conditions and want one CID, one K and one replay digest
    Matrix(matrix::Arguments),
}

#[derive(Subcommand)]
enum GoldenVerb {
    /// Make every file again and compare; exit 1 on the first difference
    Check {
        /// Root of the repository
        #[arg(long, default_value = ".")]
        root: PathBuf,
    },
    /// Make every file again and write it
    Write {
        /// Root of the repository
        #[arg(long, default_value = ".")]
        root: PathBuf,
    },
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(1)
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let level = Level::from_environment()?;
    match &arguments.verb {
        Verb::Matrix(arguments) => std::process::exit(matrix::main(arguments) as i32),
        Verb::Golden(GoldenVerb::Check { root }) => golden::check(level, root),
        Verb::Golden(GoldenVerb::Write { root }) => golden::write(level, root),
        Verb::Nano { model, root, work } => {
            let made = nano::make(level, *model, work, &mut |report| {
                if report.step % 10 == 0 || report.step == report.steps {
                    eprintln!(
                        "step {}/{}  loss {:.4}  norm {:.3}",
                        report.step, report.steps, report.loss, report.gradient_norm
                    );
                }
            })?;
            golden::write_model(root, *model, &made)
        }
    }
}
