//! What differs in the inputs of two compiles: a key of the plan, a row of the corpus, a weight's bit, a merge of the tokenizer, an eval case.
//!
//! A plan records hashes; this looks behind each hash that differs, at the first thing that differs there. Nothing here computes.

use std::path::Path;

use kolm_compile::corpus::{Columns, CorpusError, Role, Row, read_file};
use kolm_compile::diff::tree::{self, Change};
use kolm_compile::diff::ulp;
use kolm_compile::pipeline::{CompileError, Inputs, Prepared};
use kolm_runtime::artifact::Plan;
use kolm_runtime::eval::Case;
use kolm_runtime::model::{ModelSource, Weights};
use serde::Serialize;
use serde_json::Value;

use super::error::BisectError;

/// One difference between the inputs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InputDifference {
    /// `plan`, `corpus row`, `base tensor`, `base file`, `encoder tensor`, `encoder file`, `eval case`.
    pub kind: String,
    /// Which: a plan's key, file and row and column, file and tensor and element, file and key, case and field.
    pub place: String,
    /// In `a`; none if it has no such thing.
    pub a: Option<String>,
    /// In `b`.
    pub b: Option<String>,
    /// What else is to be said: a distance, how many more differ.
    pub detail: Option<String>,
}

/// One compile, as far as its inputs are at hand.
pub(super) struct Known<'a> {
    /// Everything it read.
    pub inputs: &'a Inputs,
    /// What was made of it before training.
    pub prepared: &'a Prepared<'a>,
}

/// The keys of two plans that differ, without those that only follow from a content that is looked at elsewhere.
pub(super) fn plans(a: &Plan, b: &Plan, contents_known: bool) -> Vec<InputDifference> {
    let value = |plan: &Plan| serde_json::to_value(plan).unwrap_or_default();
    let changes = tree::changes(&value(a), &value(b));
    changes.iter().filter(|change| !contents_known || !follows(&change.key)).map(of_change).collect()
}

/// Whether a key holds a hash, a size or a count of something whose own difference is named.
fn follows(key: &str) -> bool {
    let of_files = ["corpus.files", "corpus.rows", "base.files", "recall.encoder.files"];
    let others = ["base.revision", "recall.encoder.revision", "recall.passages", "adapter.init_sha256"];
    of_files.iter().any(|start| key.starts_with(start)) || others.contains(&key) || key.ends_with("_sha256")
}

fn of_change(change: &Change) -> InputDifference {
    let shown = |value: &Option<Value>| value.as_ref().map(Value::to_string);
    InputDifference {
        kind: "plan".to_owned(),
        place: change.key.clone(),
        a: shown(&change.a),
        b: shown(&change.b),
        detail: None,
    }
}

/// What differs behind the hashes.
///
/// # Errors
/// Whatever reading the inputs may bring; they were read before, so this is rare.
pub(super) fn contents(a: &Known<'_>, b: &Known<'_>) -> Result<Vec<InputDifference>, BisectError> {
    let mut found = Vec::new();
    models("base", a.inputs.base.source(), b.inputs.base.source(), &mut found)?;
    if let (Some(a), Some(b)) = (&a.inputs.encoder, &b.inputs.encoder) {
        models("encoder", a, b, &mut found)?;
    }
    for role in [Role::Train, Role::Eval] {
        rows(a, b, role, &mut found)?;
    }
    cases(a.prepared.pack.cases(), b.prepared.pack.cases(), &mut found);
    Ok(found)
}

