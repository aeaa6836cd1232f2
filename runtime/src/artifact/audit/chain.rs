//! The lines of the log, the head that closes it, and the walk that follows the chain.

use serde::{Deserialize, Serialize};

use super::super::hash::{from_hex, hmac_matches};
use super::super::{ArtifactError, OperatorKey, Timestamp, canonical, parse_canonical, sha256_hex};

/// What a full check of the log found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditReport {
    /// Entries in the log.
    pub entries: u64,
    /// Entries whose MAC was checked: those of the key at hand.
    pub checked: u64,
    /// SHA-256 of the last line; zeros when there is none.
    pub head: String,
    /// Entries whose time lies before the entry above.
    pub clock_steps_back: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) action: String,
    pub(super) cid: Option<String>,
    pub(super) detail: String,
    pub(super) format: String,
    pub(super) key_id: String,
    pub(super) outcome: String,
    pub(super) prev: String,
    pub(super) seq: u64,
    pub(super) time: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sealed<T> {
    pub(super) entry: T,
    pub(super) mac: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Head {
    pub(super) entries: u64,
    pub(super) format: String,
    pub(super) hash: String,
    pub(super) key_id: String,
}

/// Number of entries so far and hash of the last line.
#[derive(Clone, Debug)]
pub(super) struct Tip {
    pub(super) entries: u64,
    pub(super) hash: String,
}

impl Tip {
    pub(super) fn start() -> Self {
        Self { entries: 0, hash: ZEROS.to_owned() }
    }
}

/// Follows the chain line by line.
pub(super) struct Walk<'a> {
    pub(super) key: &'a OperatorKey,
    pub(super) tip: Tip,
    pub(super) offset: u64,
    pub(super) checked: u64,
    pub(super) time: Option<Timestamp>,
    pub(super) clock_steps_back: u64,
}

impl<'a> Walk<'a> {
    pub(super) fn new(key: &'a OperatorKey) -> Self {
        Self { key, tip: Tip::start(), offset: 0, checked: 0, time: None, clock_steps_back: 0 }
    }

    pub(super) fn line(&mut self, body: &[u8]) -> Result<(), ArtifactError> {
        let sealed = self.parse(body)?;
        let entry = &sealed.entry;
        if entry.seq != self.tip.entries + 1 {
            return Err(self.fault("has another number: lines were removed, repeated or moved"));
        }
        if entry.prev != self.tip.hash {
            return Err(self.fault("does not follow the line above: one of the two was edited"));
        }
        if self.check_mac(&sealed)? {
            self.checked += 1;
        }
        if self.time.is_some_and(|before| entry.time < before) {
            self.clock_steps_back += 1;
        }
        self.time = Some(entry.time);
        self.tip = Tip { entries: entry.seq, hash: sha256_hex(body) };
        self.offset += u64::try_from(body.len()).unwrap_or(u64::MAX) + 1;
        Ok(())
    }

    pub(super) fn parse(&self, body: &[u8]) -> Result<Sealed<Entry>, ArtifactError> {
        let sealed: Sealed<Entry> =
            parse_canonical("audit.log", body).map_err(|_| self.fault("is not an audit entry"))?;
        if sealed.entry.format != LINE_FORMAT {
            return Err(self.fault("has another format"));
        }
        Ok(sealed)
    }

    /// Whether the MAC could be checked: entries of another key are only chained.
    pub(super) fn check_mac(&self, sealed: &Sealed<Entry>) -> Result<bool, ArtifactError> {
        if sealed.entry.key_id != self.key.id() {
            return Ok(false);
        }
        let mac = from_hex(&sealed.mac).unwrap_or_default();
        if !hmac_matches(&self.key.audit_key(), &[&canonical(&sealed.entry)?], &mac) {
            return Err(self.fault("has a MAC that does not match: it was edited"));
        }
        Ok(true)
    }

    pub(super) fn fault(&self, fault: &'static str) -> ArtifactError {
        ArtifactError::AuditLine { line: self.tip.entries + 1, offset: self.offset, fault }
    }

    pub(super) fn report(self) -> AuditReport {
        AuditReport {
            entries: self.tip.entries,
            checked: self.checked,
            head: self.tip.hash,
            clock_steps_back: self.clock_steps_back,
        }
    }
}

pub(super) const LINE_FORMAT: &str = "kolm-audit-1";
pub(super) const HEAD_FORMAT: &str = "kolm-audit-head-1";
pub(super) const ZEROS: &str = "0000000000000000000000000000000000000000000000000000000000000000";
