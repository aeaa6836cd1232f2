//! What a level's fused multiply-adds do at best: the limit that products are held to.

use super::lanes::{Lanes, MOST_LANES};
use super::level::{Level, WithLanes};

/// Runs `rounds` of fused multiply-adds that never leave the registers, as many chains side by side as hide their latency. Returns how many
/// there were, and their sum, so that they are not left out.
pub fn multiply_adds(level: Level, rounds: usize, factor: f32) -> (usize, f32) {
    level.with_lanes(Chains { rounds, factor })
}

struct Chains {
    rounds: usize,
    factor: f32,
}

impl WithLanes for Chains {
    type Output = (usize, f32);

    #[inline(always)]
    fn run<L: Lanes, const R: usize, const C: usize>(self, lanes: L) -> (usize, f32) {
        let factor = lanes.splat(self.factor);
        let mut sums = [lanes.splat(0.5); CHAINS];
        for _ in 0..self.rounds {
            for sum in &mut sums {
                *sum = lanes.fma(*sum, factor, factor);
            }
        }
        let mut total = lanes.splat(0.0);
        for sum in sums {
            total = lanes.add(total, sum);
        }
        let mut values = [0.0; MOST_LANES];
        lanes.store(total, &mut values);
        (self.rounds * CHAINS * L::WIDTH, values.iter().sum())
    }
}

/// Chains side by side: two multiply-adds a cycle, each four cycles or five long, within the sixteen registers of AVX2.
const CHAINS: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_are_as_long_as_asked_for() {
        for level in Level::available() {
            // 0.5 · 1 + 1, three times
            let (count, sum) = multiply_adds(level, 3, 1.0);
            assert_eq!(sum, 3.5 * (count / 3) as f32, "{level:?}");
            assert!(count > 0 && count.is_multiple_of(3 * CHAINS));
        }
    }
}
