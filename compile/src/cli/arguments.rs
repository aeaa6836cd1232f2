//! What can be typed: the whole command line of `kolm`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Fine-tuned models that anyone can rebuild to the same bits.
#[derive(Debug, Parser)]
#[command(name = "kolm", version, arg_required_else_help = true, subcommand_required = true, after_help = EXIT_CODES)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) verb: Verb,
    /// Threads to use; changes speed, never bytes [default: all cores, or KOLM_THREADS]
    #[arg(long, global = true, value_name = "N")]
    pub(super) threads: Option<usize>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Write a commented job file
    Init(Init),
    /// Fine-tune a base on a corpus and write one signed artifact
    Compile(Compile),
    /// Compile the next version of an artifact on a newer corpus, and say what moved
    Refresh(Refresh),
    /// Show what an artifact says about itself
    Inspect(Inspect),
    /// Run the five checks, the last of which replays the embedded eval pack
    Verify(Verify),
    /// Prove that this binary refuses broken artifacts and computes the golden bits on this machine
    Selftest(Selftest),
    /// Answer one prompt with an artifact
    Run(Run),
    /// Say what differs between two artifacts, down to the first tensor element
    Diff(crate::diff::verb::Arguments),
    /// Replay an artifact and decide whether it may be used
    Gate(Gate),
    /// The operator's keys
    #[command(subcommand)]
    Key(super::key::Verb),
    /// The audit log
    #[command(subcommand)]
    Audit(super::audit::Verb),
    /// Bases in smaller types
    #[command(subcommand)]
    Base(super::base::Verb),
    /// Checks on corpora
    #[command(subcommand)]
    Corpus(CorpusVerb),
    /// Verbs of the bounded side
    #[command(subcommand)]
    Airgap(super::airgap::arguments::AirgapVerb),
}

/// `kolm init`
#[derive(Debug, Args)]
pub(super) struct Init {
    /// Where to write the job file
    #[arg(default_value = "kolm.toml")]
    pub(super) path: PathBuf,
    /// Name of the artifact [default: the folder's name]
    #[arg(long)]
    pub(super) name: Option<String>,
}

/// `kolm compile`
#[derive(Debug, Args)]
pub(super) struct Compile {
    /// The job file
    pub(super) job: PathBuf,
    /// Folder that receives NAME-VERSION.kolm
    #[arg(long, value_name = "DIR", required_unless_present = "plan")]
    pub(super) out: Option<PathBuf>,
    /// Corpus files in place of those the job trains on
    #[arg(long, value_name = "PARQUET", num_args = 1..)]
    pub(super) corpus: Vec<PathBuf>,
    /// Base in place of the job's: repository, folder, or embedded name
    #[arg(long, value_name = "MODEL")]
    pub(super) base: Option<String>,
    /// Recall encoder in place of the job's
    #[arg(long, value_name = "MODEL")]
    pub(super) encoder: Option<String>,
    /// PEFT adapter folder to start from
    #[arg(long, value_name = "DIR")]
    pub(super) init_adapter: Option<PathBuf>,
    /// Date of the artifact, 2026-11-23 or 2026-11-23T10:00:00Z [default: SOURCE_DATE_EPOCH, or now]
    #[arg(long, value_name = "DATE")]
    pub(super) created: Option<String>,
    /// Examples in flight: auto, all, or a number; changes memory and speed, never bytes
    #[arg(long, value_name = "N", default_value = "auto")]
    pub(super) micro_batch: String,
    /// Memory that kolm may take, such as 3GB or 2.5GiB: decides how many examples are in flight and whether activations are kept
    /// or computed again; changes memory and speed, never bytes [default: what kolm holds and half of what is free]
    #[arg(long, value_name = "SIZE")]
    pub(super) memory: Option<String>,
    /// Go as far as the first training step, print what the training will need, and stop; writes no artifact and needs
    /// no key (a model that is absent is fetched)
    #[arg(long, conflicts_with = "trace")]
    pub(super) plan: bool,
    /// How much of the training is traced: `full` also writes NAME-VERSION.trace.jsonl with the digests of every block,
    /// starts at step 1 and keeps no checkpoint; changes no byte of the artifact
    #[arg(long, value_enum, default_value_t = Trace::Steps)]
    pub(super) trace: Trace,
    /// Write the artifact even when K is below the gate; the manifest says so
    #[arg(long)]
    pub(super) allow_below_gate: bool,
    /// Replace another artifact of the same name and version
    #[arg(long)]
    pub(super) force: bool,
    #[command(flatten)]
    pub(super) key: Key,
    /// No progress on stderr
    #[arg(long, short)]
    pub(super) quiet: bool,
    /// Report as JSON on stdout
    #[arg(long)]
    pub(super) json: bool,
}

/// How much of the training is traced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Trace {
    /// Loss, gradient and parameters of each step, as the artifact holds them.
    Steps,
    /// Also what each block computed.
    Full,
}

/// `kolm refresh`
#[derive(Debug, Args)]
pub(super) struct Refresh {
    /// The artifact to be replaced
    #[arg(long, value_name = "OLD.kolm")]
    pub(super) previous: PathBuf,
    #[command(flatten)]
    pub(super) compile: Compile,
}

/// Where the operator's key is.
#[derive(Debug, Args)]
pub(super) struct Key {
    /// Operator key file, mode 0600 [default: KOLM_KEY_FILE, CREDENTIALS_DIRECTORY/kolm.key, or ~/.kolm/keys/operator.key]
    #[arg(long, value_name = "FILE")]
    pub(super) key_file: Option<PathBuf>,
    /// Read the operator key from this open file descriptor
    #[arg(long, value_name = "N", conflicts_with = "key_file")]
    pub(super) key_fd: Option<u32>,
}

