//! What kernels need of an instruction set beyond `pulp`'s common ground: conversions of integers, transposition, prefetch.

#[cfg(target_arch = "aarch64")]
use std::arch::aarch64::{float32x4_t, float64x2_t};
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{__m256, __m512};

use pulp::Simd;

/// What `pulp` has under another name for each instruction set.
pub(crate) trait Instructions: Simd {
    /// Two vectors' worth of bytes.
    type ByteRow: Copy;
    /// As many vectors as one has lanes.
    type Square: Copy + AsRef<[Self::f32s]> + AsMut<[Self::f32s]>;
    fn byte_rows(from: &[u32]) -> &[Self::ByteRow];
    fn bytes(self, row: &Self::ByteRow) -> [Self::f32s; 2];
    /// Converts signed words.
    fn convert(self, words: Self::u32s) -> Self::f32s;
    /// A square of one value.
    fn square(self, value: f32) -> Self::Square;
    /// Makes a square's rows its columns.
    fn transpose(self, rows: Self::Square) -> Self::Square;
    /// Asks for a cache line.
    fn prefetch(self, at: *const u32);

    /// Takes the signed four bits from bit `4 at` of each word on, times 2²⁸.
    #[inline(always)]
    fn large_nibble(self, words: Self::u32s, at: u32) -> Self::f32s {
        let high = if at == 7 { words } else { self.wrapping_dyn_shl_u32s(words, self.splat_u32s(28 - 4 * at)) };
        self.convert(self.and_u32s(high, self.splat_u32s(HIGH_NIBBLE)))
    }

    /// Takes the four bits from bit `4 at` of each word on, 0 to 15, times 2²⁴.
    #[inline(always)]
    fn large_unsigned_nibble(self, words: Self::u32s, at: u32) -> Self::f32s {
        let moved = match at {
            0..6 => self.wrapping_dyn_shl_u32s(words, self.splat_u32s(24 - 4 * at)),
            6 => words,
            _ => self.wrapping_dyn_shr_u32s(words, self.splat_u32s(4 * at - 24)),
        };
        self.convert(self.and_u32s(moved, self.splat_u32s(0x0f00_0000)))
    }
}

/// The highest four bits of a word.
pub(super) const HIGH_NIBBLE: u32 = 0xf000_0000;

#[cfg(target_arch = "x86_64")]
impl Instructions for pulp::x86::V3 {
    type ByteRow = [u32; 4];
    type Square = [Self::f32s; 8];

    #[inline(always)]
    fn byte_rows(from: &[u32]) -> &[[u32; 4]] {
        from.as_chunks().0
    }

    #[inline(always)]
    fn bytes(self, row: &[u32; 4]) -> [pulp::f32x8; 2] {
        let low = self.avx2._mm256_cvtepi8_epi32(pulp::cast([row[0], row[1], 0, 0]));
        let high = self.avx2._mm256_cvtepi8_epi32(pulp::cast([row[2], row[3], 0, 0]));
        [pulp::cast(self.avx._mm256_cvtepi32_ps(low)), pulp::cast(self.avx._mm256_cvtepi32_ps(high))]
    }

    #[inline(always)]
    fn convert(self, words: Self::u32s) -> Self::f32s {
        pulp::cast(self.avx._mm256_cvtepi32_ps(pulp::cast(words)))
    }

    #[inline(always)]
    fn square(self, value: f32) -> Self::Square {
        [self.splat_f32s(value); 8]
    }

