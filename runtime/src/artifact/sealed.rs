//! Lines sealed with a derived key, `{"entry": …, "mac": …}`: those of the audit log, its head, and the marks.
//!
//! A line names the key that sealed it; `Keys` finds that key at hand or in the keyring. Each use has its own derived key, so
//! that no line passes for one of another kind.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::hash::{from_hex, hex, hmac_matches, hmac_sha256};
use super::{ArtifactError, Keyring, OperatorKey, canonical};

/// A value and its MAC.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sealed<T> {
    pub(super) entry: T,
    pub(super) mac: String,
}

/// What a sealed line is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Usage {
    Line,
    Head,
    Index,
    Mark,
}

/// The key at hand, and the ring beside it. The ring's current key seals, where there is one, so that using another key for one artifact
/// does not leave the machine's own log under that key.
#[derive(Debug)]
pub(super) struct Keys<'a> {
    at_hand: &'a OperatorKey,
    at_hand_id: String,
    own: Option<OperatorKey>,
    own_id: String,
    ring: Keyring,
    /// What the ring answered, so that it is asked once for each id.
    found: RefCell<BTreeMap<String, Option<Rc<OperatorKey>>>>,
}

impl<'a> Keys<'a> {
    pub(super) fn new(at_hand: &'a OperatorKey, kolm_home: &Path) -> Result<Self, ArtifactError> {
        let ring = Keyring::of(kolm_home);
        let own = match OperatorKey::load(&ring.current()) {
            Ok(key) => Some(key),
            Err(ArtifactError::KeyMissing { .. }) => None,
            Err(error) => return Err(error),
        };
        let own_id = own.as_ref().unwrap_or(at_hand).id();
        Ok(Self { at_hand, at_hand_id: at_hand.id(), own, own_id, ring, found: RefCell::default() })
    }

    /// Id of the key that seals.
    pub(super) fn own_id(&self) -> &str {
        &self.own_id
    }

    /// The canonical line, without line feed.
    pub(super) fn seal<T: Serialize>(&self, usage: Usage, entry: T) -> Result<Vec<u8>, ArtifactError> {
        let mac = hex(&hmac_sha256(&derived(self.own(), usage), &[&canonical(&entry)?]));
        canonical(&Sealed { entry, mac })
    }

    /// Whether the MAC is the one that the key of `key_id` gives; none when that key is not at hand.
    pub(super) fn holds<T: Serialize>(
        &self,
        usage: Usage,
        key_id: &str,
        entry: &T,
        mac: &str,
    ) -> Result<Option<bool>, ArtifactError> {
        self.holds_bytes(usage, key_id, &canonical(entry)?, &from_hex(mac).unwrap_or_default())
    }

    /// As `holds`, for the canonical bytes of an entry.
    pub(super) fn holds_bytes(
        &self,
        usage: Usage,
        key_id: &str,
        message: &[u8],
        mac: &[u8],
    ) -> Result<Option<bool>, ArtifactError> {
        let matches = |key: &OperatorKey| hmac_matches(&derived(key, usage), &[message], mac);
        if key_id == self.own_id {
            return Ok(Some(matches(self.own())));
        }
        if key_id == self.at_hand_id {
            return Ok(Some(matches(self.at_hand)));
        }
        Ok(self.find(key_id)?.map(|key| matches(&key)))
    }

    /// Ids of the key at hand and of every key of the ring that loads.
    pub(super) fn ids(&self) -> Vec<String> {
        let ring = self.ring.list().unwrap_or_default().into_iter().filter_map(|entry| entry.id.ok());
        [self.own_id.clone(), self.at_hand_id.clone()].into_iter().chain(ring).collect()
    }

    fn own(&self) -> &OperatorKey {
        self.own.as_ref().unwrap_or(self.at_hand)
    }

    fn find(&self, key_id: &str) -> Result<Option<Rc<OperatorKey>>, ArtifactError> {
        if let Some(known) = self.found.borrow().get(key_id) {
            return Ok(known.clone());
        }
        let key = self.ring.find(key_id)?.map(Rc::new);
        // Ids come from the log: a forged one must not fill the memory.
        if key.is_some() {
            self.found.borrow_mut().insert(key_id.to_owned(), key.clone());
        }
        Ok(key)
    }
}

fn derived(key: &OperatorKey, usage: Usage) -> Zeroizing<[u8; 32]> {
    match usage {
        Usage::Line => key.audit_key(),
        Usage::Head => key.audit_head_key(),
        Usage::Index => key.audit_index_key(),
        Usage::Mark => key.mark_key(),
    }
}
