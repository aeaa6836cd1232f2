//! `plan.json`: everything that decides the bytes of the artifact, every default written out.
//!
//! It names no host path, date, thread count or build of the tool, so two machines that compile the same inputs write the
//! same plan. Numbers that are not whole are decimal strings.

mod check;

use serde::{Deserialize, Serialize};

use super::{ArtifactError, FileIdentity, Member, canonical, parse_canonical};
use crate::recall::VectorType;

/// The resolved plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// `kolm-plan-1`.
    pub format: String,
    /// Numeric profile: `num-1`.
    pub numerics: String,
    /// Seed of every random stream, a decimal string of a u64.
    pub seed: String,
    /// Prompt template.
    pub task: TemplatePlan,
    /// Base model.
    pub base: BasePlan,
    /// Corpus, by hash.
    pub corpus: CorpusPlan,
    /// How the eval cases were set apart.
    pub split: SplitPlan,
    /// Adapter shape.
    pub adapter: AdapterPlan,
    /// Hyper-parameters.
    pub train: TrainPlan,
    /// Recall index; none when recall is off.
    pub recall: Option<RecallPlan>,
    /// Eval pack and gate.
    pub eval: EvalPlan,
}

/// Prompt template and where it came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TemplatePlan {
    /// The template's text.
    pub template: String,
    /// Job or base.
    pub template_source: TemplateSource,
}

/// Who wrote the prompt template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TemplateSource {
    /// The job file.
    Job,
    /// The base's own chat template.
    Base,
}

/// Base model: identity, shape and files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BasePlan {
    /// Repository, `OWNER/NAME`.
    pub repo: String,
    /// Full commit hash.
    pub revision: String,
    /// Stored type of the weights.
    pub dtype: WeightType,
    /// Decoder family.
    pub architecture: Architecture,
    /// Every file that the runtime loads, sorted by path.
    pub files: Vec<FileIdentity>,
    /// What a quantised base was made from; absent for any other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<BaseSource>,
}

/// The model that a quantised base was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaseSource {
    /// Repository.
    pub repo: String,
    /// Full commit hash.
    pub revision: String,
    /// Every file that a runtime loads of it, sorted by path.
    pub files: Vec<FileIdentity>,
}

/// Stored type of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightType {
    /// bfloat16.
    Bf16,
    /// IEEE half.
    F16,
    /// IEEE single.
    F32,
    /// Integers of eight bits, by `kolm base quantize`.
    Int8,
    /// Integers of four bits, by `kolm base quantize`.
    Int4,
    /// Blocks of a GGUF file.
    #[serde(rename = "q8_0")]
    Q8_0,
    /// Blocks of a GGUF file.
    #[serde(rename = "q4_0")]
    Q4_0,
    /// Blocks of a GGUF file.
    #[serde(rename = "q5_0")]
    Q5_0,
    /// Blocks of a GGUF file.
    #[serde(rename = "q4_k")]
    Q4K,
    /// Blocks of a GGUF file.
    #[serde(rename = "q5_k")]
    Q5K,
    /// Blocks of a GGUF file.
    #[serde(rename = "q6_k")]
    Q6K,
}

impl WeightType {
    /// The name in plan and manifest.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
            Self::F32 => "f32",
            Self::Int8 => "int8",
            Self::Int4 => "int4",
            Self::Q8_0 => "q8_0",
            Self::Q4_0 => "q4_0",
            Self::Q5_0 => "q5_0",
            Self::Q4K => "q4_k",
            Self::Q5K => "q5_k",
            Self::Q6K => "q6_k",
        }
    }
}

/// Decoder family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    /// Qwen2 and Qwen2.5.
    Qwen2,
    /// Llama.
    Llama,
}

/// The corpus by hash, and what was done to its rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorpusPlan {
    /// Parquet files, in job order.
    pub files: Vec<CorpusFile>,
    /// Column names.
    pub columns: Columns,
    /// What happens to rows longer than the context.
    pub overlong: Overlong,
    /// What happens to duplicate rows.
    pub duplicates: Duplicates,
    /// Row counts.
    pub rows: Rows,
    /// SHA-256 of the training split.
    pub train_sha256: String,
    /// SHA-256 of the eval split.
    pub eval_sha256: String,
    /// SHA-256 of the residual-identifier report.
    pub scan_sha256: String,
}

/// One corpus file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorpusFile {
    /// What the file is for.
    pub role: CorpusRole,
    /// SHA-256 of the file.
    pub sha256: String,
    /// Length in bytes.
    pub size: u64,
    /// Rows in the file.
    pub rows: u64,
}

/// What a corpus file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CorpusRole {
    /// Training rows, and eval rows if the split is by hash or column.
    Train,
    /// Eval rows.
    Eval,
}

/// Column names in the parquet files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Columns {
    /// Row id, if there is one.
    pub id: Option<String>,
    /// Prompt.
    pub prompt: String,
    /// Completion.
    pub completion: String,
    /// Split, if there is one.
    pub split: Option<String>,
}

