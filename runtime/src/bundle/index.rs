//! `index.json`: every file with its size, hash and place, and every part. Reading checks every rule of SPEC-bundle.md section 2.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::limits::{INDEX_LEN_MAX_BYTES, PART_SIZE_LEAST_BYTES, PART_SIZE_MOST_BYTES};
use super::{BundleError, BundlePath};
use crate::artifact::{canonical, from_hex, parse_canonical, sha256_hex};

/// What a bundle holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    /// Every file, sorted by path.
    pub files: Vec<Entry>,
    format: String,
    /// Length of every part but the last.
    pub part_size: u64,
    /// The parts, in order.
    pub parts: Vec<Part>,
    /// Id of the bundle that this one adds to.
    pub since: Option<String>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Where it begins in the stream; none if the earlier bundle brought it.
    pub offset: Option<u64>,
    /// Its path in the bundle.
    pub path: String,
    /// Hash of its content.
    pub sha256: String,
    /// Its length in bytes.
    pub size: u64,
}

/// One part of the stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// File name, `0001-3f9ac2….part`.
    pub name: String,
    /// Hash of its content.
    pub sha256: String,
    /// Its length in bytes.
    pub size: u64,
}

impl Index {
    /// Places `files` in the stream, without those that `since` holds; the parts are filled in when they were written.
    ///
    /// # Errors
    /// `Path` for a path twice or one a bundle may not hold, `Index` for a part size outside its range.
    pub fn plan(
        files: Vec<(BundlePath, String, u64)>,
        part_size: u64,
        since: Option<(&str, &Index)>,
    ) -> Result<Self, BundleError> {
        let row = |(path, sha256, size): (BundlePath, String, u64)| {
            let path = path.to_string();
            let held = |entry: &Entry| entry.path == path && entry.sha256 == sha256 && entry.size == size;
            let offset = if since.is_some_and(|(_, index)| index.files.iter().any(held)) { None } else { Some(0) };
            Entry { offset, path, sha256, size }
        };
        let mut files: Vec<Entry> = files.into_iter().map(row).collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let offsets = offsets(&files)?;
        for (entry, offset) in files.iter_mut().zip(&offsets.each) {
            entry.offset = *offset;
        }
        let index = Self {
            files,
            format: FORMAT.to_owned(),
            part_size,
            parts: Vec::new(),
            since: since.map(|(id, _)| id.to_owned()),
        };
        index.check_fields()?;
        Ok(index)
    }

    /// The canonical bytes.
    ///
    /// # Errors
    /// What `Index::parse` would say of them.
    pub fn to_bytes(&self) -> Result<Vec<u8>, BundleError> {
        self.check()?;
        Ok(canonical(self)?)
    }

    /// Reads an index whose MAC holds.
    ///
    /// # Errors
    /// `IndexLarge`, `Index`, `Path`, `Place`, `Parts`, and JSON errors.
    pub fn parse(bytes: &[u8]) -> Result<Self, BundleError> {
        let found = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if found > INDEX_LEN_MAX_BYTES {
            return Err(BundleError::IndexLarge { found, limit: INDEX_LEN_MAX_BYTES });
        }
        let index: Self = parse_canonical("index.json", bytes)?;
        index.check()?;
        Ok(index)
    }

    /// The bundle's id, from the bytes of its index.
    pub fn id(bytes: &[u8]) -> String {
        sha256_hex(bytes)
    }

