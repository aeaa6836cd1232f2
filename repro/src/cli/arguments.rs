//! What can be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::golden::nano;

/// Rebuilds artifacts anywhere, and says whether they are the same.
#[derive(Debug, Parser)]
#[command(name = "kolm-repro", version, arg_required_else_help = true, after_help = EXIT_CODES)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) verb: Verb,
    /// Threads to use; changes speed, never bytes [default: all cores, or KOLM_THREADS]
    #[arg(long, global = true, value_name = "N")]
    pub(super) threads: Option<usize>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Compile an artifact again from its own plan and compare it member by member
    Rebuild(Rebuild),
    /// Say where two artifacts that should be one part: input, step, block, operation, tensor, element
    Bisect(Bisect),
    /// Run one training step with every tensor recorded, for a bisection on another machine
    RecordStep(RecordStep),
    /// Make the key that signs rebuild statements
    Keygen {
        /// Where to write the private key; the public key goes to FILE.pub
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Say whether rebuild statements agree
    Compare(Compare),
    /// Say which rebuilders confirm an artifact and which contradict it
    Challenge(Challenge),
    /// Compile one job under many conditions and want one CID, one K and one replay digest
    Matrix(crate::matrix::Arguments),
    /// Say what differs between two artifacts, down to the first tensor element (the same as `kolm diff`)
    Diff(kolm_compile::diff::verb::Arguments),
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
}

impl Verb {
    /// Whether the result is to be JSON. `matrix` and `diff` print their own errors or have no others.
    pub(super) fn json(&self) -> bool {
        match self {
            Self::Rebuild(arguments) => arguments.json,
            Self::Bisect(arguments) => arguments.json,
            Self::Compare(arguments) => arguments.trust.json,
            Self::Challenge(arguments) => arguments.trust.json,
            Self::Diff(arguments) => arguments.json,
            _ => false,
        }
    }
}

