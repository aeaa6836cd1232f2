//! The lines of the log, the head that closes it, and the walk that follows the chain and says how a line is wrong.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::super::merkle::{Frontier, leaf};
use super::super::sealed::{Keys, Sealed, Usage};
use super::super::{ArtifactError, Timestamp, parse_canonical, sha256_hex};

/// How a line of the log is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditFault {
    /// The last line has no line feed.
    Torn,
    /// It is no entry, or its MAC does not match.
    Edited,
    /// The key that it names is not at hand.
    WrongKey,
    /// Lines above it are gone.
    Removed,
    /// A line that belongs above it stands below.
    Reordered,
    /// A line of its number stands above.
    Repeated,
    /// It follows another line than the one above.
    Forked,
}

impl AuditFault {
    /// The word in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Torn => "torn",
            Self::Edited => "edited",
            Self::WrongKey => "wrong_key",
            Self::Removed => "removed",
            Self::Reordered => "reordered",
            Self::Repeated => "repeated",
            Self::Forked => "forked",
        }
    }
}

/// One event, as it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditEntry {
    /// What was done.
    pub action: String,
    /// The artifact it was done to.
    pub cid: Option<String>,
    /// One line for people; begins with `NAME-VERSION` when it is about an artifact.
    pub detail: String,
    /// `kolm-audit-1`.
    pub format: String,
    /// Id of the key that wrote it.
    pub key_id: String,
    /// `done`, `refused`, …
    pub outcome: String,
    /// SHA-256 of the line before.
    pub prev: String,
    /// Its number, from 1.
    pub seq: u64,
    /// When.
    pub time: Timestamp,
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
    keys: &'a Keys<'a>,
    pub(super) tip: Tip,
    pub(super) offset: u64,
    pub(super) frontier: Frontier,
    pub(super) key_ids: BTreeSet<String>,
    pub(super) clock_steps_back: u64,
    time: Option<Timestamp>,
}

/// A line that does not hold.
#[derive(Debug)]
pub(super) enum Bad {
    /// It cannot even be looked at.
    Error(ArtifactError),
    /// It is wrong in this way.
    Fault(AuditFault, String),
    /// It is sound and its number is too high: whether lines were removed or moved shows further down.
    Ahead(u64),
}

impl<'a> Walk<'a> {
    pub(super) fn new(keys: &'a Keys<'a>) -> Self {
        Self {
            keys,
            tip: Tip::start(),
            offset: 0,
            frontier: Frontier::default(),
            key_ids: BTreeSet::new(),
            clock_steps_back: 0,
            time: None,
        }
    }

    pub(super) fn line(&mut self, body: &[u8]) -> Result<AuditEntry, Bad> {
        let entry = sound(self.keys, body)?;
        let expected = self.tip.entries + 1;
        if entry.seq > expected {
            return Err(Bad::Ahead(entry.seq));
        }
        if entry.seq < expected {
            let text = format!("is entry {} once more, entry {expected} belongs here", entry.seq);
            return Err(Bad::Fault(AuditFault::Repeated, text));
        }
        if entry.prev != self.tip.hash {
            let text = "follows another line than the one above: two histories were joined".to_owned();
            return Err(Bad::Fault(AuditFault::Forked, text));
        }
        if self.time.is_some_and(|before| entry.time < before) {
            self.clock_steps_back += 1;
        }
        self.time = Some(entry.time);
        if !self.key_ids.contains(&entry.key_id) {
            self.key_ids.insert(entry.key_id.clone());
        }
        self.tip = Tip { entries: entry.seq, hash: sha256_hex(body) };
        self.frontier.push(leaf(body));
        self.offset += u64::try_from(body.len()).unwrap_or(u64::MAX) + 1;
        Ok(entry)
    }

    pub(super) fn fault(&self, kind: AuditFault, fault: String) -> ArtifactError {
        ArtifactError::AuditLine { line: self.tip.entries + 1, offset: self.offset, kind, fault }
    }
}

/// The entry of a line that some key at hand wrote.
pub(super) fn sound(keys: &Keys<'_>, body: &[u8]) -> Result<AuditEntry, Bad> {
    let edited = |text: &str| Bad::Fault(AuditFault::Edited, text.to_owned());
    let sealed: Sealed<AuditEntry> =
        parse_canonical("audit.log", body).map_err(|_| edited("was edited: it is not an audit entry"))?;
    let Sealed { entry, mac } = sealed;
    if entry.format != LINE_FORMAT {
        return Err(edited("was edited: it has another format"));
    }
    match keys.holds(Usage::Line, &entry.key_id, &entry, &mac).map_err(Bad::Error)? {
        Some(true) => Ok(entry),
        Some(false) => Err(edited("was edited: its MAC does not match")),
        None => {
            // Only the key id itself may have been edited.
            for key_id in keys.ids() {
                let named = AuditEntry { key_id: key_id.clone(), ..entry.clone() };
                if keys.holds(Usage::Line, &key_id, &named, &mac).map_err(Bad::Error)? == Some(true) {
                    return Err(edited("was edited: key_id does not name the key that wrote it"));
                }
            }
            let text = format!("was written with key {}, which is not at hand", entry.key_id);
            Err(Bad::Fault(AuditFault::WrongKey, text))
        }
    }
}

pub(super) const LINE_FORMAT: &str = "kolm-audit-1";
pub(super) const HEAD_FORMAT: &str = "kolm-audit-head-1";
pub(super) const ZEROS: &str = "0000000000000000000000000000000000000000000000000000000000000000";
