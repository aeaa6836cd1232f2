//! Canonical JSON lines: each line one RFC 8785 object and one line feed; what decodes re-encodes to the same bytes.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{EvalError, limits};

/// Writes one line.
pub(super) fn write<T: Serialize>(bytes: &mut Vec<u8>, value: &T) -> Result<(), EvalError> {
    let line = serde_jcs::to_vec(value).map_err(|error| EvalError::Encode { detail: error.to_string() })?;
    bytes.extend_from_slice(&line);
    bytes.push(b'\n');
    Ok(())
}

/// Splits a member into its lines, each with its number from 1; every line, the last one too, ends in a line feed.
pub(super) fn split<'a>(
    member: &'static str,
    bytes: &'a [u8],
) -> Result<impl Iterator<Item = (usize, &'a [u8])>, EvalError> {
    if bytes.len() > limits::MEMBER_LEN_BYTES {
        return Err(EvalError::TooLarge { what: member, found: bytes.len(), limit: limits::MEMBER_LEN_BYTES });
    }
    let body = match bytes.split_last() {
        None => return Err(EvalError::EmptyPack),
        Some((b'\n', body)) => body,
        Some(_) => return Err(EvalError::TornLine { member }),
    };
    Ok(body.split(|byte| *byte == b'\n').enumerate().map(|(row, line)| (row + 1, line)))
}

/// Reads one line and demands the bytes that [`write()`] would have written.
pub(super) fn read<T: Serialize + DeserializeOwned>(
    member: &'static str,
    line: usize,
    bytes: &[u8],
) -> Result<T, EvalError> {
    if bytes.len() > limits::LINE_LEN_BYTES {
        return Err(EvalError::TooLarge { what: "line", found: bytes.len(), limit: limits::LINE_LEN_BYTES });
    }
    let value = serde_json::from_slice(bytes).map_err(|error| EvalError::Malformed {
        member,
        line,
        detail: error.to_string(),
    })?;
    let mut canonical = Vec::with_capacity(bytes.len() + 1);
    write(&mut canonical, &value)?;
    if canonical.split_last().is_some_and(|(_, body)| body == bytes) {
        Ok(value)
    } else {
        Err(EvalError::NotCanonical { member, line })
    }
}
