//! The Merkle Tree Hash of RFC 6962, section 2.1: over the lines of the audit log, and over those of a training trace.
//!
//! `Frontier` takes leaves one by one and knows the root after each, in memory that grows with the logarithm of their number; [`MerkleTree`]
//! holds every node. A proof of inclusion is the roots of the ranges beside the way from leaf to root; `ranges` names them, and both making
//! and checking a proof follow it.

mod tree;

use sha2::{Digest, Sha256};

pub use tree::{MerkleTree, Parting};

pub(super) type Hash = [u8; 32];

/// Hash of one line.
pub(super) fn leaf(line: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(line).finalize().into()
}

fn node(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// The roots of the full subtrees that the leaves so far make up, largest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Frontier {
    subtrees: Vec<(u64, Hash)>,
}

impl Frontier {
    pub(super) fn push(&mut self, leaf: Hash) {
        let mut merged = (1, leaf);
        while let Some(&(count, left)) = self.subtrees.last().filter(|(count, _)| *count == merged.0) {
            self.subtrees.pop();
            merged = (count * 2, node(&left, &merged.1));
        }
        self.subtrees.push(merged);
    }

    /// The root; of no leaves it is the hash of nothing.
    pub(super) fn root(&self) -> Hash {
        let mut from_right = self.subtrees.iter().rev();
        let Some((_, last)) = from_right.next() else { return Sha256::digest(b"").into() };
        from_right.fold(*last, |right, (_, left)| node(left, &right))
    }
}

/// A range of leaves beside the way from a leaf to the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Beside {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) on_the_left: bool,
}

/// The ranges beside leaf `index` of `count`, from the leaf up; none if there is no such leaf.
pub(super) fn ranges(index: u64, count: u64) -> Option<Vec<Beside>> {
    if index >= count {
        return None;
    }
    let (mut start, mut end) = (0, count);
    let mut beside = Vec::new();
    while end - start > 1 {
        // The largest power of two below the number of leaves.
        let middle = start + (1 << (63 - (end - start - 1).leading_zeros()));
        if index < middle {
            beside.push(Beside { start: middle, end, on_the_left: false });
            end = middle;
        } else {
            beside.push(Beside { start, end: middle, on_the_left: true });
            start = middle;
        }
    }
    beside.reverse();
    Some(beside)
}

/// The root that `leaf` and the roots of the ranges beside it lead to; none if their number is wrong.
pub(super) fn climb(leaf: Hash, beside: &[Beside], path: &[Hash]) -> Option<Hash> {
    (beside.len() == path.len()).then(|| {
        beside.iter().zip(path).fold(leaf, |below, (range, other)| match range.on_the_left {
            true => node(other, &below),
            false => node(&below, other),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::hash::hex;
    use super::*;

    /// RFC 6962, section 2.1, word by word.
    fn tree_hash(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Sha256::digest(b"").into(),
            [leaf] => *leaf,
            _ => {
                let mut k = 1;
                while k * 2 < leaves.len() {
                    k *= 2;
                }
                node(&tree_hash(&leaves[..k]), &tree_hash(&leaves[k..]))
            }
        }
    }

    #[test]
    fn every_root_and_every_proof() {
        let leaves: Vec<Hash> = (0u8..70).map(|line| leaf(&[line])).collect();
        let mut frontier = Frontier::default();
        for count in 0..=leaves.len() {
            assert_eq!(frontier.root(), tree_hash(&leaves[..count]), "{count}");
            for index in 0..count {
                let beside = ranges(index as u64, count as u64).unwrap();
                let path: Vec<Hash> =
                    beside.iter().map(|range| tree_hash(&leaves[range.start as usize..range.end as usize])).collect();
                assert_eq!(climb(leaves[index], &beside, &path), Some(frontier.root()), "{index} of {count}");
                assert_eq!(climb(leaves[index], &beside, &[&path[..], &[[0; 32]]].concat()), None);
            }
            assert_eq!(ranges(count as u64, count as u64), None);
            if count < leaves.len() {
                frontier.push(leaves[count]);
            }
        }
    }

    /// The roots that RFC 6962's reference implementation gives for its eight test leaves.
    #[test]
    fn reference_roots() {
        let leaves: [&[u8]; 8] = [
            b"",
            &[0x00],
            &[0x10],
            &[0x20, 0x21],
            &[0x30, 0x31],
            &[0x40, 0x41, 0x42, 0x43],
            &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
            &[0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f],
        ];
        let mut frontier = Frontier::default();
        assert_eq!(hex(&frontier.root()), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        frontier.push(leaf(leaves[0]));
        assert_eq!(hex(&frontier.root()), "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
        leaves[1..].iter().for_each(|line| frontier.push(leaf(line)));
        assert_eq!(hex(&frontier.root()), "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328");
    }
}
