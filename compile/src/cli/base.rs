//! `kolm base`: what can be done to a base before it is trained on.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use kolm_runtime::model::{Coding, Quantization};

use super::environment::Environment;
use crate::pipeline::CompileError;
use crate::pipeline::{Lookup, locate};
use crate::quantize::quantize;

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Write a base with its weights as integers of eight or four bits
    Quantize(Quantize),
}

/// `kolm base quantize`
#[derive(Debug, Args)]
pub(super) struct Quantize {
    /// The base: repository, folder, or embedded name
    #[arg(long, value_name = "BASE")]
    from: String,
    /// Revision of a repository
    #[arg(long, value_name = "REVISION")]
    revision: Option<String>,
    /// Folder to write, which must not exist
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Integers of the linear layers; embedding and head take int8
    #[arg(long = "type", value_enum)]
    kind: Kind,
    /// Weights that share one scale: 32, 64 or 128
    #[arg(long, value_name = "N", default_value_t = 64)]
    group: usize,
    /// Report as JSON on stdout
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    Int8,
    Int4,
}

pub(super) fn run(verb: &Verb, environment: &Environment) -> Result<(), CompileError> {
    let Verb::Quantize(arguments) = verb;
    if !Quantization::GROUPS.contains(&arguments.group) {
        let found = arguments.group.to_string();
        return Err(CompileError::Value { what: "--group", found, expected: "32, 64 or 128" });
    }
    let source = locate(Lookup {
        model: &arguments.from,
        revision: arguments.revision.as_deref(),
        folder: Path::new(""),
        cache: &environment.hub_cache,
        endpoint: environment.hub_endpoint.as_deref(),
        offline: environment.offline.as_ref(),
    })?;
    let coding = match arguments.kind {
        Kind::Int8 => Coding::Int8,
        Kind::Int4 => Coding::Int4,
    };
    let report = quantize(&source, &arguments.to, coding, arguments.group)?;
    if arguments.json {
        return super::print_json(&report);
    }
    let size = |files: &[kolm_runtime::model::FileIdentity]| files.iter().map(|file| file.size).sum::<u64>();
    let mut text = format!(
        "{}  {} in groups of {}, {} bytes of {}\n",
        report.folder.display(),
        report.coding,
        report.group,
        size(&report.files),
        size(&report.source.files)
    );
    for (of, files) in [("written", &report.files), ("source", &report.source.files)] {
        for file in files {
            text.push_str(&format!("{of:7}  {}  {}\n", file.sha256, file.path));
        }
    }
    super::print(&text)
}
