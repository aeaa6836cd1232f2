//! Values in memory that is used again.
//!
//! One layer's results are as large as the next one's. Memory fresh from the system costs a page fault for every 4 KiB, and zeros that a
//! kernel writes over at once; together a tenth of an encoder's time. What lay in a buffer before shows in no result: whoever takes one
//! writes all of it, and builds with debug assertions put NaN there first.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};

use super::aligned::Aligned;

/// Values for a kernel to write, the first at the beginning of a cache line. When dropped, its memory waits on its thread for the next
/// buffer.
#[derive(Debug, Default)]
pub struct Buffer {
    /// All of the memory, of which the first `len` values count: what is beyond them need not be written before it is used again.
    room: Aligned<f32>,
    len: usize,
}

impl Buffer {
    /// Bytes that may wait on a thread: the results of one block of some hundred rows.
    pub const WAITING_LEN_BYTES: usize = 16 << 20;

    /// Takes room for `len` values, which are whatever was there before.
    pub fn unwritten(len: usize) -> Buffer {
        let waiting = if len < LEAST_LEN { None } else { take(len) };
        let mut buffer = Buffer { room: waiting.unwrap_or_else(|| Aligned::zeros(len)), len };
        if cfg!(debug_assertions) {
            buffer.fill(f32::NAN);
        }
        buffer
    }

    /// Copies values.
    pub fn copy_of(values: &[f32]) -> Buffer {
        let mut copy = Buffer::unwritten(values.len());
        copy.copy_from_slice(values);
        copy
    }

    /// Gives the values away; their memory does not come back.
    pub fn into_vec(mut self) -> Vec<f32> {
        std::mem::take(&mut self.room).into_vec(self.len)
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.room[..self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.room[..self.len]
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Buffer {
        Buffer::copy_of(self)
    }
}

impl PartialEq for Buffer {
    fn eq(&self, other: &Buffer) -> bool {
        **self == **other
    }
}

impl From<Vec<f32>> for Buffer {
    fn from(values: Vec<f32>) -> Buffer {
        Buffer { len: values.len(), room: values.into() }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.room.len() >= LEAST_LEN {
            give(std::mem::take(&mut self.room));
        }
    }
}

/// Takes the smallest waiting memory that holds `len` values. Where none does, the largest is freed: it would never hold what is asked for
/// next, and waiting memory does not add to what is taken anew.
fn take(len: usize) -> Option<Aligned<f32>> {
    let mut waiting = WAITING.take();
    let of = |at: &usize| waiting[*at].len();
    let fits = (0..waiting.len()).filter(|at| of(at) >= len).min_by_key(of);
    let found = fits.or_else(|| (0..waiting.len()).max_by_key(of)).map(|at| waiting.swap_remove(at));
    WAITING.set(waiting);
    found.filter(|room| room.len() >= len)
}

/// Lets memory wait, unless there is much already.
fn give(room: Aligned<f32>) {
    // A thread that ends has no place for it any more.
    let _ = WAITING.try_with(|cell| {
        let mut waiting = cell.take();
        if waiting.len() < MOST_WAITING
            && waiting.iter().chain([&room]).map(|room| room.len()).sum::<usize>() <= MOST_LEN
        {
            waiting.push(room);
        }
        cell.set(waiting);
    });
}

thread_local! {
    static WAITING: Cell<Vec<Aligned<f32>>> = const { Cell::new(Vec::new()) };
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
        let mut lens: Vec<usize> = all.iter().map(|room| room.len()).collect();
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
        let half = || Buffer::from(vec![0.0; MOST_LEN / 2 + 1]);
        drop((half(), half()));
        assert_eq!(waiting().len(), 1);
    }
}
