//! The lines of the log, the head that closes it, and the walk that follows the chain and says how a line is wrong.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::super::merkle::{Frontier, leaf};
use super::super::sealed::{Keys, Sealed, Usage};
use super::super::{ArtifactError, Timestamp, canonical, from_hex, limits, parse_canonical, sha256_hex};

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
    /// Goes on after the line that ends at byte `offset`; the root is that of the lines walked.
    pub(super) fn from(keys: &'a Keys<'a>, tip: Tip, offset: u64) -> Self {
        Self {
            keys,
            tip,
            offset,
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
    let (entry, message, mac) = match as_written(body) {
        Some((entry, message, mac)) => (entry, Cow::Borrowed(message), mac),
        None => {
            let sealed: Sealed<AuditEntry> =
                parse_canonical("audit.log", body).map_err(|_| edited("was edited: it is not an audit entry"))?;
            let message = canonical(&sealed.entry).map_err(Bad::Error)?;
            (sealed.entry, Cow::Owned(message), from_hex(&sealed.mac).unwrap_or_default())
        }
    };
    if entry.format != LINE_FORMAT {
        return Err(edited("was edited: it has another format"));
    }
    match keys.holds_bytes(Usage::Line, &entry.key_id, &message, &mac).map_err(Bad::Error)? {
        Some(true) => Ok(entry),
        Some(false) => Err(edited("was edited: its MAC does not match")),
        None => {
            // Only the key id itself may have been edited.
            for key_id in keys.ids() {
                let named = AuditEntry { key_id: key_id.clone(), ..entry.clone() };
                let message = canonical(&named).map_err(Bad::Error)?;
                if keys.holds_bytes(Usage::Line, &key_id, &message, &mac).map_err(Bad::Error)? == Some(true) {
                    return Err(edited("was edited: key_id does not name the key that wrote it"));
                }
            }
            let text = format!("was written with key {}, which is not at hand", entry.key_id);
            Err(Bad::Fault(AuditFault::WrongKey, text))
        }
    }
}

/// Entry, its bytes and MAC of a line that stands as `AuditLog` writes it; none for any other, sound or not, which `parse_canonical` judges at
/// ten times the cost. No line is taken that it would refuse: the bytes are compared with those of the entry written again, and an entry's
/// fields are declared in canonical order.
fn as_written(body: &[u8]) -> Option<(AuditEntry, &[u8], Vec<u8>)> {
    let rest = body.strip_prefix(br#"{"entry":"#)?.strip_suffix(br#""}"#)?;
    let (rest, mac) = rest.split_at_checked(rest.len().checked_sub(MAC_DIGITS)?)?;
    let message = rest.strip_suffix(br#","mac":""#)?;
    let entry: AuditEntry = serde_json::from_slice(message).ok()?;
    let mac = from_hex(std::str::from_utf8(mac).ok()?)?;
    let same = entry.seq <= limits::JSON_INTEGER_MAX && serde_json::to_vec(&entry).ok()? == message;
    same.then_some((entry, message, mac))
}

/// Hex digits of a MAC.
const MAC_DIGITS: usize = 64;
pub(super) const LINE_FORMAT: &str = "kolm-audit-1";
pub(super) const HEAD_FORMAT: &str = "kolm-audit-head-1";
pub(super) const ZEROS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text() -> impl Strategy<Value = String> {
        prop_oneof![any::<String>(), "[\\x00-\\x7f\u{80}-\u{ff}\u{2028}\"\\\\/]{0,20}"]
    }

    fn entry() -> impl Strategy<Value = AuditEntry> {
        let texts = (text(), proptest::option::of(text()), text(), text(), text(), text(), text());
        (texts, any::<u64>(), 0u64..1 << 33).prop_map(
            |((action, cid, detail, format, key_id, outcome, prev), seq, time)| {
                let time = Timestamp::from_unix(time).unwrap();
                AuditEntry { action, cid, detail, format, key_id, outcome, prev, seq, time }
            },
        )
    }

    proptest! {
        /// What is read the short way is what the strict reader reads, and every line it reads can be read so.
        #[test]
        fn the_short_way_reads_as_the_strict_one(entry in entry(), at in any::<prop::sample::Index>(), byte: u8) {
            let mac = sha256_hex(b"mac");
            let Ok(line) = canonical(&Sealed { entry: entry.clone(), mac: mac.clone() }) else {
                prop_assert!(entry.seq > limits::JSON_INTEGER_MAX);
                let line = serde_json::to_vec(&Sealed { entry, mac }).unwrap();
                prop_assert!(as_written(&line).is_none());
                return Ok(());
            };
            let (found, message, _) = as_written(&line).unwrap();
            prop_assert_eq!((&found, message), (&entry, &canonical(&entry).unwrap()[..]));
            let mut changed = line.clone();
            changed[at.index(line.len())] = byte;
            if let Some((found, _, mac)) = as_written(&changed) {
                let strict: Sealed<AuditEntry> = parse_canonical("x", &changed).unwrap();
                prop_assert_eq!((found, mac), (strict.entry, from_hex(&strict.mac).unwrap()));
            }
        }
    }

    #[test]
    fn other_spellings_go_the_strict_way() {
        let entry = AuditEntry {
            action: "a".to_owned(),
            cid: None,
            detail: String::new(),
            format: LINE_FORMAT.to_owned(),
            key_id: "00000000".to_owned(),
            outcome: "done".to_owned(),
            prev: ZEROS.to_owned(),
            seq: 1,
            time: Timestamp::from_unix(0).unwrap(),
        };
        let line = String::from_utf8(canonical(&Sealed { entry, mac: ZEROS.to_owned() }).unwrap()).unwrap();
        assert!(as_written(line.as_bytes()).is_some());
        for (from, to) in [
            ("\"seq\":1", "\"seq\": 1"),
            ("\"seq\":1", "\"seq\":1.0"),
            ("\"seq\":1", "\"seq\":1,\"seq\":1"),
            ("\"cid\":null,", ""),
            ("\"a\"", "\"\\u0061\""),
            ("\"action\":\"a\",\"cid\":null", "\"cid\":null,\"action\":\"a\""),
            ("{\"entry\"", " {\"entry\""),
            ("\"mac\":\"0", "\"mac\":\"A"),
        ] {
            let changed = line.replacen(from, to, 1);
            assert_ne!(changed, line);
            assert!(as_written(changed.as_bytes()).is_none(), "{to}");
            assert!(
                parse_canonical::<Sealed<AuditEntry>>("x", changed.as_bytes()).is_err() || to.ends_with('A'),
                "{to}"
            );
        }
    }
}
