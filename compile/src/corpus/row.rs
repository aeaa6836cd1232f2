//! Rows of a corpus, streamed from its files in order.

use std::path::{Path, PathBuf};

use arrow::array::Array;
use sha2::{Digest, Sha256};

use super::error::CorpusError;
use super::load::CorpusFile;
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
    /// The row as one that still lies in its batch.
    pub(super) fn cells(&self) -> CellRow<'_> {
        let Row { file, row, id, prompt, completion, split } = self;
        CellRow { file: *file, row: *row, id: Some(id), prompt, completion, split: split.as_deref() }
    }

    /// SHA-256 over prompt and completion (each with its length before it): the row's identity, whatever its id or place.
    pub fn digest(&self) -> [u8; 32] {
        digest(&self.prompt, &self.completion)
    }
}

/// [`Row::digest`] of a row that says this.
pub(super) fn digest(prompt: &str, completion: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"kolm row 1\0");
    hash_text(&mut hash, prompt);
    hash_text(&mut hash, completion);
    hash.finalize().into()
}

/// SHA-256 over ids, prompts and completions in order, in lower-case hex: the same rows have the same digest however their file
/// is encoded.
pub fn digest_rows(rows: &[Row]) -> String {
    let mut digest = RowsDigest::new(rows.len() as u64);
    rows.iter().for_each(|row| digest.add(row.file, row.row, Some(&row.id), &row.prompt, &row.completion));
    digest.finish()
}

/// [`digest_rows`] of rows that come one by one.
pub(super) struct RowsDigest(Sha256);

impl RowsDigest {
    pub(super) fn new(row_count: u64) -> RowsDigest {
        let mut hash = Sha256::new();
        hash.update(b"kolm rows 1\0");
        hash.update(row_count.to_le_bytes());
        RowsDigest(hash)
    }

    pub(super) fn add(&mut self, file: usize, row: u64, id: Option<&str>, prompt: &str, completion: &str) {
        match id {
            Some(id) => hash_text(&mut self.0, id),
            None => hash_text(&mut self.0, &place_name(file, row)),
        }
        hash_text(&mut self.0, prompt);
        hash_text(&mut self.0, completion);
    }

    pub(super) fn finish(self) -> String {
        hex(&self.0.finalize())
    }
}

/// The id of a row in a corpus without ids.
fn place_name(file: usize, row: u64) -> String {
    format!("f{file}-r{row}")
}

/// Adds a text with its length before it.
pub(super) fn hash_text(hash: &mut Sha256, text: &str) {
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
    let batches = open(path, columns)?;
    Ok(Rows { file, path: path.to_owned(), columns: columns.clone(), batches, batch: None, place: 0 })
}

/// Opens a file for its columns: prompt, completion, and id and split where they are.
pub(super) fn open(path: &Path, columns: &Columns) -> Result<TextBatches, CorpusError> {
    let names = [Some(&columns.prompt), Some(&columns.completion), columns.id.as_ref(), columns.split.as_ref()];
    let names: Vec<&str> = names.into_iter().flatten().map(String::as_str).collect();
    Table::open(path)?.read_text(&names)
}

/// Streams the batches of all files, in order.
pub(super) fn batches(
    files: &[CorpusFile],
    columns: &Columns,
) -> Result<impl Iterator<Item = Result<FileBatch, CorpusError>> + Send, CorpusError> {
    let opened = files.iter().map(|file| open(&file.path, columns)).collect::<Result<Vec<_>, _>>()?;
    Ok(opened
        .into_iter()
        .enumerate()
        .flat_map(|(file, batches)| batches.map(move |cells| Ok(FileBatch { file, cells: cells? }))))
}

/// A batch and the number of its file.
pub(super) struct FileBatch {
    pub(super) file: usize,
    pub(super) cells: TextBatch,
}

/// One row as it lies in its batch.
pub(crate) struct CellRow<'a> {
    /// Number of its file.
    pub(super) file: usize,
    /// Row in its file.
    pub(super) row: u64,
    /// The id column's value, where there is one.
    pub(super) id: Option<&'a str>,
    /// Input text.
    pub(super) prompt: &'a str,
    /// Text to learn.
    pub(super) completion: &'a str,
    /// The split column's value.
    pub(super) split: Option<&'a str>,
}

impl<'a> CellRow<'a> {
    /// Reads row `place` of a batch.
    ///
    /// # Errors
    /// [`CorpusError::Null`], [`CorpusError::Empty`].
    pub(super) fn read(
        batch: &'a FileBatch,
        place: usize,
        columns: &Columns,
        path: &Path,
    ) -> Result<CellRow<'a>, CorpusError> {
        let row = batch.cells.first_row + place as u64;
        let mut index = 0;
        let mut cell = |column: &str| {
            let array = &batch.cells.columns[index];
            index += 1;
            if array.is_null(place) {
                return Err(CorpusError::Null { path: path.to_owned(), row, column: column.to_owned() });
            }
            let text = array.value(place);
            if text.trim().is_empty() {
                return Err(CorpusError::Empty { path: path.to_owned(), row, column: column.to_owned() });
            }
            Ok(text)
        };
        let prompt = cell(&columns.prompt)?;
        let completion = cell(&columns.completion)?;
        let id = columns.id.as_deref().map(&mut cell).transpose()?;
        let split = columns.split.as_deref().map(&mut cell).transpose()?;
        Ok(CellRow { file: batch.file, row, id, prompt, completion, split })
    }

    /// The row on its own.
    pub(crate) fn to_row(&self) -> Row {
        Row {
            file: self.file,
            row: self.row,
            id: self.id.map_or_else(|| place_name(self.file, self.row), str::to_owned),
            prompt: self.prompt.to_owned(),
            completion: self.completion.to_owned(),
            split: self.split.map(str::to_owned),
        }
    }
}

/// Iterator over the rows of one file.
pub struct Rows {
    file: usize,
    path: PathBuf,
    columns: Columns,
    batches: TextBatches,
    batch: Option<FileBatch>,
    place: usize,
}

impl Iterator for Rows {
    type Item = Result<Row, CorpusError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(batch) = self.batch.as_ref().filter(|batch| self.place < batch.cells.row_count()) {
                let row = CellRow::read(batch, self.place, &self.columns, &self.path);
                self.place += 1;
                return Some(row.map(|row| row.to_row()));
            }
            match self.batches.next()? {
                Ok(cells) => self.batch = Some(FileBatch { file: self.file, cells }),
                Err(error) => return Some(Err(error)),
            }
            self.place = 0;
        }
    }
}
