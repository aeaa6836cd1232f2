//! The rules that field values obey, each in one place.

use super::{ArtifactError, FileIdentity, limits};

/// Refuses unless `holds`; `found` is only built for the refusal.
pub(crate) fn require(
    member: &'static str,
    field: &str,
    holds: bool,
    found: impl FnOnce() -> String,
    expected: &'static str,
) -> Result<(), ArtifactError> {
    if holds {
        return Ok(());
    }
    Err(ArtifactError::Field { member, field: field.to_owned(), found: found(), expected })
}

/// The format mark of a member.
pub(crate) fn format(member: &'static str, found: &str, expected: &'static str) -> Result<(), ArtifactError> {
    let quoted = || format!("{found:?}");
    require(member, "format", found == expected, quoted, expected)
}

/// A part of a file name: ASCII letters, digits, `.`, `_`, `-`, `+`; starts with a letter or digit.
pub(crate) fn name(member: &'static str, field: &str, found: &str, len_max_bytes: usize) -> Result<(), ArtifactError> {
    let starts = found.starts_with(|first: char| first.is_ascii_alphanumeric());
    let holds = starts
        && found.len() <= len_max_bytes
        && found.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-+".contains(&byte));
    let expected = "letters, digits, '.', '_', '-', '+', starting with a letter or digit, not longer than allowed";
    require(member, field, holds, || format!("{found:?}"), expected)
}

/// A SHA-256 in hex.
pub(crate) fn sha256(member: &'static str, field: &str, found: &str) -> Result<(), ArtifactError> {
    let holds = is_hex(found, 64);
    require(member, field, holds, || format!("{found:?}"), "64 lower-case hex digits")
}

/// A repository and its revision, a full commit hash: a branch name would mean another model tomorrow.
pub(crate) fn repository(member: &'static str, field: &str, repo: &str, revision: &str) -> Result<(), ArtifactError> {
    let part = |part: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        !part.is_empty() && !part.starts_with('.') && part.bytes().all(allowed)
    };
    let holds = repo.len() <= limits::PATH_LEN_MAX_BYTES && repo.split('/').count() <= 2 && repo.split('/').all(part);
    let quoted = || format!("{repo:?}");
    require(member, &format!("{field}.repo"), holds, quoted, "OWNER/NAME or NAME")?;
    let holds = is_hex(revision, 40);
    let quoted = || format!("{revision:?}");
    require(member, &format!("{field}.revision"), holds, quoted, "40 lower-case hex digits")
}

/// The files of a model: at least one, sorted by path, none twice, no path leaving the repository.
pub(crate) fn files(member: &'static str, field: &str, files: &[FileIdentity]) -> Result<(), ArtifactError> {
    let name = format!("{field}.files");
    let count = || format!("{} files", files.len());
    require(member, &name, !files.is_empty(), count, "at least one file")?;
    let sorted = files.windows(2).all(|pair| match pair {
        [first, second] => first.path < second.path,
        _ => true,
    });
    require(member, &name, sorted, || "out of order".to_owned(), "files sorted by path, none twice")?;
    for file in files {
        let quoted = || format!("{:?}", file.path);
        require(member, &name, is_path(&file.path), quoted, "a relative path without '.' or '..' parts")?;
        sha256(member, &format!("{name}[{}].sha256", file.path), &file.sha256)?;
    }
    Ok(())
}

/// A decimal number in the one spelling: no exponent, no leading zeros, no `+`, no bare point.
pub(crate) fn decimal(member: &'static str, field: &str, found: &str) -> Result<(), ArtifactError> {
    let unsigned = found.strip_prefix('-').unwrap_or(found);
    let (whole, fraction) = match unsigned.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (unsigned, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let holds = found.len() <= 64
        && digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(|fraction| digits(fraction) && !fraction.ends_with('0'))
        && found != "-0";
    let expected = "a decimal number like 0.001, without exponent or needless zeros";
    require(member, field, holds, || format!("{found:?}"), expected)
}

/// A share of one in parts per million, spelled with six decimals.
pub(crate) fn share(member: &'static str, field: &str, found: &str) -> Result<u32, ArtifactError> {
    let value = ppm(found);
    let expected = "a share of one with six decimals, 0.000000 to 1.000000";
    require(member, field, value.is_some(), || format!("{found:?}"), expected)?;
    Ok(value.unwrap_or(0))
}

/// Parts per million from `0.917000`; `None` for any other spelling or a value above one.
pub fn ppm(text: &str) -> Option<u32> {
    let (whole, fraction) = text.split_once('.')?;
    let digits = fraction.len() == 6 && fraction.bytes().all(|byte| byte.is_ascii_digit());
    let fraction: u32 = digits.then(|| fraction.parse().ok()).flatten()?;
    match whole {
        "0" => Some(fraction),
        "1" if fraction == 0 => Some(1_000_000),
        _ => None,
    }
}

/// The short form for people: zeros at the end fall away, two decimals stay (`0.917`, `0.85`, `1.00`). Never rounds.
pub fn show_ppm(text: &str) -> &str {
    let short = text.trim_end_matches('0');
    let kept = text.find('.').map_or(text.len(), |point| point + 3);
    text.get(..short.len().max(kept)).unwrap_or(text)
}

pub(crate) fn is_hex(text: &str, digit_count: usize) -> bool {
    text.len() == digit_count && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A path that stays below its root on every system: relative, `/` only, no `.` or `..`, no control characters.
fn is_path(path: &str) -> bool {
    !path.is_empty()
        && path.len() <= limits::PATH_LEN_MAX_BYTES
        && !path.contains(['\\', ':'])
        && !path.chars().any(char::is_control)
        && path.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares() {
        assert_eq!(ppm("0.917000"), Some(917_000));
        assert_eq!(ppm("1.000000"), Some(1_000_000));
        for bad in ["1.000001", "0.917", "0.9170000", "00.917000", "-0.000000", "2.000000", ".500000", "0.+00000", "0"]
        {
            assert_eq!(ppm(bad), None, "{bad}");
        }
        for (long, short) in [
            ("0.917000", "0.917"),
            ("0.850000", "0.85"),
            ("1.000000", "1.00"),
            ("0.000000", "0.00"),
            ("0.916667", "0.916667"),
        ] {
            assert_eq!(show_ppm(long), short);
        }
    }

    #[test]
    fn decimals() {
        for good in ["0", "0.001", "12", "-0.5", "0.9999"] {
            assert!(decimal("x", "y", good).is_ok(), "{good}");
        }
        for bad in ["", "-", "-0", "01", "1.", ".5", "1e3", "+1", "1.0", "0.10", "NaN", "1 "] {
            assert!(decimal("x", "y", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths() {
        for good in ["model.safetensors", "1_Pooling/config.json"] {
            assert!(is_path(good), "{good}");
        }
        for bad in ["", "/etc/passwd", "../x", "a/../b", "a//b", "a/", "./a", "C:\\x", "a\\b", "a\nb"] {
            assert!(!is_path(bad), "{bad}");
        }
    }
}
