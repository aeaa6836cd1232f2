//! Memory that begins with a cache line, so that no vector load crosses two: at 64 bytes every one would, and count twice.

use std::ops::{Deref, DerefMut};

/// Values whose first lies at a multiple of 64 bytes, wherever the allocator put them. Alignment changes speed, never bits.
#[derive(Debug)]
pub(super) struct Aligned<T> {
    values: Vec<T>,
    from: usize,
    len: usize,
}

impl<T: Copy + Default> Aligned<T> {
    /// Makes `len` zeros.
    pub(super) fn zeros(len: usize) -> Aligned<T> {
        let values = vec![T::default(); len + LINE_LEN_BYTES / size_of::<T>().max(1)];
        // The offset need not be known to the compiler: then the values begin where the memory does.
        let from = Some(values.as_ptr().align_offset(LINE_LEN_BYTES)).filter(|from| from + len <= values.len());
        Aligned { from: from.unwrap_or(0), len, values }
    }

    /// The values, at least `len` of them; where there were fewer, they are zeros.
    pub(super) fn at_least(&mut self, len: usize) -> &mut [T] {
        if self.len < len {
            *self = Aligned::zeros(len);
        }
        self
    }
}

impl<T> Aligned<T> {
    /// The first `len` values, where a `Vec` begins.
    pub(super) fn into_vec(self, len: usize) -> Vec<T> {
        let Aligned { mut values, from, .. } = self;
        values.truncate(from + len);
        values.drain(..from);
        values
    }
}

/// Values where they are, which need not be the beginning of a line.
impl<T> From<Vec<T>> for Aligned<T> {
    fn from(values: Vec<T>) -> Aligned<T> {
        Aligned { from: 0, len: values.len(), values }
    }
}

impl<T: Copy + Default> Default for Aligned<T> {
    fn default() -> Aligned<T> {
        Aligned { values: Vec::new(), from: 0, len: 0 }
    }
}

impl<T: Copy + Default> Clone for Aligned<T> {
    fn clone(&self) -> Aligned<T> {
        let mut copy = Aligned::zeros(self.len);
        copy.copy_from_slice(self);
        copy
    }
}

impl<T> Deref for Aligned<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        &self.values[self.from..][..self.len]
    }
}

impl<T> DerefMut for Aligned<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.values[self.from..][..self.len]
    }
}

const LINE_LEN_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_begin_with_a_line_also_in_copies() {
        for len in [0, 1, 15, 16, 1000, 100_000] {
            let mut values = Aligned::<f32>::zeros(len);
            values.fill(1.5);
            for values in [values.clone(), values] {
                assert!((values.as_ptr() as usize).is_multiple_of(LINE_LEN_BYTES));
                assert_eq!(*values, vec![1.5; len]);
            }
        }
        let mut words = Aligned::<u32>::default();
        assert_eq!(words.at_least(3), [0; 3]);
        words[1] = 7;
        assert_eq!((words.at_least(2).len(), words[1]), (3, 7));
        assert_eq!(words.into_vec(2), [0, 7]);
        assert_eq!(*Aligned::from(vec![1, 2]), [1, 2]);
    }
}
