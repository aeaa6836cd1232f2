//! Text columns of a parquet file, streamed: a row group is decoded batch by batch, and rows come in file order.

use std::fs::File;
use std::path::{Path, PathBuf};

use arrow::array::{Array, LargeStringArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, SchemaRef};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::error::CorpusError;

/// A parquet file opened for reading; nothing but its footer has been read.
pub(super) struct Table {
    path: PathBuf,
    builder: ParquetRecordBatchReaderBuilder<File>,
}

impl Table {
    /// Opens `path` and reads its footer.
    pub(super) fn open(path: &Path) -> Result<Table, CorpusError> {
        let file = open(path)?;
        let not_parquet = |reason: String| CorpusError::NotParquet { path: path.to_owned(), reason };
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| not_parquet(error.to_string()))?;
        Ok(Table { path: path.to_owned(), builder: builder.with_batch_size(BATCH_ROW_COUNT) })
    }

    /// The columns as Arrow sees them.
    pub(super) fn schema(&self) -> &SchemaRef {
        self.builder.schema()
    }

    /// Rows in the file.
    pub(super) fn row_count(&self) -> u64 {
        u64::try_from(self.builder.metadata().file_metadata().num_rows()).unwrap_or(0)
    }

    /// Names of all text columns, in file order.
    pub(super) fn text_columns(&self) -> Vec<String> {
        self.schema()
            .fields()
            .iter()
            .filter(|field| is_text(field.data_type()))
            .map(|field| field.name().clone())
            .collect()
    }

    /// Checks that each of `columns` exists and holds text.
    pub(super) fn require_text(&self, columns: &[&str]) -> Result<(), CorpusError> {
        for &column in columns {
            let Some((_, field)) = self.schema().fields().find(column) else {
                let found = self.schema().fields().iter().map(|field| field.name().clone()).collect();
                return Err(CorpusError::ColumnMissing { path: self.path.clone(), column: column.to_owned(), found });
            };
            if !is_text(field.data_type()) {
                let found = field.data_type().to_string();
                return Err(CorpusError::ColumnNotText { path: self.path.clone(), column: column.to_owned(), found });
            }
        }
        Ok(())
    }

    /// Streams `columns` (all of them text) as batches.
    pub(super) fn read_text(self, columns: &[&str]) -> Result<TextBatches, CorpusError> {
        self.require_text(columns)?;
        let roots: Vec<usize> = columns.iter().filter_map(|column| self.schema().index_of(column).ok()).collect();
        let mask = ProjectionMask::roots(self.builder.parquet_schema(), roots);
        let path = self.path;
        let batches =
            self.builder.with_projection(mask).build().map_err(|error| broken(&path, 0, error.to_string()))?;
        Ok(TextBatches {
            path,
            columns: columns.iter().map(|column| (*column).to_owned()).collect(),
            batches,
            next_row: 0,
        })
    }

    /// Streams whole batches.
    pub(super) fn read_all(self) -> Result<ParquetRecordBatchReader, CorpusError> {
        let path = self.path;
        self.builder.build().map_err(|error| broken(&path, 0, error.to_string()))
    }
}

/// Batches of text columns.
pub(super) struct TextBatches {
    path: PathBuf,
    columns: Vec<String>,
    batches: ParquetRecordBatchReader,
    next_row: u64,
}

/// One batch: the first row's number and the columns in the order asked for.
pub(super) struct TextBatch {
    pub(super) first_row: u64,
    pub(super) columns: Vec<LargeStringArray>,
}

impl TextBatch {
    pub(super) fn row_count(&self) -> usize {
        self.columns.first().map_or(0, Array::len)
    }
}

impl Iterator for TextBatches {
    type Item = Result<TextBatch, CorpusError>;

    fn next(&mut self) -> Option<Self::Item> {
        let first_row = self.next_row;
        let batch = match self.batches.next()? {
            Ok(batch) => batch,
            Err(error) => return Some(Err(broken(&self.path, first_row, error.to_string()))),
        };
        self.next_row += batch.num_rows() as u64;
        let columns = self.columns.iter().map(|column| text_column(&batch, column, &self.path, first_row)).collect();
        Some(match columns {
            Ok(columns) => Ok(TextBatch { first_row, columns }),
            Err(error) => Err(error),
        })
    }
}

/// Column `name` of `batch` as plain text, whatever its encoding.
pub(super) fn text_column(
    batch: &RecordBatch,
    name: &str,
    path: &Path,
    row: u64,
) -> Result<LargeStringArray, CorpusError> {
    let array = batch.column_by_name(name).ok_or_else(|| broken(path, row, format!("column {name} is gone")))?;
    let text = cast(array, &DataType::LargeUtf8).map_err(|error| broken(path, row, error.to_string()))?;
    text.as_any().downcast_ref().cloned().ok_or_else(|| broken(path, row, format!("column {name} is not text")))
}

/// Opens a file, a missing one and an unreadable one being different errors.
pub(super) fn open(path: &Path) -> Result<File, CorpusError> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => CorpusError::FileMissing { path: path.to_owned() },
        _ => CorpusError::Unreadable { path: path.to_owned(), reason: error.to_string() },
    };
    let file = File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.is_dir() {
        return Err(CorpusError::Unreadable {
            path: path.to_owned(),
            reason: "is a folder, expected a parquet file".to_owned(),
        });
    }
    Ok(file)
}

fn broken(path: &Path, row: u64, reason: String) -> CorpusError {
    CorpusError::Broken { path: path.to_owned(), row, reason }
}

pub(super) fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, value) => is_text(value),
        _ => false,
    }
}

/// Rows decoded at once: enough to be fast, little enough that texts of a megabyte each still fit.
const BATCH_ROW_COUNT: usize = 1024;
