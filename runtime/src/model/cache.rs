//! Keys and values of sequences, as a decoder keeps them between two steps.

use std::sync::Arc;

use crate::kernel::KeyValue;

/// Keys and values of one sequence, for every layer.
#[derive(Clone, Debug)]
pub struct KvCache {
    pub(super) layers: Vec<KeyValue>,
    pub(super) capacity: usize,
}

impl KvCache {
    /// Positions that a cache may take more memory for than it has room for.
    pub const PADDING: usize = KeyValue::PADDING;

    /// Positions held.
    pub fn len(&self) -> usize {
        self.layers.first().map_or(0, KeyValue::len)
    }

    /// Whether no position is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Positions that fit.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Forgets the positions from `len` on.
    pub fn truncate(&mut self, len: usize) {
        for layer in &mut self.layers {
            layer.truncate(len);
        }
    }

    /// Copies the sequence, with room for `more` positions; what it shares with others is not copied.
    pub fn with_room(&self, more: usize) -> KvCache {
        let capacity = self.len().saturating_add(more);
        KvCache { layers: self.layers.iter().map(|layer| layer.with_capacity(capacity)).collect(), capacity }
    }

    /// Makes the sequence a beginning for others.
    pub fn into_beginning(self) -> Beginning {
        Beginning { layers: self.layers.into_iter().map(KeyValue::into_beginning).collect() }
    }
}

/// A sequence that others begin with: they read its keys and values where they lie.
#[derive(Clone, Debug)]
pub struct Beginning {
    layers: Vec<Arc<KeyValue>>,
}

impl Beginning {
    /// A sequence that goes on from here, with room for `more` positions.
    pub fn cache(&self, more: usize) -> KvCache {
        let capacity = self.layers.first().map_or(0, |layer| layer.len()).saturating_add(more);
        KvCache { layers: self.layers.iter().map(|layer| KeyValue::after(layer, more)).collect(), capacity }
    }
}
