//! Eight words for the first 88 bits of a root: short enough for a paper logbook, long enough that no other log has them.
//!
//! The list is BIP-39's English one: 2048 words, 11 bits each, told apart by their first four letters.

use std::fmt;
use std::str::FromStr;

use bip39::Language;

use super::super::merkle::Hash;
use crate::artifact::ArtifactError;

/// Eight words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words([u16; 8]);

impl Words {
    pub(super) fn of(root: &Hash) -> Self {
        let (first, _) = root.split_first_chunk::<16>().unwrap_or((&[0; 16], &[]));
        let bits = u128::from_be_bytes(*first);
        // Word n is bits 11 n to 11 n + 10 from the top; 2047 fits every integer type.
        Self([117, 106, 95, 84, 73, 62, 51, 40].map(|shift| u16::try_from(bits >> shift & 2047).unwrap_or(0)))
    }
}

impl fmt::Display for Words {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = Language::English.word_list();
        let words: Vec<&str> = self.0.iter().filter_map(|&index| list.get(usize::from(index)).copied()).collect();
        formatter.write_str(&words.join(" "))
    }
}

impl FromStr for Words {
    type Err = ArtifactError;

    /// Reads eight words in any case, with any white space, commas or hyphens between them.
    fn from_str(text: &str) -> Result<Self, ArtifactError> {
        let fault = |fault: String| ArtifactError::AuditWords { fault };
        let lower = text.to_lowercase();
        let typed: Vec<&str> = lower.split([' ', '\t', '\n', ',', '-']).filter(|word| !word.is_empty()).collect();
        let mut indices = Vec::new();
        for word in &typed {
            let index = Language::English.find_word(word);
            indices.push(index.ok_or_else(|| fault(format!("{word:?} is not on the list of words")))?);
        }
        let count = typed.len();
        indices.try_into().map(Self).map_err(|_| fault(format!("{count} words, expected eight")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        assert_eq!(Words::of(&[0; 32]).to_string(), ["abandon"; 8].join(" "));
        assert_eq!(Words::of(&[0xff; 32]).to_string(), ["zoo"; 8].join(" "));
        let root: Hash = std::array::from_fn(|at| (at * 37 + 11) as u8);
        let words = Words::of(&root);
        assert_eq!(words.to_string().to_uppercase().replace(' ', " , ").parse::<Words>().unwrap(), words);
        for at in 0..88 {
            let mut other = root;
            other[at / 8] ^= 0x80 >> (at % 8);
            assert_ne!(Words::of(&other), words, "bit {at}");
        }
    }

    #[test]
    fn refusals() {
        for bad in ["", "abandon", &["zoo"; 9].join(" "), "zoo zoo zoo zoo zoo zoo zoo kolm"] {
            assert_eq!(bad.parse::<Words>().unwrap_err().code(), "audit_words", "{bad}");
        }
    }
}
