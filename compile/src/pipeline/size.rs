//! An amount of memory as people write it: `3GB`, `2.5GiB`, `800MB`.

use std::fmt;

/// Bytes of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Size {
    /// Reads a number with a unit: B, kB, MB, GB, TB by thousands, KiB, MiB, GiB, TiB by 1024; `None` for anything else, and for 0.
    pub fn parse(text: &str) -> Option<Size> {
        let text = text.trim();
        let unit = text.find(|letter: char| letter.is_ascii_alphabetic())?;
        let (number, unit) = text.split_at(unit);
        let factor = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?.1;
        let number: f64 = number.trim_end().parse().ok().filter(|_| !number.contains('-'))?;
        let bytes = number * factor as f64;
        // Below 2^53, so that every number of bytes can be told in JSON.
        (1.0..9e15).contains(&bytes).then_some(Size(bytes as u64))
    }
}

impl fmt::Display for Size {
    /// Three digits at least, by thousands: `1.31 GB`, `812 MB`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = match self.0 {
            1_000_000_000.. => ("GB", 1_000_000_000),
            1_000_000.. => ("MB", 1_000_000),
            1_000.. => ("kB", 1_000),
            _ => return write!(formatter, "{} B", self.0),
        };
        let value = self.0 as f64 / factor as f64;
        let places = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
        write!(formatter, "{value:.places$} {unit}")
    }
}

const UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

#[cfg(test)]
mod tests {
    use super::Size;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in
            [("3GB", 3_000_000_000), ("2.5GiB", 2_684_354_560), ("800mb", 800_000_000), (" 12 KiB ", 12_288), ("7B", 7)]
        {
            assert_eq!(Size::parse(text), Some(Size(bytes)), "{text}");
        }
        for text in ["", "3", "GB", "3G", "-3GB", "0GB", "0.1B", "1e99GB", "infGB", "NaNGB", "3 GB more", "1.2.3GB"] {
            assert_eq!(Size::parse(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_shown_with_three_digits() {
        for (bytes, text) in [
            (999, "999 B"),
            (1_311_000_000, "1.31 GB"),
            (812_400_000, "812 MB"),
            (45_670_000, "45.7 MB"),
            (12_345_678_901, "12.3 GB"),
            (1_500, "1.50 kB"),
        ] {
            assert_eq!(Size(bytes).to_string(), text);
        }
    }
}
