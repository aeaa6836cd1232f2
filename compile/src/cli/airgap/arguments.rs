//! What can be typed behind `kolm airgap`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::arguments::{Key, Models, Verify};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum AirgapVerb {
    /// The same as `kolm verify`
    Verify(Verify),
    /// Close the gap: write ~/.kolm/airgap.env, which every later invocation reads
    Enable(Switching),
    /// Open the gap: remove ~/.kolm/airgap.env
    Disable(Switching),
    /// Say whether the gap is closed, why, and what could still call home
    Status(Status),
    /// Prove offline that every file an artifact loads is here and is the recorded one
    Preflight(Preflight),
    /// Fetch exactly the files an artifact loads, pinned and checked (connected side)
    Prime(Prime),
    /// Pack artifacts, the files they load and the verifier into one bundle
    Export(Export),
    /// Check a bundle and install what it holds
    Import(Import),
    /// List what was imported here, and check each receipt
    Receipts(Receipts),
}

/// `kolm airgap enable`, `kolm airgap disable`
#[derive(Debug, Args)]
pub(in crate::cli) struct Switching {
    #[command(flatten)]
    pub(in crate::cli) key: Key,
    /// As JSON
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

/// `kolm airgap status`
#[derive(Debug, Args)]
pub(in crate::cli) struct Status {
    /// As JSON
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

/// `kolm airgap preflight`
#[derive(Debug, Args)]
pub(in crate::cli) struct Preflight {
    /// The artifacts
    #[arg(required = true, value_name = "ARTIFACT")]
    pub(in crate::cli) artifacts: Vec<PathBuf>,
    #[command(flatten)]
    pub(in crate::cli) models: Models,
    /// As JSON
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

/// `kolm airgap prime`
#[derive(Debug, Args)]
pub(in crate::cli) struct Prime {
    /// The artifacts
    #[arg(required = true, value_name = "ARTIFACT")]
    pub(in crate::cli) artifacts: Vec<PathBuf>,
    /// Hugging Face cache [default: HF_HUB_CACHE, HF_HOME/hub, or ~/.cache/huggingface/hub]
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) cache: Option<PathBuf>,
    #[command(flatten)]
    pub(in crate::cli) key: Key,
    /// As JSON
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

/// `kolm airgap export`
#[derive(Debug, Args)]
pub(in crate::cli) struct Export {
    /// The artifacts
    #[arg(required = true, value_name = "ARTIFACT")]
    pub(in crate::cli) artifacts: Vec<PathBuf>,
    /// Folder that receives the bundle; made if it is not there
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) to: PathBuf,
    /// Largest part: DVD (two fill one), 4GiB-1 (FAT32), 700MiB, or bytes
    #[arg(long, value_name = "SIZE", default_value = "1GiB")]
    pub(in crate::cli) part_size: String,
    /// Folder of an earlier bundle, or of its index; what it holds is left out
    #[arg(long, value_name = "BUNDLE")]
    pub(in crate::cli) since: Option<PathBuf>,
    /// The static verifier [default: kolm-verify beside this binary, if it is there]
    #[arg(long, value_name = "PATH")]
    pub(in crate::cli) verifier: Option<PathBuf>,
    /// Pack no verifier
    #[arg(long, conflicts_with = "verifier")]
    pub(in crate::cli) no_verifier: bool,
    #[command(flatten)]
    pub(in crate::cli) models: Models,
    #[command(flatten)]
    pub(in crate::cli) key: Key,
    /// As JSON
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

/// `kolm airgap import`
#[derive(Debug, Args)]
pub(in crate::cli) struct Import {
    /// Folder of the bundle
    #[arg(value_name = "DIR")]
    pub(in crate::cli) folder: PathBuf,
    /// Hugging Face cache to install into [default: HF_HUB_CACHE, HF_HOME/hub, or ~/.cache/huggingface/hub]
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) cache: Option<PathBuf>,
    #[command(flatten)]
    pub(in crate::cli) key: Key,
    /// No progress on stderr
    #[arg(long, short)]
    pub(in crate::cli) quiet: bool,
    /// As JSON
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

/// `kolm airgap receipts`
#[derive(Debug, Args)]
pub(in crate::cli) struct Receipts {
    #[command(flatten)]
    pub(in crate::cli) key: Key,
    /// As JSON
    #[arg(long)]
    pub(in crate::cli) json: bool,
}
