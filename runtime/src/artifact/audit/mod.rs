//! The audit log: one canonical JSON line for each event, chained by hash, MACed, and closed by a sealed head.
//!
//! The chain shows an edited, removed or moved line; the head, under a key of its own, shows a cut tail. An append takes the
//! lock, writes one line with one write, flushes it, then renames a new head into place; it fails as a whole, and then the
//! action it speaks of must not happen. A crash can leave a torn last line (set aside and recorded at the next append) or a
//! head one entry behind. Times are the caller's: a clock that ran back is shown, not corrected.

mod chain;

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::hash::{from_hex, hex, hmac_matches, hmac_sha256};
use super::{ArtifactError, OperatorKey, Timestamp, canonical, file, limits, parse_canonical, sha256_hex};
pub use chain::AuditReport;
use chain::{Entry, HEAD_FORMAT, Head, LINE_FORMAT, Sealed, Tip, Walk, ZEROS};

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
    /// One line for people.
    pub detail: String,
}

/// The log, open for appending under one operator's key.
#[derive(Debug)]
pub struct AuditLog<'a> {
    log: PathBuf,
    head: PathBuf,
    key: &'a OperatorKey,
}

impl<'a> AuditLog<'a> {
    /// The log of `folder` (`~/.kolm`), which is made with mode 0700 if it is not there.
    ///
    /// # Errors
    /// `Io`.
    pub fn open(folder: &Path, key: &'a OperatorKey) -> Result<Self, ArtifactError> {
        if !folder.is_dir() {
            super::key::private_folder(folder).map_err(ArtifactError::io("make folder", folder))?;
        }
        Ok(Self { log: folder.join("audit.log"), head: folder.join("audit.head"), key })
    }

    /// Adds `event`; when this returns, it is on the disk.
    ///
    /// # Errors
    /// `AuditLine`, `AuditTruncated`, `AuditHead` when the end of the log is not what the head says; `Io`.
    pub fn append(&self, event: &Event) -> Result<(), ArtifactError> {
        let mut file = self.lock()?;
        let end = self.end(&mut file)?;
        let mut tip = end.tip;
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
        self.write_line(&mut file, event, &tip)?;
        Ok(())
    }

    /// Reads the whole log, in constant memory.
    ///
    /// # Errors
    /// The first fault: `AuditLine`, `AuditTruncated`, `AuditHead`, `Io`.
    pub fn verify(&self) -> Result<AuditReport, ArtifactError> {
        let file = self.lock()?;
        let mut walk = Walk::new(self.key);
        let mut reader = BufReader::new(&file);
        let head = self.read_head()?;
        let mut at_head = head.as_ref().is_none_or(|head| head.entries == 0);
        loop {
            let mut line = Vec::new();
            let limit = limits::AUDIT_LINE_LEN_MAX_BYTES.try_into().unwrap_or(u64::MAX);
            (&mut reader).take(limit).read_until(b'\n', &mut line).map_err(ArtifactError::io("read", &self.log))?;
            match line.split_last() {
                None => break,
                Some((b'\n', body)) => walk.line(body)?,
                Some(_) => return Err(walk.fault("is torn: it has no line feed")),
            }
            if let Some(head) = &head
                && head.entries == walk.tip.entries
            {
                if head.hash != walk.tip.hash {
                    return Err(self.head_fault("was sealed over another log"));
                }
                at_head = true;
            }
        }
        let report = walk.report();
        match head {
            Some(head) if head.key_id != self.key.id() => {
                Err(self.head_fault("was sealed with another key; check with that one"))
            }
            None if report.entries > 1 => Err(self.head_fault("is missing")),
            Some(head) if !at_head => {
                Err(ArtifactError::AuditTruncated { found: report.entries, expected: head.entries })
            }
            Some(head) if report.entries > head.entries + 1 => {
                Err(self.head_fault("is older than the log's last entries"))
            }
            _ => Ok(report),
        }
    }

