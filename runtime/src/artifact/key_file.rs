//! The text of a key file: the key in hex, and a checksum line that tells a mistyped or cut key from another key.
//!
//! Files of the first line alone are read too. Refusals say what is wrong with the text and never show any of it.

use zeroize::Zeroizing;

use super::hash::{from_hex, hex};
use super::{ArtifactError, OperatorKey};

/// The two lines.
pub(super) fn encode(key: &OperatorKey) -> Zeroizing<Vec<u8>> {
    let digits = Zeroizing::new(hex(key.bytes()));
    Zeroizing::new(format!("{}\n{CHECKSUM}{}\n", digits.as_str(), key.checksum()).into_bytes())
}

/// The key that `text` spells; `source_name` names it in refusals.
pub(super) fn decode(text: &[u8], source_name: &str) -> Result<OperatorKey, ArtifactError> {
    let format = |found: String| ArtifactError::KeyFormat { source_name: source_name.to_owned(), found };
    let checksum = |found: String| ArtifactError::KeyChecksum { source_name: source_name.to_owned(), found };
    let line = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let key = parse_digits(line);
    let rest = text.get(line.len()..).unwrap_or_default();
    let is_hex = !line.is_empty() && line.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let Some(rest) = rest.strip_prefix(b"\n") else {
        return Err(match is_hex {
            true => checksum(format!("it ends after {} hex digits", line.len())),
            false => format(format!("{} bytes without a line feed at the end", text.len())),
        });
    };
    if rest.is_empty() {
        return key.ok_or_else(|| match is_hex {
            true => checksum(format!("{} hex digits and no checksum line", line.len())),
            false => format("something else than lower-case hex digits".to_owned()),
        });
    }
    let label = CHECKSUM.as_bytes();
    let is_checksum = rest.starts_with(label) || (rest != b"\n" && label.starts_with(rest));
    if !is_checksum {
        return Err(format("a second line that is no checksum line".to_owned()));
    }
    let key = key.ok_or_else(|| {
        checksum(format!("its first line is {} bytes long or not hex, 64 hex digits expected", line.len()))
    })?;
    let stated = rest.strip_prefix(label).and_then(|rest| rest.strip_suffix(b"\n"));
    match stated {
        Some(stated) if stated == key.checksum().as_bytes() => Ok(key),
        Some(stated) if stated.len() == 8 => {
            Err(checksum("its digits and its checksum line do not belong together".to_owned()))
        }
        _ => Err(checksum(format!("its checksum line is {} bytes long, 18 expected", rest.len()))),
    }
}

fn parse_digits(digits: &[u8]) -> Option<OperatorKey> {
    let bytes = std::str::from_utf8(digits).ok().and_then(from_hex).map(Zeroizing::new)?;
    let bytes: [u8; 32] = bytes.as_slice().try_into().ok()?;
    Some(OperatorKey::from_bytes(bytes))
}

const CHECKSUM: &str = "checksum ";
