//! Keys and values of one layer for one sequence.
//!
//! Keys lie transposed, so that scores run with lanes over positions; values lie by position, so that the weighted sum runs
//! with lanes over the head dimension. Padding beyond a row's end is never read into a result.
//!
//! Sequences that begin alike may stand on one set of keys and values: each then holds what comes after it, and attention reads
//! both parts as one. Where a sequence is cut shows in no bit.

use std::sync::Arc;

/// Keys `[kv_heads, head_dim, capacity]` and values `[kv_heads, capacity, head_dim]` of the positions so far; where the
/// sequence stands on a beginning that others share, of the positions after it.
#[derive(Clone, Debug)]
pub struct KeyValue {
    kv_heads: usize,
    head_dim: usize,
    /// The first positions, which stand alone; none of them lies here.
    beginning: Option<Arc<KeyValue>>,
    /// Positions there is room for after the beginning.
    capacity: usize,
    /// Positions held after the beginning.
    len: usize,
    keys: Vec<f32>,
    key_stride: usize,
    values: Vec<f32>,
    value_stride: usize,
}

impl KeyValue {
    /// Positions of keys that may lie behind those there is room for.
    pub const PADDING: usize = 2 * KEY_PADDING;

    /// Makes room for `capacity` positions.
    pub fn new(kv_heads: usize, head_dim: usize, capacity: usize) -> KeyValue {
        let mut key_stride = capacity.next_multiple_of(KEY_PADDING);
        if key_stride.is_multiple_of(KEY_ALIAS) {
            key_stride += KEY_PADDING;
        }
        let value_stride = head_dim.next_multiple_of(VALUE_PADDING);
        KeyValue {
            kv_heads,
            head_dim,
            beginning: None,
            capacity,
            len: 0,
            keys: vec![0.0; kv_heads * head_dim * key_stride],
            key_stride,
            values: vec![0.0; kv_heads * capacity * value_stride],
            value_stride,
        }
    }

    /// Makes room for `capacity` positions after those of `beginning`, which are read where they lie.
    ///
    /// # Panics
    ///
    /// Where the beginning stands on another one; [`KeyValue::into_beginning`] gives none such.
    pub fn after(beginning: &Arc<KeyValue>, capacity: usize) -> KeyValue {
        assert!(beginning.beginning.is_none(), "a beginning in one part");
        let own = KeyValue::new(beginning.kv_heads, beginning.head_dim, capacity);
        KeyValue { beginning: Some(Arc::clone(beginning)), ..own }
    }

    /// Makes the positions so far a beginning for others, in one part.
    pub fn into_beginning(self) -> Arc<KeyValue> {
        let Some(beginning) = &self.beginning else { return Arc::new(self) };
        let mut whole = KeyValue::new(self.kv_heads, self.head_dim, self.len());
        whole.copy_from(beginning);
        whole.copy_from(&self);
        Arc::new(whole)
    }

    /// Copies the positions so far, with room for `capacity` in all; a beginning that others share stays shared.
    ///
    /// # Panics
    ///
    /// Where the positions so far are more than that.
    pub fn with_capacity(&self, capacity: usize) -> KeyValue {
        let mut copy = KeyValue::new(self.kv_heads, self.head_dim, capacity.saturating_sub(self.beginning_len()));
        copy.beginning.clone_from(&self.beginning);
        copy.copy_from(self);
        copy
    }

    /// Appends the positions that `other` holds itself.
    fn copy_from(&mut self, other: &KeyValue) {
        assert!(self.len + other.len <= self.capacity, "room for {} more positions after {}", other.len, self.len);
        let from = other.keys.chunks_exact(other.key_stride);
        for (to, from) in self.keys.chunks_exact_mut(self.key_stride).zip(from) {
            to[self.len..][..other.len].copy_from_slice(&from[..other.len]);
        }
        let (stride, rows) = (self.value_stride, other.len * other.value_stride);
        for head in 0..self.kv_heads {
            let to = (head * self.capacity + self.len) * stride;
            let from = head * other.capacity * stride;
            self.values[to..to + rows].copy_from_slice(&other.values[from..from + rows]);
        }
        self.len += other.len;
    }

