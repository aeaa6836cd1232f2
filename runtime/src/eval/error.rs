//! Everything that can be wrong with a pack, a replay file, or a replay.

use thiserror::Error;

use crate::model::ModelError;

/// What stopped reading a pack or replaying it; lines count from 1.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EvalError {
    /// A pack without cases, or a file without bytes.
    #[error("eval pack holds no case")]
    EmptyPack,
    /// The file does not end in a line feed.
    #[error("{member} does not end in a line feed")]
    TornLine {
        /// Path of the member.
        member: &'static str,
    },
    /// A count or length over its limit.
    #[error("{what} is {found} long, limit {limit}")]
    TooLarge {
        /// What was counted.
        what: &'static str,
        /// Found count.
        found: usize,
        /// Largest accepted count.
        limit: usize,
    },
    /// A line is no JSON object of the wanted fields.
    #[error("{member} line {line}: {detail}")]
    Malformed {
        /// Path of the member.
        member: &'static str,
        /// Line number.
        line: usize,
        /// What the JSON reader says.
        detail: String,
    },
    /// A line means something, but is not written in the one canonical way.
    #[error("{member} line {line} is not canonical JSON")]
    NotCanonical {
        /// Path of the member.
        member: &'static str,
        /// Line number.
        line: usize,
    },
    /// A value could not be written.
    #[error("cannot encode a line: {detail}")]
    Encode {
        /// What the JSON writer says.
        detail: String,
    },
    /// The first line names another format.
    #[error("eval pack has format {found:?}, expected {expected:?}")]
    UnknownFormat {
        /// Found format.
        found: String,
        /// Format of this version.
        expected: &'static str,
    },
    /// No such metric.
    #[error("unknown metric {found:?}, expected exact, label, contains, json, token_f1 or rouge_l")]
    UnknownMetric {
        /// Found name.
        found: String,
    },
    /// A case without an id.
    #[error("case {case}: empty id")]
    EmptyId {
        /// Position of the case, from 1.
        case: usize,
    },
    /// Two cases with one id.
    #[error("case {case}: duplicate id {id:?}")]
    DuplicateId {
        /// Position of the second case, from 1.
        case: usize,
        /// The id.
        id: String,
    },
    /// A case without a prompt.
    #[error("case {id:?}: empty prompt")]
    EmptyPrompt {
        /// Id of the case.
        id: String,
    },
    /// An expected answer that is blank, or holds no word where words are compared.
    #[error("case {id:?}: empty expected answer")]
    EmptyExpected {
        /// Id of the case.
        id: String,
    },
    /// The metric is `json` and the expected answer is not.
    #[error("case {id:?}: expected answer is not JSON")]
    ExpectedNotJson {
        /// Id of the case.
        id: String,
    },
    /// A case that would count for nothing.
    #[error("case {id:?}: weight 0, expected 1 to 1000000")]
    ZeroWeight {
        /// Id of the case.
        id: String,
    },
    /// A case heavier than allowed.
    #[error("case {id:?}: weight {found}, expected 1 to 1000000")]
    Overweight {
        /// Id of the case.
        id: String,
        /// Found weight.
        found: u64,
    },
    /// The expected answer of a `label` case is not one of the labels.
    #[error("case {id:?}: label {expected:?} is outside the label set")]
    LabelOutsideSet {
        /// Id of the case.
        id: String,
        /// The expected label.
        expected: String,
    },
    /// `label` cases without a label set of at least two.
    #[error("label cases need at least 2 labels, found {found}")]
    TooFewLabels {
        /// Found count.
        found: usize,
    },
    /// A label set that no case uses.
    #[error("labels are given, but no case has metric label")]
    UnusedLabels,
    /// A blank label.
    #[error("label {label} is blank")]
    EmptyLabel {
        /// Position in the set, from 1.
        label: usize,
    },
    /// A label given twice.
    #[error("duplicate label {label:?}")]
    DuplicateLabel {
        /// The label.
        label: String,
    },
    /// Generation length outside its range.
    #[error("max_new_tokens is {found}, expected 1 to 4096")]
    NewTokens {
        /// Found value.
        found: u32,
    },
    /// Not a share between 0 and 1.
    #[error("{found:?} is not a score, expected 0 to 1 with at most six decimals")]
    NotAScore {
        /// Found text.
        found: String,
    },
    /// A replay file for other cases than the pack's.
    #[error("replay line {line} is for case {found:?}, expected {expected:?}")]
    ReplayOrder {
        /// Line number.
        line: usize,
        /// Found id.
        found: String,
        /// The pack's id at that place.
        expected: String,
    },
    /// A replay file with more or fewer cases than the pack.
    #[error("replay holds {found} cases, expected {expected}")]
    ReplayCount {
        /// Found count.
        found: usize,
        /// Cases of the pack.
        expected: usize,
    },
    /// The base names no end token, so neither an answer nor a label can end.
    #[error("base names no end token")]
    NoEndToken,
    /// A prompt that gives no token.
    #[error("case {id:?}: prompt gives no token")]
    PromptWithoutTokens {
        /// Id of the case.
        id: String,
    },
    /// Prompt and answer do not fit the context.
    #[error("case {id:?}: prompt of {found} tokens, at most {limit} fit")]
    PromptTooLong {
        /// Id of the case.
        id: String,
        /// Tokens of the prompt.
        found: usize,
        /// Tokens that leave room for an answer.
        limit: usize,
    },
    /// A label that gives no token.
    #[error("label {label:?} gives no token")]
    LabelWithoutTokens {
        /// The label.
        label: String,
    },
    /// Two labels that the tokenizer cannot tell apart.
    #[error("labels {first:?} and {second:?} give the same tokens")]
    LabelsShareTokens {
        /// One label.
        first: String,
        /// The other.
        second: String,
    },
    /// The model gave NaN or infinity.
    #[error("case {id:?}: non-finite logit")]
    NonFinite {
        /// Id of the case.
        id: String,
    },
    /// The model or its tokenizer failed.
    #[error(transparent)]
    Model(#[from] ModelError),
}

