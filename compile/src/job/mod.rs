//! The job file: what to compile, from what, and what counts as good enough.
//!
//! A [`Job`] exists only if every value in the file is known, of its type and within its bounds; what the file leaves out has its
//! default. A job reads no corpus and no model: whether those fit is for the stages that open them.

mod decimal;
mod document;
mod error;
mod init;
mod sections;

use std::io::Read;
use std::path::{Path, PathBuf};

pub use decimal::Decimal;
pub use error::JobError;
pub use init::commented;

use kolm_runtime::recall::{VectorType, limits};

use document::Document;
use sections::{METRICS, SECTIONS};

/// A valid job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The job file; relative paths inside it are relative to its folder.
    pub path: PathBuf,
    /// What the artifact is called.
    pub task: TaskSection,
    /// The model to adapt.
    pub base: BaseSection,
    /// Rows to learn from and to be judged by.
    pub corpus: CorpusSection,
    /// Shape of the adapter.
    pub adapter: AdapterSection,
    /// How it learns.
    pub train: TrainSection,
    /// The recall index.
    pub recall: RecallSection,
    /// The eval pack and its gate.
    pub eval: EvalSection,
}

/// `[task]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskSection {
    /// Name, part of the artifact's file name.
    pub name: String,
    /// Version, part of the artifact's file name.
    pub version: String,
    /// What the task is, in words.
    pub description: String,
    /// Prompt template; the base's chat template if absent.
    pub template: Option<String>,
}

/// `[base]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseSection {
    /// Embedded model, repository, or folder.
    pub model: String,
    /// Revision of a repository.
    pub revision: Option<String>,
}

/// `[corpus]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorpusSection {
    /// Parquet files to train on; empty if they come from the command line.
    pub train: Vec<String>,
    /// Parquet files to judge by; empty for a split of the training files.
    pub eval: Vec<String>,
    /// Column with the row's id.
    pub id: Option<String>,
    /// Column with the prompt.
    pub prompt: String,
    /// Column with the completion.
    pub completion: String,
    /// Column that says which split a row belongs to.
    pub split: Option<String>,
    /// Value of the split column for training rows.
    pub train_split: String,
    /// Value of the split column for eval rows.
    pub eval_split: String,
    /// What happens to rows longer than the context.
    pub overlong: Overlong,
    /// What happens to rows that occur before.
    pub duplicates: Duplicates,
    /// What happens to training rows that are also eval rows.
    pub leakage: Leakage,
    /// What happens when a residual identifier is found.
    pub identifiers: Identifiers,
}

/// What happens to rows longer than the context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlong {
    /// They are left out and counted.
    Drop,
    /// Their prompt is cut from its end until they fit; where the completion alone does not, they are left out.
    Truncate,
    /// The compile stops.
    Error,
}

/// What happens to rows that occur before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duplicates {
    /// They are left out and counted.
    Drop,
    /// The compile stops.
    Error,
}

/// What happens to training rows whose prompt equals or nearly equals an eval row's, in a split that was given by column or file.
/// (A split by hash always leaves them out.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leakage {
    /// The compile stops.
    Error,
    /// They are left out of training and counted.
    Drop,
}

/// What happens when a residual identifier is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identifiers {
    /// The compile stops.
    Stop,
    /// The compile goes on; the report's hash is in the plan all the same.
    Allow,
}

/// `[adapter]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterSection {
    /// LoRA rank.
    pub rank: u64,
    /// LoRA alpha.
    pub alpha: u64,
    /// Target modules, sorted.
    pub targets: Vec<String>,
    /// Folder of a PEFT adapter to start from.
    pub init: Option<String>,
}

/// `[train]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrainSection {
    /// Seed of every stream.
    pub seed: u64,
    /// Passes over the training rows.
    pub epochs: u64,
    /// Optimiser steps, instead of epochs.
    pub steps: Option<u64>,
    /// Examples a step.
    pub batch_size: u64,
    /// Examples in flight; `None` is chosen from memory. Never changes a bit of the result.
    pub micro_batch: Option<u64>,
    /// Peak learning rate.
    pub learning_rate: Decimal,
    /// Warm-up steps; `None` is a tenth of all steps.
    pub warmup_steps: Option<u64>,
    /// Decay after the warm-up.
    pub schedule: Schedule,
    /// AdamW's first decay.
    pub beta1: Decimal,
    /// AdamW's second decay.
    pub beta2: Decimal,
    /// AdamW's epsilon.
    pub epsilon: Decimal,
    /// AdamW's weight decay.
    pub weight_decay: Decimal,
    /// Gradient norm limit; 0 for none.
    pub clip_norm: Decimal,
    /// Longest example in tokens.
    pub max_length: u64,
    /// Steps between checkpoints; 0 for none.
    pub checkpoint_every: u64,
}

impl TrainSection {
    /// Optimiser steps for `row_count` training rows: as given, else the epochs' batches (the last one of an epoch may be short).
    pub fn steps_for(&self, row_count: u64) -> u64 {
        self.steps.unwrap_or_else(|| self.epochs.saturating_mul(row_count.div_ceil(self.batch_size)))
    }

    /// Warm-up steps for `step_count` steps: as given, else a tenth, rounded up.
    pub fn warmup_for(&self, step_count: u64) -> u64 {
        self.warmup_steps.unwrap_or_else(|| step_count.div_ceil(10)).min(step_count)
    }
}

