//! The two 16-bit types that weights come in. New f16 numbers are only made for the recall index.

use rayon::prelude::*;

/// A 16-bit floating-point type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HalfType {
    /// The upper half of an f32.
    Bf16,
    /// IEEE binary16.
    F16,
}

impl HalfType {
    /// The type that holds every one of some finite values without loss, if there is one.
    pub fn of(values: &[f32]) -> Option<HalfType> {
        [HalfType::Bf16, HalfType::F16].into_iter().find(|kind| {
            let all = |part: &[f32]| part.iter().fold(true, |all, x| all & kind.holds(*x));
            // The first values of a matrix that is of another type tell at once.
            all(&values[..values.len().min(64)]) && values.par_chunks(PARALLEL_CHECK).all(all)
        })
    }

    /// Its name in the field.
    pub fn name(self) -> &'static str {
        match self {
            HalfType::Bf16 => "bf16",
            HalfType::F16 => "f16",
        }
    }

    /// The bits of a value that it holds.
    #[inline(always)]
    pub fn bits(self, value: f32) -> u16 {
        match self {
            // the shift leaves 16 bits
            HalfType::Bf16 => (value.to_bits() >> 16) as u16,
            HalfType::F16 => f16_bits(value),
        }
    }

    /// The value of bits, not those of an infinite f16 or of NaN.
    #[inline(always)]
    pub fn value(self, bits: u16) -> f32 {
        match self {
            HalfType::Bf16 => f32::from_bits(u32::from(bits) << 16),
            HalfType::F16 => f16_value(bits),
        }
    }

    #[inline(always)]
    fn holds(self, value: f32) -> bool {
        self.value(self.bits(value)).to_bits() == value.to_bits()
    }
}

/// Rounds to the nearest f16, of two to the even one. Beyond the greatest f16 comes infinity, NaN stays NaN, the sign stays.
pub fn f16_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    let (sign, magnitude) = (bits >> 16 & 0x8000, bits & 0x7fff_ffff);
    let half = if magnitude > INFINITY {
        0x7e00
    } else if magnitude >= OVERFLOW {
        0x7c00
    } else if magnitude >= LEAST_NORMAL {
        (magnitude - (112 << 23) + 0xfff + (magnitude >> 13 & 1)) >> 13
    } else {
        // Subnormal f16 are whole multiples of 2^-24; the product with 2^24 is exact.
        (f32::from_bits(magnitude) * f32::from_bits(0x4b80_0000)).round_ties_even() as u32
    };
    (sign | half) as u16
}

/// Widens a finite f16, exactly, by operations on normal numbers only: subnormal ones would cost a microcode assist each.
#[inline(always)]
pub(super) fn f16_value(half: u16) -> f32 {
    let moved = u32::from(half & 0x7fff) << 13;
    let normal = f32::from_bits(moved + (112 << 23));
    let subnormal = f32::from_bits(moved + LEAST_NORMAL) - f32::from_bits(LEAST_NORMAL);
    let magnitude = if moved < 1 << 23 { subnormal } else { normal };
    f32::from_bits(magnitude.to_bits() | u32::from(half & 0x8000) << 16)
}

/// Bits of infinity; of 65 520, from where on rounding gives it; of 2^-14.
const INFINITY: u32 = 0x7f80_0000;
const OVERFLOW: u32 = 0x477f_f000;
const LEAST_NORMAL: u32 = 113 << 23;
/// Values that one thread looks at in a row.
const PARALLEL_CHECK: usize = 1 << 18;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::SplitMix;

    /// The value of a finite f16 from its definition.
    fn defined(half: u16) -> f64 {
        let (exponent, mantissa) = (i32::from(half >> 10 & 31), f64::from(half & 1023));
        let magnitude = if exponent == 0 { mantissa } else { (1024.0 + mantissa) * f64::from(1_u32 << (exponent - 1)) };
        (if half >> 15 == 1 { -magnitude } else { magnitude }) / f64::from(1 << 24)
    }

    #[test]
    fn every_finite_f16_widens_exactly_and_comes_back() {
        for half in (0..=u16::MAX).filter(|half| half >> 10 & 31 != 31) {
            let value = f16_value(half);
            assert_eq!(f64::from(value), defined(half), "{half:#x}");
            assert_eq!((value.is_sign_negative(), f16_bits(value)), (half >> 15 == 1, half), "{half:#x}");
        }
    }

    #[test]
    fn the_type_that_loses_nothing() {
        let (bf16, f16, both) = (f32::from_bits(0x0123_0000), 1.0 / 1024.0 + 1.0, -0.5);
        assert_eq!(HalfType::of(&[both, -0.0, bf16]), Some(HalfType::Bf16));
        assert_eq!(HalfType::of(&[both, -0.0, f16, 65_504.0, f32::from_bits(103 << 23)]), Some(HalfType::F16));
        for neither in [f32::from_bits(102 << 23) * 1.001, 65_505.0, 1.0 + f32::EPSILON, 1e-20] {
            assert_eq!(HalfType::of(&[both, neither]), None, "{neither:e}");
        }
        let mut long = vec![f16; 2 * PARALLEL_CHECK];
        assert_eq!(HalfType::of(&long), Some(HalfType::F16));
        long[PARALLEL_CHECK + 5] = bf16;
        assert_eq!(HalfType::of(&long), None);
    }

    #[test]
    fn the_nearest_is_taken_and_of_two_the_even_one() {
        let mut random = SplitMix(3);
        let halfway =
            (0..0x7bff_u16).map(|half| ((f64::from(f16_value(half)) + f64::from(f16_value(half + 1))) / 2.0) as f32);
        let near = halfway.flat_map(|x| [x, f32::from_bits(x.to_bits() - 1), f32::from_bits(x.to_bits() + 1), -x]);
        let any = (0..100_000).map(|_| f32::from_bits(random.next() as u32)).filter(|x| x.abs() < 65_520.0);
        for x in near.chain(any.collect::<Vec<f32>>()) {
            let half = f16_bits(x);
            let error = |half: u16| (f64::from(x) - defined(half)).abs();
            for other in [half.wrapping_sub(1), half.wrapping_add(1)] {
                let finite = other >> 10 & 31 != 31 && (other ^ half) >> 15 == 0;
                let worse = error(other) > error(half) || error(other) == error(half) && half.is_multiple_of(2);
                assert!(!finite || worse, "{x:e} became {half:#x}");
            }
        }
    }

    #[test]
    fn what_is_no_finite_f16() {
        let cases = [(65_519.996, 0x7bff), (65_520.0, 0x7c00), (f32::MAX, 0x7c00), (f32::INFINITY, 0x7c00)];
        for (value, half) in cases {
            assert_eq!((f16_bits(value), f16_bits(-value)), (half, half | 0x8000), "{value}");
        }
        assert_eq!(f16_bits(f32::NAN) & 0x7fff, 0x7e00);
        assert_eq!((f16_bits(1e-9), f16_bits(-1e-9)), (0, 0x8000));
    }
}
