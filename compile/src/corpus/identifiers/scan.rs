//! Scanning whole files, and the report of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use arrow::array::Array;
use sha2::{Digest, Sha256};

use super::super::error::CorpusError;
use super::super::ordered::in_order;
use super::super::row::hex;
use super::super::table::{Table, TextBatch};
use super::{Finding, Kind, mask_text, scan_text};

/// One finding with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The file.
    pub path: PathBuf,
    /// The row, from 0.
    pub row: u64,
    /// The column.
    pub column: String,
    /// What it looks like.
    pub kind: Kind,
    /// The text around it; the identifier, its neighbours and every other digit are masked.
    pub excerpt: String,
}

/// What a scan found: counts, and a hash of every finding's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanReport {
    /// Rows scanned.
    pub rows: u64,
    /// Findings by kind; every kind is there.
    pub counts: BTreeMap<Kind, u64>,
    /// SHA-256 over file number, row, column, kind and offsets of every finding, in lower-case hex.
    pub findings_sha256: String,
}

impl ScanReport {
    /// Findings of all kinds.
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// The report as canonical JSON (RFC 8785): names sorted, no white space, integers only.
    pub fn canonical(&self) -> String {
        let mut counts: Vec<(&str, u64)> = self.counts.iter().map(|(kind, count)| (kind.name(), *count)).collect();
        counts.sort_unstable();
        let counts: Vec<String> = counts.iter().map(|(name, count)| format!("\"{name}\":{count}")).collect();
        format!(
            "{{\"counts\":{{{}}},\"findings_sha256\":\"{}\",\"format\":\"kolm-scan-1\",\"rows\":{},\"rules\":{RULES_VERSION}}}",
            counts.join(","),
            self.findings_sha256,
            self.rows
        )
    }

    /// SHA-256 of the canonical report, in lower-case hex: the plan's `scan_sha256`.
    pub fn sha256(&self) -> String {
        hex(&Sha256::digest(self.canonical().as_bytes()))
    }
}

/// A scan under way.
pub struct Scan {
    counts: BTreeMap<Kind, u64>,
    hash: Sha256,
    first: Option<Located>,
}

impl Scan {
    /// Begins a scan.
    #[expect(clippy::new_without_default, reason = "a scan is begun, not defaulted")]
    pub fn new() -> Scan {
        let counts = Kind::ALL.iter().map(|kind| (*kind, 0)).collect();
        Scan { counts, hash: Sha256::new_with_prefix(b"kolm findings 1\0"), first: None }
    }

    /// Scans one cell, `file` being the file's number.
    pub fn text(&mut self, file: usize, path: &Path, row: u64, column: &str, text: &str) {
        let mut identified = Identified::new(file, path);
        identified.text(row, column, text);
        identified.into_found().into_iter().for_each(|found| self.add(found));
    }

    /// Counts a finding; findings come in the order of their places.
    pub(in crate::corpus) fn add(&mut self, found: Found) {
        let Found { file, start, end, located } = found;
        let Located { row, column, kind, .. } = &located;
        *self.counts.entry(*kind).or_default() += 1;
        self.hash.update(format!("{file},{row},{column},{},{start},{end}\n", kind.name()).as_bytes());
        self.first.get_or_insert(located);
    }

    /// Ends the scan; the first finding comes with the report.
    pub fn finish(self, rows: u64) -> (ScanReport, Option<Located>) {
        (ScanReport { rows, counts: self.counts, findings_sha256: hex(&self.hash.finalize()) }, self.first)
    }
}

/// A finding on its way into a scan.
pub(in crate::corpus) struct Found {
    file: usize,
    start: usize,
    end: usize,
    /// What is told of it.
    pub(in crate::corpus) located: Located,
}

/// The findings of some rows of one file, which may be looked at apart from the others.
pub(in crate::corpus) struct Identified {
    file: usize,
    path: PathBuf,
    found: Vec<Found>,
}

impl Identified {
    pub(in crate::corpus) fn new(file: usize, path: &Path) -> Identified {
        Identified { file, path: path.to_owned(), found: Vec::new() }
    }

    /// Scans one cell.
    pub(in crate::corpus) fn text(&mut self, row: u64, column: &str, text: &str) {
        for finding in scan_text(text) {
            let located = located(&self.path, row, column, text, &finding);
            self.found.push(Found { file: self.file, start: finding.start, end: finding.end, located });
        }
    }

    pub(in crate::corpus) fn into_found(self) -> Vec<Found> {
        self.found
    }
}

/// Scans `columns` (all text columns if `None`) of every file, telling each finding to `observe`, in file order. Null cells are skipped.
///
/// # Errors
/// [`CorpusError`] if a file is missing, unreadable, no parquet file, or lacks a column.
pub fn scan_files(
    paths: &[PathBuf],
    columns: Option<&[String]>,
    observe: &mut dyn FnMut(&Located),
) -> Result<ScanReport, CorpusError> {
    let mut scan = Scan::new();
    let mut rows = 0;
    for (file, path) in paths.iter().enumerate() {
        let table = Table::open(path)?;
        let names = columns.map_or_else(|| table.text_columns(), <[String]>::to_vec);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        if names.is_empty() {
            continue;
        }
        let look = |batch: Result<TextBatch, CorpusError>| -> Result<_, CorpusError> {
            let batch = batch?;
            let mut identified = Identified::new(file, path);
            for place in 0..batch.row_count() {
                let cells = names.iter().zip(&batch.columns).filter(|(_, cells)| cells.is_valid(place));
                cells.for_each(|(name, cells)| {
                    identified.text(batch.first_row + place as u64, name, cells.value(place))
                });
            }
            Ok((identified, batch.row_count()))
        };
        in_order(table.read_text(&names)?, look, |looked| {
            let (identified, row_count) = looked?;
            for found in identified.into_found() {
                observe(&found.located);
                scan.add(found);
            }
            rows += row_count as u64;
            Ok(())
        })?;
    }
    Ok(scan.finish(rows).0)
}

fn located(path: &Path, row: u64, column: &str, text: &str, finding: &Finding) -> Located {
    let excerpt = excerpt(text, finding);
    Located { path: path.to_owned(), row, column: column.to_owned(), kind: finding.kind, excerpt }
}

/// Some words before and after the finding; all identifiers in them become tags and every other digit `#`.
fn excerpt(text: &str, finding: &Finding) -> String {
    let hide = |part: &str| {
        mask_text(part).chars().map(|letter| if letter.is_ascii_digit() { '#' } else { letter }).collect::<String>()
    };
    let single_line = |part: String| part.split_whitespace().collect::<Vec<_>>().join(" ");
    let before = single_line(hide(&text[..finding.start]));
    let after = single_line(hide(&text[finding.end..]));
    let skipped = before.chars().count().saturating_sub(EXCERPT_LEN);
    let lead: String = before.chars().skip(skipped).collect();
    let trail: String = after.chars().take(EXCERPT_LEN).collect();
    let (open, close) =
        (if skipped > 0 { "..." } else { "" }, if after.chars().count() > EXCERPT_LEN { "..." } else { "" });
    format!("\"{open}{lead} [{}] {trail}{close}\"", finding.kind.tag())
}

/// Characters shown on either side of a finding.
const EXCERPT_LEN: usize = 24;
/// Counts up when a rule changes what is found.
const RULES_VERSION: u32 = 1;
