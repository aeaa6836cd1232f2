//! Whether a kernel hands parts of its work to other threads. It changes speed, never bits.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

/// Runs `body` with every kernel on the calling thread: for work that is one of many done side by side, where handing parts of it over
/// only costs.
fn alone<R>(body: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            ALONE.set(self.0);
        }
    }
    let _restore = Restore(ALONE.replace(true));
    body()
}

/// Does pieces of work side by side and gives what each gave, in order. As long as every thread has a piece of its own, each keeps to its
/// thread; the rest are spread over all. Where the caller is alone, one piece follows another.
pub fn side_by_side<W: Send, R: Send>(work: Vec<W>, body: impl Fn(W) -> R + Sync) -> Vec<R> {
    if !worthwhile(work.len(), 2) {
        return within_pool(|| work.into_iter().map(&body).collect());
    }
    let threads = rayon::current_num_threads();
    let (begun, apart) = (AtomicUsize::new(0), work.len() / threads * threads);
    let one = |piece| if begun.fetch_add(1, Ordering::Relaxed) < apart { alone(|| body(piece)) } else { body(piece) };
    work.into_par_iter().with_max_len(1).map(one).collect()
}

/// Runs `body` on a thread of the pool: a thread outside it would fall asleep at every kernel that hands over work, and have to be woken.
/// It is always the first one, because memory that a thread has freed is not surely there for another: a model in training took two steps'
/// activations where two threads had a step each.
fn within_pool<R: Send>(body: impl FnOnce() -> R + Send) -> R {
    if rayon::current_thread_index().is_some() {
        return body();
    }
    let body = Mutex::new(Some(body));
    let first = |context: rayon::BroadcastContext<'_>| {
        let body = if context.index() == 0 { body.lock().unwrap_or_else(PoisonError::into_inner).take() } else { None };
        body.map(|body| body())
    };
    rayon::broadcast(first).into_iter().flatten().next().expect("a pool has a first thread")
}

/// Runs `body` on a thread of the pool with the other threads kept from falling asleep: for a long chain of small kernels, where waking a
/// thread takes as long as the work it is given. They spin while there is nothing to do. Where the caller is alone, nobody is kept.
pub fn awake<R: Send>(body: impl FnOnce() -> R + Send) -> R {
    struct Done<'a>(&'a AtomicBool);
    impl Drop for Done<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    if ALONE.get() {
        return body();
    }
    let done = AtomicBool::new(false);
    let done = &done;
    rayon::scope(|scope| {
        for _ in 1..rayon::current_num_threads() {
            scope.spawn(|scope| look_out(scope, done));
        }
        let _done = Done(done);
        body()
    })
}

/// Looks for work for a little while, then lets the thread go and comes back: it may have come here in the middle of a wait of its own.
fn look_out<'s>(scope: &rayon::Scope<'s>, done: &'s AtomicBool) {
    for _ in 0..LOOKS {
        if done.load(Ordering::Relaxed) {
            return;
        }
        if rayon::yield_now() != Some(rayon::Yield::Executed) {
            std::hint::spin_loop();
        }
    }
    scope.spawn(|scope| look_out(scope, done));
}

/// Runs `body` on parts of some outputs and inputs, all of one length: the same whole rows of `width` values of each. Large ones are spread
/// over the current thread pool.
///
/// # Panics
///
/// Where lengths differ, or are not whole rows.
pub fn in_parts<const O: usize, const I: usize>(
    width: usize,
    outputs: [&mut [f32]; O],
    inputs: [&[f32]; I],
    body: impl Fn([&mut [f32]; O], [&[f32]; I]) + Sync,
) {
    let len = outputs[0].len();
    let lens = outputs.iter().map(|part| part.len()).chain(inputs.iter().map(|part| part.len()));
    assert!(lens.into_iter().all(|other| other == len), "values of one length");
    assert!(len == 0 || width > 0 && len.is_multiple_of(width), "whole rows");
    if worthwhile(len, PARALLEL_ELEMENTS) {
        halves(width, outputs, inputs, &body);
    } else if len > 0 {
        body(outputs, inputs);
    }
}

fn halves<const O: usize, const I: usize>(
    width: usize,
    outputs: [&mut [f32]; O],
    inputs: [&[f32]; I],
    body: &(impl Fn([&mut [f32]; O], [&[f32]; I]) + Sync),
) {
    let len = outputs[0].len();
    if len <= width || len <= TASK_ELEMENTS {
        return body(outputs, inputs);
    }
    let middle = len / width / 2 * width;
    let mut outputs = outputs.map(|values| values.split_at_mut(middle));
    let [first, second] = [
        outputs.each_mut().map(|(first, _)| std::mem::take(first)),
        outputs.each_mut().map(|(_, second)| std::mem::take(second)),
    ];
    let inputs = inputs.map(|values| values.split_at(middle));
    let (a, b) = (inputs.map(|(first, _)| first), inputs.map(|(_, second)| second));
    rayon::join(|| halves(width, first, a, body), || halves(width, second, b, body));
}

