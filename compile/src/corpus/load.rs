//! From files to a checked training split and eval split.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::error::CorpusError;
use super::identifiers::{Scan, ScanReport};
use super::row::{Columns, Row, digest_rows, hex, read_file};
use super::similarity::{matches, normalised};
use super::table::{self, Table};
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

/// Reads, checks and splits the corpus.
///
/// # Errors
/// [`CorpusError`], naming file, row and column.
pub fn load(request: &Request) -> Result<Corpus, CorpusError> {
    let (files, rows, scan) = read_rows(request)?;
    let read = rows.len() as u64;
    let paths: Vec<&Path> = files.iter().map(|file| file.path.as_path()).collect();
    let mut dropped = Dropped::default();
    let (mut train, mut eval) = match request.method() {
        SplitMethod::Hash => {
            let pool = without_duplicates(rows, request.duplicates, &paths, &mut dropped)?;
            lowest_digests(pool, request.cases)?
        }
        SplitMethod::Column => {
            let (train, rest): (Vec<Row>, Vec<Row>) =
                rows.into_iter().partition(|row| row.split.as_ref() == Some(&request.train_split));
            let (eval, others): (Vec<Row>, Vec<Row>) =
                rest.into_iter().partition(|row| row.split.as_ref() == Some(&request.eval_split));
            dropped.unused += others.len() as u64;
            (train, eval)
        }
        SplitMethod::File => rows.into_iter().partition(|row| files[row.file].role == Role::Train),
    };
    if request.method() != SplitMethod::Hash {
        train = without_duplicates(train, request.duplicates, &paths, &mut dropped)?;
        eval = without_duplicates(eval, request.duplicates, &paths, &mut dropped)?;
        let unused;
        (unused, eval) = lowest_digests(eval, request.cases)?;
        dropped.unused += unused.len() as u64;
    }
    // A split by hash is ours to make: rows near an eval row are left out of training. A given split that leaks is a fault.
    let leakage = if request.method() == SplitMethod::Hash { Leakage::Drop } else { request.leakage };
    train = without_leaks(train, &eval, leakage, &paths, &mut dropped)?;
    if train.is_empty() {
        return Err(CorpusError::NoTrainingRows { read });
    }
    let labels = request
        .closed
        .then(|| label_set(request, &train, &eval))
        .map(|labels| check_labels(labels, &train, &eval, &paths))
        .transpose()?;
    let (train_sha256, eval_sha256) = (digest_rows(&train), digest_rows(&eval));
    Ok(Corpus { train, eval, files, method: request.method(), read, dropped, labels, train_sha256, eval_sha256, scan })
}

/// Reads every row of every file; ids are unique, and identifiers are looked for on the way.
fn read_rows(request: &Request) -> Result<(Vec<CorpusFile>, Vec<Row>, ScanReport), CorpusError> {
    if request.train.is_empty() {
        return Err(CorpusError::NoFile);
    }
    let named =
        request.train.iter().map(|path| (path, Role::Train)).chain(request.eval.iter().map(|path| (path, Role::Eval)));
    let named: Vec<(&PathBuf, Role)> = named.collect();
    // Every file must open and have its columns before the first row is read.
    let opened: Vec<_> = named
        .iter()
        .enumerate()
        .map(|(file, (path, _))| read_file(file, path, &request.columns))
        .collect::<Result<_, _>>()?;
    let mut files = Vec::new();
    for &(path, role) in &named {
        let (sha256, size) = file_digest(path)?;
        files.push(CorpusFile { path: path.clone(), role, sha256, size, rows: Table::open(path)?.row_count() });
    }
    let mut rows = Vec::new();
    let mut ids: BTreeMap<String, (usize, u64)> = BTreeMap::new();
    let mut scan = Scan::new();
    for row in opened.into_iter().flatten() {
        let row = row?;
        if let Some(&(first_file, first_row)) = ids.get(&row.id) {
            let (path, first_path) = (named[row.file].0.clone(), named[first_file].0.clone());
            return Err(CorpusError::DuplicateId { path, row: row.row, id: row.id, first_path, first_row });
        }
        ids.insert(row.id.clone(), (row.file, row.row));
        let path = &files[row.file].path;
        if let Some(id) = &request.columns.id {
            scan.text(row.file, path, row.row, id, &row.id);
        }
        scan.text(row.file, path, row.row, &request.columns.prompt, &row.prompt);
        scan.text(row.file, path, row.row, &request.columns.completion, &row.completion);
        rows.push(row);
    }
    let (report, first) = scan.finish(rows.len() as u64);
    match first {
        Some(found) if request.identifiers == Identifiers::Stop => Err(CorpusError::Identifier {
            path: found.path,
            row: found.row,
            column: found.column,
            kind: found.kind,
            excerpt: found.excerpt,
            total: report.total(),
        }),
        _ => Ok((files, rows, report)),
    }
}