    /// Appends the rows of `k` and `v`, each `[T, kv_heads * head_dim]`.
    ///
    /// # Panics
    ///
    /// Where the shapes do not fit or the capacity would be exceeded.
    pub fn push(&mut self, k: &[f32], v: &[f32]) {
        let width = self.kv_heads * self.head_dim;
        assert!(k.len() == v.len() && width > 0 && k.len().is_multiple_of(width), "whole rows of keys and values");
        let rows = k.len() / width;
        if rows == 0 {
            return;
        }
        assert!(self.len + rows <= self.capacity, "room for {rows} more positions after {}", self.len);
        // Rows lie as far apart as a cache's places for the same line: those of a few are there still when the next column is read.
        for (block, k) in k.chunks(KEY_BLOCK * width).enumerate() {
            let (first, rows) = (self.len + block * KEY_BLOCK, k.len() / width);
            for (column, keys) in self.keys.chunks_exact_mut(self.key_stride).enumerate() {
                for (out, row) in keys[first..first + rows].iter_mut().zip(k.chunks_exact(width)) {
                    *out = row[column];
                }
            }
        }
        for head in 0..self.kv_heads {
            let from = (head * self.capacity + self.len) * self.value_stride;
            let rows_out = self.values[from..].chunks_mut(self.value_stride);
            for (out, row) in rows_out.zip(v.chunks_exact(width)) {
                out[..self.head_dim].copy_from_slice(&row[head * self.head_dim..][..self.head_dim]);
            }
        }
        self.len += rows;
    }

    /// Number of positions held, the beginning's included.
    pub fn len(&self) -> usize {
        self.beginning_len() + self.len
    }

    /// Whether no position is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of positions there is room for, the beginning's included.
    pub fn capacity(&self) -> usize {
        self.beginning_len() + self.capacity
    }

    /// Heads of keys and values.
    pub fn kv_heads(&self) -> usize {
        self.kv_heads
    }

    /// Length of one head's key or value.
    pub fn head_dim(&self) -> usize {
        self.head_dim
    }

    /// Forgets every position from `len` on.
    pub fn truncate(&mut self, len: usize) {
        if len < self.beginning_len()
            && let Some(beginning) = self.beginning.take()
        {
            let mut own = KeyValue::new(self.kv_heads, self.head_dim, beginning.len + self.capacity);
            own.copy_from(&beginning);
            *self = own;
        }
        self.len = self.len.min(len.saturating_sub(self.beginning_len()));
    }

    /// Copies out one head's keys in row order, `[len, head_dim]`.
    pub fn key_rows(&self, head: usize) -> Vec<f32> {
        let mut out = vec![0.0; self.len() * self.head_dim];
        for (first, part) in self.parts() {
            let rows = &mut out[first * self.head_dim..][..part.len * self.head_dim];
            for (d, row) in part.keys(head).chunks_exact(part.key_stride).enumerate() {
                for (out, x) in rows.iter_mut().skip(d).step_by(self.head_dim).zip(row) {
                    *out = *x;
                }
            }
        }
        out
    }

    /// Copies out one head's values in row order, `[len, head_dim]`.
    pub fn value_rows(&self, head: usize) -> Vec<f32> {
        let rows = self.parts().flat_map(|(_, part)| part.values(head).chunks_exact(part.value_stride).take(part.len));
        rows.flat_map(|row| &row[..self.head_dim]).copied().collect()
    }

    /// The parts in order, each with its first position: the beginning, then what is held here.
    pub(super) fn parts(&self) -> impl Iterator<Item = (usize, &KeyValue)> {
        self.beginning.as_deref().map(|beginning| (0, beginning)).into_iter().chain([(self.beginning_len(), self)])
    }

    fn beginning_len(&self) -> usize {
        self.beginning.as_ref().map_or(0, |beginning| beginning.len)
    }

    /// One head's keys of this part, `[head_dim, key_stride]`.
    pub(super) fn keys(&self, head: usize) -> &[f32] {
        let size = self.head_dim * self.key_stride;
        &self.keys[head * size..][..size]
    }

    /// One head's values of this part, `[capacity, value_stride]`.
    pub(super) fn values(&self, head: usize) -> &[f32] {
        let size = self.capacity * self.value_stride;
        &self.values[head * size..][..size]
    }

    /// Values that a row of scores has room for, the padding of the last tile of keys included.
    pub(super) fn score_stride(&self) -> usize {
        self.beginning_len() + self.key_stride
    }

    /// Positions that this part alone holds.
    pub(super) fn part_len(&self) -> usize {
        self.len
    }

    pub(super) fn key_stride(&self) -> usize {
        self.key_stride
    }

    pub(super) fn value_stride(&self) -> usize {
        self.value_stride
    }
}

/// Positions a row of keys is padded to: the widest tile.
const KEY_PADDING: usize = 32;
/// Row lengths at which the rows of a tile of keys fall on few sets of a first-level cache, and are lengthened.
const KEY_ALIAS: usize = 256;
/// Rows of keys that are appended at a time: a cache line of each column.
const KEY_BLOCK: usize = 16;
/// Columns a row of values is padded to: the widest tile.
const VALUE_PADDING: usize = 32;