    fn lock(&self) -> Result<File, ArtifactError> {
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        private(&mut options);
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
        let torn_len = u64::try_from(torn.len()).unwrap_or(u64::MAX);
        let mut lines = whole.rsplit(|&byte| byte == b'\n').skip(1);
        let (last, before) = (lines.next(), lines.next());
        let tip = match last {
            None => Tip::start(),
            Some(line) => self.read_line(line, len)?,
        };
        let head = self.read_head()?;
        let (entries, hash) = head.map_or((0, ZEROS.to_owned()), |head| (head.entries, head.hash));
        if entries > tip.entries {
            let found = tip.entries;
            return Err(ArtifactError::AuditTruncated { found, expected: entries });
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
        Ok(End { tip, whole_len_bytes: len.saturating_sub(torn_len), torn: (!torn.is_empty()).then(|| torn.to_vec()) })
    }

    fn read_line(&self, line: &[u8], offset: u64) -> Result<Tip, ArtifactError> {
        let mut walk = Walk::new(self.key);
        walk.offset = offset;
        let sealed = walk.parse(line)?;
        walk.check_mac(&sealed)?;
        Ok(Tip { entries: sealed.entry.seq, hash: sha256_hex(line) })
    }

    fn write_line(&self, file: &mut File, event: &Event, tip: &Tip) -> Result<Tip, ArtifactError> {
        let entry = Entry {
            action: event.action.clone(),
            cid: event.cid.clone(),
            detail: event.detail.clone(),
            format: LINE_FORMAT.to_owned(),
            key_id: self.key.id(),
            outcome: event.outcome.clone(),
            prev: tip.hash.clone(),
            seq: tip.entries + 1,
            time: event.time,
        };
        let mac = hex(&hmac_sha256(&self.key.audit_key(), &[&canonical(&entry)?]));
        let mut line = canonical(&Sealed { entry, mac })?;
        let tip = Tip { entries: tip.entries + 1, hash: sha256_hex(&line) };
        line.push(b'\n');
        if line.len() > limits::AUDIT_LINE_LEN_MAX_BYTES {
            return Err(ArtifactError::TooLarge {
                what: "audit line",
                found: line.len().try_into().unwrap_or(u64::MAX),
                limit: limits::AUDIT_LINE_LEN_MAX_BYTES.try_into().unwrap_or(u64::MAX),
            });
        }
        file.write_all(&line).and_then(|()| file.sync_all()).map_err(ArtifactError::io("append to", &self.log))?;
        self.write_head(&tip)?;
        Ok(tip)
    }

    fn write_head(&self, tip: &Tip) -> Result<(), ArtifactError> {
        let entry = Head {
            entries: tip.entries,
            format: HEAD_FORMAT.to_owned(),
            hash: tip.hash.clone(),
            key_id: self.key.id(),
        };
        let mac = hex(&hmac_sha256(&self.key.audit_head_key(), &[&canonical(&entry)?]));
        let mut bytes = canonical(&Sealed { entry, mac })?;
        bytes.push(b'\n');
        file::Staged::write(&self.head, &bytes)?.commit()
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
        let known = sealed.entry.key_id == self.key.id();
        let mac = from_hex(&sealed.mac).unwrap_or_default();
        if known && !hmac_matches(&self.key.audit_head_key(), &[&canonical(&sealed.entry)?], &mac) {
            return Err(self.head_fault("has a MAC that does not match"));
        }
        Ok(Some(sealed.entry))
    }

    fn set_aside(&self, file: &File, torn: &[u8], whole_len_bytes: u64, entries: u64) -> Result<(), ArtifactError> {
        let place = self.log.with_file_name(format!("audit.torn.{entries}"));
        file::Staged::write(&place, torn)?.commit()?;
        file.set_len(whole_len_bytes).and_then(|()| file.sync_all()).map_err(ArtifactError::io("shorten", &self.log))
    }

    fn head_fault(&self, fault: &'static str) -> ArtifactError {
        ArtifactError::AuditHead { path: self.head.clone(), fault }
    }
}

struct End {
    tip: Tip,
    whole_len_bytes: u64,
    torn: Option<Vec<u8>>,
}

#[cfg(unix)]
fn private(options: &mut OpenOptions) {
    use std::os::unix::fs::OpenOptionsExt;
    options.mode(0o600);
}

#[cfg(not(unix))]
fn private(_: &mut OpenOptions) {}

#[cfg(test)]
mod tests;
