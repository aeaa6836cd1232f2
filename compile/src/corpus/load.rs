//! What is asked of a corpus and what comes of it.

use std::path::PathBuf;

use rayon::prelude::*;

use super::error::CorpusError;
use super::identifiers::ScanReport;
use super::row::{CellRow, Columns, Row, RowsDigest, digest_rows};
use super::split::Split;
use crate::job::{Duplicates, Identifiers, Job, Metric};

pub use crate::job::Leakage;

/// What to load and by which rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Files to train on, and to split the eval cases from if there is no eval file.
    pub train: Vec<PathBuf>,
    /// Files to judge by.
    pub eval: Vec<PathBuf>,
    /// Which columns hold what.
    pub columns: Columns,
    /// Value of the split column for training rows.
    pub train_split: String,
    /// Value of the split column for eval rows.
    pub eval_split: String,
    /// What happens to rows that occur before.
    pub duplicates: Duplicates,
    /// What happens to training rows that are also eval rows.
    pub leakage: Leakage,
    /// What happens when a residual identifier is found.
    pub identifiers: Identifiers,
    /// Eval cases wanted.
    pub cases: u64,
    /// Whether completions come from a closed set.
    pub closed: bool,
    /// That set; `None` is the set of the training rows' completions (of all rows if the split is by hash).
    pub labels: Option<Vec<String>>,
}

impl Request {
    /// Takes everything from `job`; `corpus`, if not empty, replaces its training files (and then its eval files too).
    pub fn from_job(job: &Job, corpus: &[PathBuf]) -> Request {
        let resolve = |files: &[String]| files.iter().map(|file| job.resolve(file)).collect::<Vec<_>>();
        let section = &job.corpus;
        let from_job = corpus.is_empty();
        Request {
            train: if from_job { resolve(&section.train) } else { corpus.to_vec() },
            eval: if from_job { resolve(&section.eval) } else { Vec::new() },
            columns: Columns {
                id: section.id.clone(),
                prompt: section.prompt.clone(),
                completion: section.completion.clone(),
                split: section.split.clone(),
            },
            train_split: section.train_split.clone(),
            eval_split: section.eval_split.clone(),
            duplicates: section.duplicates,
            leakage: section.leakage,
            identifiers: section.identifiers,
            cases: job.eval.cases,
            closed: job.eval.metric == Metric::Label,
            labels: job.eval.labels.clone(),
        }
    }

    /// How the eval rows are set apart.
    pub fn method(&self) -> SplitMethod {
        if !self.eval.is_empty() {
            SplitMethod::File
        } else if self.columns.split.is_some() {
            SplitMethod::Column
        } else {
            SplitMethod::Hash
        }
    }
}

/// How the eval rows are set apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SplitMethod {
    /// The rows with the lowest digests.
    Hash,
    /// A column of the corpus.
    Column,
    /// Files of their own.
    File,
}

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Training rows, and eval rows unless they have files of their own.
    Train,
    /// Eval rows.
    Eval,
}

/// Identity of one corpus file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorpusFile {
    /// Where it lies; never part of an artifact.
    pub path: PathBuf,
    /// What it is for.
    pub role: Role,
    /// SHA-256 of the file in lower-case hex.
    pub sha256: String,
    /// Length in bytes.
    pub size: u64,
    /// Rows in it.
    pub rows: u64,
}

/// Why rows were left out, and how many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// They occur before.
    pub duplicates: u64,
    /// They are training rows that are also eval rows.
    pub leaks: u64,
    /// They belong to no split, or to the eval split beyond the cases wanted.
    pub unused: u64,
}

impl Dropped {
    /// Rows left out for any reason.
    pub fn total(&self) -> u64 {
        self.duplicates + self.leaks + self.unused
    }
}