/// Whether `work`, in whatever unit, is at least `least` and there are other threads to take parts of it.
pub(super) fn worthwhile(work: usize, least: usize) -> bool {
    work >= least && !ALONE.get() && rayon::current_num_threads() > 1
}

/// Element-wise work below this many elements runs on the calling thread: handing it over costs more.
const PARALLEL_ELEMENTS: usize = 1 << 16;
/// Elements of one task of element-wise work, if they are not one row.
const TASK_ELEMENTS: usize = 1 << 14;
/// Times that a thread looks for work before it is let go: a few microseconds.
const LOOKS: usize = 64;

thread_local! {
    static ALONE: Cell<bool> = const { Cell::new(false) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_done_once_each_and_in_order() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().expect("a thread pool");
        let alone_of =
            |pieces: usize| pool.install(|| side_by_side((0..pieces).collect(), |piece| (piece, ALONE.get())));
        for pieces in 0..8 {
            let done = alone_of(pieces);
            assert!(done.iter().map(|(piece, _)| *piece).eq(0..pieces));
            let apart = done.iter().filter(|(_, alone)| *alone).count();
            assert_eq!(apart, pieces / 3 * 3, "{pieces} pieces on three threads");
        }
        pool.install(|| alone(|| assert_eq!(side_by_side(vec![1, 2, 3, 4], |piece| piece * 2), [2, 4, 6, 8])));
    }

    #[test]
    fn a_piece_by_itself_is_always_done_by_the_same_thread() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(4).build().expect("a thread pool");
        let inner = pool
            .install(|| (rayon::current_thread_index(), side_by_side(vec![()], |()| rayon::current_thread_index())));
        assert_eq!(inner.1, [inner.0], "a thread of the pool keeps its piece");
        for _ in 0..20 {
            assert_eq!(side_by_side(vec![()], |()| rayon::current_thread_index()), [Some(0)]);
        }
    }

    #[test]
    fn threads_kept_awake_take_work_and_are_let_go() {
        // Pieces that wait for pieces of their own, with threads that look out in between.
        fn sum(depth: usize) -> u64 {
            if depth == 0 {
                return std::hint::black_box((0..50_u64).sum());
            }
            (0..3).into_par_iter().with_max_len(1).map(|_| sum(depth - 1)).sum()
        }
        for threads in [1, 2, 3, 7] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool");
            for _ in 0..30 {
                let sums = pool.install(|| awake(|| (0..20).map(|_| sum(4)).sum::<u64>()));
                assert_eq!(sums, 20 * 81 * 1225);
                let inner = pool.install(|| awake(|| awake(|| side_by_side(vec![1, 2, 3], |piece| piece))));
                assert_eq!(inner, [1, 2, 3]);
            }
            let refused = || std::panic::catch_unwind(|| awake(|| assert!(threads > 7, "refused")));
            assert!(pool.install(refused).is_err(), "a panic ends it");
        }
    }

    #[test]
    fn parts_are_whole_rows_and_each_is_seen_once() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().expect("a thread pool");
        for (rows, width) in [(0, 5), (1, 1), (3, 100_000), (70_001, 1), (911, 97), (1, 70_000)] {
            let input: Vec<f32> = (0..rows * width).map(|i| (i % 1000) as f32).collect();
            let (mut sum, mut copy) = (vec![1.0; rows * width], vec![0.0; rows * width]);
            pool.install(|| {
                in_parts(width, [&mut sum, &mut copy], [&input], |[sum, copy], [input]| {
                    assert!(input.len().is_multiple_of(width) && !input.is_empty());
                    sum.iter_mut().zip(input).for_each(|(sum, x)| *sum += x);
                    copy.copy_from_slice(input);
                });
            });
            assert!(sum.iter().zip(&input).all(|(sum, x)| *sum == x + 1.0), "{rows} rows of {width}");
            assert_eq!(copy, input);
        }
    }

    #[test]
    fn work_stays_on_the_thread_that_is_alone_and_only_there() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("a thread pool");
        pool.install(|| {
            assert!(worthwhile(2, 2) && !worthwhile(1, 2));
            alone(|| {
                assert!(!worthwhile(2, 2));
                alone(|| assert!(!worthwhile(2, 2)));
                assert!(!worthwhile(2, 2), "the inner call does not end the outer one");
            });
            assert!(worthwhile(2, 2));
            let caught = std::panic::catch_unwind(|| alone(|| assert!(worthwhile(2, 2), "refused")));
            assert!(caught.is_err() && worthwhile(2, 2), "a panic ends it");
        });
    }
}
