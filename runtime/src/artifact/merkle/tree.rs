//! A Merkle tree with all its nodes, as over the lines of `training/trace.jsonl`.
//!
//! Two trees find their first line that differs by walking down from the root: a pair of digests for each level, whatever the number of
//! lines.

use super::super::hash::hex;
use super::{Frontier, Hash, leaf, node};

/// A tree with all its nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MerkleTree {
    /// Leaves first, then each level above; the last one is the root, or empty where there is no leaf.
    levels: Vec<Vec<Hash>>,
}

/// Where two trees part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parting {
    /// The first line that differs, from 0; none if no line of the shorter text does.
    pub line: Option<usize>,
    /// Digests of each tree that were compared on the way.
    pub digests_read: usize,
}

impl MerkleTree {
    /// Builds the tree over lines, each without its line feed.
    pub fn of_lines<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Self {
        Self::over(lines.into_iter().map(leaf).collect())
    }

    /// Builds the tree over the lines of a text in which every line ends in a line feed.
    pub fn of_text(text: &[u8]) -> Self {
        Self::of_lines(text.split_inclusive(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\n").unwrap_or(line)))
    }

    /// Number of lines.
    pub fn len(&self) -> usize {
        self.levels.first().map_or(0, Vec::len)
    }

    /// Whether there is no line.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Root in lower-case hex; of no lines the SHA-256 of nothing.
    pub fn root(&self) -> String {
        match self.levels.last().and_then(|top| top.first()) {
            Some(root) => hex(root),
            None => hex(&Frontier::default().root()),
        }
    }

    /// Finds the first line that differs. Trees of different sizes are compared over the lines both have.
    pub fn parting(&self, other: &Self) -> Parting {
        let common = self.len().min(other.len());
        if self.len() != other.len() {
            let (a, b) = (self.cut(common), other.cut(common));
            return a.parting(&b);
        }
        let at_level = |tree: &Self, level: usize, at: usize| tree.levels.get(level)?.get(at).copied();
        let top = self.levels.len().saturating_sub(1);
        let mut digests_read = 1;
        if at_level(self, top, 0) == at_level(other, top, 0) {
            return Parting { line: None, digests_read };
        }
        let mut at = 0_usize;
        for level in (0..top).rev() {
            at = at.saturating_mul(2);
            digests_read += 1;
            if at_level(self, level, at) == at_level(other, level, at) {
                at = at.saturating_add(1);
            }
        }
        Parting { line: Some(at), digests_read }
    }

    /// The tree over the first `count` lines.
    fn cut(&self, count: usize) -> Self {
        Self::over(self.levels.first().into_iter().flatten().take(count).copied().collect())
    }

    fn over(mut level: Vec<Hash>) -> Self {
        let mut levels = Vec::new();
        while level.len() > 1 {
            // A node without a sibling rises as it is, which is where RFC 6962 puts it.
            let above = level.chunks(2).map(|pair| match pair {
                [left, right] => node(left, right),
                _ => pair.first().copied().unwrap_or_default(),
            });
            let above = above.collect();
            levels.push(std::mem::replace(&mut level, above));
        }
        levels.push(level);
        Self { levels }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(count: usize) -> Vec<Vec<u8>> {
        (0..count).map(|line| format!("line {line}").into_bytes()).collect()
    }

    #[test]
    fn the_root_is_the_one_of_the_leaves_one_by_one() {
        for count in 0..70 {
            let lines = lines(count);
            let parts: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
            let tree = MerkleTree::of_lines(parts.iter().copied());
            let mut frontier = Frontier::default();
            parts.iter().for_each(|line| frontier.push(leaf(line)));
            assert_eq!(tree.root(), hex(&frontier.root()), "{count}");
            let text: Vec<u8> = parts.iter().flat_map(|line| [line, b"\n".as_slice()].concat()).collect();
            assert_eq!(MerkleTree::of_text(&text), tree);
        }
    }

    #[test]
    fn every_line_is_found_by_one_walk() {
        for count in [1, 2, 3, 7, 64, 65, 100] {
            let good = lines(count);
            let tree = MerkleTree::of_lines(good.iter().map(Vec::as_slice));
            assert_eq!(tree.parting(&tree).line, None);
            for line in 0..count {
                let mut bad = good.clone();
                for later in &mut bad[line..] {
                    later.push(b'!');
                }
                let found = tree.parting(&MerkleTree::of_lines(bad.iter().map(Vec::as_slice)));
                assert_eq!(found.line, Some(line), "{count}");
                assert!(found.digests_read <= 1 + count.next_power_of_two().ilog2() as usize, "{found:?}");
            }
        }
    }

    #[test]
    fn of_unequal_lengths_the_common_lines_are_compared() {
        let (short, long) = (lines(5), lines(9));
        let tree = |lines: &[Vec<u8>]| MerkleTree::of_lines(lines.iter().map(Vec::as_slice));
        assert_eq!(tree(&short).parting(&tree(&long)).line, None);
        let mut other = long.clone();
        other[3].push(b'!');
        assert_eq!(tree(&short).parting(&tree(&other)).line, Some(3));
    }
}