/// The first row that differs in each pair of files.
fn rows(a: &Known<'_>, b: &Known<'_>, role: Role, found: &mut Vec<InputDifference>) -> Result<(), BisectError> {
    let files = |known: &Known<'_>| {
        let files = known.inputs.corpus.files.iter().filter(|file| file.role == role);
        files.map(|file| (file.path.clone(), file.sha256.clone())).collect::<Vec<_>>()
    };
    let columns = |known: &Known<'_>| {
        let corpus = &known.inputs.job.corpus;
        Columns {
            id: corpus.id.clone(),
            prompt: corpus.prompt.clone(),
            completion: corpus.completion.clone(),
            split: corpus.split.clone(),
        }
    };
    let (left, right) = (files(a), files(b));
    for (place, ((path_a, sha_a), (path_b, sha_b))) in left.iter().zip(&right).enumerate() {
        if sha_a == sha_b {
            continue;
        }
        let read = |path: &Path, columns: &Columns| read_file(place, path, columns).map_err(stopped);
        let (mut rows_a, mut rows_b) = (read(path_a, &columns(a))?, read(path_b, &columns(b))?);
        loop {
            let next = |row: Option<Result<Row, _>>| row.transpose().map_err(stopped);
            let (row_a, row_b) = (next(rows_a.next())?, next(rows_b.next())?);
            if row_a.is_none() && row_b.is_none() {
                break;
            }
            if let Some(difference) = row(path_a, row_a.as_ref(), row_b.as_ref()) {
                found.push(difference);
                break;
            }
        }
    }
    if left.len() != right.len() {
        found.push(InputDifference {
            kind: "corpus row".to_owned(),
            place: format!("number of {} files", if role == Role::Train { "train" } else { "eval" }),
            a: Some(left.len().to_string()),
            b: Some(right.len().to_string()),
            detail: None,
        });
    }
    Ok(())
}

/// A corpus that cannot be read stops a bisection as it would a compile.
fn stopped(error: CorpusError) -> BisectError {
    CompileError::from(error).into()
}

fn row(path: &Path, a: Option<&Row>, b: Option<&Row>) -> Option<InputDifference> {
    let place = |row: &Row, column: &str| format!("{} row {} {column}", path.display(), row.row);
    let difference = |place, a, b| Some(InputDifference { kind: "corpus row".to_owned(), place, a, b, detail: None });
    match (a, b) {
        (Some(a), Some(b)) => {
            for (column, left, right) in
                [("id", &a.id, &b.id), ("prompt", &a.prompt, &b.prompt), ("completion", &a.completion, &b.completion)]
            {
                if left != right {
                    let (left, right) = excerpts(left, right);
                    return difference(place(a, column), Some(left), Some(right));
                }
            }
            if a.split != b.split {
                return difference(place(a, "split"), a.split.clone(), b.split.clone());
            }
            None
        }
        (Some(row), None) => difference(place(row, "id"), Some(row.id.clone()), None),
        (None, Some(row)) => difference(place(row, "id"), None, Some(row.id.clone())),
        (None, None) => None,
    }
}

/// The surroundings of the first character that differs, of both texts.
fn excerpts(a: &str, b: &str) -> (String, String) {
    let same = a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count();
    let cut = |text: &str| {
        let from = same.saturating_sub(EXCERPT_BEFORE);
        let shown: String = text.chars().skip(from).take(EXCERPT_BEFORE + EXCERPT_AFTER).collect();
        let more = text.chars().count() > from + EXCERPT_BEFORE + EXCERPT_AFTER;
        format!("{:?}{}", shown, if more || from > 0 { " (excerpt)" } else { "" })
    };
    (cut(a), cut(b))
}

/// The first thing that differs in each file of a model.
fn models(role: &str, a: &ModelSource, b: &ModelSource, found: &mut Vec<InputDifference>) -> Result<(), BisectError> {
    let model = |error: kolm_runtime::model::ModelError| BisectError::from(CompileError::from(error));
    let (left, right) = (a.identities().map_err(model)?, b.identities().map_err(model)?);
    for file in &left {
        let Some(other) = right.iter().find(|other| other.path == file.path) else { continue };
        if other.sha256 == file.sha256 {
            continue;
        }
        if file.path.ends_with(".safetensors") {
            continue;
        }
        let parse = |source: &ModelSource| {
            let bytes = source.read(&file.path).map_err(model)?;
            Ok::<_, BisectError>(serde_json::from_slice::<Value>(&bytes).unwrap_or_default())
        };
        let changes = tree::changes(&parse(a)?, &parse(b)?);
        if let Some(first) = changes.first() {
            let detail = (changes.len() > 1).then(|| format!("{} more keys differ in this file", changes.len() - 1));
            let place = format!("{} {}", file.path, first.key);
            found.push(InputDifference { kind: format!("{role} file"), place, detail, ..of_change(first) });
        }
    }
    let weights = |list: &[kolm_runtime::artifact::FileIdentity]| -> Vec<String> {
        list.iter()
            .filter(|file| file.path.ends_with(".safetensors") || file.path.ends_with(".gguf"))
            .map(|file| file.sha256.clone())
            .collect()
    };
    if weights(&left) != weights(&right) {
        let (a, b) = (Weights::open(a).map_err(model)?, Weights::open(b).map_err(model)?);
        found.extend(tensor(role, &a, &b).map_err(model)?);
    }
    Ok(())
}

