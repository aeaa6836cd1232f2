//! The content identifier: one name for the content, whoever compiled it, when and where.

use std::collections::BTreeMap;

use super::{ArtifactError, canonical, sha256_hex};

/// `cidv1:sha256:` and the hex SHA-256 of the canonical JSON of `hashes` (member path to hex SHA-256).
///
/// # Errors
/// `JsonUnsupported` never occurs for a map of strings; it is passed on all the same.
pub fn cid(hashes: &BTreeMap<String, String>) -> Result<String, ArtifactError> {
    Ok(format!("{PREFIX}{}", sha256_hex(&canonical(hashes)?)))
}

/// What every CID of this version starts with.
pub(crate) const PREFIX: &str = "cidv1:sha256:";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_map() {
        // sha256("{}")
        let expected = "cidv1:sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
        assert_eq!(cid(&BTreeMap::new()).unwrap(), expected);
    }
}
