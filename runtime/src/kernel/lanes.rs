//! The vectors of a level, as the register-tiled kernels see them.
//!
//! Every operation is lane by lane and exact or IEEE-rounded, so that the width of a vector cannot show in a result.

use super::fma::{Fma, Hardware, Software};

/// Vectors of `WIDTH` lanes.
pub(crate) trait Lanes: Copy {
    /// One vector.
    type Vector: Copy;
    /// As many 32-bit words.
    type Words: Copy;
    /// The fused multiply-add of the level, for scalar tails and plain loops.
    type Fma: Fma;
    /// Lanes of one vector.
    const WIDTH: usize;

    fn splat(self, value: f32) -> Self::Vector;
    /// Loads the first `WIDTH` values.
    fn load(self, from: &[f32]) -> Self::Vector;
    /// Stores to the first `WIDTH` places.
    fn store(self, value: Self::Vector, to: &mut [f32]);
    /// Computes `a * b`.
    fn multiply(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// Computes `a * b + c`, rounded once.
    fn fma(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// Sees values as vectors; what is left over at the end is not seen.
    fn vectors(from: &[f32]) -> &[Self::Vector];
    /// Sees words as vectors; what is left over at the end is not seen.
    fn words(from: &[u32]) -> &[Self::Words];
    /// Widens two bf16 values of each word: first those of the low halves, then those of the high halves.
    fn widen_bf16(self, words: Self::Words) -> [Self::Vector; 2];
    /// Takes `BITS` bits (at most 8) of each word, from bit `from` on, as the integer `stored - 2^(BITS - 1)`.
    fn integers<const BITS: u32>(self, words: Self::Words, from: u32) -> Self::Vector;
}

/// 2²³: with a small integer in its low bits, the f32 of that many more.
const INTEGER_BASE: f32 = 8_388_608.0;

/// Eight values, each operation in software; the compiler spreads them over whatever the target has.
#[derive(Clone, Copy)]
pub(crate) struct SoftwareLanes;

impl Lanes for SoftwareLanes {
    type Vector = [f32; 8];
    type Words = [u32; 8];
    type Fma = Software;
    const WIDTH: usize = 8;

    #[inline(always)]
    fn splat(self, value: f32) -> [f32; 8] {
        [value; 8]
    }

    #[inline(always)]
    fn load(self, from: &[f32]) -> [f32; 8] {
        let mut out = [0.0; 8];
        out.copy_from_slice(&from[..8]);
        out
    }

    #[inline(always)]
    fn store(self, value: [f32; 8], to: &mut [f32]) {
        to[..8].copy_from_slice(&value);
    }

    #[inline(always)]
    fn multiply(self, a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|lane| a[lane] * b[lane])
    }

    #[inline(always)]
    fn fma(self, a: [f32; 8], b: [f32; 8], c: [f32; 8]) -> [f32; 8] {
        let mut out = c;
        for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
            *out = Software::fma(a, b, *out);
        }
        out
    }

    #[inline(always)]
    fn vectors(from: &[f32]) -> &[[f32; 8]] {
        from.as_chunks().0
    }

    #[inline(always)]
    fn words(from: &[u32]) -> &[[u32; 8]] {
        from.as_chunks().0
    }

    #[inline(always)]
    fn widen_bf16(self, words: [u32; 8]) -> [[f32; 8]; 2] {
        [words.map(|word| f32::from_bits(word << 16)), words.map(|word| f32::from_bits(word & 0xffff_0000))]
    }

    #[inline(always)]
    fn integers<const BITS: u32>(self, words: [u32; 8], from: u32) -> [f32; 8] {
        let (mask, half) = const { ((1 << BITS) - 1, (1 << (BITS - 1)) as f32) };
        words.map(|word| f32::from_bits(word >> from & mask | INTEGER_BASE.to_bits()) - (INTEGER_BASE + half))
    }
}

/// The vectors of a `pulp` instruction set that has a fused multiply-add.
#[derive(Clone, Copy)]
pub(crate) struct VectorLanes<S>(pub(crate) S);

impl<S: pulp::Simd> Lanes for VectorLanes<S> {
    type Vector = S::f32s;
    type Words = S::u32s;
    type Fma = Hardware;
    const WIDTH: usize = S::F32_LANES;

    #[inline(always)]
    fn splat(self, value: f32) -> S::f32s {
        self.0.splat_f32s(value)
    }

    #[inline(always)]
    fn load(self, from: &[f32]) -> S::f32s {
        S::as_simd_f32s(&from[..S::F32_LANES]).0[0]
    }

    #[inline(always)]
    fn store(self, value: S::f32s, to: &mut [f32]) {
        S::as_mut_simd_f32s(&mut to[..S::F32_LANES]).0[0] = value;
    }

    #[inline(always)]
    fn multiply(self, a: S::f32s, b: S::f32s) -> S::f32s {
        self.0.mul_f32s(a, b)
    }

    #[inline(always)]
    fn fma(self, a: S::f32s, b: S::f32s, c: S::f32s) -> S::f32s {
        self.0.mul_add_f32s(a, b, c)
    }

    #[inline(always)]
    fn vectors(from: &[f32]) -> &[S::f32s] {
        S::as_simd_f32s(from).0
    }

    #[inline(always)]
    fn words(from: &[u32]) -> &[S::u32s] {
        S::as_simd_u32s(from).0
    }

    #[inline(always)]
    fn widen_bf16(self, words: S::u32s) -> [S::f32s; 2] {
        let low = self.0.wrapping_dyn_shl_u32s(words, self.0.splat_u32s(16));
        let high = self.0.and_u32s(words, self.0.splat_u32s(0xffff_0000));
        [self.0.transmute_f32s_u32s(low), self.0.transmute_f32s_u32s(high)]
    }

    #[inline(always)]
    fn integers<const BITS: u32>(self, words: S::u32s, from: u32) -> S::f32s {
        let (mask, half) = const { ((1 << BITS) - 1, (1 << (BITS - 1)) as f32) };
        let shifted = self.0.wrapping_dyn_shr_u32s(words, self.0.splat_u32s(from));
        let stored = if from + BITS == u32::BITS { shifted } else { self.0.and_u32s(shifted, self.0.splat_u32s(mask)) };
        let based = self.0.or_u32s(stored, self.0.splat_u32s(INTEGER_BASE.to_bits()));
        self.0.sub_f32s(self.0.transmute_f32s_u32s(based), self.0.splat_f32s(INTEGER_BASE + half))
    }
}
