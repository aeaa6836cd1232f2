//! Fused multiply-add: `a * b + c` rounded once.
//!
//! [`Hardware`] is the CPU's instruction, [`Software`] the same value from f64 operations; both are exact, so which one ran
//! can never be seen in a result. The bits of a NaN are not part of the contract.

/// How a kernel computes its fused multiply-adds.
pub trait Fma: Copy + Send + Sync + 'static {
    /// Computes `a * b + c` with one rounding, to nearest even.
    fn fma(a: f32, b: f32, c: f32) -> f32;
}

/// The CPU's own instruction; used only inside a level that has it.
#[derive(Clone, Copy, Debug)]
pub struct Hardware;

impl Fma for Hardware {
    #[inline(always)]
    #[expect(clippy::disallowed_methods, reason = "the one home of f32::mul_add")]
    fn fma(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }
}

/// The exact value by f64 operations, for CPUs without the instruction.
///
/// The product of two f32 is exact in f64 (48 of 53 bits). The sum is rounded to odd with the error term of Knuth's
/// TwoSum; narrowing a round-to-odd value of at least 24 + 2 bits rounds the exact sum once (Boldo and Melquiond,
/// "Emulation of FMA and correctly rounded sums", IEEE TC 57(4), 2008). Subnormal results need fewer bits still.
#[derive(Clone, Copy, Debug)]
pub struct Software;

impl Fma for Software {
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "the narrowing is the one rounding")]
    fn fma(a: f32, b: f32, c: f32) -> f32 {
        let product = f64::from(a) * f64::from(b);
        let addend = f64::from(c);
        let sum = product + addend;
        let addend_part = sum - product;
        let error = (product - (sum - addend_part)) + (addend - addend_part);
        // Away from zero when the error has the sum's sign, towards zero otherwise; nothing when it is zero or NaN.
        let away = ((error > 0.0) & (sum > 0.0)) | ((error < 0.0) & (sum < 0.0));
        let towards = ((error < 0.0) & (sum > 0.0)) | ((error > 0.0) & (sum < 0.0));
        let bits = sum.to_bits();
        let even = (bits & 1) ^ 1;
        let odd = bits.wrapping_add(even & u64::from(away)).wrapping_sub(even & u64::from(towards));
        f64::from_bits(odd) as f32
    }
}

/// Computes `a * b + c` with one rounding on every machine, for scalar code.
#[inline]
pub fn fma(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
        Hardware::fma(a, b, c)
    } else {
        Software::fma(a, b, c)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::bits::SplitMix;

    /// Compares with `f32::mul_add`, which the platform computes exactly with or without the instruction.
    fn check(a: f32, b: f32, c: f32) {
        let want = Hardware::fma(a, b, c);
        let got = Software::fma(a, b, c);
        assert!(
            got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan()),
            "fma({:08x}, {:08x}, {:08x}) gave {:08x}, expected {:08x}",
            a.to_bits(),
            b.to_bits(),
            c.to_bits(),
            got.to_bits(),
            want.to_bits()
        );
    }

    #[test]
    fn software_equals_hardware_on_random_bits() {
        let mut random = SplitMix(1);
        for _ in 0..3_000_000 {
            let (x, y) = (random.next(), random.next());
            check(f32::from_bits(x as u32), f32::from_bits((x >> 32) as u32), f32::from_bits(y as u32));
        }
    }

    #[test]
    fn software_equals_hardware_where_terms_nearly_cancel() {
        let mut random = SplitMix(2);
        for _ in 0..2_000_000 {
            let (x, y) = (random.next(), random.next());
            let a = f32::from_bits(x as u32);
            let b = f32::from_bits((x >> 32) as u32);
            // An addend within a few ulp of -a*b, at that exponent or up to 50 binades off it.
            let near = (-(a * b)).to_bits().wrapping_add((y % 7) as u32).wrapping_sub(3);
            check(a, b, f32::from_bits(near));
            check(a, b, f32::from_bits(near.wrapping_add((((y >> 8) % 101) as u32).wrapping_sub(50) << 23)));
        }
    }

    #[test]
    fn software_equals_hardware_on_subnormal_results() {
        let mut random = SplitMix(3);
        for _ in 0..2_000_000 {
            let (x, y) = (random.next(), random.next());
            // Exponents that sum to around 2^-149, addends that are subnormal or tiny.
            let a = f32::from_bits((x as u32 & 0x807f_ffff) | (((x >> 40) % 80 + 20) as u32) << 23);
            let b = f32::from_bits(((x >> 32) as u32 & 0x807f_ffff) | (((y >> 40) % 80 + 1) as u32) << 23);
            check(a, b, f32::from_bits(y as u32 & 0x80ff_ffff));
        }
    }

    #[test]
    fn software_equals_hardware_on_special_values() {
        let special = [
            0.0,
            -0.0,
            1.0,
            -1.0,
            f32::MIN_POSITIVE,
            -f32::MIN_POSITIVE,
            f32::from_bits(1),
            f32::from_bits(0x8000_0001),
            f32::from_bits(0x007f_ffff),
            f32::MAX,
            f32::MIN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
            1.0 + f32::EPSILON,
            1.0 - f32::EPSILON / 2.0,
            f32::from_bits(0x1a80_0001),
            f32::from_bits(0x5f80_0001),
            // Rounding the sum of these first to f64 makes a tie: 24929 · 673 = 2^24 + 1, and 2^-100.
            24_929.0 / 16_777_216.0,
            673.0,
            f32::from_bits(0x0d80_0000),
        ];
        for a in special {
            for b in special {
                for c in special {
                    check(a, b, c);
                }
            }
        }
    }

    #[test]
    fn free_function_is_exact() {
        let mut random = SplitMix(4);
        for _ in 0..10_000 {
            let (x, y) = (random.next(), random.next());
            let (a, b, c) = (f32::from_bits(x as u32), f32::from_bits((x >> 32) as u32), f32::from_bits(y as u32));
            let (got, want) = (fma(a, b, c), Software::fma(a, b, c));
            assert!(got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan()));
        }
    }
}
