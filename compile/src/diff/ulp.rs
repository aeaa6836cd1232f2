//! Distance of two f32, or two f64, in units in the last place: how many representable numbers lie between them.
//!
//! Bits are mapped to integers in the order of the numbers, so the distance is a subtraction. Both zeros map to 0. A NaN has no
//! place in that order and no distance.

/// The distance of two numbers by their bits; none if either is NaN.
pub fn distance(a: u32, b: u32) -> Option<u32> {
    let (a, b) = (place(a)?, place(b)?);
    Some(a.abs_diff(b))
}

/// The distance of two f64 by their bits; none if either is NaN.
pub fn distance_f64(a: u64, b: u64) -> Option<u64> {
    let place = |bits: u64| {
        let magnitude = (bits & (u64::MAX >> 1)) as i64;
        let negative = bits >> 63 == 1;
        (magnitude <= 0x7ff0_0000_0000_0000).then_some(if negative { -magnitude } else { magnitude })
    };
    Some(place(a)?.abs_diff(place(b)?))
}

/// The number's place in the order of all f32; none for NaN.
fn place(bits: u32) -> Option<i32> {
    let magnitude = (bits & 0x7fff_ffff) as i32;
    if magnitude > 0x7f80_0000 {
        return None;
    }
    Some(if bits >> 31 == 1 { -magnitude } else { magnitude })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(a: f32, b: f32, expected: Option<u32>) {
        assert_eq!(distance(a.to_bits(), b.to_bits()), expected, "{a} {b}");
        assert_eq!(distance(b.to_bits(), a.to_bits()), expected, "{b} {a}");
    }

    #[test]
    fn distances() {
        check(1.0, 1.0, Some(0));
        check(1.0, f32::from_bits(1.0f32.to_bits() + 1), Some(1));
        check(0.0, -0.0, Some(0));
        check(f32::from_bits(1), -f32::from_bits(1), Some(2));
        check(1.0, 2.0, Some(1 << 23));
        check(f32::MAX, f32::INFINITY, Some(1));
        check(f32::INFINITY, f32::NEG_INFINITY, Some(2 * 0x7f80_0000));
        check(f32::NAN, 1.0, None);
        check(f32::NAN, -f32::NAN, None);
        let wide = |a: f64, b: f64| distance_f64(a.to_bits(), b.to_bits());
        assert_eq!((wide(1.0, 1.0), wide(0.0, -0.0), wide(f64::NAN, 1.0)), (Some(0), Some(0), None));
        assert_eq!(wide(f64::from_bits(3), -f64::from_bits(1)), Some(4));
    }
}