/// `kolm-repro rebuild`
#[derive(Debug, Args)]
pub(super) struct Rebuild {
    /// The artifact
    pub(super) artifact: PathBuf,
    #[command(flatten)]
    pub(super) inputs: Inputs,
    /// Write the digests of every block, step by step, to this file (a full trace)
    #[arg(long, value_name = "FILE")]
    pub(super) full_trace: Option<PathBuf>,
    /// Keep the rebuilt members in this folder
    #[arg(long, value_name = "DIR")]
    pub(super) keep: Option<PathBuf>,
    /// Write a signed rebuild statement
    #[arg(long, value_name = "OUT.json", requires = "signing_key")]
    pub(super) statement: Option<PathBuf>,
    /// Key that signs the statement, from `kolm-repro keygen`
    #[arg(long, value_name = "FILE", requires = "statement")]
    pub(super) signing_key: Option<PathBuf>,
    /// No progress on stderr
    #[arg(long, short)]
    pub(super) quiet: bool,
    /// As JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Where the recorded inputs are.
#[derive(Debug, Args)]
pub(super) struct Inputs {
    /// Every corpus file, in any order
    #[arg(long, value_name = "PARQUET", num_args = 1..)]
    pub(super) corpus: Vec<PathBuf>,
    /// Folder of the base [default: this binary, then the Hugging Face cache]
    #[arg(long, value_name = "DIR")]
    pub(super) base: Option<PathBuf>,
    /// Folder of the recall encoder [default: this binary, then the Hugging Face cache]
    #[arg(long, value_name = "DIR")]
    pub(super) encoder: Option<PathBuf>,
    /// Hugging Face cache [default: HF_HUB_CACHE, HF_HOME/hub, or ~/.cache/huggingface/hub]
    #[arg(long, value_name = "DIR")]
    pub(super) cache: Option<PathBuf>,
    /// PEFT adapter folder that the training started from
    #[arg(long, value_name = "DIR")]
    pub(super) init_adapter: Option<PathBuf>,
    /// Examples in flight: auto, all, or a number; changes memory and speed, never bytes
    #[arg(long, value_name = "N", default_value = "auto")]
    pub(super) micro_batch: String,
}

/// `kolm-repro bisect`
#[derive(Debug, Args)]
pub(super) struct Bisect {
    /// Artifact or trace
    pub(super) a: PathBuf,
    /// The other artifact or trace [default: a run of A's plan on this machine]
    pub(super) b: Option<PathBuf>,
    #[command(flatten)]
    pub(super) inputs: Inputs,
    /// Corpus files of B, where they are not those of A
    #[arg(long, value_name = "PARQUET", num_args = 1..)]
    pub(super) corpus_b: Vec<PathBuf>,
    /// Folder of B's base, where it is not that of A
    #[arg(long, value_name = "DIR")]
    pub(super) base_b: Option<PathBuf>,
    /// Folder of B's encoder, where it is not that of A
    #[arg(long, value_name = "DIR")]
    pub(super) encoder_b: Option<PathBuf>,
    /// The `kolm-repro` that made A, where it is not this one
    #[arg(long, value_name = "PROGRAM")]
    pub(super) build_a: Option<PathBuf>,
    /// The `kolm-repro` that made B, where it is not this one
    #[arg(long, value_name = "PROGRAM")]
    pub(super) build_b: Option<PathBuf>,
    /// The differing step of A, recorded on its machine
    #[arg(long, value_name = "FILE", conflicts_with = "build_a")]
    pub(super) recorded_a: Option<PathBuf>,
    /// The differing step of B, recorded on its machine
    #[arg(long, value_name = "FILE", conflicts_with = "build_b")]
    pub(super) recorded_b: Option<PathBuf>,
    /// Start from the nearest checkpoint in this folder, and leave one there [default: a temporary folder]
    #[arg(long, value_name = "DIR")]
    pub(super) checkpoints: Option<PathBuf>,
    /// No progress on stderr
    #[arg(long, short)]
    pub(super) quiet: bool,
    /// As JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// `kolm-repro record-step`
#[derive(Debug, Args)]
pub(super) struct RecordStep {
    /// The artifact whose plan is run
    pub(super) artifact: PathBuf,
    #[command(flatten)]
    pub(super) inputs: Inputs,
    /// The step, counted from 1
    #[arg(long, value_name = "N")]
    pub(super) step: u64,
    /// File that receives the record; it holds token ids and activations of training rows
    #[arg(long, value_name = "FILE")]
    pub(super) out: PathBuf,
    /// Start from the nearest checkpoint in this folder, and leave one there [default: a temporary folder]
    #[arg(long, value_name = "DIR")]
    pub(super) checkpoints: Option<PathBuf>,
    /// No progress on stderr
    #[arg(long, short)]
    pub(super) quiet: bool,
}

/// `kolm-repro compare`
#[derive(Debug, Args)]
pub(super) struct Compare {
    /// Signed rebuild statements
    #[arg(required = true, value_name = "STATEMENT")]
    pub(super) statements: Vec<PathBuf>,
    #[command(flatten)]
    pub(super) trust: Trust,
}

/// `kolm-repro challenge`
#[derive(Debug, Args)]
pub(super) struct Challenge {
    /// The artifact
    pub(super) artifact: PathBuf,
    /// Signed rebuild statements
    #[arg(required = true, value_name = "STATEMENT")]
    pub(super) statements: Vec<PathBuf>,
    #[command(flatten)]
    pub(super) trust: Trust,
}

/// Whom to believe.
#[derive(Debug, Args)]
pub(super) struct Trust {
    /// Public key that counts; without any, every statement counts
    #[arg(long, value_name = "KEY.pub", num_args = 1..)]
    pub(super) trusted: Vec<PathBuf>,
    /// Distinct trusted keys that must agree
    #[arg(long, value_name = "N")]
    pub(super) quorum: Option<usize>,
    /// As JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum GoldenVerb {
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

const EXIT_CODES: &str = "Exit codes: 0 done and identical, 1 differs or refused, 2 usage, 3 gate not met, 4 missing input, 5 refused by air-gap mode, 6 I/O";
