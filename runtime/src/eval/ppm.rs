//! A score in parts per million: an integer, so that equal scores are equal everywhere.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::EvalError;

/// A share of one, in parts per million; range 0..=1 000 000. Written `"0.917000"`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Ppm(u32);

impl Ppm {
    /// Nothing.
    pub const ZERO: Ppm = Ppm(0);
    /// All.
    pub const ONE: Ppm = Ppm(1_000_000);

    /// Takes a count of millionths; `None` above one million.
    pub const fn new(millionths: u32) -> Option<Ppm> {
        if millionths <= Ppm::ONE.0 { Some(Ppm(millionths)) } else { None }
    }

    /// Computes `floor(1 000 000 · part / whole)`; zero when `whole` is zero, one when `part` exceeds `whole`.
    pub fn ratio(part: u128, whole: u128) -> Ppm {
        let millionths = part.min(whole).saturating_mul(1_000_000).checked_div(whole).unwrap_or(0);
        u32::try_from(millionths).ok().and_then(Ppm::new).unwrap_or(Ppm::ZERO)
    }

    /// The count of millionths.
    pub const fn millionths(self) -> u32 {
        self.0
    }

    /// Reads what a person types: `0`, `1`, `0.85`, `1.0`; at most six decimals, no sign, no exponent.
    ///
    /// # Errors
    /// [`EvalError::NotAScore`] for anything else.
    pub fn from_decimal(text: &str) -> Result<Ppm, EvalError> {
        let refuse = || EvalError::NotAScore { found: text.chars().take(32).collect() };
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(fraction) || whole.len() > 1 || fraction.len() > 6 {
            return Err(refuse());
        }
        let millionths = format!("{whole}{fraction:0<6}").parse().map_err(|_| refuse())?;
        Ppm::new(millionths).ok_or_else(refuse)
    }

    /// Shows three decimals, cut and never rounded up: a K below its gate never looks equal to it at that width.
    pub fn short(self) -> String {
        let thousandths = self.0 / 1000;
        format!("{}.{:03}", thousandths / 1000, thousandths % 1000)
    }

    /// Shows the exact value with trailing zeros cut down to two decimals, as a gate is written: `0.85`.
    pub fn trimmed(self) -> String {
        let full = self.to_string();
        let kept = full.trim_end_matches('0').len().max(4);
        full.get(..kept).unwrap_or(&full).to_owned()
    }
}

impl fmt::Display for Ppm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

impl FromStr for Ppm {
    type Err = EvalError;

    /// Reads the one written form, a digit, a point and six digits.
    fn from_str(text: &str) -> Result<Ppm, EvalError> {
        let score = Ppm::from_decimal(text)?;
        if score.to_string() == text { Ok(score) } else { Err(EvalError::NotAScore { found: text.to_owned() }) }
    }
}

impl Serialize for Ppm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Ppm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Ppm, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_form_is_the_only_one() {
        for (text, millionths) in [("0.000000", 0), ("0.917000", 917_000), ("1.000000", 1_000_000), ("0.000001", 1)] {
            assert_eq!(text.parse::<Ppm>().unwrap().millionths(), millionths);
            assert_eq!(Ppm::new(millionths).unwrap().to_string(), text);
        }
        for text in [
            "",
            "0.9",
            "1",
            "1.000001",
            "2.000000",
            "0.9170000",
            "+0.917000",
            "00.917000",
            ".917000",
            "0.91700x",
            "0,917000",
        ] {
            assert!(text.parse::<Ppm>().is_err(), "{text}");
        }
    }

    #[test]
    fn typed_form_is_lenient_about_zeros_only() {
        for (text, millionths) in
            [("0", 0), ("1", 1_000_000), ("0.85", 850_000), ("1.0", 1_000_000), ("0.123456", 123_456)]
        {
            assert_eq!(Ppm::from_decimal(text).unwrap().millionths(), millionths);
        }
        for text in ["-0.5", "1.5", "0.1234567", "1e-1", ".5", "0.", "NaN", "٠.٥"] {
            assert_eq!(Ppm::from_decimal(text).unwrap_err().code(), "not_a_score", "{text}");
        }
    }

    #[test]
    fn short_forms() {
        let show = |millionths| (Ppm::new(millionths).unwrap().short(), Ppm::new(millionths).unwrap().trimmed());
        assert_eq!(show(917_968), ("0.917".to_owned(), "0.917968".to_owned()));
        assert_eq!(show(849_999), ("0.849".to_owned(), "0.849999".to_owned()));
        assert_eq!(show(850_000), ("0.850".to_owned(), "0.85".to_owned()));
        assert_eq!(show(1_000_000), ("1.000".to_owned(), "1.00".to_owned()));
        assert_eq!(show(0), ("0.000".to_owned(), "0.00".to_owned()));
    }
}
