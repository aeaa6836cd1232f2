//! Changes a bundle's index, its seal and an install receipt, and makes the rest fit as chance has it: offsets and parts, then the MACs.

use kolm_runtime::artifact::canonical;
use kolm_runtime::bundle::{BundlePath, Index, InstallReceipt, Part, seal};
use serde_json::{Value, json};

use super::mutate::{Mutator, join, split};
use super::targets::key;

impl Mutator {
    pub(super) fn bundle(&mut self, input: &[u8]) -> Vec<u8> {
        let mut parts = split(input, 3);
        match self.below(8) {
            0 => parts[1] = self.bytes(std::mem::take(&mut parts[1]), &[input.to_vec()]),
            1 | 2 => {
                let changed = self.json(&parts[2]);
                parts[2] = if self.below(4) == 0 { changed } else { self.sealed_again(changed) };
            }
            _ => {
                let changed = self.json(&parts[0]);
                parts[0] = if self.below(2) == 0 { changed } else { fitted(changed) };
            }
        }
        if self.below(4) > 0 {
            parts[1] = seal(&parts[0], &key()).into_bytes();
        }
        join(&parts)
    }

    /// The receipt of a changed file under a MAC that matches it.
    fn sealed_again(&mut self, changed: Vec<u8>) -> Vec<u8> {
        let value = serde_json::from_slice::<Value>(&changed).unwrap_or_default();
        let receipt = serde_json::from_value::<InstallReceipt>(value["receipt"].clone());
        receipt.ok().and_then(|receipt| receipt.to_bytes(&key()).ok()).unwrap_or(changed)
    }
}

/// The index with the offsets and parts that its files ask for; as it is where there are none.
fn fitted(changed: Vec<u8>) -> Vec<u8> {
    let again = || {
        let value = serde_json::from_slice::<Value>(&changed).ok()?;
        let found = serde_json::from_value::<Index>(value.clone()).ok()?;
        let rows = found
            .files
            .iter()
            .map(|entry| Some((BundlePath::parse(&entry.path).ok()?, entry.sha256.clone(), entry.size)));
        let whole = Index::plan(rows.collect::<Option<Vec<_>>>()?, found.part_size, None).ok()?;
        let total = whole.contents().filter_map(|entry| entry.offset?.checked_add(entry.size)).max()?;
        if total / found.part_size > PARTS_MOST {
            return None;
        }
        let mut fitted = serde_json::to_value(with_parts(whole)).ok()?;
        fitted["since"] = value["since"].clone();
        canonical(&json!(fitted)).ok()
    };
    again().unwrap_or(changed)
}

/// A plan with parts of its stream's length, as if they had been written.
pub(super) fn with_parts(mut index: Index) -> Index {
    let total = index.contents().filter_map(|entry| entry.offset?.checked_add(entry.size)).max().unwrap_or(0);
    let mut left = total;
    while left > 0 {
        let size = left.min(index.part_size);
        let number = index.parts.len() + 1;
        let sha256 = format!("{number:064x}");
        index.parts.push(Part { name: format!("{number:04}-{}.part", &sha256[..16]), sha256, size });
        left -= size;
    }
    index
}

/// More would make the input longer than inputs are.
const PARTS_MOST: u64 = 1000;
