//! The generator of test inputs: golden vectors name it, so a port needs nothing else to make the same ones.

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
#[derive(Clone, Debug)]
pub struct SplitMix(
    /// The state; the seed to begin with.
    pub u64,
);

impl SplitMix {
    /// Gives the next 64 bits.
    #[allow(clippy::should_implement_trait, reason = "endless, so an Iterator's Option would say nothing")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Gives the next value, uniform over the multiples of 2^-23 in `-1.0..1.0`: the top 24 bits, less 2^23, times 2^-23.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "24 bits are exact in f32")]
    pub fn uniform(&mut self) -> f32 {
        let top = (self.next() >> 40) as i32;
        top.wrapping_sub(1 << 23) as f32 * f32::from_bits(0x3400_0000)
    }

    /// Gives the next `len` uniform values.
    pub fn uniforms(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.uniform()).collect()
    }
}