/// What happens to rows longer than the context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlong {
    /// Left out and counted.
    Drop,
    /// Cut.
    Truncate,
    /// The compile stops.
    Error,
}

/// What happens to duplicate rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Duplicates {
    /// Left out and counted.
    Drop,
    /// The compile stops.
    Error,
}

/// Row counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rows {
    /// Read from the files.
    pub read: u64,
    /// Trained on.
    pub train: u64,
    /// Set apart for the eval pack.
    pub eval: u64,
    /// Left out.
    pub dropped: u64,
}

/// How the eval cases were set apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitPlan {
    /// By hash of the row, a column, or a file.
    pub method: SplitMethod,
    /// Cases asked for.
    pub eval_cases: u64,
    /// Value of the split column for training rows; there only with the method `column`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train: Option<String>,
    /// Value of the split column for eval rows; there only with the method `column`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eval: Option<String>,
}

/// How the eval cases were set apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SplitMethod {
    /// Hash of the row.
    Hash,
    /// A column of the corpus.
    Column,
    /// A file of its own.
    File,
}

/// Adapter shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdapterPlan {
    /// LoRA rank.
    pub rank: u64,
    /// LoRA alpha.
    pub alpha: u64,
    /// Target modules, sorted.
    pub targets: Vec<String>,
    /// SHA-256 of the adapter the training started from; none when it started afresh.
    pub init_sha256: Option<String>,
}

/// Hyper-parameters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainPlan {
    /// Optimiser steps.
    pub steps: u64,
    /// Passes over the training rows; a decimal string.
    pub epochs: String,
    /// Examples a step.
    pub batch_size: u64,
    /// Peak learning rate; a decimal string.
    pub learning_rate: String,
    /// Steps of linear warm-up.
    pub warmup_steps: u64,
    /// Decay after the warm-up.
    pub schedule: Schedule,
    /// AdamW beta 1; a decimal string.
    pub beta1: String,
    /// AdamW beta 2; a decimal string.
    pub beta2: String,
    /// AdamW epsilon; a decimal string.
    pub epsilon: String,
    /// AdamW weight decay; a decimal string.
    pub weight_decay: String,
    /// Gradient norm limit; a decimal string, `0` for none.
    pub clip_norm: String,
    /// Longest example in tokens.
    pub max_length: u64,
}

/// Decay of the learning rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Down to zero in a straight line.
    Linear,
    /// None.
    Constant,
}

/// Recall index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecallPlan {
    /// Encoder model.
    pub encoder: EncoderPlan,
    /// Passages given for each prompt.
    pub k: u64,
    /// What is done with them.
    #[serde(rename = "use")]
    pub usage: RecallUse,
    /// Passages in the index.
    pub passages: u64,
    /// What the index's vectors are rounded to; absent where they stay f32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vectors: Option<VectorType>,
    /// Lists that the passages are sorted into; absent where a search looks at all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lists: Option<u64>,
}

/// Encoder model: identity, pooling and files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncoderPlan {
    /// Repository, `OWNER/NAME`.
    pub repo: String,
    /// Full commit hash.
    pub revision: String,
    /// Stored type of the weights.
    pub dtype: WeightType,
    /// How token vectors become one.
    pub pooling: Pooling,
    /// Every file that the runtime loads, sorted by path.
    pub files: Vec<FileIdentity>,
}

/// How token vectors become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// The first token's.
    Cls,
    /// Their mean.
    Mean,
}

/// What is done with recalled passages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecallUse {
    /// They go into the prompt.
    Context,
    /// They go with the answer as its sources.
    Cite,
}

/// Eval pack and gate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvalPlan {
    /// `label`, `exact`, `contains`, `json`, `token_f1` or `rouge_l`.
    pub metric: String,
    /// The closed label set; only with `label`.
    pub labels: Option<Vec<String>>,
    /// Cases in the pack.
    pub cases: u64,
    /// Least K, six decimals.
    pub gate: String,
    /// Longest answer in tokens.
    pub max_new_tokens: u64,
}

impl Plan {
    /// The value of `format`.
    pub const FORMAT: &'static str = "kolm-plan-1";
    /// The value of `numerics`.
    pub const NUMERICS: &'static str = "num-1";

    /// Reads canonical bytes.
    ///
    /// # Errors
    /// Any JSON error, `Field` for a value outside its rules.
    pub fn parse(bytes: &[u8]) -> Result<Self, ArtifactError> {
        let plan: Self = parse_canonical(MEMBER, bytes)?;
        plan.check()?;
        Ok(plan)
    }

    /// Writes canonical bytes.
    ///
    /// # Errors
    /// `Field` for a value outside its rules.
    pub fn encode(&self) -> Result<Vec<u8>, ArtifactError> {
        self.check()?;
        canonical(self)
    }
}

const MEMBER: &str = Member::Plan.name();
