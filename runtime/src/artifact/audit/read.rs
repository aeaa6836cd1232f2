//! Reading the log: one pass in constant memory over every line, and what is looked for on the way.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};

use super::super::hash::hex;
use super::super::merkle::{Frontier, Hash, leaf, ranges};
use super::super::{ArtifactError, Timestamp, limits, marks};
use super::chain::{AuditEntry, AuditFault, Bad, Tip, Walk, sound};
use super::proof::Proof;
use super::words::Words;
use super::{AuditLog, Head};

/// What a full check of the log found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditReport {
    /// Entries in the log; each was checked with the key that wrote it.
    pub entries: u64,
    /// How many keys wrote them.
    pub keys: usize,
    /// SHA-256 of the last line; zeros when there is none.
    pub head: String,
    /// Merkle root over all lines, hex.
    pub root: String,
    /// The eight words of the root.
    pub words: Words,
    /// Entries whose time lies before the entry above.
    pub clock_steps_back: u64,
}

/// An earlier state of the log that is still its beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Entries it had.
    pub entries: u64,
    /// Time of its last entry; none for the empty log.
    pub time: Option<Timestamp>,
}

impl AuditLog<'_> {
    /// Checks the whole log, in constant memory. Writes nothing, so a log on a read-only medium can be checked.
    ///
    /// # Errors
    /// The first fault: `AuditLine`, `AuditTruncated`, `AuditHead`, `Mark`, `Io`.
    pub fn verify(&self) -> Result<AuditReport, ArtifactError> {
        self.entries(&mut |_| ())
    }

    /// As `verify`, and shows each entry before the next line is looked at.
    ///
    /// # Errors
    /// As `verify`.
    pub fn entries(&self, visit: &mut dyn FnMut(&AuditEntry)) -> Result<AuditReport, ArtifactError> {
        self.walk(&self.snapshot()?, &mut |entry, _, _| visit(entry))
    }

    /// As `verify`, and looks for the state of the log that `words` name.
    ///
    /// # Errors
    /// As `verify`; `AuditWords` when the log never had that root.
    pub fn find(&self, words: Words) -> Result<(AuditReport, Sighting), ArtifactError> {
        self.find_in(&self.snapshot()?, words)
    }

    /// Proves that entry `seq` is in the log as `words` name it, or in the whole log.
    ///
    /// # Errors
    /// As `find`; `AuditProof` when there is no such entry.
    pub fn prove(&self, seq: u64, words: Option<Words>) -> Result<Proof, ArtifactError> {
        let log = self.snapshot()?;
        let entries = match words {
            Some(words) => self.find_in(&log, words)?.1.entries,
            None => self.walk(&log, &mut |_, _, _| ())?.entries,
        };
        let absent =
            || ArtifactError::AuditProof { fault: format!("there is no entry {seq} among the first {entries}") };
        let beside = seq.checked_sub(1).and_then(|index| ranges(index, entries)).ok_or_else(absent)?;
        let (mut line, mut whole) = (Vec::new(), Frontier::default());
        let mut parts: Vec<Frontier> = beside.iter().map(|_| Frontier::default()).collect();
        self.walk(&log, &mut |entry, body, _| {
            let (index, hash) = (entry.seq - 1, leaf(body));
            if index < entries {
                whole.push(hash);
            }
            if entry.seq == seq {
                line = body.to_vec();
            }
            let mut of_ranges = parts.iter_mut().zip(&beside);
            if let Some((part, _)) = of_ranges.find(|(_, range)| (range.start..range.end).contains(&index)) {
                part.push(hash);
            }
        })?;
        let line = String::from_utf8(line).map_err(|_| absent())?;
        Ok(Proof::new(line, seq, entries, parts.iter().map(Frontier::root).collect(), whole.root()))
    }

    fn find_in(&self, log: &Snapshot, words: Words) -> Result<(AuditReport, Sighting), ArtifactError> {
        let empty = Words::of(&Frontier::default().root());
        let mut seen = (words == empty).then_some(Sighting { entries: 0, time: None });
        let report = self.walk(log, &mut |entry, _, root| {
            if seen.is_none() && Words::of(&root()) == words {
                seen = Some(Sighting { entries: entry.seq, time: Some(entry.time) });
            }
        })?;
        let unknown = || ArtifactError::AuditWords {
            fault: format!(
                "this log of {} entries never had them: it was cut below and written anew, or is another log",
                report.entries
            ),
        };
        let seen = seen.ok_or_else(unknown)?;
        Ok((report, seen))
    }

    /// The log as it is between two appends. The lock is given back: whole lines never change, and whoever pages through the output must
    /// not keep writers waiting.
    pub(super) fn snapshot(&self) -> Result<Snapshot, ArtifactError> {
        let file = match File::open(&self.log) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(ArtifactError::io("open", &self.log)(error)),
        };
        let mut len_bytes = 0;
        if let Some(file) = &file {
            file.lock_shared().map_err(ArtifactError::io("lock", &self.log))?;
            len_bytes = file.metadata().map_err(ArtifactError::io("read", &self.log))?.len();
        }
        let (head, marked) = (self.read_head()?, marks::entries(&self.folder, &self.keys)?);
        if let Some(file) = &file {
            file.unlock().map_err(ArtifactError::io("unlock", &self.log))?;
        }
        Ok(Snapshot { file, len_bytes, head, marked })
    }

    /// Every line, in order: shown with its bytes and the root after it.
    fn walk(
        &self,
        log: &Snapshot,
        visit: &mut dyn FnMut(&AuditEntry, &[u8], &dyn Fn() -> Hash),
    ) -> Result<AuditReport, ArtifactError> {
        let walk = self.follow(log, Walk::from(&self.keys, Tip::start(), 0), visit)?;
        let root = walk.frontier.root();
        Ok(AuditReport {
            entries: walk.tip.entries,
            keys: walk.key_ids.len(),
            head: walk.tip.hash,
            root: hex(&root),
            words: Words::of(&root),
            clock_steps_back: walk.clock_steps_back,
        })
    }

    /// Every line after those that `walk` has behind it, and whether head and marks agree with the end.
    pub(super) fn follow<'k>(
        &self,
        log: &Snapshot,
        mut walk: Walk<'k>,
        visit: &mut dyn FnMut(&AuditEntry, &[u8], &dyn Fn() -> Hash),
    ) -> Result<Walk<'k>, ArtifactError> {
        let io = |error| ArtifactError::io("read", &self.log)(error);
        let Snapshot { len_bytes, head, marked, .. } = log;
        let other = |tip: &Tip| head.as_ref().is_some_and(|head| head.entries == tip.entries && head.hash != tip.hash);
        if other(&walk.tip) {
            return Err(self.head_fault("was sealed over another log"));
        }
        if let Some(mut file) = log.file.as_ref() {
            file.seek(SeekFrom::Start(walk.offset)).map_err(io)?;
            let rest = len_bytes.saturating_sub(walk.offset);
            let mut reader = BufReader::with_capacity(1 << 16, file.take(rest));
            let mut line = Vec::new();
            while read_line(&mut reader, &mut line).map_err(io)? {
                let Some((b'\n', body)) = line.split_last() else {
                    return Err(self.unended(&walk, head.as_ref(), line.len()));
                };
                let entry = match walk.line(body) {
                    Ok(entry) => entry,
                    Err(bad) => return Err(self.fault(&walk, bad, &mut reader)),
                };
                visit(&entry, body, &|| walk.frontier.root());
                if other(&walk.tip) {
                    return Err(self.head_fault("was sealed over another log"));
                }
            }
        }
        let (found, offset) = (walk.tip.entries, walk.offset);
        let sealed = head.as_ref().map_or(0, |head| head.entries);
        if sealed.max(*marked) > found {
            return Err(ArtifactError::AuditTruncated { found, expected: sealed.max(*marked), offset });
        }
        match found - sealed {
            0 | 1 => {}
            _ if head.is_none() => return Err(self.head_fault("is missing")),
            _ => return Err(self.head_fault("is older than the log's last entries")),
        }
        Ok(walk)
    }

    /// A last line without line feed: the rest of a longer log, or torn in a crash.
    fn unended(&self, walk: &Walk<'_>, head: Option<&Head>, len: usize) -> ArtifactError {
        let found = walk.tip.entries;
        if len >= limits::AUDIT_LINE_LEN_MAX_BYTES {
            return walk.fault(AuditFault::Edited, format!("was edited: it is longer than {len} bytes"));
        }
        match head {
            Some(head) if head.entries > found => {
                ArtifactError::AuditTruncated { found, expected: head.entries, offset: walk.offset }
            }
            _ => walk.fault(AuditFault::Torn, format!("is torn: it ends after {len} bytes without a line feed")),
        }
    }

    /// What a line that does not hold is refused for; reads on where that decides.
    fn fault(&self, walk: &Walk<'_>, bad: Bad, rest: &mut impl BufRead) -> ArtifactError {
        let found = match bad {
            Bad::Error(error) => return error,
            Bad::Fault(kind, fault) => return walk.fault(kind, fault),
            Bad::Ahead(found) => found,
        };
        let expected = walk.tip.entries + 1;
        let mut line = Vec::new();
        while matches!(read_line(rest, &mut line), Ok(true)) {
            let body = line.strip_suffix(b"\n").unwrap_or(&line);
            if sound(&self.keys, body).is_ok_and(|entry| entry.seq == expected) {
                let text = format!("is entry {found}, and entry {expected} stands further down: lines were moved");
                return walk.fault(AuditFault::Reordered, text);
            }
        }
        let text = match found - expected {
            1 => format!("is entry {found}: entry {expected} above it was removed"),
            _ => format!("is entry {found}: entries {expected} to {} above it were removed", found - 1),
        };
        walk.fault(AuditFault::Removed, text)
    }
}

/// What is read under the lock.
pub(super) struct Snapshot {
    /// None if there is no log.
    pub(super) file: Option<File>,
    pub(super) len_bytes: u64,
    pub(super) head: Option<Head>,
    /// Entries that the marks speak of.
    marked: u64,
}

/// The next line with its line feed, at most as long as a line may be; false at the end.
fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> std::io::Result<bool> {
    line.clear();
    let limit = u64::try_from(limits::AUDIT_LINE_LEN_MAX_BYTES).unwrap_or(u64::MAX);
    Ok(reader.take(limit).read_until(b'\n', line)? > 0)
}
