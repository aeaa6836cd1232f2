//! The vectors of a level, as the register-tiled kernels see them.
//!
//! Every operation is lane by lane and exact or IEEE-rounded, so that the width of a vector cannot show in a result.

mod instructions;

use super::fma::{Fma, Hardware, Software};
use super::half::f16_value;
use instructions::HIGH_NIBBLE;
pub(crate) use instructions::Instructions;

/// Most lanes of any level's vector.
pub(crate) const MOST_LANES: usize = 16;

/// Vectors of `WIDTH` lanes.
pub(crate) trait Lanes: Copy {
    /// One vector.
    type Vector: Copy;
    /// As many 32-bit words.
    type Words: Copy;
    /// Two vectors' worth of bytes.
    type ByteRow: Copy;
    /// `WIDTH` vectors: the rows of a square.
    type Square: Copy + AsRef<[Self::Vector]> + AsMut<[Self::Vector]>;
    /// The fused multiply-add of the level, for scalar tails and plain loops.
    type Fma: Fma;
    /// Lanes of one vector.
    const WIDTH: usize;
    /// Whether the inner loop of a product asks for the memory that it will read next, a little with each step: a core that takes 128 bytes
    /// in twelve cycles waits for what is farther than its second-level cache. Elsewhere that is not worth two loads a step.
    const ASKS_AHEAD: bool;

    fn splat(self, value: f32) -> Self::Vector;
    /// Loads the first `WIDTH` values.
    fn load(self, from: &[f32]) -> Self::Vector;
    /// Stores to the first `WIDTH` places.
    fn store(self, value: Self::Vector, to: &mut [f32]);
    /// Computes `a + b`.
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// Takes `x` where it is greater than `than`, else `than`.
    fn greater(self, x: Self::Vector, than: Self::Vector) -> Self::Vector;
    /// Computes `a * b`.
    fn multiply(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// Computes `a / b`.
    fn divide(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// Computes `a * b + c`, rounded once.
    fn fma(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// Sees values as vectors; what is left over at the end is not seen.
    fn vectors(from: &[f32]) -> &[Self::Vector];
    /// Sees words as vectors; what is left over at the end is not seen.
    fn words(from: &[u32]) -> &[Self::Words];
    /// Widens two bf16 values of each word: first those of the low halves, then those of the high halves.
    fn widen_bf16(self, words: Self::Words) -> [Self::Vector; 2];
    /// As [`Lanes::widen_bf16`], finite f16 values.
    fn widen_f16(self, words: Self::Words) -> [Self::Vector; 2];
    /// Sees bytes as rows of two vectors; what is left over at the end is not seen.
    fn byte_rows(from: &[u32]) -> &[Self::ByteRow];
    /// Converts the signed bytes of a row, from the low end of each word up.
    fn bytes(self, row: &Self::ByteRow) -> [Self::Vector; 2];
    /// Takes the signed four bits from bit `4 at` of each word on, times 2²⁸.
    fn large_nibble(self, words: Self::Words, at: u32) -> Self::Vector;
    /// Takes the four bits from bit `4 at` of each word on, 0 to 15, times 2²⁴.
    fn large_unsigned_nibble(self, words: Self::Words, at: u32) -> Self::Vector;
    /// Reads words as the bits of values.
    fn with_bits(self, words: Self::Words) -> Self::Vector;
    /// Gives the bits of values.
    fn bits(self, values: Self::Vector) -> Self::Words;
    /// A square of one value.
    fn square(self, value: f32) -> Self::Square;
    /// Makes a square's rows its columns.
    fn transpose(self, rows: Self::Square) -> Self::Square;
    /// Asks for the cache line of a place, which need not exist, where the CPU can be asked.
    fn prefetch(self, at: *const u32);
}

/// Eight values, each operation in software; the compiler spreads them over whatever the target has.
#[derive(Clone, Copy)]
pub(crate) struct SoftwareLanes;

impl Lanes for SoftwareLanes {
    type Vector = [f32; 8];
    type Words = [u32; 8];
    type ByteRow = [u32; 4];
    type Square = [[f32; 8]; 8];
    type Fma = Software;
    const WIDTH: usize = 8;
    const ASKS_AHEAD: bool = false;

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
    fn add(self, a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|lane| a[lane] + b[lane])
    }

    #[inline(always)]
    fn greater(self, x: [f32; 8], than: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|lane| if x[lane] > than[lane] { x[lane] } else { than[lane] })
    }

    #[inline(always)]
    fn multiply(self, a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|lane| a[lane] * b[lane])
    }

    #[inline(always)]
    fn divide(self, a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|lane| a[lane] / b[lane])
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
    fn widen_f16(self, words: [u32; 8]) -> [[f32; 8]; 2] {
        [words.map(|word| f16_value(word as u16)), words.map(|word| f16_value((word >> 16) as u16))]
    }

    #[inline(always)]
    fn byte_rows(from: &[u32]) -> &[[u32; 4]] {
        from.as_chunks().0
    }

    #[inline(always)]
    fn bytes(self, row: &[u32; 4]) -> [[f32; 8]; 2] {
        let byte = |at: usize| f32::from(row[at / 4].to_le_bytes()[at % 4].cast_signed());
        [std::array::from_fn(byte), std::array::from_fn(|lane| byte(8 + lane))]
    }

