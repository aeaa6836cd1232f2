//! Memory that begins with a cache line, so that no vector load crosses two: at 64 bytes every one would, and count twice. What is read
//! again and again lies in huge pages where the system has them: with pages of 4 KiB a core that reads weights from memory looks up
//! addresses for up to a quarter of its time.

use std::ops::{Deref, DerefMut};

use memmap2::MmapMut;
use pulp::bytemuck::{Pod, cast_slice, cast_slice_mut};

/// Values whose first lies at a multiple of 64 bytes, wherever the allocator put them. Place changes speed, never bits.
#[derive(Debug)]
pub(super) struct Aligned<T> {
    memory: Memory<T>,
    from: usize,
    len: usize,
}

#[derive(Debug)]
enum Memory<T> {
    Allocated(Vec<T>),
    Mapped(MmapMut),
}

impl<T: Pod> Aligned<T> {
    /// Makes `len` zeros.
    pub(super) fn zeros(len: usize) -> Aligned<T> {
        let values = vec![T::zeroed(); len + LINE_LEN_BYTES / size_of::<T>().max(1)];
        // The offset need not be known to the compiler: then the values begin where the memory does.
        let from = Some(values.as_ptr().align_offset(LINE_LEN_BYTES)).filter(|from| from + len <= values.len());
        Aligned { from: from.unwrap_or(0), len, memory: Memory::Allocated(values) }
    }

    /// As [`Aligned::zeros`], in huge pages where the values fill some, for what is read again and again.
    pub(super) fn lasting_zeros(len: usize) -> Aligned<T> {
        match huge_pages(len * size_of::<T>()) {
            Some(map) => Aligned { memory: Memory::Mapped(map), from: 0, len },
            None => Aligned::zeros(len),
        }
    }

    /// The values, at least `len` of them; where there were fewer, they are zeros.
    pub(super) fn at_least(&mut self, len: usize) -> &mut [T] {
        if self.len < len {
            *self = Aligned::zeros(len);
        }
        self
    }
}

/// Zeroed memory of its own for at least one huge page, if the system gives it. Only whole huge pages are backed by such; the rest costs
/// what it would elsewhere.
fn huge_pages(len_bytes: usize) -> Option<MmapMut> {
    if len_bytes < HUGE_PAGE_LEN_BYTES {
        return None;
    }
    let map = MmapMut::map_anon(len_bytes).ok()?;
    #[cfg(target_os = "linux")]
    drop(map.advise(memmap2::Advice::HugePage)); // a system without them gives small ones
    Some(map)
}

/// Values where they are, which need not be the beginning of a line.
impl<T> From<Vec<T>> for Aligned<T> {
    fn from(values: Vec<T>) -> Aligned<T> {
        Aligned { from: 0, len: values.len(), memory: Memory::Allocated(values) }
    }
}

impl<T> Default for Aligned<T> {
    fn default() -> Aligned<T> {
        Aligned { memory: Memory::Allocated(Vec::new()), from: 0, len: 0 }
    }
}

impl<T: Pod> Clone for Aligned<T> {
    fn clone(&self) -> Aligned<T> {
        let mut copy = Aligned::lasting_zeros(self.len);
        copy.copy_from_slice(self);
        copy
    }
}

impl<T: Pod> Deref for Aligned<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        match &self.memory {
            Memory::Allocated(values) => &values[self.from..][..self.len],
            Memory::Mapped(map) => &cast_slice(map)[..self.len],
        }
    }
}

impl<T: Pod> DerefMut for Aligned<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T] {
        match &mut self.memory {
            Memory::Allocated(values) => &mut values[self.from..][..self.len],
            Memory::Mapped(map) => &mut cast_slice_mut(map)[..self.len],
        }
    }
}

const LINE_LEN_BYTES: usize = 64;
/// Of x86-64, and of aarch64 with pages of 4 KiB.
const HUGE_PAGE_LEN_BYTES: usize = 2 << 20;

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
        for len in [0, 1000, HUGE_PAGE_LEN_BYTES / 4 - 1, HUGE_PAGE_LEN_BYTES / 4, HUGE_PAGE_LEN_BYTES / 4 + 1] {
            let mut values = Aligned::<f32>::lasting_zeros(len);
            assert_eq!(matches!(values.memory, Memory::Mapped(_)), 4 * len >= HUGE_PAGE_LEN_BYTES, "{len} values");
            assert_eq!(*values, vec![0.0; len]);
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
        assert_eq!(*Aligned::from(vec![1, 2]), [1, 2]);
    }
}
