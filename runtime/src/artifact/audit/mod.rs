//! The audit log: one canonical JSON line for each event, chained by hash, MACed, and closed by a sealed head.
//!
//! The chain shows an edited, removed or moved line; the head, under a key of its own, shows a cut tail; the root over all lines, as
//! eight words on paper, shows what even a holder of the key changed. An append takes the lock, writes one line with one write,
//! flushes it, then renames a new head into place; it fails as a whole, and then the action it speaks of must not happen. A
//! crash can leave a torn last line (set aside and recorded at the next append) or a head one entry behind. Times are the
//! caller's: a clock that ran back is shown, not corrected.

mod chain;
mod index;
mod proof;
mod read;
mod words;

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::sealed::{Keys, Sealed, Usage};
use super::{ArtifactError, OperatorKey, Timestamp, file, limits, marks, parse_canonical, sha256_hex};
pub use chain::{AuditEntry, AuditFault};
use chain::{Bad, HEAD_FORMAT, Head, LINE_FORMAT, Tip, ZEROS, sound};
pub use index::{Accepted, Known};
pub use proof::{Anchor, Proof};
pub use read::{AuditReport, Sighting};
pub use words::Words;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub time: Timestamp,
    /// What was done: `compile`, `verify`, …
    pub action: String,
    /// The artifact it was done to.
    pub cid: Option<String>,
    /// `done`, `refused`, `started`, …
    pub outcome: String,
    /// One line for people; begins with `NAME-VERSION` when it is about an artifact.
    pub detail: String,
}

/// The log, open for appending under one operator's key.
#[derive(Debug)]
pub struct AuditLog<'a> {
    folder: PathBuf,
    log: PathBuf,
    head: PathBuf,
    keys: Keys<'a>,
}

impl<'a> AuditLog<'a> {
    /// The log of `folder` (`~/.kolm`), which the first append makes with mode 0700. The current key of the keyring in the same folder
    /// seals, else `key`; lines under either, or under a retired key, are checked.
    ///
    /// # Errors
    /// As `OperatorKey::load`, for a current key that is there and cannot be used.
    pub fn open(folder: &Path, key: &'a OperatorKey) -> Result<Self, ArtifactError> {
        Ok(Self {
            folder: folder.to_path_buf(),
            log: folder.join("audit.log"),
            head: folder.join("audit.head"),
            keys: Keys::new(key, folder)?,
        })
    }

    /// Adds `event`; when this returns, it is on the disk.
    ///
    /// # Errors
    /// `AuditLine`, `AuditTruncated`, `AuditHead` when the end of the log is not what the head says; `Io`.
    pub fn append(&self, event: &Event) -> Result<(), ArtifactError> {
        self.append_numbered(event).map(|_| ())
    }

    /// As `append`, and gives the number of the entry.
    ///
    /// # Errors
    /// As `append`.
    pub fn append_numbered(&self, event: &Event) -> Result<u64, ArtifactError> {
        let mut file = self.lock()?;
        let end = self.end(&mut file)?;
        let mut tip = end.tip;
        if end.ahead {
            // Or a second crash would leave the head two behind, which is no crash but a forgery.
            self.write_head(&tip)?;
        }
        if let Some(torn) = end.torn {
            self.set_aside(&file, &torn, end.whole_len_bytes, tip.entries)?;
            let recovered = Event {
                time: event.time,
                action: "recover".to_owned(),
                cid: None,
                outcome: "done".to_owned(),
                detail: format!("a torn last line of {} bytes was set aside", torn.len()),
            };
            tip = self.write_line(&mut file, &recovered, &tip)?;
        }
        Ok(self.write_line(&mut file, event, &tip)?.entries)
    }

    /// Whether an event could be added now, without adding one: for work that takes long before it has something to record.
    ///
    /// # Errors
    /// As `append`.
    pub fn check_end(&self) -> Result<(), ArtifactError> {
        let mut file = self.lock()?;
        self.end(&mut file).map(|_| ())
    }

    fn lock(&self) -> Result<File, ArtifactError> {
        if !self.folder.is_dir() {
            super::key::private_folder(&self.folder).map_err(ArtifactError::io("make folder", &self.folder))?;
        }
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        file::private(&mut options);
        let file = options.open(&self.log).map_err(ArtifactError::io("open", &self.log))?;
        file.lock().map_err(ArtifactError::io("lock", &self.log))?;
        Ok(file)
    }

    /// The last whole line, checked against the head, and what follows it.
    fn end(&self, file: &mut File) -> Result<End, ArtifactError> {
        let io = |error| ArtifactError::io("read", &self.log)(error);
        let len = file.metadata().map_err(io)?.len();
        let window = u64::try_from(limits::AUDIT_LINE_LEN_MAX_BYTES).unwrap_or(u64::MAX).saturating_mul(3);
        let start = len.saturating_sub(window);
        file.seek(SeekFrom::Start(start)).map_err(io)?;
        let mut tail = Vec::new();
        (&mut *file).take(window).read_to_end(&mut tail).map_err(io)?;

        let cut = tail.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let (whole, torn) = tail.split_at_checked(cut).unwrap_or_default();
        let whole_len_bytes = len.saturating_sub(u64::try_from(torn.len()).unwrap_or(u64::MAX));
        let head = self.read_head()?;
        let headless = head.is_none();
        let (entries, hash) = head.map_or((0, ZEROS.to_owned()), |head| (head.entries, head.hash));
        let mut lines = whole.rsplit(|&byte| byte == b'\n').skip(1);
        let (last, before) = (lines.next(), lines.next());
        let tip = match last {
            None => Tip::start(),
            Some(line) => {
                let offset = whole_len_bytes.saturating_sub(u64::try_from(line.len()).unwrap_or(u64::MAX) + 1);
                self.last_line(line, entries, offset)?
            }
        };
        let expected = if tip.entries == 0 && headless { marks::entries(&self.folder, &self.keys)? } else { entries };
        if expected > tip.entries {
            return Err(ArtifactError::AuditTruncated { found: tip.entries, expected, offset: whole_len_bytes });
        }
        let sealed = match tip.entries - entries {
            0 => hash == tip.hash,
            // A crash between the line and its head.
            1 => hash == before.filter(|line| !line.is_empty()).map_or(ZEROS.to_owned(), sha256_hex),
            _ => return Err(self.head_fault("is missing or older than the log's last entries")),
        };
        if !sealed {
            return Err(self.head_fault("was sealed over another log"));
        }
        let ahead = tip.entries > entries;
        Ok(End { tip, ahead, whole_len_bytes, torn: (!torn.is_empty()).then(|| torn.to_vec()) })
    }

