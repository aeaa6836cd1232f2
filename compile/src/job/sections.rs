//! Each section's keys, bounds and defaults.

use std::path::Path;

use kolm_runtime::recall::{VectorType, limits};

use super::decimal::Decimal;
use super::document::Section;
use super::error::JobError;
use super::{
    AdapterSection, BaseSection, CorpusSection, Duplicates, EvalSection, Identifiers, Leakage, Metric, Overlong,
    RecallSection, RecallUse, Schedule, TaskSection, TrainSection,
};

pub(super) fn task(mut section: Section<'_>, path: &Path) -> Result<TaskSection, JobError> {
    let missing =
        || JobError::Missing { path: path.to_owned(), key: "task.name", expected: "a name like support-queue" };
    let name = name_part(&mut section, "name", 64)?.ok_or_else(missing)?;
    let version = name_part(&mut section, "version", 32)?.unwrap_or_else(|| "0.1.0".to_owned());
    let description = section.text("description")?;
    if let Some(long) = description.as_ref().filter(|text| text.value.len() > 4096) {
        return Err(long.place.bad(format!("{} bytes", long.value.len()), "at most 4096 bytes"));
    }
    let template = filled(&mut section, "template")?;
    Ok(TaskSection { name, version, description: description.map(|text| text.value).unwrap_or_default(), template })
}

/// A part of a file name: ASCII letters, digits, `.`, `_`, `-`, `+`, starting with a letter or digit.
fn name_part(section: &mut Section<'_>, key: &str, len_max_bytes: usize) -> Result<Option<String>, JobError> {
    let Some(name) = section.text(key)? else { return Ok(None) };
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+".contains(&byte);
    let holds = name.value.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.value.len() <= len_max_bytes
        && name.value.bytes().all(allowed);
    if !holds {
        let expected = format!("at most {len_max_bytes} letters, digits, `.`, `_`, `-`, `+`, a letter or digit first");
        return Err(name.place.bad(format!("{:?}", name.value), expected));
    }
    Ok(Some(name.value))
}

/// A string that is not blank.
fn filled(section: &mut Section<'_>, key: &str) -> Result<Option<String>, JobError> {
    match section.text(key)? {
        Some(text) if text.value.trim().is_empty() => Err(text.place.bad("an empty string", "a filled one")),
        text => Ok(text.map(|text| text.value)),
    }
}

pub(super) fn base(mut section: Section<'_>) -> Result<BaseSection, JobError> {
    let model = filled(&mut section, "model")?.unwrap_or_else(|| "kolm/nano".to_owned());
    Ok(BaseSection { model, revision: filled(&mut section, "revision")? })
}

pub(super) fn corpus(mut section: Section<'_>, path: &Path) -> Result<CorpusSection, JobError> {
    if let (Some(eval), Some(_)) = (section.place_of("eval"), section.place_of("split")) {
        let (key, other) = ("corpus.eval", "corpus.split");
        return Err(JobError::Conflict { path: path.to_owned(), line: eval.line, key, other });
    }
    let mut files = |key: &str| match section.texts(key)? {
        Some(files) if files.value.iter().any(String::is_empty) => {
            Err(files.place.bad("an empty path", "paths of parquet files"))
        }
        Some(files) if files.value.is_empty() => Err(files.place.bad("an empty array", "paths of parquet files")),
        files => Ok(files.map(|files| files.value).unwrap_or_default()),
    };
    let (train, eval) = (files("train")?, files("eval")?);
    let mut name =
        |key: &str, default: &str| filled(&mut section, key).map(|name| name.unwrap_or_else(|| default.to_owned()));
    let (prompt, completion) = (name("prompt", "prompt")?, name("completion", "completion")?);
    let (train_split, eval_split) = (name("train_split", "train")?, name("eval_split", "test")?);
    Ok(CorpusSection {
        train,
        eval,
        id: filled(&mut section, "id")?,
        prompt,
        completion,
        split: filled(&mut section, "split")?,
        train_split,
        eval_split,
        overlong: section.one_of("overlong", &OVERLONG, Overlong::Drop)?,
        duplicates: section.one_of("duplicates", &DUPLICATES, Duplicates::Drop)?,
        leakage: section.one_of("leakage", &LEAKAGES, Leakage::Error)?,
        identifiers: section.one_of("identifiers", &IDENTIFIERS, Identifiers::Stop)?,
    })
}

