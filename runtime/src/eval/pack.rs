//! The eval pack: the cases an artifact is graded on, locked when it is compiled.
//!
//! A pack that exists is valid: it has cases, every id is its own, every expected answer can be met, and its bytes are
//! the only ones that mean it. Nothing here knows a model.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{EvalError, Metric, limits, lines, text};

/// One question and what its answer is scored against.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Expected answer.
    pub expected: String,
    /// Name of the case, unique in its pack.
    pub id: String,
    /// How the answer is scored.
    pub metric: Metric,
    /// The prompt as the model sees it, template rendered.
    pub prompt: String,
    /// Share of the case in the K-score, 1 to 1 000 000.
    pub weight: u64,
}

/// A valid pack and its bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pack {
    header: Header,
    cases: Vec<Case>,
    bytes: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: String,
    labels: Option<Vec<String>>,
    max_new_tokens: u32,
}

impl Pack {
    /// Path of the member.
    pub const MEMBER: &'static str = "eval/pack.jsonl";
    /// Value of the header's `format`.
    pub const FORMAT: &'static str = "kolm-eval-1";

    /// Locks cases into a pack. `labels` is the closed set of `label` cases, in the order that breaks ties, and `None`
    /// when there are none; `max_new_tokens` bounds generated answers.
    ///
    /// # Errors
    /// One variant of [`EvalError`] for each rule of the format.
    pub fn new(labels: Option<Vec<String>>, max_new_tokens: u32, cases: Vec<Case>) -> Result<Pack, EvalError> {
        let header = Header { format: Pack::FORMAT.to_owned(), labels, max_new_tokens };
        header.check(&cases)?;
        check_cases(&header, &cases)?;
        let mut bytes = Vec::new();
        lines::write(&mut bytes, &header)?;
        for case in &cases {
            let start = bytes.len();
            lines::write(&mut bytes, case)?;
            within("line", bytes.len() - start, limits::LINE_LEN_BYTES)?;
        }
        within(Pack::MEMBER, bytes.len(), limits::MEMBER_LEN_BYTES)?;
        Ok(Pack { header, cases, bytes })
    }

    /// Reads a pack, and refuses bytes that [`Pack::bytes`] would not give back.
    ///
    /// # Errors
    /// As [`Pack::new`], and [`EvalError::TornLine`], [`EvalError::Malformed`], [`EvalError::NotCanonical`],
    /// [`EvalError::UnknownFormat`].
    pub fn parse(bytes: &[u8]) -> Result<Pack, EvalError> {
        let mut lines = lines::split(Pack::MEMBER, bytes)?;
        let (line, first) = lines.next().ok_or(EvalError::EmptyPack)?;
        let header: Header = lines::read(Pack::MEMBER, line, first)?;
        if header.format != Pack::FORMAT {
            return Err(EvalError::UnknownFormat { found: header.format, expected: Pack::FORMAT });
        }
        let mut cases = Vec::new();
        for (line, bytes) in lines {
            within("eval pack", cases.len() + 1, limits::CASE_COUNT)?;
            cases.push(lines::read(Pack::MEMBER, line, bytes)?);
        }
        Pack::new(header.labels, header.max_new_tokens, cases)
    }

    /// The bytes of `eval/pack.jsonl`.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The cases, in order; never empty.
    pub fn cases(&self) -> &[Case] {
        &self.cases
    }

    /// The closed label set, in the order that breaks ties; empty when no case has metric `label`.
    pub fn labels(&self) -> &[String] {
        self.header.labels.as_deref().unwrap_or_default()
    }

    /// Most tokens of a generated answer, end token included.
    pub fn max_new_tokens(&self) -> u32 {
        self.header.max_new_tokens
    }

    /// The one metric of all cases; `None` when they differ.
    pub fn metric(&self) -> Option<Metric> {
        let first = self.cases.first()?.metric;
        self.cases.iter().all(|case| case.metric == first).then_some(first)
    }

    /// Name of the one metric, or `mixed`.
    pub fn metric_name(&self) -> &'static str {
        self.metric().map_or("mixed", Metric::name)
    }
}

impl Header {
    fn check(&self, cases: &[Case]) -> Result<(), EvalError> {
        if !(1..=limits::NEW_TOKEN_COUNT).contains(&self.max_new_tokens) {
            return Err(EvalError::NewTokens { found: self.max_new_tokens });
        }
        let labelled = cases.iter().any(|case| case.metric == Metric::Label);
        let Some(labels) = &self.labels else {
            return if labelled { Err(EvalError::TooFewLabels { found: 0 }) } else { Ok(()) };
        };
        if labels.len() < 2 {
            return Err(EvalError::TooFewLabels { found: labels.len() });
        }
        within("label set", labels.len(), limits::LABEL_COUNT)?;
        let mut seen = BTreeSet::new();
        for (index, label) in labels.iter().enumerate() {
            if text::trim(label).is_empty() {
                return Err(EvalError::EmptyLabel { label: index + 1 });
            }
            within("label", label.len(), limits::LABEL_LEN_BYTES)?;
            if !seen.insert(label) {
                return Err(EvalError::DuplicateLabel { label: label.clone() });
            }
        }
        if labelled || cases.is_empty() { Ok(()) } else { Err(EvalError::UnusedLabels) }
    }
}

fn check_cases(header: &Header, cases: &[Case]) -> Result<(), EvalError> {
    if cases.is_empty() {
        return Err(EvalError::EmptyPack);
    }
    within("eval pack", cases.len(), limits::CASE_COUNT)?;
    let labels: BTreeSet<&String> = header.labels.iter().flatten().collect();
    let mut seen = BTreeSet::new();
    for (index, case) in cases.iter().enumerate() {
        let id = || case.id.clone();
        within("case id", case.id.len(), limits::ID_LEN_BYTES)?;
        within("expected answer", case.expected.len(), limits::EXPECTED_LEN_BYTES)?;
        if case.id.is_empty() {
            return Err(EvalError::EmptyId { case: index + 1 });
        }
        if !seen.insert(&case.id) {
            return Err(EvalError::DuplicateId { case: index + 1, id: id() });
        }
        if case.prompt.is_empty() {
            return Err(EvalError::EmptyPrompt { id: id() });
        }
        if case.weight == 0 {
            return Err(EvalError::ZeroWeight { id: id() });
        }
        if case.weight > limits::WEIGHT {
            return Err(EvalError::Overweight { id: id(), found: case.weight });
        }
        if text::trim(&case.expected).is_empty() {
            return Err(EvalError::EmptyExpected { id: id() });
        }
        if case.metric == Metric::Label && !labels.contains(&case.expected) {
            return Err(EvalError::LabelOutsideSet { id: id(), expected: case.expected.chars().take(80).collect() });
        }
        if !case.metric.accepts(&case.expected) {
            return Err(if case.metric == Metric::Json {
                EvalError::ExpectedNotJson { id: id() }
            } else {
                EvalError::EmptyExpected { id: id() }
            });
        }
    }
    Ok(())
}

fn within(what: &'static str, found: usize, limit: usize) -> Result<(), EvalError> {
    if found <= limit { Ok(()) } else { Err(EvalError::TooLarge { what, found, limit }) }
}