fn file_digest(path: &Path) -> Result<(String, u64), CorpusError> {
    let mut file = table::open(path)?;
    let (mut hash, mut size, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 16]);
    loop {
        let read = file
            .read(&mut buffer)
            .map_err(|error| CorpusError::Unreadable { path: path.to_owned(), reason: error.to_string() })?;
        if read == 0 {
            return Ok((hex(&hash.finalize()), size));
        }
        hash.update(&buffer[..read]);
        size += read as u64;
    }
}

/// Keeps the first of rows whose normalised prompt and completion are the same.
fn without_duplicates(
    rows: Vec<Row>,
    rule: Duplicates,
    paths: &[&Path],
    dropped: &mut Dropped,
) -> Result<Vec<Row>, CorpusError> {
    let mut seen: BTreeMap<(String, String), (usize, u64)> = BTreeMap::new();
    let mut kept = Vec::with_capacity(rows.len());
    for row in rows {
        let key = (normalised(&row.prompt), row.completion.trim().to_owned());
        match seen.get(&key) {
            None => {
                seen.insert(key, (row.file, row.row));
                kept.push(row);
            }
            Some(_) if rule == Duplicates::Drop => dropped.duplicates += 1,
            Some(&(first_file, first_row)) => {
                let (path, first_path) = (paths[row.file].to_owned(), paths[first_file].to_owned());
                return Err(CorpusError::DuplicateRow { path, row: row.row, first_path, first_row });
            }
        }
    }
    Ok(kept)
}

/// Parts the `count` rows with the lowest digests from the others; both keep their order. Returns (others, lowest).
fn lowest_digests(rows: Vec<Row>, count: u64) -> Result<(Vec<Row>, Vec<Row>), CorpusError> {
    if (rows.len() as u64) < count {
        return Err(CorpusError::TooFewEvalRows { found: rows.len() as u64, expected: count });
    }
    let mut order: Vec<([u8; 32], usize)> = rows.iter().enumerate().map(|(place, row)| (row.digest(), place)).collect();
    order.sort_unstable();
    let taken: BTreeSet<usize> = order.iter().take(count as usize).map(|(_, place)| *place).collect();
    let (mut others, mut lowest) = (Vec::new(), Vec::new());
    for (place, row) in rows.into_iter().enumerate() {
        if taken.contains(&place) { lowest.push(row) } else { others.push(row) }
    }
    Ok((others, lowest))
}

/// Drops, or refuses, training rows whose prompt equals or nearly equals an eval row's.
fn without_leaks(
    train: Vec<Row>,
    eval: &[Row],
    rule: Leakage,
    paths: &[&Path],
    dropped: &mut Dropped,
) -> Result<Vec<Row>, CorpusError> {
    let prompts = |rows: &[Row]| rows.iter().map(|row| normalised(&row.prompt)).collect::<Vec<_>>();
    let found = matches(&prompts(&train), &prompts(eval));
    let mut kept = Vec::with_capacity(train.len());
    for (row, found) in train.into_iter().zip(found) {
        match found {
            None => kept.push(row),
            Some(_) if rule == Leakage::Drop => dropped.leaks += 1,
            Some((place, exact)) => {
                let (path, eval_path) = (paths[row.file].to_owned(), paths[eval[place].file].to_owned());
                return Err(CorpusError::Leak { path, row: row.row, eval_path, eval_row: eval[place].row, exact });
            }
        }
    }
    Ok(kept)
}

fn label_set(request: &Request, train: &[Row], eval: &[Row]) -> Vec<String> {
    // A split by hash may take the only row of a rare label; in a given split, such a label is a fault.
    let eval = if request.method() == SplitMethod::Hash { eval } else { &[] };
    let from_rows =
        || train.iter().chain(eval).map(|row| row.completion.clone()).collect::<BTreeSet<_>>().into_iter().collect();
    request.labels.clone().unwrap_or_else(from_rows)
}

fn check_labels(labels: Vec<String>, train: &[Row], eval: &[Row], paths: &[&Path]) -> Result<Vec<String>, CorpusError> {
    let known: BTreeSet<&str> = labels.iter().map(String::as_str).collect();
    match train.iter().chain(eval).find(|row| !known.contains(row.completion.as_str())) {
        None => Ok(labels),
        Some(row) => {
            let mut expected: Vec<String> = labels.iter().take(LABELS_NAMED).cloned().collect();
            if labels.len() > LABELS_NAMED {
                expected.push(format!("{} more", labels.len() - LABELS_NAMED));
            }
            Err(CorpusError::LabelOutside {
                path: paths[row.file].to_owned(),
                row: row.row,
                found: row.completion.clone(),
                expected,
            })
        }
    }
}

/// Labels named in a message; more would hide the message.
const LABELS_NAMED: usize = 12;