    fn last_line(&self, line: &[u8], head_entries: u64, offset: u64) -> Result<Tip, ArtifactError> {
        match sound(&self.keys, line) {
            Ok(entry) => Ok(Tip { entries: entry.seq, hash: sha256_hex(line) }),
            Err(Bad::Error(error)) => Err(error),
            Err(Bad::Fault(kind, fault)) => {
                Err(ArtifactError::AuditLine { line: head_entries.max(1), offset, kind, fault })
            }
            Err(Bad::Ahead(_)) => Err(self.head_fault("is older than the log's last entries")),
        }
    }

    fn write_line(&self, file: &mut File, event: &Event, tip: &Tip) -> Result<Tip, ArtifactError> {
        let entry = AuditEntry {
            action: event.action.clone(),
            cid: event.cid.clone(),
            detail: event.detail.clone(),
            format: LINE_FORMAT.to_owned(),
            key_id: self.keys.own_id().to_owned(),
            outcome: event.outcome.clone(),
            prev: tip.hash.clone(),
            seq: tip.entries + 1,
            time: event.time,
        };
        let mut line = self.keys.seal(Usage::Line, entry)?;
        let tip = Tip { entries: tip.entries + 1, hash: sha256_hex(&line) };
        line.push(b'\n');
        if line.len() > limits::AUDIT_LINE_LEN_MAX_BYTES {
            return Err(ArtifactError::TooLarge {
                what: "audit line",
                found: line.len().try_into().unwrap_or(u64::MAX),
                limit: limits::AUDIT_LINE_LEN_MAX_BYTES.try_into().unwrap_or(u64::MAX),
            });
        }
        let before = file.metadata().map_err(ArtifactError::io("read", &self.log))?.len();
        // What cannot be taken back is set aside as torn, or followed as one line ahead, by the next append.
        let take_back = |file: &File| drop(file.set_len(before).and_then(|()| file.sync_all()));
        if let Err(error) = file.write_all(&line).and_then(|()| file.sync_all()) {
            take_back(file);
            return Err(ArtifactError::io("append to", &self.log)(error));
        }
        if let Err(error) = self.write_head(&tip) {
            // Unless the new head took its place and only flushing the folder failed.
            let old = self.read_head().is_ok_and(|head| head.is_none_or(|head| head.entries < tip.entries));
            if old {
                take_back(file);
            }
            return Err(error);
        }
        Ok(tip)
    }

    fn write_head(&self, tip: &Tip) -> Result<(), ArtifactError> {
        let entry = Head {
            entries: tip.entries,
            format: HEAD_FORMAT.to_owned(),
            hash: tip.hash.clone(),
            key_id: self.keys.own_id().to_owned(),
        };
        let mut bytes = self.keys.seal(Usage::Head, entry)?;
        bytes.push(b'\n');
        file::Staged::write_private(&self.head, &bytes)?.commit()
    }

    fn read_head(&self) -> Result<Option<Head>, ArtifactError> {
        let mut bytes = Vec::new();
        match File::open(&self.head) {
            Ok(file) => file
                .take(limits::AUDIT_HEAD_LEN_MAX_BYTES)
                .read_to_end(&mut bytes)
                .map_err(ArtifactError::io("read", &self.head))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(ArtifactError::io("open", &self.head)(error)),
        };
        let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let sealed: Sealed<Head> =
            parse_canonical("audit.head", line).map_err(|_| self.head_fault("is not a sealed head"))?;
        let Sealed { entry: head, mac } = sealed;
        if head.format != HEAD_FORMAT {
            return Err(self.head_fault("has another format"));
        }
        match self.keys.holds(Usage::Head, &head.key_id, &head, &mac)? {
            Some(true) => Ok(Some(head)),
            Some(false) => Err(self.head_fault("has a MAC that does not match")),
            None => Err(self.head_fault(&format!("was sealed with key {}, which is not at hand", head.key_id))),
        }
    }

    fn set_aside(&self, file: &File, torn: &[u8], whole_len_bytes: u64, entries: u64) -> Result<(), ArtifactError> {
        let place = self.log.with_file_name(format!("audit.torn.{entries}"));
        file::Staged::write_private(&place, torn)?.commit()?;
        file.set_len(whole_len_bytes).and_then(|()| file.sync_all()).map_err(ArtifactError::io("shorten", &self.log))
    }

    fn head_fault(&self, fault: &str) -> ArtifactError {
        ArtifactError::AuditHead { path: self.head.clone(), fault: fault.to_owned() }
    }
}

struct End {
    tip: Tip,
    /// Whether the head is one line behind.
    ahead: bool,
    whole_len_bytes: u64,
    torn: Option<Vec<u8>>,
}

#[cfg(test)]
mod tests;
