//! The generators' only source of chance: ChaCha20 streams named by purpose.
//!
//! A stream depends on `(seed, purpose, index)` and nothing else, so document 7 is the same whether ten or ten thousand are
//! asked for. There is no global generator.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

/// A deterministic stream of choices.
pub(super) struct Choices(ChaCha20Rng);

impl Choices {
    /// Opens the stream for `purpose` and `index` under `seed`.
    pub(super) fn new(seed: u64, purpose: &str, index: u64) -> Choices {
        let mut hash = Sha256::new();
        hash.update(b"kolm generate stream 1\0");
        hash.update(seed.to_le_bytes());
        hash.update(index.to_le_bytes());
        hash.update(purpose.as_bytes());
        Choices(ChaCha20Rng::from_seed(hash.finalize().into()))
    }

    /// Draws an index below `count`; `count` is at least 1.
    pub(super) fn below(&mut self, count: usize) -> usize {
        ((u64::from(self.0.next_u32()) * count as u64) >> 32) as usize
    }

    /// Is true in `percent` of 100 draws.
    pub(super) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// Draws one of `options`, which is not empty.
    pub(super) fn pick<T: Copy>(&mut self, options: &[T]) -> T {
        options[self.below(options.len())]
    }

    /// Shuffles `items` in place (Fisher-Yates).
    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}
