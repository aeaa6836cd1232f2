//! Named random streams: every random number of a compile comes from one of them.
//!
//! A stream is ChaCha20 under a key that depends on the seed, a purpose and an index only, so adding a consumer never shifts
//! another one's numbers, and work may be split over threads in any way. There is no global generator.
//! NUMERICS.md, "Training", clause T1 states the bytes.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

/// Opens the stream for `purpose` and `index` under `seed`.
///
/// The key is SHA-256(`"kolm stream 1"` ‖ seed ‖ length of purpose ‖ purpose ‖ index), integers as 8 bytes little-endian.
pub fn stream(seed: u64, purpose: &str, index: u64) -> ChaCha20Rng {
    let mut hasher = Sha256::new();
    hasher.update(b"kolm stream 1");
    hasher.update(seed.to_le_bytes());
    hasher.update((purpose.len() as u64).to_le_bytes());
    hasher.update(purpose.as_bytes());
    hasher.update(index.to_le_bytes());
    #[cfg(feature = "planted")]
    if purpose == "lora.init" && kolm_runtime::kernel::planted(kolm_runtime::kernel::Plant::Stream) {
        hasher.update(b"planted");
    }
    ChaCha20Rng::from_seed(hasher.finalize().into())
}

/// Draws an integer in `0..bound`, each equally likely: 64-bit words from the end of the range that would favour small
/// values are rejected.
///
/// # Panics
/// When `bound` is 0.
pub fn below(rng: &mut ChaCha20Rng, bound: u64) -> u64 {
    assert!(bound > 0, "an empty range has no number to draw");
    let surplus = (u64::MAX % bound + 1) % bound;
    loop {
        let word = rng.next_u64();
        if word <= u64::MAX - surplus {
            return word % bound;
        }
    }
}

/// Draws a multiple of 2⁻²⁴ in `0.0..1.0`: the upper 24 bits of a 32-bit word.
pub fn unit(rng: &mut ChaCha20Rng) -> f32 {
    (rng.next_u32() >> 8) as f32 * UNIT_STEP
}

/// Draws from the Irwin-Hall distribution of 12 uniforms less 6: mean 0, variance 1, no transcendental function, exact in f64.
pub fn bell(rng: &mut ChaCha20Rng) -> f64 {
    let total: i64 = (0..12).map(|_| i64::from(rng.next_u32() >> 8)).sum();
    (total - (6 << 24)) as f64 * f64::from(UNIT_STEP)
}

/// Permutes `items` by Fisher and Yates, from the last position down.
pub fn shuffle<T>(rng: &mut ChaCha20Rng, items: &mut [T]) {
    for last in (1..items.len()).rev() {
        let chosen = below(rng, last as u64 + 1) as usize;
        items.swap(last, chosen);
    }
}

/// 2⁻²⁴.
const UNIT_STEP: f32 = 1.0 / 16_777_216.0;

#[cfg(test)]
mod tests {
    use super::{Rng, bell, below, shuffle, stream, unit};

    #[test]
    fn streams_are_fixed_and_apart() {
        let first = |purpose, index| stream(7, purpose, index).next_u64();
        assert_eq!(first("train.order", 0), first("train.order", 0));
        assert_ne!(first("train.order", 0), first("train.order", 1));
        assert_ne!(first("train.order", 0), first("lora.init", 0));
        assert_ne!(stream(8, "train.order", 0).next_u64(), first("train.order", 0));
    }

    #[test]
    fn numbers_stay_in_range_and_are_even() {
        let mut rng = stream(0, "test", 0);
        let mut seen = [0_u32; 3];
        let mut mean = 0.0;
        let mut square = 0.0;
        for _ in 0..30_000 {
            seen[below(&mut rng, 3) as usize] += 1;
            let u = unit(&mut rng);
            assert!((0.0..1.0).contains(&u));
            let b = bell(&mut rng);
            mean += b / 30_000.0;
            square += b * b / 30_000.0;
        }
        assert!(seen.iter().all(|&count| (9_500..10_500).contains(&count)), "{seen:?}");
        assert!(mean.abs() < 0.03 && (square - 1.0).abs() < 0.04, "{mean} {square}");
    }

    #[test]
    fn a_shuffle_keeps_every_item() {
        let mut items: Vec<u32> = (0..101).collect();
        shuffle(&mut stream(1, "test", 0), &mut items);
        assert_ne!(items, (0..101).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..101).collect::<Vec<_>>());
    }
}
