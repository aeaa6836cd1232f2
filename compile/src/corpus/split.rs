//! The passes over a corpus: survey, then leaks and labels, and at last the training rows.
//!
//! Each pass streams the files again, which costs less than keeping their texts. The leak check is exact: every training prompt is
//! compared with every eval prompt that can be near it, through an index whose size is that of the eval split.

use std::collections::BTreeSet;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::error::CorpusError;
use super::identifiers::ScanReport;
use super::load::{CorpusFile, Dropped, Leakage, Request, Role, SplitMethod};
use super::ordered::in_order;
use super::row::{CellRow, Columns, FileBatch, Row, batches, hex, open};
use super::similarity::{Index, normalised};
use super::survey::{Fate, Survey, survey};
use super::table::{self, Table};

/// A corpus of which it is known what becomes of each row.
pub(super) struct Split {
    pub(super) files: Vec<CorpusFile>,
    pub(super) read: u64,
    pub(super) train: u64,
    pub(super) eval: Vec<Row>,
    pub(super) dropped: Dropped,
    pub(super) labels: Option<Vec<String>>,
    pub(super) scan: ScanReport,
    columns: Columns,
    fates: Vec<Fate>,
}

impl Split {
    /// Passes over the corpus until every row's part is known.
    pub(super) fn find(request: &Request) -> Result<Split, CorpusError> {
        let files = open_all(request)?;
        let Survey { fates, duplicates, unused, eval, scan } = survey(request, &files)?;
        let mut split = Split {
            files,
            read: fates.len() as u64,
            train: 0,
            eval,
            dropped: Dropped { duplicates, leaks: 0, unused },
            labels: None,
            scan,
            columns: request.columns.clone(),
            fates,
        };
        let completions = split.without_leaks(request)?;
        split.train = split.fates.iter().filter(|fate| **fate == Fate::Train).count() as u64;
        if split.train == 0 {
            return Err(CorpusError::NoTrainingRows { read: split.read });
        }
        split.labels = request.closed.then(|| split.check_labels(request, completions)).transpose()?;
        Ok(split)
    }

    /// Streams the training rows: threads `look` at rows, `take` gets what they saw in file order.
    pub(super) fn training_rows<T: Send, E: From<CorpusError> + Send>(
        &self,
        look: impl Fn(&CellRow<'_>) -> Result<T, E> + Sync,
        mut take: impl FnMut(&CellRow<'_>, T),
    ) -> Result<(), E> {
        let mut first = 0;
        let numbered = batches(&self.files, &self.columns)?.map(move |batch| {
            let batch = batch?;
            let rows = first..first + batch.cells.row_count();
            first = rows.end;
            Ok((rows, batch))
        });
        let work = |numbered: Result<(Range<usize>, FileBatch), CorpusError>| -> Result<_, E> {
            let (rows, batch) = numbered?;
            let Some(fates) = self.fates.get(rows) else {
                let path = self.files[batch.file].path.clone();
                return Err(CorpusError::Unreadable { path, reason: "it grew while it was read".to_owned() }.into());
            };
            let places = fates.iter().enumerate().filter(|(_, fate)| **fate == Fate::Train).map(|(place, _)| place);
            let seen = places
                .map(|place| Ok((place, look(&self.row(&batch, place)?)?)))
                .collect::<Result<Vec<(usize, T)>, E>>()?;
            Ok((batch, seen))
        };
        in_order(numbered, work, |worked| {
            let (batch, seen) = worked?;
            for (place, seen) in seen {
                take(&self.row(&batch, place)?, seen);
            }
            Ok(())
        })
    }

    fn row<'a>(&self, batch: &'a FileBatch, place: usize) -> Result<CellRow<'a>, CorpusError> {
        CellRow::read(batch, place, &self.columns, &self.files[batch.file].path)
    }

