//! Replacing identifiers by tags.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchReader, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use hmac::{Hmac, KeyInit, Mac};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use sha2::Sha256;

use super::super::error::CorpusError;
use super::super::row::hex;
use super::super::table::{Table, is_text, text_column};
use super::{Kind, PSEUDONYM_LEN, Scan, ScanReport, scan_text};

/// What an identifier is replaced by.
#[derive(Clone)]
pub struct Replacement {
    subkey: Option<[u8; 32]>,
}

impl std::fmt::Debug for Replacement {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(if self.subkey.is_some() { "Replacement(pseudonyms)" } else { "Replacement(masks)" })
    }
}

impl Replacement {
    /// Plain tags: `[PHONE]`.
    pub fn mask() -> Replacement {
        Replacement { subkey: None }
    }

    /// Keyed pseudonyms: `[PHONE-3f9a1c20]`, the same for the same value under one key and one corpus name, unlinkable between
    /// corpora and without the key.
    pub fn pseudonyms(key: &[u8], corpus: &str) -> Replacement {
        let mut mac = hmac(key);
        mac.update(b"kolm deidentify subkey 1\0");
        mac.update(corpus.as_bytes());
        Replacement { subkey: Some(mac.finalize().into_bytes().into()) }
    }

    fn tag(&self, kind: Kind, value: &str) -> String {
        let Some(subkey) = &self.subkey else { return format!("[{}]", kind.tag()) };
        // Spelling differences of one value (case, spaces, separators) share a pseudonym.
        let letters: String =
            value.chars().filter(|letter| letter.is_alphanumeric()).flat_map(char::to_lowercase).collect();
        let mut mac = hmac(subkey);
        mac.update(kind.tag().as_bytes());
        mac.update(b"\0");
        mac.update(letters.as_bytes());
        format!("[{}-{}]", kind.tag(), &hex(&mac.finalize().into_bytes())[..PSEUDONYM_LEN])
    }
}

fn hmac(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

/// Replaces every identifier in `text`; the result scans clean.
pub fn deidentify_text(text: &str, replacement: &Replacement) -> String {
    let mut text = text.to_owned();
    // A replacement changes its neighbours' context, so what is left is searched again. Each round replaces something, and tags are
    // never identifiers, so the rounds come to an end.
    loop {
        let findings = scan_text(&text);
        if findings.is_empty() {
            return text;
        }
        let mut replaced = String::with_capacity(text.len());
        let mut from = 0;
        for finding in &findings {
            replaced.push_str(&text[from..finding.start]);
            replaced.push_str(&replacement.tag(finding.kind, &text[finding.start..finding.end]));
            from = finding.end;
        }
        replaced.push_str(&text[from..]);
        text = replaced;
    }
}

/// Copies the parquet file `input` to `output` with the identifiers in its text columns replaced, and reports what was found.
///
/// `columns` limits the work to those columns; `None` means all text columns. Other columns and null cells stay as they are; rewritten
/// columns become plain text. The output appears whole or not at all.
///
/// # Errors
/// [`CorpusError`] if the input is missing or no parquet file, lacks a column, or the output cannot be written.
pub fn deidentify_file(
    input: &Path,
    output: &Path,
    columns: Option<&[String]>,
    replacement: &Replacement,
) -> Result<ScanReport, CorpusError> {
    let table = Table::open(input)?;
    if same_file(input, output) {
        return Err(CorpusError::SameFile { path: output.to_owned() });
    }
    let names = columns.map_or_else(|| table.text_columns(), <[String]>::to_vec);
    table.require_text(&names.iter().map(String::as_str).collect::<Vec<_>>())?;
    let partial = partial_path(output);
    let written = write(table, input, &partial, &names, replacement);
    let moved = written.and_then(|report| match std::fs::rename(&partial, output) {
        Ok(()) => Ok(report),
        Err(error) => Err(unwritable(output, error)),
    });
    if moved.is_err() {
        // Nothing half-written stays behind; a failure to remove it hides nothing worse.
        let _ = std::fs::remove_file(&partial);
    }
    moved
}

fn write(
    table: Table,
    input: &Path,
    partial: &Path,
    names: &[String],
    replacement: &Replacement,
) -> Result<ScanReport, CorpusError> {
    let reader = table.read_all()?;
    let schema = rewritten_schema(&reader.schema(), names);
    let file = std::fs::File::create(partial).map_err(|error| unwritable(partial, error))?;
    let properties =
        WriterProperties::builder().set_created_by("kolm".to_owned()).set_compression(Compression::SNAPPY).build();
    let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    let mut writer =
        ArrowWriter::try_new_with_options(file, schema.clone(), options).map_err(|error| unwritable(partial, error))?;
    let (mut scan, mut row) = (Scan::new(), 0);
    for batch in reader {
        let broken = |reason: String| CorpusError::Broken { path: input.to_owned(), row, reason };
        let batch = batch.map_err(|error| broken(error.to_string()))?;
        let mut arrays: Vec<ArrayRef> = Vec::new();
        for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
            if !names.contains(field.name()) {
                arrays.push(array.clone());
                continue;
            }
            let cells = text_column(&batch, field.name(), input, row)?;
            let mut rewritten: Vec<Option<String>> = Vec::with_capacity(batch.num_rows());
            for (place, cell) in cells.iter().enumerate() {
                if let Some(text) = cell {
                    scan.text(0, input, row + place as u64, field.name(), text);
                }
                rewritten.push(cell.map(|text| deidentify_text(text, replacement)));
            }
            arrays.push(Arc::new(StringArray::from(rewritten)));
        }
        let batch_row_count = batch.num_rows() as u64;
        let batch = RecordBatch::try_new(schema.clone(), arrays).map_err(|error| broken(error.to_string()))?;
        writer.write(&batch).map_err(|error| unwritable(partial, error))?;
        row += batch_row_count;
    }
    let file = writer.into_inner().map_err(|error| unwritable(partial, error))?;
    file.sync_all().map_err(|error| unwritable(partial, error))?;
    Ok(scan.finish(row).0)
}

fn rewritten_schema(schema: &Schema, names: &[String]) -> Arc<Schema> {
    let field = |field: &Arc<Field>| {
        let rewritten = names.contains(field.name()) && is_text(field.data_type());
        if rewritten { Arc::new(Field::new(field.name(), DataType::Utf8, field.is_nullable())) } else { field.clone() }
    };
    Arc::new(Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>()))
}

fn partial_path(output: &Path) -> PathBuf {
    let mut name = output.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    output.with_file_name(name)
}

fn same_file(left: &Path, right: &Path) -> bool {
    match (left.canonicalize(), right.canonicalize()) {
        (Ok(left), Ok(right)) => left == right,
        _ => left == right,
    }
}

fn unwritable(path: &Path, error: impl std::fmt::Display) -> CorpusError {
    CorpusError::Unwritable { path: path.to_owned(), reason: error.to_string() }
}
