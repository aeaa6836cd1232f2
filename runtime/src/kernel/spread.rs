//! Whether a kernel hands parts of its work to other threads. It changes speed, never bits.

use std::cell::Cell;

/// Runs `body` with every kernel on the calling thread: for work that is one of many done side by side, where handing parts of it over
/// only costs.
pub fn alone<R>(body: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            ALONE.set(self.0);
        }
    }
    let _restore = Restore(ALONE.replace(true));
    body()
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
