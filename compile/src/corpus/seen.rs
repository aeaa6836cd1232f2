//! Which row said something first, for millions of rows in little memory.
//!
//! A thing is known by the first 128 bits of its SHA-256: 21 bytes a row, whatever the text's length. Two different things are taken
//! for one with a chance of n² · 2⁻¹²⁹ over n rows: below 10⁻²⁵ at five million.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};

/// The first 128 bits of a SHA-256.
pub(super) type Key = [u32; 4];

/// Cuts a SHA-256 down to a key.
pub(super) fn key(hash: &[u8; 32]) -> Key {
    let (words, _) = hash.as_chunks::<4>();
    std::array::from_fn(|place| u32::from_le_bytes(words[place]))
}

/// Maps each key to the first row that had it; never iterated, so its order cannot show.
pub(super) struct FirstSeen(HashMap<Key, u32, BuildHasherDefault<Word>>);

impl FirstSeen {
    /// Makes room for `rows` at once: growing would hold two tables for a while.
    pub(super) fn with_room(rows: usize) -> FirstSeen {
        FirstSeen(HashMap::with_capacity_and_hasher(rows, BuildHasherDefault::default()))
    }

    /// Notes that `row` has `key`, and gives the earlier row that had it.
    pub(super) fn earlier(&mut self, key: Key, row: u32) -> Option<u32> {
        match self.0.entry(key) {
            Entry::Occupied(first) => Some(*first.get()),
            Entry::Vacant(place) => {
                place.insert(row);
                None
            }
        }
    }
}

/// A key is a hash already: two of its words are taken as they are.
#[derive(Default)]
struct Word(u64);

impl Hasher for Word {
    fn write(&mut self, bytes: &[u8]) {
        let (words, _) = bytes.as_chunks::<8>();
        self.0 = words.last().map_or(0, |word| u64::from_le_bytes(*word));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
