//! What can be typed after `kolm-repro matrix`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::build::Build;
use super::error::MatrixError;

/// Compile one job under many conditions and want one CID, one K and one replay digest.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct Arguments {
    /// The job file
    #[arg(value_name = "JOB")]
    pub job: PathBuf,
    /// A few runs, several conditions in each, all native; the default
    #[arg(long, conflicts_with = "full")]
    pub quick: bool,
    /// Every condition in a run of its own, other builds and emulated machines too
    #[arg(long)]
    pub full: bool,
    /// The `kolm` to judge [default: the one beside kolm-repro]
    #[arg(long, value_name = "PATH")]
    pub kolm: Option<PathBuf>,
    /// Another build of `kolm`, for this machine or for one that qemu emulates; may be repeated
    #[arg(long = "build", value_name = "LABEL=PATH")]
    pub build: Vec<String>,
    /// One JSON document on stdout, the table on stderr
    #[arg(long)]
    pub json: bool,
    /// Keep what every run made, a numbered folder each; the folder must be new or empty
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
}

impl Arguments {
    /// Opens the builds given by `--build`.
    pub(super) fn builds(&self) -> Result<Vec<Build>, MatrixError> {
        self.build
            .iter()
            .map(|typed| match typed.split_once('=') {
                Some((label, path)) if !label.is_empty() && !path.is_empty() => Build::open(label, Path::new(path)),
                _ => Err(MatrixError::BuildArgument { found: typed.clone() }),
            })
            .collect()
    }
}

const EXIT_CODES: &str =
    "Exit codes: 0 all conditions agree, 1 a mismatch or a failed run, 2 usage, 4 missing input, 6 I/O";