    #[inline(always)]
    fn transpose(self, rows: Self::Square) -> Self::Square {
        let mut rows: [__m256; 8] = pulp::cast(rows);
        // Within the halves of each vector: pairs of rows, then fours of them.
        for i in [0, 2, 4, 6] {
            let (a, b) = (rows[i], rows[i + 1]);
            (rows[i], rows[i + 1]) = (self.avx._mm256_unpacklo_ps(a, b), self.avx._mm256_unpackhi_ps(a, b));
        }
        let mut fours = rows;
        for i in [0, 4] {
            for j in 0..2 {
                let (a, b) = (rows[i + j], rows[i + j + 2]);
                fours[i + 2 * j] = self.avx._mm256_shuffle_ps::<0x44>(a, b);
                fours[i + 2 * j + 1] = self.avx._mm256_shuffle_ps::<0xee>(a, b);
            }
        }
        for i in 0..4 {
            rows[i] = self.avx._mm256_permute2f128_ps::<0x20>(fours[i], fours[i + 4]);
            rows[i + 4] = self.avx._mm256_permute2f128_ps::<0x31>(fours[i], fours[i + 4]);
        }
        pulp::cast(rows)
    }

    #[inline(always)]
    fn prefetch(self, at: *const u32) {
        self.sse._mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.cast());
    }
}

#[cfg(target_arch = "x86_64")]
impl Instructions for pulp::x86::V4 {
    type ByteRow = [[u32; 4]; 2];
    type Square = [Self::f32s; 16];

    #[inline(always)]
    fn byte_rows(from: &[u32]) -> &[[[u32; 4]; 2]] {
        from.as_chunks().0.as_chunks().0
    }

    #[inline(always)]
    fn bytes(self, [low, high]: &[[u32; 4]; 2]) -> [pulp::f32x16; 2] {
        let low = self.avx512f._mm512_cvtepi8_epi32(pulp::cast(*low));
        let high = self.avx512f._mm512_cvtepi8_epi32(pulp::cast(*high));
        [pulp::cast(self.avx512f._mm512_cvtepi32_ps(low)), pulp::cast(self.avx512f._mm512_cvtepi32_ps(high))]
    }

    #[inline(always)]
    fn convert(self, words: Self::u32s) -> Self::f32s {
        pulp::cast(self.avx512f._mm512_cvtepi32_ps(pulp::cast(words)))
    }

    #[inline(always)]
    fn large_nibble(self, words: Self::u32s, at: u32) -> Self::f32s {
        looked_up(self, &SIGNED_NIBBLES, words, at)
    }

    #[inline(always)]
    fn large_unsigned_nibble(self, words: Self::u32s, at: u32) -> Self::f32s {
        looked_up(self, &NIBBLES, words, at)
    }

    #[inline(always)]
    fn square(self, value: f32) -> Self::Square {
        [self.splat_f32s(value); 16]
    }

    #[inline(always)]
    fn transpose(self, rows: Self::Square) -> Self::Square {
        let mut rows: [__m512; 16] = pulp::cast(rows);
        // Within the quarters of each vector: pairs of rows, then fours of them.
        for i in [0, 2, 4, 6, 8, 10, 12, 14] {
            let (a, b) = (rows[i], rows[i + 1]);
            (rows[i], rows[i + 1]) = (self.avx512f._mm512_unpacklo_ps(a, b), self.avx512f._mm512_unpackhi_ps(a, b));
        }
        let mut fours = rows;
        for i in [0, 4, 8, 12] {
            for j in 0..2 {
                let (a, b) = (rows[i + j], rows[i + j + 2]);
                fours[i + 2 * j] = self.avx512f._mm512_shuffle_ps::<0x44>(a, b);
                fours[i + 2 * j + 1] = self.avx512f._mm512_shuffle_ps::<0xee>(a, b);
            }
        }
        // Then the quarters among the vectors.
        for i in 0..4 {
            let (a, b, c, d) = (fours[i], fours[i + 4], fours[i + 8], fours[i + 12]);
            let (even, odd) =
                (self.avx512f._mm512_shuffle_f32x4::<0x88>(a, b), self.avx512f._mm512_shuffle_f32x4::<0xdd>(a, b));
            let (above, higher) =
                (self.avx512f._mm512_shuffle_f32x4::<0x88>(c, d), self.avx512f._mm512_shuffle_f32x4::<0xdd>(c, d));
            rows[i] = self.avx512f._mm512_shuffle_f32x4::<0x88>(even, above);
            rows[i + 4] = self.avx512f._mm512_shuffle_f32x4::<0x88>(odd, higher);
            rows[i + 8] = self.avx512f._mm512_shuffle_f32x4::<0xdd>(even, above);
            rows[i + 12] = self.avx512f._mm512_shuffle_f32x4::<0xdd>(odd, higher);
        }
        pulp::cast(rows)
    }

