//! Keys and values of one layer for one sequence.
//!
//! Keys lie transposed, so that scores run with lanes over positions; values lie by position, so that the weighted sum runs
//! with lanes over the head dimension. Padding beyond a row's end is never read into a result.

/// Keys `[kv_heads, head_dim, capacity]` and values `[kv_heads, capacity, head_dim]` of the positions so far.
#[derive(Clone, Debug)]
pub struct KeyValue {
    kv_heads: usize,
    head_dim: usize,
    capacity: usize,
    len: usize,
    keys: Vec<f32>,
    key_stride: usize,
    values: Vec<f32>,
    value_stride: usize,
}

impl KeyValue {
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
            capacity,
            len: 0,
            keys: vec![0.0; kv_heads * head_dim * key_stride],
            key_stride,
            values: vec![0.0; kv_heads * capacity * value_stride],
            value_stride,
        }
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
        assert!(self.len + rows <= self.capacity, "room for {rows} more positions after {}", self.len);
        for head in 0..self.kv_heads {
            for d in 0..self.head_dim {
                let from = (head * self.head_dim + d) * self.key_stride + self.len;
                let column = k[head * self.head_dim + d..].iter().step_by(width);
                for (out, x) in self.keys[from..from + rows].iter_mut().zip(column) {
                    *out = *x;
                }
            }
            let from = (head * self.capacity + self.len) * self.value_stride;
            let rows_out = self.values[from..].chunks_mut(self.value_stride);
            for (out, row) in rows_out.zip(v.chunks_exact(width)) {
                out[..self.head_dim].copy_from_slice(&row[head * self.head_dim..][..self.head_dim]);
            }
        }
        self.len += rows;
    }

    /// Number of positions held.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no position is held.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of positions there is room for.
    pub fn capacity(&self) -> usize {
        self.capacity
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
        self.len = self.len.min(len);
    }

    /// Copies out one head's keys in row order, `[len, head_dim]`.
    pub fn key_rows(&self, head: usize) -> Vec<f32> {
        let mut out = vec![0.0; self.len * self.head_dim];
        for (d, row) in self.keys(head).chunks_exact(self.key_stride).enumerate() {
            for (out, x) in out.iter_mut().skip(d).step_by(self.head_dim).zip(row) {
                *out = *x;
            }
        }
        out
    }

    /// Copies out one head's values in row order, `[len, head_dim]`.
    pub fn value_rows(&self, head: usize) -> Vec<f32> {
        let rows = self.values(head).chunks_exact(self.value_stride).take(self.len);
        rows.flat_map(|row| &row[..self.head_dim]).copied().collect()
    }

    /// One head's keys, `[head_dim, key_stride]`.
    pub(super) fn keys(&self, head: usize) -> &[f32] {
        let size = self.head_dim * self.key_stride;
        &self.keys[head * size..][..size]
    }

    /// One head's values, `[capacity, value_stride]`.
    pub(super) fn values(&self, head: usize) -> &[f32] {
        let size = self.capacity * self.value_stride;
        &self.values[head * size..][..size]
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
/// Columns a row of values is padded to: the widest tile.
const VALUE_PADDING: usize = 32;
