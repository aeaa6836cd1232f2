//! What the log says of artifacts, kept beside it in `audit.index`, so that asking about one does not read the whole log.
//!
//! The index sums up the log's first lines and is sealed under a key of its own; it counts only while the line it ends with stands where it
//! says, with that hash. Every line after it is read and checked as ever, head and tail too. An index that is missing, damaged or of
//! another log is left aside and the whole log read: deleting it costs time and nothing else. An older one says the same.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use serde::{Deserialize, Serialize};

use super::super::sealed::{Sealed, Usage};
use super::super::{ArtifactError, file, limits, parse_canonical, sha256_hex};
use super::chain::{AuditEntry, Tip, Walk};
use super::read::Snapshot;
use super::{AuditLog, ZEROS};

/// What the log says of artifacts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// By `NAME-VERSION`: the last entry that accepted it, and as what.
    accepted: BTreeMap<String, Accepted>,
    /// By CID: the first entry in which something was done with it.
    first: BTreeMap<String, u64>,
}

/// An entry that says which CID a name and version has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accepted {
    /// The CID.
    pub cid: String,
    /// Number of the entry.
    pub seq: u64,
}

impl Known {
    /// First entry in which something was done with the artifact of this CID.
    pub fn first(&self, cid: &str) -> Option<u64> {
        self.first.get(cid).copied()
    }

    /// The last entry that accepted the artifact `NAME-VERSION`.
    pub fn accepted(&self, label: &str) -> Option<&Accepted> {
        self.accepted.get(label)
    }

    fn note(&mut self, entry: &AuditEntry) {
        let Some(cid) = entry.cid.as_deref().filter(|_| entry.outcome == "done") else { return };
        if !self.first.contains_key(cid) {
            self.first.insert(cid.to_owned(), entry.seq);
        }
        if ACCEPTING.contains(&entry.action.as_str()) {
            let label = entry.detail.split(' ').next().unwrap_or_default();
            self.accepted.insert(label.to_owned(), Accepted { cid: cid.to_owned(), seq: entry.seq });
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Index {
    entries: u64,
    format: String,
    hash: String,
    key_id: String,
    known: Known,
    len_bytes: u64,
}

impl AuditLog<'_> {
    /// What the log says of artifacts. Reads the lines that the index does not sum up, and writes a new one when they were many.
    ///
    /// # Errors
    /// As `verify`, for the lines that are read.
    pub fn known(&self) -> Result<Known, ArtifactError> {
        let log = self.snapshot()?;
        let (start, mut known) =
            self.indexed(&log).unwrap_or_else(|| (Walk::from(&self.keys, Tip::start(), 0), Known::default()));
        let before = start.tip.entries;
        let walk = self.follow(&log, start, &mut |entry, _, _| known.note(entry))?;
        if walk.tip.entries - before >= LINES_LEAST {
            // A place that cannot be written to has no index.
            let _ = self.write_index(&known, &walk);
        }
        Ok(known)
    }

    /// Where the index says that its lines end, if that line is there.
    fn indexed(&self, log: &Snapshot) -> Option<(Walk<'_>, Known)> {
        let mut bytes = Vec::new();
        let limit = limits::AUDIT_INDEX_LEN_MAX_BYTES;
        File::open(self.index_path()).ok()?.take(limit).read_to_end(&mut bytes).ok()?;
        let Sealed { entry: index, mac }: Sealed<Index> =
            parse_canonical("audit.index", bytes.strip_suffix(b"\n")?).ok()?;
        let holds = self.keys.holds(Usage::Index, &index.key_id, &index, &mac).ok()?;
        if holds != Some(true) || index.format != INDEX_FORMAT || index.len_bytes > log.len_bytes {
            return None;
        }
        // Over a head that speaks of fewer entries the whole log is looked at.
        log.head.as_ref().filter(|head| head.entries >= index.entries)?;
        let window = u64::try_from(limits::AUDIT_LINE_LEN_MAX_BYTES).ok()?.min(index.len_bytes);
        let mut file = log.file.as_ref()?;
        file.seek(SeekFrom::Start(index.len_bytes - window)).ok()?;
        let mut tail = Vec::new();
        file.take(window).read_to_end(&mut tail).ok()?;
        let last = tail.strip_suffix(b"\n")?.rsplit(|&byte| byte == b'\n').next()?;
        if sha256_hex(last) != index.hash || index.hash == ZEROS {
            return None;
        }
        let tip = Tip { entries: index.entries, hash: index.hash };
        Some((Walk::from(&self.keys, tip, index.len_bytes), index.known))
    }

    fn write_index(&self, known: &Known, walk: &Walk<'_>) -> Result<(), ArtifactError> {
        let index = Index {
            entries: walk.tip.entries,
            format: INDEX_FORMAT.to_owned(),
            hash: walk.tip.hash.clone(),
            key_id: self.keys.own_id().to_owned(),
            known: known.clone(),
            len_bytes: walk.offset,
        };
        let mut bytes = self.keys.seal(Usage::Index, index)?;
        bytes.push(b'\n');
        if u64::try_from(bytes.len()).is_ok_and(|len| len <= limits::AUDIT_INDEX_LEN_MAX_BYTES) {
            file::Staged::write_private(&self.index_path(), &bytes)?.commit()?;
        }
        Ok(())
    }

    fn index_path(&self) -> std::path::PathBuf {
        self.folder.join("audit.index")
    }
}

const INDEX_FORMAT: &str = "kolm-audit-index-1";
/// Lines that are sooner read again than summed up: a millisecond's worth.
const LINES_LEAST: u64 = 256;
/// Actions that say which CID a name and version has.
const ACCEPTING: [&str; 3] = ["compile", "import", "verify"];
