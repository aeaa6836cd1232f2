//! The first pass over a corpus: every row checked, scanned and given its part.
//!
//! Threads look at batches of rows; what they found is put together in file order. What stays in memory for a row is one byte, its
//! duplicate key, and the key of its id if the corpus has ids; only the eval rows wanted are kept whole.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::error::CorpusError;
use super::identifiers::{Found, Identified, Scan, ScanReport};
use super::load::{CorpusFile, Request, Role, SplitMethod};
use super::ordered::in_order;
use super::row::{CellRow, FileBatch, Row, batches, digest, hash_text};
use super::seen::{FirstSeen, Key, key};
use super::similarity::normalised;
use crate::job::{Duplicates, Identifiers};

/// What becomes of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Left out.
    Dropped,
    /// A training row.
    Train,
    /// An eval row.
    Eval,
}

/// What the first pass found.
pub(super) struct Survey {
    /// For each row of the corpus, in file order.
    pub(super) fates: Vec<Fate>,
    /// Rows left out because they occur before.
    pub(super) duplicates: u64,
    /// Rows of no split, or of the eval split beyond the cases wanted.
    pub(super) unused: u64,
    /// The eval rows, in file order.
    pub(super) eval: Vec<Row>,
    /// What looks like an identifier.
    pub(super) scan: ScanReport,
}

/// Checks, scans and parts the rows of `files`.
pub(super) fn survey(request: &Request, files: &[CorpusFile]) -> Result<Survey, CorpusError> {
    let mut pass = Pass::new(request, files)?;
    in_order(batches(files, &request.columns)?, |batch| look(request, files, batch?), |looked| pass.add(looked?))?;
    pass.finish()
}

/// What one thread saw in a batch.
struct Looked {
    batch: FileBatch,
    rows: Vec<Facts>,
    identified: Identified,
    error: Option<CorpusError>,
}

struct Facts {
    id: Option<Key>,
    part: Option<Part>,
}

/// A row that is in some split: what it says, and its digest if it may become an eval row.
struct Part {
    eval: bool,
    says: Key,
    digest: [u8; 32],
}

fn look(request: &Request, files: &[CorpusFile], batch: FileBatch) -> Result<Looked, CorpusError> {
    let file = &files[batch.file];
    let (mut rows, mut error) = (Vec::with_capacity(batch.cells.row_count()), None);
    let mut identified = Identified::new(batch.file, &file.path);
    for place in 0..batch.cells.row_count() {
        let row = match CellRow::read(&batch, place, &request.columns, &file.path) {
            Ok(row) => row,
            Err(found) => {
                error = Some(found);
                break;
            }
        };
        for (column, text) in
            [(request.columns.id.as_deref(), row.id), (Some(&request.columns.prompt), Some(row.prompt))]
                .into_iter()
                .chain([(Some(&*request.columns.completion), Some(row.completion))])
                .filter_map(|(column, text)| Some((column?, text?)))
        {
            identified.text(row.row, column, text);
        }
        let id = row.id.map(|id| key(&Sha256::digest(id.as_bytes()).into()));
        rows.push(Facts { id, part: part(request, file.role, &row) });
    }
    Ok(Looked { batch, rows, identified, error })
}

fn part(request: &Request, role: Role, row: &CellRow<'_>) -> Option<Part> {
    let eval = match request.method() {
        SplitMethod::Hash => false,
        SplitMethod::File => role == Role::Eval,
        SplitMethod::Column if row.split == Some(&request.train_split) => false,
        SplitMethod::Column if row.split == Some(&request.eval_split) => true,
        SplitMethod::Column => return None,
    };
    let mut says = Sha256::new();
    says.update([u8::from(eval)]);
    hash_text(&mut says, &normalised(row.prompt));
    says.update(row.completion.trim().as_bytes());
    // Without a given split, any row may become an eval row.
    let digest =
        if eval || request.method() == SplitMethod::Hash { digest(row.prompt, row.completion) } else { [0; 32] };
    Some(Part { eval, says: key(&says.finalize().into()), digest })
}

