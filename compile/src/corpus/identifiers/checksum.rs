//! Checksums that tell an identifier from any other number of its length.

/// Whether the decimal digits of `text` pass Luhn's check (ISO/IEC 7812-1); other characters are skipped.
pub(super) fn luhn(text: &str) -> bool {
    let digits: Vec<u32> = text.chars().filter_map(|letter| letter.to_digit(10)).collect();
    let doubled = |digit: u32| if digit > 4 { digit * 2 - 9 } else { digit * 2 };
    let terms =
        digits.iter().rev().enumerate().map(|(place, digit)| if place % 2 == 1 { doubled(*digit) } else { *digit });
    digits.len() > 1 && terms.fold(0, |total, term| (total + term) % 10) == 0
}

/// Whether `text` (spaces skipped) passes the check of ISO 13616: moved, letters as 10 to 35, remainder 1 modulo 97.
pub(super) fn iban(text: &str) -> bool {
    let letters: Vec<char> = text.chars().filter(|letter| *letter != ' ').collect();
    if !(15..=34).contains(&letters.len()) {
        return false;
    }
    let remainder = letters[4..].iter().chain(&letters[..4]).try_fold(0u32, |remainder, letter| {
        let value = letter.to_digit(36)?;
        Some(if value < 10 { (remainder * 10 + value) % 97 } else { (remainder * 100 + value) % 97 })
    });
    remainder == Some(1)
}

/// Whether `text` of 17 letters and digits has the check digit of 49 CFR 565.15.
pub(super) fn vin(text: &str) -> bool {
    const WEIGHTS: [u32; 17] = [8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2];
    let value = |letter: char| match letter {
        '0'..='9' => letter.to_digit(10),
        'A'..='H' => Some(letter as u32 - 'A' as u32 + 1),
        'J'..='N' => Some(letter as u32 - 'J' as u32 + 1),
        'P' => Some(7),
        'R' => Some(9),
        'S'..='Z' => Some(letter as u32 - 'S' as u32 + 2),
        _ => None,
    };
    let letters: Vec<char> = text.chars().map(|letter| letter.to_ascii_uppercase()).collect();
    let total =
        letters.iter().zip(WEIGHTS).try_fold(0, |total, (letter, weight)| Some(total + value(*letter)? * weight));
    let check = |remainder: u32| if remainder == 10 { Some('X') } else { char::from_digit(remainder, 10) };
    letters.len() == 17 && total.is_some_and(|total| check(total % 11) == Some(letters[8]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_examples_pass_and_one_wrong_digit_fails() {
        for (check, right, wrong) in [
            (luhn as fn(&str) -> bool, "4111 1111 1111 1111", "4111 1111 1111 1112"),
            (luhn, "79927398713", "79927398710"),
            (iban, "GB82 WEST 1234 5698 7654 32", "GB82 WEST 1234 5698 7654 33"),
            (iban, "de89370400440532013000", "de88370400440532013000"),
            (vin, "1M8GDM9AXKP042788", "1M8GDM9A1KP042788"),
            (vin, "11111111111111111", "11111111111111112"),
        ] {
            assert!(check(right), "{right}");
            assert!(!check(wrong), "{wrong}");
        }
        assert!(!luhn("") && !iban("GB") && !vin("1M8"));
    }
}