/// `kolm inspect`
#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// The artifact
    pub(super) artifact: PathBuf,
    /// As JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// `kolm verify`, `kolm airgap verify`
#[derive(Debug, Args)]
pub(super) struct Verify {
    /// The artifact; with --all a folder
    #[arg(required_unless_present = "all")]
    pub(super) artifact: Option<PathBuf>,
    /// Every artifact of a folder [default: ~/.kolm/artifacts]
    #[arg(long)]
    pub(super) all: bool,
    #[command(flatten)]
    pub(super) models: Models,
    #[command(flatten)]
    pub(super) key: Key,
    /// Refuse an artifact that was written below its gate
    #[arg(long)]
    pub(super) gate: bool,
    /// Refuse an artifact that was made longer ago, such as 180d
    #[arg(long, value_name = "DAYS")]
    pub(super) max_age: Option<String>,
    /// Accept an older version than was accepted here before; the log says so
    #[arg(long)]
    pub(super) allow_rollback: bool,
    /// Leave out the replay of the eval pack
    #[arg(long)]
    pub(super) no_replay: bool,
    /// As JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Where base and encoder are looked for.
#[derive(Debug, Args)]
pub(super) struct Models {
    /// Folder of the base, for one that is not in the cache
    #[arg(long, value_name = "DIR")]
    pub(super) base: Option<PathBuf>,
    /// Folder of the recall encoder, for one that is not in the cache
    #[arg(long, value_name = "DIR")]
    pub(super) encoder: Option<PathBuf>,
    /// Hugging Face cache [default: HF_HUB_CACHE, HF_HOME/hub, or ~/.cache/huggingface/hub]
    #[arg(long, value_name = "DIR")]
    pub(super) cache: Option<PathBuf>,
}

/// `kolm run`
#[derive(Debug, Args)]
pub(super) struct Run {
    /// The artifact
    pub(super) artifact: PathBuf,
    /// The text; stdin, one text a line, when left out
    pub(super) prompt: Option<String>,
    /// Refuse an artifact that was made longer ago, such as 180d
    #[arg(long, value_name = "DAYS")]
    pub(super) max_age: Option<String>,
    /// Accept an older version than was accepted here before; the log says so
    #[arg(long)]
    pub(super) allow_rollback: bool,
    #[command(flatten)]
    pub(super) models: Models,
    #[command(flatten)]
    pub(super) key: Key,
    /// One JSON object a line
    #[arg(long)]
    pub(super) json: bool,
}

/// `kolm gate`
#[derive(Debug, Args)]
pub(super) struct Gate {
    /// The artifact
    pub(super) artifact: PathBuf,
    /// Least K, a decimal of at most six places [default: the gate in the artifact's plan]
    #[arg(long, value_name = "K")]
    pub(super) min_k: Option<String>,
    /// Artifact to compare with
    #[arg(long, value_name = "OLD.kolm")]
    pub(super) baseline: Option<PathBuf>,
    /// Most cases that may be right in the baseline and wrong now
    #[arg(long, value_name = "N", requires = "baseline")]
    pub(super) max_regressions: Option<usize>,
    /// Most that K over the common cases may fall, a decimal of at most six places
    #[arg(long, value_name = "K", requires = "baseline")]
    pub(super) max_drop: Option<String>,
    /// How to report
    #[arg(long, value_enum, default_value = "text")]
    pub(super) format: crate::gate::Format,
    #[command(flatten)]
    pub(super) models: Models,
    #[command(flatten)]
    pub(super) key: Key,
}

#[derive(Debug, Subcommand)]
pub(super) enum CorpusVerb {
    /// Check, scan and split a job's corpus, without training; keeps no text in memory
    Check(Check),
    /// Search parquet files for residual personal identifiers
    Scan(Scan),
    /// Replace personal identifiers in a parquet file
    Deidentify(Deidentify),
}

/// `kolm corpus check`
#[derive(Debug, Args)]
pub(super) struct Check {
    /// The job file
    pub(super) job: PathBuf,
    /// Corpus files in place of those the job trains on
    #[arg(long, value_name = "PARQUET", num_args = 1..)]
    pub(super) corpus: Vec<PathBuf>,
    /// Count the tokens too, as the job's base reads the rows; a base that is not on this machine is fetched
    #[arg(long)]
    pub(super) tokens: bool,
    /// As JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// `kolm corpus scan`
#[derive(Debug, Args)]
pub(super) struct Scan {
    /// Parquet files
    #[arg(required = true, value_name = "PARQUET")]
    pub(super) files: Vec<PathBuf>,
    /// Columns to search [default: every text column]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(super) columns: Vec<String>,
    /// Findings listed per kind
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(super) show: usize,
    /// As JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// `kolm selftest`
#[derive(Debug, Args)]
pub(super) struct Selftest {
    /// As JSON, every trial by name
    #[arg(long)]
    pub(super) json: bool,
}

/// `kolm corpus deidentify`
#[derive(Debug, Args)]
pub(super) struct Deidentify {
    /// Parquet file to read
    pub(super) input: PathBuf,
    /// Parquet file to write
    #[arg(long, value_name = "PARQUET")]
    pub(super) out: PathBuf,
    /// Columns to change [default: every text column]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(super) columns: Vec<String>,
    /// Plain masks (PHONE) in place of keyed pseudonyms (PHONE-3f9a1c20), both in square brackets
    #[arg(long)]
    pub(super) mask: bool,
    #[command(flatten)]
    pub(super) key: Key,
    /// As JSON
    #[arg(long)]
    pub(super) json: bool,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 checked and refused, 2 usage, 3 gate not met, 4 missing input, 5 refused by air-gap mode, 6 I/O";
