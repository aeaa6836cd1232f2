//! Values in memory that is used again.
//!
//! One layer's results are as large as the next one's. Memory fresh from the system costs a page fault for every 4 KiB, and zeros that a
//! kernel writes over at once; together a tenth of an encoder's time. What lay in a buffer before shows in no result: whoever takes one
//! writes all of it, and builds with debug assertions put NaN there first.
//!
//! Small buffers wait up to a limit, beyond which the allocator's zeros are no loss: they bring into the cache what is written next. Large
//! ones all wait, since one thread would zero them while the others have nothing to do: a training example's activations, for the next
//! example.

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
    /// Bytes that may wait on a thread in small buffers: the results of one block of some hundred rows.
    pub const WAITING_LEN_BYTES: usize = 16 << 20;
    /// Bytes that may wait on a thread in large buffers. They do not add to what a thread needs at another time: as much is freed as is
    /// taken anew.
    pub const LARGE_WAITING_LEN_BYTES: usize = 1 << 30;

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

/// Takes the smallest waiting memory that holds `len` values and, if they are many, not many more. Where none does, as much is freed as will
/// be taken anew, first of what is too small.
fn take(len: usize) -> Option<Aligned<f32>> {
    let mut waiting = WAITING.take();
    let fits = |at: &usize| (len..=(2 * len).max(SMALL_LEN)).contains(&waiting[*at].len());
    let found = (0..waiting.len()).rev().filter(fits).min_by_key(|at| waiting[*at].len());
    let found = found.map(|at| waiting.remove(at));
    let mut missing = if found.is_some() { 0 } else { len };
    while missing > 0 {
        let alike = (0..waiting.len()).filter(|at| is_small(waiting[*at].len()) == is_small(len));
        let Some(at) = alike.max_by_key(|at| (waiting[*at].len() < len, waiting[*at].len())) else { break };
        missing = missing.saturating_sub(waiting.remove(at).len());
    }
    WAITING.set(waiting);
    found
}

/// Lets memory wait, unless there is much of its kind already.
fn give(room: Aligned<f32>) {
    // A thread that ends has no place for it any more.
    let _ = WAITING.try_with(|cell| {
        let mut waiting = cell.take();
        let small = is_small(room.len());
        let alike = waiting.iter().map(|room| room.len()).filter(|len| is_small(*len) == small);
        let (count, len) = alike.fold((1, room.len()), |(count, sum), len| (count + 1, sum + len));
        let (most_len_bytes, most) =
            if small { (Buffer::WAITING_LEN_BYTES, MOST_SMALL) } else { (Buffer::LARGE_WAITING_LEN_BYTES, usize::MAX) };
        if 4 * len <= most_len_bytes && count <= most {
            waiting.push(room);
        }
        cell.set(waiting);
    });
}

fn is_small(len: usize) -> bool {
    len <= SMALL_LEN
}

thread_local! {
    static WAITING: Cell<Vec<Aligned<f32>>> = const { Cell::new(Vec::new()) };
}

/// Values below which the allocator is as quick: 4 KiB.
const LEAST_LEN: usize = 1 << 10;
/// Values of a small buffer: 1 MiB, half of a core's second-level cache.
const SMALL_LEN: usize = 1 << 18;
/// Small buffers that may wait on a thread.
const MOST_SMALL: usize = 64;

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
        let copy = again.clone();
        assert_eq!((&*copy, waiting()), (&[1.0; LEAST_LEN][..], vec![]), "the larger one, cut");
        drop(again);
        let larger = Buffer::unwritten(2 * LEAST_LEN);
        assert_eq!((larger.len(), waiting()), (2 * LEAST_LEN, vec![]), "what is too small is freed");
    }

    #[test]
    fn large_memory_waits_for_its_like_and_makes_way() {
        let lens = [SMALL_LEN + 1, 2 * SMALL_LEN, 5 * SMALL_LEN, SMALL_LEN];
        drop(lens.map(Buffer::unwritten));
        assert_eq!(waiting(), [SMALL_LEN, SMALL_LEN + 1, 2 * SMALL_LEN, 5 * SMALL_LEN]);
        drop(Buffer::unwritten(2 * SMALL_LEN - 5));
        drop(Buffer::unwritten(SMALL_LEN - 5));
        assert_eq!(waiting().len(), 4, "taken and given back");
        let len = 5 * SMALL_LEN / 2 - 1;
        let anew = Buffer::unwritten(len);
        assert_eq!((anew.len(), waiting()), (len, vec![SMALL_LEN, 5 * SMALL_LEN]), "what is too small goes first");
        drop(anew);
        let anew = Buffer::unwritten(SMALL_LEN + 1);
        assert_eq!((anew.len(), waiting()), (SMALL_LEN + 1, vec![SMALL_LEN, len]), "then what is too large");
    }

    #[test]
    fn much_memory_does_not_wait() {
        drop(std::array::from_fn::<_, 17, _>(|_| Buffer::from(vec![0.0; SMALL_LEN])));
        assert_eq!(waiting().len(), 16);
        drop(std::array::from_fn::<_, 70, _>(|_| Buffer::from(vec![0.0; LEAST_LEN])));
        assert_eq!(waiting().len(), 16, "no byte more");
        drop(std::array::from_fn::<_, 3, _>(|_| Buffer::unwritten(SMALL_LEN)));
        drop(Buffer::unwritten(SMALL_LEN + 1));
        assert_eq!(waiting().len(), 17, "large ones are counted by themselves");
    }
}
