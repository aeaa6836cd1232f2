//! Rows of a corpus, streamed from its files in order.

use std::path::{Path, PathBuf};

use arrow::array::Array;
use sha2::{Digest, Sha256};

use super::error::CorpusError;
use super::table::{Table, TextBatch, TextBatches};

/// Which columns hold what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    /// Row id; without it rows are named by file and row.
    pub id: Option<String>,
    /// Input text.
    pub prompt: String,
    /// Text to learn.
    pub completion: String,
    /// Split.
    pub split: Option<String>,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Index of the file.
    pub file: usize,
    /// Row in that file, from 0.
    pub row: u64,
    /// The id column's value, else `fFILE-rROW`.
    pub id: String,
    /// Input text.
    pub prompt: String,
    /// Text to learn.
    pub completion: String,
    /// The split column's value.
    pub split: Option<String>,
}

impl Row {
    /// SHA-256 over prompt and completion (each with its length before it): the row's identity, whatever its id or place.
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(b"kolm row 1\0");
        add_text(&mut hash, &self.prompt);
        add_text(&mut hash, &self.completion);
        hash.finalize().into()
    }
}

/// SHA-256 over ids, prompts and completions in order, in lower-case hex: the same rows have the same digest however their file
/// is encoded.
pub fn digest_rows(rows: &[Row]) -> String {
    let mut hash = Sha256::new();
    hash.update(b"kolm rows 1\0");
    hash.update((rows.len() as u64).to_le_bytes());
    for row in rows {
        add_text(&mut hash, &row.id);
        add_text(&mut hash, &row.prompt);
        add_text(&mut hash, &row.completion);
    }
    hex(&hash.finalize())
}

fn add_text(hash: &mut Sha256, text: &str) {
    hash.update((text.len() as u64).to_le_bytes());
    hash.update(text.as_bytes());
}

/// Lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Streams the rows of `path`, which is file number `file` of the corpus.
///
/// # Errors
/// [`CorpusError::FileMissing`], [`CorpusError::Unreadable`], [`CorpusError::NotParquet`], [`CorpusError::ColumnMissing`] and
/// [`CorpusError::ColumnNotText`] at once; [`CorpusError::Null`], [`CorpusError::Empty`] and [`CorpusError::Broken`] as the rows come.
pub fn read_file(file: usize, path: &Path, columns: &Columns) -> Result<Rows, CorpusError> {
    let table = Table::open(path)?;
    let names = [Some(&columns.prompt), Some(&columns.completion), columns.id.as_ref(), columns.split.as_ref()];
    let names: Vec<&str> = names.into_iter().flatten().map(String::as_str).collect();
    let batches = table.read_text(&names)?;
    Ok(Rows { file, path: path.to_owned(), columns: columns.clone(), batches, batch: None, place: 0 })
}

/// Iterator over the rows of one file.
pub struct Rows {
    file: usize,
    path: PathBuf,
    columns: Columns,
    batches: TextBatches,
    batch: Option<TextBatch>,
    place: usize,
}

impl Iterator for Rows {
    type Item = Result<Row, CorpusError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(batch) = self.batch.as_ref().filter(|batch| self.place < batch.row_count()) {
                let row = self.row(batch, self.place);
                self.place += 1;
                return Some(row);
            }
            match self.batches.next()? {
                Ok(batch) => self.batch = Some(batch),
                Err(error) => return Some(Err(error)),
            }
            self.place = 0;
        }
    }
}

impl Rows {
    fn row(&self, batch: &TextBatch, place: usize) -> Result<Row, CorpusError> {
        let row = batch.first_row + place as u64;
        let mut index = 0;
        let mut cell = |column: &str| {
            let array = &batch.columns[index];
            index += 1;
            let (path, column) = (self.path.clone(), column.to_owned());
            if array.is_null(place) {
                return Err(CorpusError::Null { path, row, column });
            }
            let text = array.value(place);
            if text.trim().is_empty() { Err(CorpusError::Empty { path, row, column }) } else { Ok(text.to_owned()) }
        };
        let prompt = cell(&self.columns.prompt)?;
        let completion = cell(&self.columns.completion)?;
        let id = self.columns.id.as_deref().map(&mut cell).transpose()?;
        let split = self.columns.split.as_deref().map(&mut cell).transpose()?;
        let id = id.unwrap_or_else(|| format!("f{}-r{row}", self.file));
        Ok(Row { file: self.file, row, id, prompt, completion, split })
    }
}