    /// Length of the stream.
    pub fn stream_len_bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.size).sum()
    }

    /// The files of the stream, each content once, in the stream's order.
    pub fn contents(&self) -> impl Iterator<Item = &Entry> {
        let mut met = BTreeSet::new();
        self.files.iter().filter(move |entry| entry.offset.is_some() && met.insert(entry.sha256.as_str()))
    }

    fn check(&self) -> Result<(), BundleError> {
        self.check_fields()?;
        let offsets = offsets(&self.files)?;
        for (entry, expected) in self.files.iter().zip(&offsets.each) {
            if entry.offset != *expected {
                let (path, found, expected) = (entry.path.clone(), entry.offset, *expected);
                return Err(BundleError::Place { path, found, expected });
            }
        }
        self.check_parts(offsets.total)
    }

    fn check_fields(&self) -> Result<(), BundleError> {
        let wrong = |field, found: String, expected| Err(BundleError::Index { field, found, expected });
        if self.format != FORMAT {
            return wrong("format", format!("{:?}", self.format), "\"kolm-bundle-1\"");
        }
        if !(PART_SIZE_LEAST_BYTES..=PART_SIZE_MOST_BYTES).contains(&self.part_size) {
            return wrong("part_size", self.part_size.to_string(), "2^20 to 2^53");
        }
        if let Some(since) = &self.since
            && !is_hash(since)
        {
            return wrong("since", format!("{since:?}"), "64 hex digits");
        }
        if self.files.is_empty() {
            return wrong("files", "empty".to_owned(), "at least one");
        }
        for entry in &self.files {
            BundlePath::parse(&entry.path)?;
            if !is_hash(&entry.sha256) {
                return wrong("sha256 of a file", format!("{:?}", entry.sha256), "64 hex digits");
            }
            if entry.offset.is_none() && self.since.is_none() {
                return wrong("offset", "null".to_owned(), "an offset, since no earlier bundle is named");
            }
        }
        let mut lower = BTreeSet::new();
        for (before, entry) in std::iter::once(None).chain(self.files.iter().map(Some)).zip(&self.files) {
            let twice = |reason| Err(BundleError::Path { found: entry.path.clone(), reason });
            if before.is_some_and(|before| before.path >= entry.path) {
                return twice("files are not sorted by path, or one is there twice");
            }
            if !lower.insert(entry.path.to_ascii_lowercase()) {
                return twice("another path differs from it only in case");
            }
        }
        Ok(())
    }

    fn check_parts(&self, total: u64) -> Result<(), BundleError> {
        let differ = |what: String, found: String, expected: String| Err(BundleError::Parts { what, found, expected });
        let count = total.div_ceil(self.part_size);
        let found = u64::try_from(self.parts.len()).unwrap_or(u64::MAX);
        if found != count {
            return differ("the number of parts".to_owned(), found.to_string(), count.to_string());
        }
        let mut left = total;
        for (part, number) in self.parts.iter().zip(1u64..) {
            let size = left.min(self.part_size);
            left -= size;
            if part.size != size {
                return differ(format!("the size of part {number}"), part.size.to_string(), size.to_string());
            }
            if !is_hash(&part.sha256) {
                return differ(format!("the hash of part {number}"), part.sha256.clone(), "64 hex digits".to_owned());
            }
            let name = part_name(number, &part.sha256);
            if part.name != name {
                return differ(format!("the name of part {number}"), part.name.clone(), name);
            }
        }
        Ok(())
    }
}

/// The name of part `number`, counted from 1.
pub(super) fn part_name(number: u64, sha256: &str) -> String {
    format!("{number:04}-{}.part", sha256.get(..16).unwrap_or_default())
}

fn is_hash(text: &str) -> bool {
    text.len() == 64 && from_hex(text).is_some()
}

struct Offsets {
    each: Vec<Option<u64>>,
    total: u64,
}

/// Where each file begins; files that an earlier bundle brought keep none.
fn offsets(files: &[Entry]) -> Result<Offsets, BundleError> {
    let mut met: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    let mut total = 0u64;
    let mut each = Vec::with_capacity(files.len());
    for entry in files {
        if entry.offset.is_none() {
            each.push(None);
            continue;
        }
        let sizes = |found: String, expected| BundleError::Index { field: "size of a file", found, expected };
        match met.get(entry.sha256.as_str()) {
            Some((offset, size)) if *size == entry.size => each.push(Some(*offset)),
            Some(_) => return Err(sizes(entry.size.to_string(), "the size of the other file of that hash")),
            None => {
                met.insert(&entry.sha256, (total, entry.size));
                each.push(Some(total));
                let end = total.checked_add(entry.size).filter(|end| *end <= PART_SIZE_MOST_BYTES);
                total = end.ok_or_else(|| sizes(entry.size.to_string(), "a stream of at most 2^53 bytes"))?;
            }
        }
    }
    Ok(Offsets { each, total })
}

const FORMAT: &str = "kolm-bundle-1";