/// A row that may become an eval row, ordered by digest, of equals by place.
struct Candidate {
    order: ([u8; 32], u32),
    row: Row,
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Candidate) -> bool {
        self.order == other.order
    }
}

impl Eq for Candidate {}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Candidate) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Candidate {
    fn cmp(&self, other: &Candidate) -> Ordering {
        self.order.cmp(&other.order)
    }
}

/// Puts together what the threads saw, in file order.
struct Pass<'a> {
    request: &'a Request,
    files: &'a [CorpusFile],
    first_rows: Vec<u64>,
    ids: Option<FirstSeen>,
    said: FirstSeen,
    /// The rows with the lowest digests that may be eval rows, the highest of them on top.
    lowest: BinaryHeap<Candidate>,
    pool: u64,
    /// The first repeated row of the training split and of the eval split, and the row it repeats.
    repeated: [Option<(u32, u32)>; 2],
    scan: Scan,
    survey: Survey,
}

impl<'a> Pass<'a> {
    fn new(request: &'a Request, files: &'a [CorpusFile]) -> Result<Pass<'a>, CorpusError> {
        let mut total = 0_u64;
        let mut first_rows = Vec::with_capacity(files.len());
        for file in files {
            first_rows.push(total);
            total = total.saturating_add(file.rows);
        }
        number(total.saturating_sub(1))?;
        // A footer may say anything; beyond this the tables grow as rows come.
        let rows = usize::try_from(total).unwrap_or(ROOM_AT_ONCE).min(ROOM_AT_ONCE);
        let scan = Scan::new();
        let empty = Scan::new().finish(0).0;
        Ok(Pass {
            request,
            files,
            first_rows,
            ids: request.columns.id.is_some().then(|| FirstSeen::with_room(rows)),
            said: FirstSeen::with_room(rows),
            lowest: BinaryHeap::new(),
            pool: 0,
            repeated: [None; 2],
            scan,
            survey: Survey { fates: Vec::with_capacity(rows), duplicates: 0, unused: 0, eval: Vec::new(), scan: empty },
        })
    }

    fn add(&mut self, looked: Looked) -> Result<(), CorpusError> {
        let mut found = looked.identified.into_found();
        for (place, facts) in looked.rows.iter().enumerate() {
            // The files may have more rows than their footers say.
            let number = number(self.survey.fates.len() as u64)?;
            if let (Some(ids), Some(id)) = (&mut self.ids, facts.id)
                && let Some(first) = ids.earlier(id, number)
            {
                let row = CellRow::read(&looked.batch, place, &self.request.columns, self.path_of(number).0)?;
                let (id, ((path, row), (first_path, first_row))) =
                    (row.id.unwrap_or_default().to_owned(), (self.path_of(number), self.path_of(first)));
                let (path, first_path) = (path.to_owned(), first_path.to_owned());
                return Err(CorpusError::DuplicateId { path, row, id, first_path, first_row });
            }
            let fate = self.fate(&looked.batch, place, facts.part.as_ref(), number)?;
            self.survey.fates.push(fate);
        }
        found.drain(..).for_each(|found: Found| self.scan.add(found));
        looked.error.map_or(Ok(()), Err)
    }

    fn fate(&mut self, batch: &FileBatch, place: usize, part: Option<&Part>, number: u32) -> Result<Fate, CorpusError> {
        let Some(part) = part else {
            self.survey.unused += 1;
            return Ok(Fate::Dropped);
        };
        if let Some(first) = self.said.earlier(part.says, number) {
            self.repeated[usize::from(part.eval)].get_or_insert((number, first));
            self.survey.duplicates += 1;
            return Ok(Fate::Dropped);
        }
        if part.eval || self.request.method() == SplitMethod::Hash {
            self.pool += 1;
            let order = (part.digest, number);
            let full = self.lowest.len() as u64 >= self.request.cases;
            if !full || self.lowest.peek().is_some_and(|highest| order < highest.order) {
                let row = CellRow::read(batch, place, &self.request.columns, self.path_of(number).0)?.to_row();
                self.lowest.push(Candidate { order, row });
                if full {
                    self.lowest.pop();
                }
            }
        }
        // Eval rows are known at the end; until then a row of the pool counts as what it is otherwise.
        Ok(if part.eval { Fate::Dropped } else { Fate::Train })
    }

    /// File and row in it of row `number` over all files.
    fn path_of(&self, number: u32) -> (&'a Path, u64) {
        let number = u64::from(number);
        let file = self.first_rows.partition_point(|first| *first <= number).saturating_sub(1);
        (&self.files[file].path, number - self.first_rows[file])
    }

    fn finish(mut self) -> Result<Survey, CorpusError> {
        let (report, first) = std::mem::replace(&mut self.scan, Scan::new()).finish(self.survey.fates.len() as u64);
        if let Some(found) = first.filter(|_| self.request.identifiers == Identifiers::Stop) {
            return Err(CorpusError::Identifier {
                path: found.path,
                row: found.row,
                column: found.column,
                kind: found.kind,
                excerpt: found.excerpt,
                total: report.total(),
            });
        }
        self.survey.scan = report;
        let repeated = self.repeated.iter().flatten().next().filter(|_| self.request.duplicates == Duplicates::Error);
        if let Some(&(number, first)) = repeated {
            let ((path, row), (first_path, first_row)) = (self.path_of(number), self.path_of(first));
            let (path, first_path) = (path.to_owned(), first_path.to_owned());
            return Err(CorpusError::DuplicateRow { path, row, first_path, first_row });
        }
        if self.pool < self.request.cases {
            return Err(CorpusError::TooFewEvalRows { found: self.pool, expected: self.request.cases });
        }
        if self.request.method() != SplitMethod::Hash {
            self.survey.unused += self.pool - self.request.cases;
        }
        let mut eval = self.lowest.into_vec();
        eval.sort_by_key(|candidate| candidate.order.1);
        for candidate in &eval {
            if let Some(fate) = self.survey.fates.get_mut(candidate.order.1 as usize) {
                *fate = Fate::Eval;
            }
        }
        self.survey.eval = eval.into_iter().map(|candidate| candidate.row).collect();
        Ok(self.survey)
    }
}

