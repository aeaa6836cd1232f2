//! Whether a kernel hands parts of its work to other threads. It changes speed, never bits.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

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
        return work.into_iter().map(body).collect();
    }
    let threads = rayon::current_num_threads();
    let (begun, apart) = (AtomicUsize::new(0), work.len() / threads * threads);
    let one = |piece| if begun.fetch_add(1, Ordering::Relaxed) < apart { alone(|| body(piece)) } else { body(piece) };
    work.into_par_iter().with_max_len(1).map(one).collect()
}

/// Whether `work`, in whatever unit, is at least `least` and there are other threads to take parts of it.
pub(super) fn worthwhile(work: usize, least: usize) -> bool {
    work >= least && !ALONE.get() && rayon::current_num_threads() > 1
}

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
