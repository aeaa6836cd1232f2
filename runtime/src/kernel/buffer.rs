//! Values in memory that is used again.
//!
//! One layer's results are as large as the next one's. Memory fresh from the system costs a page fault for every 4 KiB, and zeros that a
//! kernel writes over at once; together a tenth of an encoder's time. What lay in a buffer before shows in no result: whoever takes one
//! writes all of it, and builds with debug assertions put NaN there first.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};

/// Values for a kernel to write. When dropped, its memory waits on its thread for the next buffer.
#[derive(Debug, Default, PartialEq)]
pub struct Buffer(Vec<f32>);

impl Buffer {
    /// Bytes that may wait on a thread: the results of one block of some hundred rows.
    pub const WAITING_LEN_BYTES: usize = 16 << 20;

    /// Takes room for `len` values, which are whatever was there before.
    pub fn unwritten(len: usize) -> Buffer {
        let mut values = if len < LEAST_LEN { Vec::new() } else { take(len) };
        if values.capacity() < len {
            values = vec![0.0; len];
        }
        values.resize(len, 0.0);
        if cfg!(debug_assertions) {
            values.fill(f32::NAN);
        }
        Buffer(values)
    }

    /// Copies values.
    pub fn copy_of(values: &[f32]) -> Buffer {
        let mut copy = Buffer::unwritten(values.len());
        copy.copy_from_slice(values);
        copy
    }

    /// Gives the values away; their memory does not come back.
    pub fn into_vec(mut self) -> Vec<f32> {
        std::mem::take(&mut self.0)
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.0
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Buffer {
        Buffer::copy_of(self)
    }
}

impl From<Vec<f32>> for Buffer {
    fn from(values: Vec<f32>) -> Buffer {
        Buffer(values)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.0.capacity() >= LEAST_LEN {
            give(std::mem::take(&mut self.0));
        }
    }
}

/// Takes the smallest waiting memory that holds `len` values. Where none does, the largest is freed: it would never hold what is asked for
/// next, and waiting memory does not add to what is taken anew.
fn take(len: usize) -> Vec<f32> {
    let mut waiting = WAITING.take();
    let of = |at: &usize| waiting[*at].capacity();
    let fits = (0..waiting.len()).filter(|at| of(at) >= len).min_by_key(of);
    let found = fits.or_else(|| (0..waiting.len()).max_by_key(of)).map(|at| waiting.swap_remove(at));
    WAITING.set(waiting);
    found.filter(|values| values.capacity() >= len).unwrap_or_default()
}

/// Lets memory wait, unless there is much already.
fn give(values: Vec<f32>) {
    // A thread that ends has no place for it any more.
    let _ = WAITING.try_with(|cell| {
        let mut waiting = cell.take();
        if waiting.len() < MOST_WAITING && waiting.iter().chain([&values]).map(Vec::capacity).sum::<usize>() <= MOST_LEN
        {
            waiting.push(values);
        }
        cell.set(waiting);
    });
}

thread_local! {
    static WAITING: Cell<Vec<Vec<f32>>> = const { Cell::new(Vec::new()) };
}

/// Values below which the allocator is as quick: 4 KiB.
const LEAST_LEN: usize = 1 << 10;
const MOST_LEN: usize = Buffer::WAITING_LEN_BYTES / 4;
/// Buffers that may wait on a thread.
const MOST_WAITING: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting() -> Vec<usize> {
        let all = WAITING.take();
        let mut lens: Vec<usize> = all.iter().map(Vec::capacity).collect();
        WAITING.set(all);
        lens.sort_unstable();
        lens
    }

    #[test]
    fn memory_is_used_again_and_never_grows_beside_what_waits() {
        let (a, b) = (Buffer::unwritten(LEAST_LEN), Buffer::unwritten(3 * LEAST_LEN));
        let place = a.as_ptr();
        drop((a, b, Buffer::unwritten(LEAST_LEN - 1)));
        assert_eq!(waiting(), [LEAST_LEN, 3 * LEAST_LEN], "small ones do not wait");
        let again = Buffer::copy_of(&[1.0; LEAST_LEN]);
        assert_eq!((again.as_ptr(), waiting()), (place, vec![3 * LEAST_LEN]));
        assert_eq!(again.clone().into_vec(), [1.0; LEAST_LEN], "the larger one, cut");
        assert!(waiting().is_empty(), "given away");
        drop(again);
        let larger = Buffer::unwritten(2 * LEAST_LEN);
        assert_eq!((larger.len(), waiting()), (2 * LEAST_LEN, vec![]), "what is too small is freed");
    }

    #[test]
    fn much_memory_does_not_wait() {
        let half = || Buffer::from(Vec::with_capacity(MOST_LEN / 2 + 1));
        drop((half(), half()));
        assert_eq!(waiting().len(), 1);
    }
}
