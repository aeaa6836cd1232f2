//! Work on a stream with several threads, results in the stream's order.
//!
//! Items are taken one after another, worked on by as many threads as the pool has, and handed on in the order they were taken, so the
//! number of threads cannot show. A thread that is far ahead waits: what is in memory is a few items a thread, however long the stream.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard};

/// Hands `work(item)` of every item to `sink`, in order; the first error of `sink` ends it.
///
/// # Errors
/// That of `sink`.
pub(super) fn in_order<I, T, E>(
    items: I,
    work: impl Fn(I::Item) -> T + Sync,
    mut sink: impl FnMut(T) -> Result<(), E>,
) -> Result<(), E>
where
    I: Iterator + Send,
    T: Send,
{
    let threads = rayon::current_num_threads();
    let source = Mutex::new(items.enumerate());
    let desk = Desk {
        state: Mutex::new(State { done: BTreeMap::new(), wanted: 0, workers: threads, stopped: false }),
        moved: Condvar::new(),
        ahead: threads * ITEMS_PER_THREAD,
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let _leaving = Leaving(&desk);
                loop {
                    let taken = source.lock().expect("a panic in the stream ends every worker").next();
                    let Some((number, item)) = taken else { return };
                    if !desk.put(number, work(item)) {
                        return;
                    }
                }
            });
        }
        let _stopping = Stopping(&desk);
        while let Some(done) = desk.take() {
            sink(done)?;
        }
        Ok(())
    })
}

/// Where finished items wait for their turn.
struct Desk<T> {
    state: Mutex<State<T>>,
    moved: Condvar,
    ahead: usize,
}

struct State<T> {
    done: BTreeMap<usize, T>,
    wanted: usize,
    workers: usize,
    stopped: bool,
}

impl<T> Desk<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().expect("nothing panics while it holds the desk")
    }

    /// Puts down item `number` once it is not too far ahead; false when nothing more is wanted.
    fn put(&self, number: usize, done: T) -> bool {
        let too_far = |state: &mut State<T>| !state.stopped && number >= state.wanted + self.ahead;
        let mut state = self.moved.wait_while(self.state(), too_far).expect("nothing panics while it holds the desk");
        state.done.insert(number, done);
        self.moved.notify_all();
        !state.stopped
    }

    /// Takes the next item in order; none when no worker will bring it.
    fn take(&self) -> Option<T> {
        let missing = |state: &mut State<T>| state.workers > 0 && !state.done.contains_key(&state.wanted);
        let mut state = self.moved.wait_while(self.state(), missing).expect("nothing panics while it holds the desk");
        let wanted = state.wanted;
        let done = state.done.remove(&wanted)?;
        state.wanted += 1;
        self.moved.notify_all();
        Some(done)
    }
}

/// Counts a worker out, also when it panics.
struct Leaving<'a, T>(&'a Desk<T>);

impl<T> Drop for Leaving<'_, T> {
    fn drop(&mut self) {
        self.0.state().workers -= 1;
        self.0.moved.notify_all();
    }
}

/// Sends the workers home when the sink is done, or wants no more.
struct Stopping<'a, T>(&'a Desk<T>);

impl<T> Drop for Stopping<'_, T> {
    fn drop(&mut self) {
        self.0.state().stopped = true;
        self.0.moved.notify_all();
    }
}

/// Finished items a thread may be ahead by.
const ITEMS_PER_THREAD: usize = 4;

#[cfg(test)]
mod tests {
    use super::in_order;

    fn pool(threads: usize) -> rayon::ThreadPool {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
    }

    #[test]
    fn results_come_in_order_and_an_error_ends_the_stream() {
        for threads in 1..=3 {
            let mut seen = Vec::new();
            let work = |item: u64| {
                std::thread::sleep(std::time::Duration::from_micros(item * 37 % 11));
                item * item
            };
            let all = pool(threads).install(|| {
                in_order(0..300, work, |done| {
                    seen.push(done);
                    Ok::<(), u64>(())
                })
            });
            assert_eq!((all, &seen), (Ok(()), &(0..300).map(|item| item * item).collect()));
            let mut taken = 0;
            let ended = pool(threads).install(|| {
                in_order(
                    0..,
                    |item: u64| item,
                    |item| {
                        taken += 1;
                        if item == 50 { Err(item) } else { Ok(()) }
                    },
                )
            });
            assert_eq!((ended, taken), (Err(50), 51));
        }
    }
}
