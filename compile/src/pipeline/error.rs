//! Everything that can stop a compile, and the exit code it stops with.

use std::path::PathBuf;

use kolm_runtime::artifact::ArtifactError;
use kolm_runtime::bundle::BundleError;
use kolm_runtime::eval::EvalError;
use kolm_runtime::model::ModelError;
use kolm_runtime::recall::RecallError;
use thiserror::Error;

use super::fetch::FetchError;
use super::size::Size;
use crate::corpus::CorpusError;
use crate::job::JobError;
use crate::train::TrainError;

/// Why no artifact was written.
#[derive(Debug, Error)]
pub enum CompileError {
    /// The job file.
    #[error(transparent)]
    Job(#[from] JobError),
    /// The corpus.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    /// Base, encoder, tokenizer, template or starting adapter.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The base is absent and could not be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// Training.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// The recall index.
    #[error(transparent)]
    Recall(#[from] RecallError),
    /// The eval pack or its replay.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// Key, audit log, or the finished artifact.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// A row is longer than the context.
    #[error("row {row} (id {id:?}) has {found} tokens with its prompt, the context holds {limit}")]
    Overlong {
        /// Name of the row.
        id: String,
        /// Its row number in its file, from 0.
        row: u64,
        /// Tokens found.
        found: usize,
        /// `train.max_length`, or the base's context if that is shorter.
        limit: usize,
    },
    /// Nothing is left to train on or to grade.
    #[error("no {split} row is left after {dropped} were dropped")]
    NothingLeft {
        /// `training` or `eval`.
        split: &'static str,
        /// Rows dropped as too long.
        dropped: u64,
    },
    /// A target module that the base does not have.
    #[error("adapter target {found:?} is not a module of {base}, expected some of {expected}")]
    Target {
        /// The module named.
        found: String,
        /// The base.
        base: String,
        /// What it has.
        expected: String,
    },
    /// The base names no end token, so no completion could end.
    #[error("{base} names no end token (eos_token_id) in config.json or generation_config.json")]
    NoEndToken {
        /// The base.
        base: String,
    },
    /// The base has no chat template and the job gives none.
    #[error("{base} has no chat template and the job gives no [task] template")]
    NoTemplate {
        /// The base.
        base: String,
    },
    /// The starting adapter is not shaped as the job says.
    #[error("the starting adapter has {what} {found}, the job says {expected}")]
    InitialAdapter {
        /// `rank`, `alpha` or `targets`.
        what: &'static str,
        /// In the adapter.
        found: String,
        /// In the job.
        expected: String,
    },
    /// The finished pack or index holds what looks like a personal identifier.
    #[error("{place} holds what looks like {kind}: {excerpt}")]
    ResidualIdentifier {
        /// Which case or passage.
        place: String,
        /// Kind of identifier.
        kind: String,
        /// Masked excerpt.
        excerpt: String,
    },
    /// The splits are not the ones that a plan records.
    #[error(
        "the splits are not the recorded ones: train {} recorded {}, eval {} recorded {}", train[0], train[1], eval[0], eval[1]
    )]
    Split {
        /// Digest of the training rows, found and recorded.
        train: [String; 2],
        /// Digest of the eval rows, found and recorded.
        eval: [String; 2],
    },
    /// The job is not the next version of the artifact it is to replace.
    #[error("{what} is {found:?}, expected {expected}")]
    NotARefresh {
        /// Key of the job.
        what: &'static str,
        /// In the job.
        found: String,
        /// In the artifact.
        expected: String,
    },
    /// More than the corpus moved since the artifact that is to be replaced.
    #[error(
        "{key} of the plan is {found}, expected {expected} as in the artifact to be replaced: only the corpus may move"
    )]
    PlanMoved {
        /// Dotted key of the plan.
        key: String,
        /// Its value now.
        found: String,
        /// Its value in the artifact.
        expected: String,
    },
    /// Old and new artifact could not be compared.
    #[error(transparent)]
    Diff(#[from] crate::diff::DiffError),
    /// K is below the gate.
    #[error("K={k} is below the gate {gate}; nothing was written")]
    BelowGate {
        /// K-score.
        k: String,
        /// The job's gate.
        gate: String,
    },
    /// The output file is there already.
    #[error("{} is there already and holds another artifact ({found})", path.display())]
    OutputExists {
        /// The file.
        path: PathBuf,
        /// Its CID, or what it is instead.
        found: String,
    },
    /// A value on the command line or in the job cannot be used.
    #[error("{what} is {found:?}, expected {expected}")]
    Value {
        /// Flag or variable.
        what: &'static str,
        /// What was given.
        found: String,
        /// What it must be.
        expected: &'static str,
    },
    /// The memory given does not hold the training.
    #[error("training needs {needed} {with}, --memory gives {given}")]
    Memory {
        /// The least that does.
        needed: Size,
        /// `--memory`.
        given: Size,
        /// With what in memory.
        with: String,
    },
    /// A bundle is wrong, incomplete, or could not be read or written.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// A verifier that would need something of the machine it is brought to.
    #[error("{} is {found}, expected a static program", path.display())]
    NotStatic {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        found: &'static str,
    },
    /// An import would replace an artifact of the same name and version.
    #[error("{} is there already with SHA-256 {found}, the bundle brings {expected}", path.display())]
    Installed {
        /// The file.
        path: PathBuf,
        /// Hash of what is there.
        found: String,
        /// Hash of what the bundle brings.
        expected: String,
    },
    /// A file or folder could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// `read`, `create`, …
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}
