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
    /// As JSON
    #[arg(long)]
    pub(in crate::cli) json: bool,
}