/// The first weight that differs, in name order.
fn tensor(role: &str, a: &Weights, b: &Weights) -> Result<Option<InputDifference>, kolm_runtime::model::ModelError> {
    let kind = format!("{role} tensor");
    for name in a.names() {
        let (Some(shape), Some(other)) = (a.shape(name), b.shape(name)) else {
            return Ok(Some(InputDifference { kind, place: name.to_owned(), a: None, b: None, detail: None }));
        };
        if shape != other {
            let (a, b) = (Some(format!("{shape:?}")), Some(format!("{other:?}")));
            return Ok(Some(InputDifference { kind, place: format!("{name} shape"), a, b, detail: None }));
        }
        let (left, right) = (a.tensor_f32(name, &shape)?, b.tensor_f32(name, &shape)?);
        let differing = left.iter().zip(&right).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
        let first = left.iter().zip(&right).position(|(a, b)| a.to_bits() != b.to_bits());
        if let Some(row) = first {
            let (x, y) = (left[row], right[row]);
            let shown = |value: f32| Some(format!("0x{:08x} ({value})", value.to_bits()));
            let ulp = ulp::distance(x.to_bits(), y.to_bits()).map_or_else(String::new, |ulp| format!("{ulp} ULP; "));
            let detail = Some(format!("{ulp}{differing} of {} elements differ", left.len()));
            let place = format!("{name} element {row} of shape {shape:?}");
            return Ok(Some(InputDifference { kind, place, a: shown(x), b: shown(y), detail }));
        }
    }
    Ok(None)
}

/// The first eval case that differs, and how many more do.
fn cases(a: &[Case], b: &[Case], found: &mut Vec<InputDifference>) {
    let differ = (0..a.len().max(b.len())).filter(|&row| a.get(row) != b.get(row));
    let rows: Vec<usize> = differ.collect();
    let Some(&row) = rows.first() else { return };
    let value = |case: Option<&Case>| serde_json::to_value(case).unwrap_or_default();
    let id = a.get(row).or(b.get(row)).map_or_else(String::new, |case| case.id.clone());
    let changes = tree::changes(&value(a.get(row)), &value(b.get(row)));
    let Some(first) = changes.first() else { return };
    let text = |value: &Option<Value>| value.as_ref().and_then(Value::as_str).map(str::to_owned);
    let (left, right) = match (text(&first.a), text(&first.b)) {
        (Some(a), Some(b)) => {
            let (a, b) = excerpts(&a, &b);
            (Some(a), Some(b))
        }
        _ => (of_change(first).a, of_change(first).b),
    };
    found.push(InputDifference {
        kind: "eval case".to_owned(),
        place: format!("case {row} ({id}) {}", first.key),
        a: left,
        b: right,
        detail: (rows.len() > 1).then(|| format!("{} more cases differ", rows.len() - 1)),
    });
}

/// Characters shown before the first one that differs.
const EXCERPT_BEFORE: usize = 20;
/// Characters shown from there on.
const EXCERPT_AFTER: usize = 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excerpts_show_where_texts_part() {
        let (a, b) = excerpts("the pump is loud", "the pump is hot");
        assert_eq!((a.as_str(), b.as_str()), ("\"the pump is loud\"", "\"the pump is hot\""));
        let long = "x".repeat(100);
        let (a, b) = excerpts(&format!("{long}a{long}"), &format!("{long}b{long}"));
        assert!(a.contains("xa") && b.contains("xb") && a.len() < 80 && a.ends_with("(excerpt)"), "{a}");
    }

    #[test]
    fn keys_that_only_follow_are_told_apart() {
        for key in ["corpus.files[0].sha256", "corpus.train_sha256", "base.files[2].size", "recall.passages"] {
            assert!(follows(key), "{key}");
        }
        for key in ["train.learning_rate", "seed", "base.repo", "corpus.overlong"] {
            assert!(!follows(key), "{key}");
        }
    }
}