    #[inline(always)]
    fn prefetch(self, at: *const u32) {
        self.sse._mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.cast());
    }
}

/// What the four bits from bit `4 at` of each word on stand for: one lookup, where converting takes a mask and a conversion.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn looked_up(simd: pulp::x86::V4, table: &[f32; 16], words: pulp::u32x16, at: u32) -> pulp::f32x16 {
    // The lookup sees no bit above these four.
    let index = if at == 0 { words } else { simd.wrapping_dyn_shr_u32s(words, simd.splat_u32s(4 * at)) };
    pulp::cast(simd.avx512f._mm512_permutexvar_ps(pulp::cast(index), pulp::cast(*table)))
}

/// The numbers of four bits times 2²⁴.
#[cfg(target_arch = "x86_64")]
const NIBBLES: [f32; 16] = nibbles(16, (1 << 24) as f32);
/// The signed numbers of four bits times 2²⁸.
#[cfg(target_arch = "x86_64")]
const SIGNED_NIBBLES: [f32; 16] = nibbles(8, (1 << 28) as f32);

/// The numbers of four bits, those from `negative` on less 16, times `larger`.
#[cfg(target_arch = "x86_64")]
const fn nibbles(negative: usize, larger: f32) -> [f32; 16] {
    let mut table = [0.0; 16];
    let mut q = 0;
    while q < 16 {
        table[q] = if q < negative { q as f32 } else { q as f32 - 16.0 } * larger;
        q += 1;
    }
    table
}

#[cfg(target_arch = "aarch64")]
impl Instructions for pulp::aarch64::Neon {
    type ByteRow = [u32; 2];
    type Square = [Self::f32s; 4];

    #[inline(always)]
    fn byte_rows(from: &[u32]) -> &[[u32; 2]] {
        from.as_chunks().0
    }

    #[inline(always)]
    fn bytes(self, row: &[u32; 2]) -> [pulp::f32x4; 2] {
        let words = self.neon.vmovl_s8(pulp::cast(*row));
        let low = self.neon.vmovl_s16(self.neon.vget_low_s16(words));
        let high = self.neon.vmovl_s16(self.neon.vget_high_s16(words));
        [pulp::cast(self.neon.vcvtq_f32_s32(low)), pulp::cast(self.neon.vcvtq_f32_s32(high))]
    }

    #[inline(always)]
    fn convert(self, words: Self::u32s) -> Self::f32s {
        pulp::cast(self.neon.vcvtq_f32_s32(pulp::cast(words)))
    }

    #[inline(always)]
    fn square(self, value: f32) -> Self::Square {
        [self.splat_f32s(value); 4]
    }

    #[inline(always)]
    fn transpose(self, rows: Self::Square) -> Self::Square {
        let [a, b, c, d]: [float32x4_t; 4] = pulp::cast(rows);
        let pairs = [
            [self.neon.vtrn1q_f32(a, b), self.neon.vtrn1q_f32(c, d)],
            [self.neon.vtrn2q_f32(a, b), self.neon.vtrn2q_f32(c, d)],
        ];
        let mut out = rows;
        for (i, [low, high]) in pairs.into_iter().enumerate() {
            let (low, high): (float64x2_t, float64x2_t) = (pulp::cast(low), pulp::cast(high));
            out[i] = pulp::cast(self.neon.vzip1q_f64(low, high));
            out[i + 2] = pulp::cast(self.neon.vzip2q_f64(low, high));
        }
        out
    }

    #[inline(always)]
    fn prefetch(self, _: *const u32) {}
}