/// Decay of the learning rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Down to zero in a straight line.
    Linear,
    /// None.
    Constant,
}

/// `[recall]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecallSection {
    /// Embedded encoder, repository, or folder.
    pub encoder: String,
    /// Revision of a repository.
    pub revision: Option<String>,
    /// Passages for each prompt.
    pub k: u64,
    /// What is done with them.
    pub usage: RecallUse,
    /// What the index's vectors are rounded to.
    pub vectors: VectorType,
    /// Lists that the passages are sorted into, 0 for none; `None` is none up to a million passages, and so many beyond that one is as
    /// long as there are lists.
    pub lists: Option<u64>,
}

impl RecallSection {
    /// Lists for so many passages; none where a search looks at all of them.
    pub fn lists_for(&self, passages: u64) -> Option<u64> {
        let exact = passages <= limits::EXACT_COUNT as u64;
        let lists = self.lists.unwrap_or_else(|| if exact { 0 } else { passages.isqrt().next_power_of_two() });
        Some(lists).filter(|lists| *lists > 0)
    }
}

/// What is done with recalled passages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecallUse {
    /// There is no index.
    Off,
    /// They go with the answer as its sources.
    Cite,
    /// They go into the prompt.
    Context,
}

/// `[eval]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvalSection {
    /// How an answer is judged.
    pub metric: Metric,
    /// The closed label set, in the order given; `None` is the set of the training rows' completions.
    pub labels: Option<Vec<String>>,
    /// Cases in the pack.
    pub cases: u64,
    /// Least K.
    pub gate: Decimal,
    /// Longest answer in tokens.
    pub max_new_tokens: u64,
}

impl EvalSection {
    /// The gate in parts per million.
    pub fn gate_ppm(&self) -> u32 {
        self.gate.parts_per_million().expect("a job's gate is a share of one with at most six decimals")
    }
}

/// How an answer is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Log-likelihood over a closed label set.
    Label,
    /// The same text.
    Exact,
    /// The expected text occurs.
    Contains,
    /// The same JSON value.
    Json,
    /// F1 over tokens.
    TokenF1,
    /// Longest common subsequence.
    RougeL,
}

impl Metric {
    /// The metric of that name.
    pub fn named(name: &str) -> Option<Metric> {
        METRICS.iter().find(|(known, _)| *known == name).map(|(_, metric)| *metric)
    }

    /// The name in job, plan and pack.
    pub fn name(self) -> &'static str {
        METRICS.iter().find(|(_, metric)| *metric == self).map_or("label", |(name, _)| name)
    }
}

impl Job {
    /// Reads and parses the job file at `path`.
    ///
    /// # Errors
    /// [`JobError::NotFound`], [`JobError::Unreadable`], [`JobError::NotText`], [`JobError::TooLong`], and everything [`Job::parse`]
    /// refuses.
    pub fn read(path: &Path) -> Result<Job, JobError> {
        let unreadable = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => JobError::NotFound { path: path.to_owned() },
            _ => JobError::Unreadable { path: path.to_owned(), reason: error.to_string() },
        };
        let file = std::fs::File::open(path).map_err(unreadable)?;
        let (mut bytes, mut len) = (Vec::new(), 0);
        file.metadata().map(|data| len = data.len()).map_err(unreadable)?;
        file.take(JOB_LEN_MAX_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        match std::str::from_utf8(&bytes) {
            Ok(text) => Job::parse(text, path),
            // A long text may have been cut inside its last character.
            Err(error) if error.error_len().is_none() && bytes.len() as u64 > JOB_LEN_MAX_BYTES => {
                Err(JobError::TooLong { path: path.to_owned(), found: len, limit: JOB_LEN_MAX_BYTES })
            }
            Err(error) => Err(JobError::NotText { path: path.to_owned(), offset: error.valid_up_to() }),
        }
    }

    /// Parses the text of the job file that lies at `path`.
    ///
    /// # Errors
    /// [`JobError`] with file and line.
    pub fn parse(text: &str, path: &Path) -> Result<Job, JobError> {
        if text.len() as u64 > JOB_LEN_MAX_BYTES {
            return Err(JobError::TooLong {
                path: path.to_owned(),
                found: text.len() as u64,
                limit: JOB_LEN_MAX_BYTES,
            });
        }
        let mut document = Document::parse(text, path, &SECTIONS)?;
        let mut section = |name| document.section(name, &SECTIONS);
        Ok(Job {
            path: path.to_owned(),
            task: sections::task(section("task")?, path)?,
            base: sections::base(section("base")?)?,
            corpus: sections::corpus(section("corpus")?, path)?,
            adapter: sections::adapter(section("adapter")?)?,
            train: sections::train(section("train")?, path)?,
            recall: sections::recall(section("recall")?)?,
            eval: sections::eval(section("eval")?)?,
        })
    }

    /// Resolves a path of the job file: relative ones start at the job file's folder.
    pub fn resolve(&self, written: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(written)
    }
}

/// A job is a page; a megabyte is a mistake.
const JOB_LEN_MAX_BYTES: u64 = 1 << 20;

#[cfg(test)]
mod tests;