    /// Drops, or refuses, training rows whose prompt equals or nearly equals an eval row's; gives what the others complete to.
    fn without_leaks(&mut self, request: &Request) -> Result<Completions, CorpusError> {
        let prompts: Vec<String> = self.eval.iter().map(|row| normalised(&row.prompt)).collect();
        let index = Index::build(&prompts);
        // A split by hash is ours to make: rows near an eval row are left out of training. A given split that leaks is a fault.
        let rule = if request.method() == SplitMethod::Hash { Leakage::Drop } else { request.leakage };
        let look = |batch: Result<FileBatch, CorpusError>| -> Result<_, CorpusError> {
            let batch = batch?;
            let prompts = &batch.cells.columns[PROMPT];
            let near =
                (0..batch.cells.row_count()).map(|place| index.find(&normalised(prompts.value(place)))).collect();
            Ok((batch, near))
        };
        let mut completions = Completions::new(request);
        let texts = Columns { id: None, split: None, ..self.columns.clone() };
        let mut first = 0;
        let (files, fates, dropped, eval) = (&self.files, &mut self.fates, &mut self.dropped, &self.eval);
        in_order(batches(files, &texts)?, look, |looked| {
            let (batch, near): (_, Vec<Option<(usize, bool)>>) = looked?;
            let rows = fates.get_mut(first..first + near.len()).unwrap_or_default();
            first += near.len();
            for (place, (fate, near)) in rows.iter_mut().zip(near).enumerate() {
                if *fate != Fate::Train {
                    continue;
                }
                let row = batch.cells.first_row + place as u64;
                let Some((other, exact)) = near else {
                    completions.add(batch.file, row, batch.cells.columns[COMPLETION].value(place));
                    continue;
                };
                if rule == Leakage::Error {
                    let (path, eval_path) = (files[batch.file].path.clone(), files[eval[other].file].path.clone());
                    let eval_row = eval[other].row;
                    return Err(CorpusError::Leak { path, row, eval_path, eval_row, exact });
                }
                *fate = Fate::Dropped;
                dropped.leaks += 1;
            }
            Ok(())
        })?;
        Ok(completions)
    }

    /// The label set; every completion has to be in it.
    fn check_labels(&self, request: &Request, completions: Completions) -> Result<Vec<String>, CorpusError> {
        let Completions { mut found, outside, .. } = completions;
        // A split by hash may take the only row of a rare label; in a given split, such a label is a fault.
        if request.method() == SplitMethod::Hash {
            found.extend(self.eval.iter().map(|row| row.completion.clone()));
        }
        let labels = request.labels.clone().unwrap_or_else(|| found.into_iter().collect());
        let known: BTreeSet<&str> = labels.iter().map(String::as_str).collect();
        let of_eval = || self.eval.iter().find(|row| !known.contains(row.completion.as_str()));
        let outside = outside.or_else(|| of_eval().map(|row| (row.file, row.row, row.completion.clone())));
        let Some((file, row, found)) = outside else { return Ok(labels) };
        let mut expected: Vec<String> = labels.iter().take(LABELS_NAMED).cloned().collect();
        if labels.len() > LABELS_NAMED {
            expected.push(format!("{} more", labels.len() - LABELS_NAMED));
        }
        Err(CorpusError::LabelOutside { path: self.files[file].path.clone(), row, found, expected })
    }
}

/// The different completions of the training rows, or the first that is outside of the given labels.
struct Completions {
    closed: bool,
    given: Option<BTreeSet<String>>,
    found: BTreeSet<String>,
    outside: Option<(usize, u64, String)>,
}

impl Completions {
    fn new(request: &Request) -> Completions {
        let given = request.labels.as_ref().map(|labels| labels.iter().cloned().collect());
        Completions { closed: request.closed, given, found: BTreeSet::new(), outside: None }
    }

    fn add(&mut self, file: usize, row: u64, completion: &str) {
        match &self.given {
            _ if !self.closed => {}
            Some(given) if given.contains(completion) => {}
            Some(_) => {
                self.outside.get_or_insert_with(|| (file, row, completion.to_owned()));
            }
            None if self.found.contains(completion) => {}
            None => {
                self.found.insert(completion.to_owned());
            }
        }
    }
}

/// Opens and hashes every file; each must have its columns before the first row is read.
fn open_all(request: &Request) -> Result<Vec<CorpusFile>, CorpusError> {
    if request.train.is_empty() {
        return Err(CorpusError::NoFile);
    }
    let named =
        request.train.iter().map(|path| (path, Role::Train)).chain(request.eval.iter().map(|path| (path, Role::Eval)));
    let named: Vec<(&PathBuf, Role)> = named.collect();
    named.iter().try_for_each(|(path, _)| open(path, &request.columns).map(|_| ()))?;
    let file = |&(path, role): &(&PathBuf, Role)| {
        let (sha256, size) = file_digest(path)?;
        Ok(CorpusFile { path: path.clone(), role, sha256, size, rows: Table::open(path)?.row_count() })
    };
    named.iter().map(file).collect()
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

/// Places of prompt and completion among the columns read.
const PROMPT: usize = 0;
const COMPLETION: usize = 1;
/// Labels named in a message; more would hide the message.
const LABELS_NAMED: usize = 12;
