//! A number of the job file that stays what was written: its shortest decimal spelling.

use std::fmt;

/// A finite number, kept as its shortest decimal spelling (no exponent, no needless zeros).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decimal(String);

impl Decimal {
    /// Takes a finite `value`; `None` for NaN and infinities. Negative zero becomes `0`.
    pub fn new(value: f64) -> Option<Decimal> {
        // The shortest digits that read back as the same f64; adding 0.0 turns -0 into 0.
        value.is_finite().then(|| Decimal(format!("{}", value + 0.0)))
    }

    /// The spelling, as the plan holds it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The number.
    pub fn value(&self) -> f64 {
        self.0.parse().expect("the spelling came from a finite f64")
    }

    /// Parts per million if the number is a share of one with at most six decimals.
    pub fn parts_per_million(&self) -> Option<u32> {
        let (whole, fraction) = self.0.split_once('.').unwrap_or((&self.0, ""));
        if fraction.len() > 6 || !matches!(whole, "0" | "1") {
            return None;
        }
        let parts: u32 = format!("{whole}{fraction:0<6}").parse().ok()?;
        (parts <= 1_000_000).then_some(parts)
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_are_short_and_plain() {
        for (value, spelling) in [(0.001, "0.001"), (1e-8, "0.00000001"), (32.0, "32"), (-0.0, "0"), (0.85, "0.85")] {
            assert_eq!(Decimal::new(value).unwrap().as_str(), spelling);
            assert_eq!(Decimal::new(value).unwrap().value(), value);
        }
        assert_eq!(Decimal::new(f64::NAN), None);
    }

    #[test]
    fn shares_become_parts_per_million() {
        for (value, parts) in [
            (0.85, Some(850_000)),
            (1.0, Some(1_000_000)),
            (0.0, Some(0)),
            (0.123_456, Some(123_456)),
            (0.123_456_7, None),
            (1.000_001, None),
            (-0.5, None),
            (2.0, None),
        ] {
            assert_eq!(Decimal::new(value).unwrap().parts_per_million(), parts, "{value}");
        }
    }
}