pub(super) fn adapter(mut section: Section<'_>) -> Result<AdapterSection, JobError> {
    let rank = section.whole("rank", 1, 1024)?.unwrap_or(16);
    let alpha = section.whole("alpha", 1, 65_536)?.unwrap_or(32);
    let mut targets: Vec<String> = ["q_proj", "v_proj", "o_proj"].map(str::to_owned).to_vec();
    if let Some(given) = section.texts("targets")? {
        if given.value.is_empty() {
            return Err(given.place.bad("an empty array", "names of linear modules"));
        }
        if let Some(unknown) = given.value.iter().find(|name| !TARGETS.contains(&name.as_str())) {
            return Err(given.place.bad(format!("{unknown:?}"), format!("names out of {}", TARGETS.join(", "))));
        }
        targets = given.value;
    }
    targets.sort();
    targets.dedup();
    Ok(AdapterSection { rank, alpha, targets, init: filled(&mut section, "init")? })
}

pub(super) fn train(mut section: Section<'_>, path: &Path) -> Result<TrainSection, JobError> {
    if let (Some(steps), Some(_)) = (section.place_of("steps"), section.place_of("epochs")) {
        let (key, other) = ("train.steps", "train.epochs");
        return Err(JobError::Conflict { path: path.to_owned(), line: steps.line, key, other });
    }
    let default = |number: f64| Decimal::new(number).expect("defaults are finite");
    let share = |number: f64| (0.0..1.0).contains(&number);
    Ok(TrainSection {
        seed: section.whole("seed", 0, u64::MAX)?.unwrap_or(0),
        epochs: section.whole("epochs", 1, 10_000)?.unwrap_or(3),
        steps: section.whole("steps", 1, 1 << 32)?,
        batch_size: section.whole("batch_size", 1, 65_536)?.unwrap_or(8),
        micro_batch: section.whole_or_auto("micro_batch", 1, 65_536)?,
        learning_rate: section
            .number("learning_rate", "a number above 0", |rate| rate > 0.0)?
            .unwrap_or_else(|| default(0.001)),
        warmup_steps: section.whole("warmup_steps", 0, 1 << 32)?,
        schedule: section.one_of("schedule", &SCHEDULES, Schedule::Linear)?,
        beta1: section.number("beta1", "a number from 0 to below 1", share)?.unwrap_or_else(|| default(0.9)),
        beta2: section.number("beta2", "a number from 0 to below 1", share)?.unwrap_or_else(|| default(0.999)),
        epsilon: section.number("epsilon", "a number above 0", |number| number > 0.0)?.unwrap_or_else(|| default(1e-8)),
        weight_decay: section
            .number("weight_decay", "a number of at least 0", |number| number >= 0.0)?
            .unwrap_or_else(|| default(0.01)),
        clip_norm: section
            .number("clip_norm", "a number of at least 0", |number| number >= 0.0)?
            .unwrap_or_else(|| default(1.0)),
        max_length: section.whole("max_length", 2, 1 << 20)?.unwrap_or(256),
        checkpoint_every: section.whole("checkpoint_every", 0, 1 << 32)?.unwrap_or(50),
    })
}

pub(super) fn recall(mut section: Section<'_>) -> Result<RecallSection, JobError> {
    Ok(RecallSection {
        encoder: filled(&mut section, "encoder")?.unwrap_or_else(|| "kolm/nano-encoder".to_owned()),
        revision: filled(&mut section, "revision")?,
        k: section.whole("k", 1, 100)?.unwrap_or(3),
        usage: section.one_of("use", &RECALL_USES, RecallUse::Cite)?,
        vectors: section.one_of("vectors", &VectorType::ALL.map(|kind| (kind.name(), kind)), VectorType::F32)?,
        lists: section.whole_or_auto("lists", 0, limits::LISTS as u64)?,
    })
}