/// A row's number over all files as it is kept.
///
/// # Errors
/// [`CorpusError::TooManyRows`].
fn number(row: u64) -> Result<u32, CorpusError> {
    let too_many = |_| CorpusError::TooManyRows { found: row.saturating_add(1), limit: u64::from(u32::MAX) + 1 };
    u32::try_from(row).map_err(too_many)
}

/// Rows for which room is made before they are read: 350 MB with ids.
const ROOM_AT_ONCE: usize = 7_000_000;

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::job::Job;

    #[test]
    fn more_rows_than_have_numbers_are_refused_before_the_first_is_read() {
        assert_eq!(number(u64::from(u32::MAX)).unwrap(), u32::MAX);
        let job = Job::parse("[task]\nname = \"a\"\n", Path::new("kolm.toml")).unwrap();
        let request = Request::from_job(&job, &[PathBuf::from("not there")]);
        let file = |rows| CorpusFile {
            path: PathBuf::from("not there"),
            role: Role::Train,
            sha256: String::new(),
            size: 0,
            rows,
        };
        let code = |rows: &[u64]| {
            let files: Vec<CorpusFile> = rows.iter().map(|rows| file(*rows)).collect();
            survey(&request, &files).map(|_| ()).unwrap_err().code()
        };
        assert_eq!(code(&[1 << 31, 1 << 31]), "corpus_file_missing");
        assert_eq!(code(&[1 << 31, 1 << 31, 1]), "corpus_too_many_rows");
        assert_eq!(code(&[u64::MAX, 2]), "corpus_too_many_rows");
    }
}