impl EvalError {
    /// The stable name of the variant.
    pub fn code(&self) -> &'static str {
        match self {
            EvalError::EmptyPack => "empty_pack",
            EvalError::TornLine { .. } => "torn_line",
            EvalError::TooLarge { .. } => "too_large",
            EvalError::Malformed { .. } => "malformed",
            EvalError::NotCanonical { .. } => "not_canonical",
            EvalError::Encode { .. } => "encode",
            EvalError::UnknownFormat { .. } => "unknown_format",
            EvalError::UnknownMetric { .. } => "unknown_metric",
            EvalError::EmptyId { .. } => "empty_id",
            EvalError::DuplicateId { .. } => "duplicate_id",
            EvalError::EmptyPrompt { .. } => "empty_prompt",
            EvalError::EmptyExpected { .. } => "empty_expected",
            EvalError::ExpectedNotJson { .. } => "expected_not_json",
            EvalError::ZeroWeight { .. } => "zero_weight",
            EvalError::Overweight { .. } => "overweight",
            EvalError::LabelOutsideSet { .. } => "label_outside_set",
            EvalError::TooFewLabels { .. } => "too_few_labels",
            EvalError::UnusedLabels => "unused_labels",
            EvalError::EmptyLabel { .. } => "empty_label",
            EvalError::DuplicateLabel { .. } => "duplicate_label",
            EvalError::NewTokens { .. } => "new_tokens",
            EvalError::NotAScore { .. } => "not_a_score",
            EvalError::ReplayOrder { .. } => "replay_order",
            EvalError::ReplayCount { .. } => "replay_count",
            EvalError::NoEndToken => "no_end_token",
            EvalError::PromptWithoutTokens { .. } => "prompt_without_tokens",
            EvalError::PromptTooLong { .. } => "prompt_too_long",
            EvalError::LabelWithoutTokens { .. } => "label_without_tokens",
            EvalError::LabelsShareTokens { .. } => "labels_share_tokens",
            EvalError::NonFinite { .. } => "non_finite",
            EvalError::Model(error) => error.code(),
        }
    }
}