pub(super) fn eval(mut section: Section<'_>) -> Result<EvalSection, JobError> {
    let metric = section.one_of("metric", &METRICS, Metric::Label)?;
    let labels = section.texts("labels")?;
    if let Some(labels) = &labels {
        let mut sorted = labels.value.clone();
        sorted.sort();
        if metric != Metric::Label {
            return Err(labels
                .place
                .bad(format!("labels for the metric {}", metric.name()), "labels only for the metric label"));
        }
        if sorted.len() < 2 || sorted.iter().any(|label| label.trim().is_empty()) {
            return Err(labels.place.bad(format!("{:?}", labels.value), "at least two labels, none of them empty"));
        }
        if let Some(twice) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(labels.place.bad(format!("{:?} twice", twice[0]), "each label once"));
        }
    }
    let cases = section.whole("cases", 1, 1_000_000)?.unwrap_or(128);
    let gate_place = section.place_of("gate");
    let gate = section.number("gate", "a share from 0 to 1", |gate| (0.0..=1.0).contains(&gate))?;
    if let (Some(gate), Some(place)) = (&gate, gate_place)
        && gate.parts_per_million().is_none()
    {
        return Err(place.bad(gate, "at most six decimals"));
    }
    Ok(EvalSection {
        metric,
        labels: labels.map(|labels| labels.value),
        cases,
        gate: gate.unwrap_or_else(|| Decimal::new(0.85).expect("the default gate is finite")),
        max_new_tokens: section.whole("max_new_tokens", 1, 65_536)?.unwrap_or(64),
    })
}

/// Every section with its keys.
pub(super) const SECTIONS: [(&str, &[&str]); 7] = [
    ("task", &["name", "version", "description", "template"]),
    ("base", &["model", "revision"]),
    (
        "corpus",
        &[
            "train",
            "eval",
            "id",
            "prompt",
            "completion",
            "split",
            "train_split",
            "eval_split",
            "overlong",
            "duplicates",
            "leakage",
            "identifiers",
        ],
    ),
    ("adapter", &["rank", "alpha", "targets", "init"]),
    (
        "train",
        &[
            "seed",
            "epochs",
            "steps",
            "batch_size",
            "micro_batch",
            "learning_rate",
            "warmup_steps",
            "schedule",
            "beta1",
            "beta2",
            "epsilon",
            "weight_decay",
            "clip_norm",
            "max_length",
            "checkpoint_every",
        ],
    ),
    ("recall", &["encoder", "revision", "k", "use", "vectors", "lists"]),
    ("eval", &["metric", "labels", "cases", "gate", "max_new_tokens"]),
];
const OVERLONG: [(&str, Overlong); 3] =
    [("drop", Overlong::Drop), ("truncate", Overlong::Truncate), ("error", Overlong::Error)];
const DUPLICATES: [(&str, Duplicates); 2] = [("drop", Duplicates::Drop), ("error", Duplicates::Error)];
const LEAKAGES: [(&str, Leakage); 2] = [("error", Leakage::Error), ("drop", Leakage::Drop)];
const IDENTIFIERS: [(&str, Identifiers); 2] = [("stop", Identifiers::Stop), ("allow", Identifiers::Allow)];
const TARGETS: [&str; 7] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];
const SCHEDULES: [(&str, Schedule); 2] = [("linear", Schedule::Linear), ("constant", Schedule::Constant)];
const RECALL_USES: [(&str, RecallUse); 3] =
    [("off", RecallUse::Off), ("cite", RecallUse::Cite), ("context", RecallUse::Context)];
/// Every metric by name.
pub(super) const METRICS: [(&str, Metric); 6] = [
    ("label", Metric::Label),
    ("exact", Metric::Exact),
    ("contains", Metric::Contains),
    ("json", Metric::Json),
    ("token_f1", Metric::TokenF1),
    ("rouge_l", Metric::RougeL),
];