    #[inline(always)]
    fn large_nibble(self, words: [u32; 8], at: u32) -> [f32; 8] {
        words.map(|word| (word << (28 - 4 * at) & HIGH_NIBBLE).cast_signed() as f32)
    }

    #[inline(always)]
    fn large_unsigned_nibble(self, words: [u32; 8], at: u32) -> [f32; 8] {
        words.map(|word| ((word >> (4 * at) & 15) << 24) as f32)
    }

    #[inline(always)]
    fn with_bits(self, words: [u32; 8]) -> [f32; 8] {
        words.map(f32::from_bits)
    }

    #[inline(always)]
    fn bits(self, values: [f32; 8]) -> [u32; 8] {
        values.map(f32::to_bits)
    }

    #[inline(always)]
    fn square(self, value: f32) -> [[f32; 8]; 8] {
        [[value; 8]; 8]
    }

    #[inline(always)]
    fn transpose(self, rows: [[f32; 8]; 8]) -> [[f32; 8]; 8] {
        let mut out = [[0.0; 8]; 8];
        for (r, row) in rows.iter().enumerate() {
            for (out, x) in out.iter_mut().zip(row) {
                out[r] = *x;
            }
        }
        out
    }

    #[inline(always)]
    fn prefetch(self, _: *const u32) {}
}

/// The vectors of a `pulp` instruction set that has a fused multiply-add.
#[derive(Clone, Copy)]
pub(crate) struct VectorLanes<S>(pub(crate) S);

impl<S: Instructions> VectorLanes<S> {
    /// Finite f16 values whose exponent and mantissa stand from bit 13 on in `magnitude`, whose sign is bit 31 of `sign`.
    ///
    /// With the exponent moved to that of f32, a normal value is `x`; a subnormal one, by the leading bit it has not, is `2 x - 2^-14`,
    /// which is the lesser of the two just there.
    #[inline(always)]
    fn f16(self, magnitude: S::u32s, sign: S::u32s) -> S::f32s {
        let simd = self.0;
        let moved = simd.add_u32s(simd.and_u32s(magnitude, simd.splat_u32s(0x7fff << 13)), simd.splat_u32s(112 << 23));
        let normal = simd.transmute_f32s_u32s(moved);
        let least_normal = simd.splat_f32s(f32::from_bits(113 << 23));
        let subnormal = simd.sub_f32s(simd.add_f32s(normal, normal), least_normal);
        let magnitude = simd.transmute_u32s_f32s(simd.min_f32s(normal, subnormal));
        simd.transmute_f32s_u32s(simd.or_u32s(magnitude, simd.and_u32s(sign, simd.splat_u32s(1 << 31))))
    }
}

impl<S: Instructions> Lanes for VectorLanes<S> {
    type Vector = S::f32s;
    type Words = S::u32s;
    type ByteRow = S::ByteRow;
    type Square = S::Square;
    type Fma = Hardware;
    const WIDTH: usize = S::F32_LANES;
    const ASKS_AHEAD: bool = S::F32_LANES == 16;

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
    fn add(self, a: S::f32s, b: S::f32s) -> S::f32s {
        self.0.add_f32s(a, b)
    }

    #[inline(always)]
    fn greater(self, x: S::f32s, than: S::f32s) -> S::f32s {
        self.0.select_f32s(self.0.greater_than_f32s(x, than), x, than)
    }

    #[inline(always)]
    fn multiply(self, a: S::f32s, b: S::f32s) -> S::f32s {
        self.0.mul_f32s(a, b)
    }

    #[inline(always)]
    fn divide(self, a: S::f32s, b: S::f32s) -> S::f32s {
        self.0.div_f32s(a, b)
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
    fn widen_f16(self, words: S::u32s) -> [S::f32s; 2] {
        let (shl, shr) = (S::wrapping_dyn_shl_u32s, S::wrapping_dyn_shr_u32s);
        let (three, sixteen) = (self.0.splat_u32s(3), self.0.splat_u32s(16));
        let low = self.f16(shl(self.0, words, self.0.splat_u32s(13)), shl(self.0, words, sixteen));
        [low, self.f16(shr(self.0, words, three), words)]
    }

    #[inline(always)]
    fn byte_rows(from: &[u32]) -> &[S::ByteRow] {
        S::byte_rows(from)
    }

    #[inline(always)]
    fn bytes(self, row: &S::ByteRow) -> [S::f32s; 2] {
        self.0.bytes(row)
    }

    #[inline(always)]
    fn large_nibble(self, words: S::u32s, at: u32) -> S::f32s {
        self.0.large_nibble(words, at)
    }

    #[inline(always)]
    fn large_unsigned_nibble(self, words: S::u32s, at: u32) -> S::f32s {
        self.0.large_unsigned_nibble(words, at)
    }

    #[inline(always)]
    fn with_bits(self, words: S::u32s) -> S::f32s {
        self.0.transmute_f32s_u32s(words)
    }

    #[inline(always)]
    fn bits(self, values: S::f32s) -> S::u32s {
        self.0.transmute_u32s_f32s(values)
    }

    #[inline(always)]
    fn square(self, value: f32) -> S::Square {
        self.0.square(value)
    }

    #[inline(always)]
    fn transpose(self, rows: S::Square) -> S::Square {
        self.0.transpose(rows)
    }

    #[inline(always)]
    fn prefetch(self, at: *const u32) {
        self.0.prefetch(at);
    }
}
