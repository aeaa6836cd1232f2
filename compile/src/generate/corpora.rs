//! The example corpora: the parquet files under `corpora/` (their cards and job files are written by hand beside them).
//!
//! Training rows use the training templates, evaluation rows the held-out ones. A few rows of each split hold a second topic after
//! the first; a few evaluation rows begin with it, so that even a good model misses some.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use super::grammar::Library;
use super::random::Choices;
use super::text::{Templates, add_aside, compose};
use crate::corpus::normalised;

/// Returns every generated file as (path under `corpora/`, bytes).
pub fn files() -> Vec<(String, Vec<u8>)> {
    let library = Library::load();
    let mut seen = BTreeSet::new();
    let train = support_rows(&library, Templates::Training, SUPPORT_TRAIN_ROWS, &mut seen);
    let eval = support_rows(&library, Templates::HeldOut, SUPPORT_EVAL_ROWS, &mut seen);
    let mut seen = BTreeSet::new();
    let micro_train = micro_rows(&library, Templates::Training, MICRO_TRAIN_ROWS, &mut seen);
    let micro_eval = micro_rows(&library, Templates::HeldOut, MICRO_EVAL_ROWS, &mut seen);
    vec![
        ("micro/eval.parquet".to_owned(), to_parquet(&micro_eval)),
        ("micro/train.parquet".to_owned(), to_parquet(&micro_train)),
        ("support_tickets/eval.parquet".to_owned(), to_parquet(&eval)),
        ("support_tickets/train.parquet".to_owned(), to_parquet(&train)),
    ]
}

/// One row of an example corpus.
struct ExampleRow {
    id: String,
    text: String,
    queue: &'static str,
}

fn support_rows(
    library: &Library,
    templates: Templates,
    row_count: usize,
    seen: &mut BTreeSet<String>,
) -> Vec<ExampleRow> {
    let sector = &library.sectors[0];
    let split = if templates == Templates::Training { "train" } else { "eval" };
    let mut choices = Choices::new(SEED, &format!("support_tickets {split}"), 0);
    let mut rows = Vec::new();
    while rows.len() < row_count {
        let class = rows.len() % sector.classes.len();
        let other = (class + 1 + choices.below(sector.classes.len() - 1)) % sector.classes.len();
        let mut text = compose(library, sector, class, templates, &mut choices);
        if choices.chance(4) {
            text = add_aside(library, &text, &sector.classes[other], templates, &mut choices);
        } else if templates == Templates::HeldOut && choices.chance(3) {
            let first = compose(library, sector, other, templates, &mut choices);
            text = add_aside(library, &first, &sector.classes[class], templates, &mut choices);
        }
        if seen.insert(normalised(&text)) {
            rows.push(ExampleRow { id: String::new(), text, queue: sector.classes[class].names[0] });
        }
    }
    numbered(rows, split, &mut choices)
}

fn micro_rows(
    library: &Library,
    templates: Templates,
    row_count: usize,
    seen: &mut BTreeSet<String>,
) -> Vec<ExampleRow> {
    let split = if templates == Templates::Training { "train" } else { "eval" };
    let mut choices = Choices::new(SEED, &format!("micro {split}"), 0);
    let mut rows = Vec::new();
    while rows.len() < row_count {
        let class = &library.micro[rows.len() % library.micro.len()];
        let lines = if templates == Templates::Training { &class.templates } else { &class.held_out };
        let text = library.expand(choices.pick(lines), &mut choices);
        if seen.insert(normalised(&text)) {
            rows.push(ExampleRow { id: String::new(), text, queue: class.names[0] });
        }
    }
    numbered(rows, split, &mut choices)
}

/// Shuffles the rows and numbers them in their new order.
fn numbered(mut rows: Vec<ExampleRow>, split: &str, choices: &mut Choices) -> Vec<ExampleRow> {
    choices.shuffle(&mut rows);
    for (place, row) in rows.iter_mut().enumerate() {
        row.id = format!("{split}-{:04}", place + 1);
    }
    rows
}

fn to_parquet(rows: &[ExampleRow]) -> Vec<u8> {
    let column =
        |cell: fn(&ExampleRow) -> &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(rows.iter().map(cell))) };
    let batch = RecordBatch::try_from_iter([
        ("id", column(|row| &row.id)),
        ("text", column(|row| &row.text)),
        ("queue", column(|row| row.queue)),
    ])
    .expect("three columns of equal length");
    // Fixed writer name and no Arrow schema: nothing but the rows decides the bytes.
    let properties =
        WriterProperties::builder().set_created_by("kolm".to_owned()).set_compression(Compression::SNAPPY).build();
    let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    let mut bytes = Vec::new();
    let mut writer =
        ArrowWriter::try_new_with_options(&mut bytes, batch.schema(), options).expect("a text schema is writable");
    writer.write(&batch).expect("memory takes the rows");
    writer.close().expect("memory takes the footer");
    bytes
}

const SEED: u64 = 2026;
const SUPPORT_TRAIN_ROWS: usize = 1600;
const SUPPORT_EVAL_ROWS: usize = 240;
const MICRO_TRAIN_ROWS: usize = 48;
const MICRO_EVAL_ROWS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_repeat() {
        let first = files();
        assert_eq!(first, files());
        assert_eq!(first.len(), 4);
    }

    #[test]
    fn the_files_in_the_repository_are_these() {
        let corpora = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpora");
        for (path, bytes) in files() {
            let found = std::fs::read(corpora.join(&path)).unwrap();
            assert!(found == bytes, "{path} differs, write it again with the golden writer of repro");
        }
    }

    #[test]
    fn evaluation_sentences_occur_in_no_training_text_and_no_document() {
        let library = Library::load();
        let eval = support_rows(&library, Templates::HeldOut, SUPPORT_EVAL_ROWS, &mut BTreeSet::new());
        let train = support_rows(&library, Templates::Training, SUPPORT_TRAIN_ROWS, &mut BTreeSet::new());
        let documents = crate::generate::documents(0, 3000);
        let training: Vec<&str> = train
            .iter()
            .map(|row| row.text.as_str())
            .chain(documents.iter().map(|document| document.text.as_str()))
            .collect();
        let mut fixed = 0;
        for class in &library.sectors[0].classes {
            for template in &class.held_out {
                // The longest stretch without a slot or group is what the template always says.
                let stretch =
                    template.split(['{', '}', '[', ']']).max_by_key(|part| part.len()).unwrap_or_default().trim();
                assert!(stretch.len() >= 12, "{template}");
                assert!(training.iter().all(|text| !text.contains(stretch)), "{template}");
                fixed += usize::from(eval.iter().any(|row| row.text.contains(stretch)));
            }
        }
        assert!(fixed >= 60, "{fixed} of 64 held-out templates are seen in the evaluation split");
    }
}
