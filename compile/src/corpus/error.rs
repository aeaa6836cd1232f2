//! What can be wrong with a corpus.

use std::path::PathBuf;

use super::identifiers::Kind;

/// Why a corpus was refused. Rows count from 0 in file order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CorpusError {
    /// Neither the job nor the command line names a file.
    #[error("no corpus file is named, expected corpus.train in the job or --corpus")]
    NoFile,
    /// A file is not there.
    #[error("{}: no such corpus file", path.display())]
    FileMissing {
        /// The file.
        path: PathBuf,
    },
    /// A file could not be read.
    #[error("{}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// A file is something else.
    #[error("{}: not a parquet file: {reason}", path.display())]
    NotParquet {
        /// The file.
        path: PathBuf,
        /// The reader's words.
        reason: String,
    },
    /// A page that cannot be decoded.
    #[error("{}: row {row}: broken parquet data: {reason}", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// First row of the batch that failed.
        row: u64,
        /// The reader's words.
        reason: String,
    },
    /// A column that the job names is not in the file.
    #[error("{}: no column `{column}`, the file has {}", path.display(), found.join(", "))]
    ColumnMissing {
        /// The file.
        path: PathBuf,
        /// The column asked for.
        column: String,
        /// The columns there are.
        found: Vec<String>,
    },
    /// A column of another type.
    #[error("{}: column `{column}` is {found}, expected text", path.display())]
    ColumnNotText {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// Its type.
        found: String,
    },
    /// A cell without a value.
    #[error("{}: row {row}: `{column}` is null, expected text", path.display())]
    Null {
        /// The file.
        path: PathBuf,
        /// The row.
        row: u64,
        /// The column.
        column: String,
    },
    /// A cell with nothing but white space.
    #[error("{}: row {row}: `{column}` is empty, expected text", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// The row.
        row: u64,
        /// The column.
        column: String,
    },
    /// Two rows with one id.
    #[error("{}: row {row}: id {id:?} is already that of row {first_row} in {}", path.display(), first_path.display())]
    DuplicateId {
        /// The file.
        path: PathBuf,
        /// The row.
        row: u64,
        /// The id.
        id: String,
        /// File of the first row with it.
        first_path: PathBuf,
        /// The first row with it.
        first_row: u64,
    },
    /// Two rows that say the same, where the job wants none.
    #[error("{}: row {row} repeats row {first_row} of {}", path.display(), first_path.display())]
    DuplicateRow {
        /// The file.
        path: PathBuf,
        /// The row.
        row: u64,
        /// File of the first one.
        first_path: PathBuf,
        /// The first one.
        first_row: u64,
    },
    /// A training row whose prompt is also asked in the eval split.
    #[error(
        "{}: row {row} leaks into the eval split: its prompt is {} that of row {eval_row} in {}",
        path.display(), if *exact { "the same as" } else { "nearly" }, eval_path.display()
    )]
    Leak {
        /// File of the training row.
        path: PathBuf,
        /// The training row.
        row: u64,
        /// File of the eval row.
        eval_path: PathBuf,
        /// The eval row.
        eval_row: u64,
        /// Whether the normalised texts are equal, not only nearly.
        exact: bool,
    },
    /// A completion that is none of the labels.
    #[error("{}: row {row}: label {found:?} is outside the set, expected one of {}", path.display(), expected.join(", "))]
    LabelOutside {
        /// The file.
        path: PathBuf,
        /// The row.
        row: u64,
        /// The completion.
        found: String,
        /// The labels; the first few if they are many.
        expected: Vec<String>,
    },
    /// Not enough rows to judge by.
    #[error("found {found} rows for the eval split, expected at least {expected} (eval.cases)")]
    TooFewEvalRows {
        /// Rows there are.
        found: u64,
        /// Rows the job asks for.
        expected: u64,
    },
    /// Nothing is left to train on.
    #[error("no training row is left of {read} rows read")]
    NoTrainingRows {
        /// Rows read.
        read: u64,
    },
    /// More rows than are told apart.
    #[error("the corpus has {found} rows, at most {limit} are read")]
    TooManyRows {
        /// Rows that the files say they have, or have.
        found: u64,
        /// Most rows.
        limit: u64,
    },
    /// A residual identifier.
    #[error("{}: row {row}: `{column}` holds what looks like {}: {excerpt} ({total} findings in all)", path.display(), kind.words())]
    Identifier {
        /// The file.
        path: PathBuf,
        /// The row.
        row: u64,
        /// The column.
        column: String,
        /// What it looks like.
        kind: Kind,
        /// The text around it, the identifier masked.
        excerpt: String,
        /// Findings in all files.
        total: u64,
    },
    /// A result that could not be written.
    #[error("{}: cannot write: {reason}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// A result that would replace its own input.
    #[error("{}: input and output are the same file", path.display())]
    SameFile {
        /// The file.
        path: PathBuf,
    },
}

impl CorpusError {
    /// Stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            CorpusError::NoFile => "corpus_no_file",
            CorpusError::FileMissing { .. } => "corpus_file_missing",
            CorpusError::Unreadable { .. } => "corpus_unreadable",
            CorpusError::NotParquet { .. } => "corpus_not_parquet",
            CorpusError::Broken { .. } => "corpus_broken",
            CorpusError::ColumnMissing { .. } => "corpus_column_missing",
            CorpusError::ColumnNotText { .. } => "corpus_column_not_text",
            CorpusError::Null { .. } => "corpus_null",
            CorpusError::Empty { .. } => "corpus_empty",
            CorpusError::DuplicateId { .. } => "corpus_duplicate_id",
            CorpusError::DuplicateRow { .. } => "corpus_duplicate_row",
            CorpusError::Leak { .. } => "corpus_leak",
            CorpusError::LabelOutside { .. } => "corpus_label_outside",
            CorpusError::TooFewEvalRows { .. } => "corpus_too_few_eval_rows",
            CorpusError::NoTrainingRows { .. } => "corpus_no_training_rows",
            CorpusError::TooManyRows { .. } => "corpus_too_many_rows",
            CorpusError::Identifier { .. } => "corpus_identifier",
            CorpusError::Unwritable { .. } => "corpus_unwritable",
            CorpusError::SameFile { .. } => "corpus_same_file",
        }
    }

    /// Exit code of the class this error belongs to (README, exit codes): 1 checked and refused, 2 usage, 4 missing input, 6 I/O.
    pub fn exit_code(&self) -> u8 {
        match self {
            CorpusError::NoFile | CorpusError::SameFile { .. } => 2,
            CorpusError::FileMissing { .. } => 4,
            CorpusError::Unreadable { .. } | CorpusError::Unwritable { .. } => 6,
            _ => 1,
        }
    }

    /// What the user can do about it, if there is something to say.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            CorpusError::Identifier { .. } => Some(
                "`kolm corpus scan` lists every finding, `kolm corpus deidentify` replaces them; corpus.identifiers = \"allow\" lets them pass",
            ),
            CorpusError::Leak { .. } => Some("corpus.leakage = \"drop\" leaves such training rows out"),
            CorpusError::DuplicateRow { .. } => Some("corpus.duplicates = \"drop\" leaves such rows out"),
            CorpusError::TooManyRows { .. } => Some("compile from fewer files, or from a sample of the rows"),
            CorpusError::TooFewEvalRows { .. } => Some("lower eval.cases or give more rows"),
            _ => None,
        }
    }
}