/// A checked corpus.
#[derive(Clone, Debug)]
pub struct Corpus {
    /// Training rows in file order.
    pub train: Vec<Row>,
    /// Eval rows in file order.
    pub eval: Vec<Row>,
    /// Files, training files first.
    pub files: Vec<CorpusFile>,
    /// How the eval rows were set apart.
    pub method: SplitMethod,
    /// Rows read.
    pub read: u64,
    /// Rows left out.
    pub dropped: Dropped,
    /// The closed label set: as given, else sorted.
    pub labels: Option<Vec<String>>,
    /// Digest of the training rows.
    pub train_sha256: String,
    /// Digest of the eval rows.
    pub eval_sha256: String,
    /// What the identifier scan found.
    pub scan: ScanReport,
}

/// What is known of a corpus whose rows are not kept.
#[derive(Clone, Debug)]
pub struct Checked {
    /// Files, training files first.
    pub files: Vec<CorpusFile>,
    /// How the eval rows were set apart.
    pub method: SplitMethod,
    /// Rows read.
    pub read: u64,
    /// Training rows.
    pub train: u64,
    /// Eval rows.
    pub eval: u64,
    /// Rows left out.
    pub dropped: Dropped,
    /// The closed label set: as given, else sorted.
    pub labels: Option<Vec<String>>,
    /// Digest of the training rows.
    pub train_sha256: String,
    /// Digest of the eval rows.
    pub eval_sha256: String,
    /// What the identifier scan found.
    pub scan: ScanReport,
}

/// Reads, checks and splits the corpus.
///
/// # Errors
/// [`CorpusError`], naming file, row and column.
pub fn load(request: &Request) -> Result<Corpus, CorpusError> {
    let split = Split::find(request)?;
    let mut train = Vec::with_capacity(usize::try_from(split.train).unwrap_or(0));
    split.training_rows(|row| Ok::<_, CorpusError>(row.to_row()), |_, row| train.push(row))?;
    let (train_sha256, eval_sha256) = (digest_rows(&train), digest_rows(&split.eval));
    let Split { files, read, eval, dropped, labels, scan, .. } = split;
    Ok(Corpus { train, eval, files, method: request.method(), read, dropped, labels, train_sha256, eval_sha256, scan })
}

/// Does all that [`load`] does but keep the training rows: memory is a few dozen bytes a row, however long the texts.
///
/// # Errors
/// As [`load`].
pub fn check(request: &Request) -> Result<Checked, CorpusError> {
    check_rows(request, |_| Ok(()), |(), _| Ok(()), |_, ()| ())
}

/// As [`check`], and has each row that is left looked at: once the labels are known, `prepare` makes what `look` needs; threads `look` at
/// rows; `take` gets what they saw, that of the training rows in file order and then that of the eval rows.
///
/// # Errors
/// As [`load`], and those of `prepare` and `look`.
pub(crate) fn check_rows<L: Sync, T: Send, E: From<CorpusError> + Send>(
    request: &Request,
    prepare: impl FnOnce(Option<&[String]>) -> Result<L, E>,
    look: impl Fn(&L, &CellRow<'_>) -> Result<T, E> + Sync,
    mut take: impl FnMut(Role, T),
) -> Result<Checked, E> {
    let split = Split::find(request)?;
    let looker = prepare(split.labels.as_deref())?;
    let mut digest = RowsDigest::new(split.train);
    split.training_rows(
        |row| look(&looker, row),
        |row, seen| {
            digest.add(row.file, row.row, row.id, row.prompt, row.completion);
            take(Role::Train, seen);
        },
    )?;
    let seen: Vec<Result<T, E>> = split.eval.par_iter().map(|row| look(&looker, &row.cells())).collect();
    for seen in seen {
        take(Role::Eval, seen?);
    }
    let (train_sha256, eval_sha256) = (digest.finish(), digest_rows(&split.eval));
    let Split { files, read, train, eval, dropped, labels, scan, .. } = split;
    let (method, eval) = (request.method(), eval.len() as u64);
    Ok(Checked { files, method, read, train, eval, dropped, labels, train_sha256, eval_sha256, scan })
}
