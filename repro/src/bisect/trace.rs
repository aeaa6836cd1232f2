//! Traces, and the first step at which two of them part.
//!
//! A trace comes from an artifact, from a file with its lines (`training/trace.jsonl`), or from a full trace, which also says what each
//! block computed. Two traces are compared by walking down their Merkle trees: a pair of digests for each level.

use std::path::Path;

use kolm_compile::diff::tree::{self, Change};
use kolm_compile::train::{BlockTrace, FullTraceLine, TraceLine};
use kolm_runtime::artifact::{ArtifactError, MerkleTree, canonical};
use serde::Serialize;

use super::error::BisectError;

/// The lines of a trace.
#[derive(Clone, Debug)]
pub struct Trace {
    /// One line a step.
    pub lines: Vec<TraceLine>,
    /// What the blocks computed, of a full trace.
    blocks: Option<Vec<Vec<BlockTrace>>>,
    tree: MerkleTree,
}

/// Where two traces part.
#[derive(Clone, Debug, Serialize)]
pub struct TraceParting {
    /// Steps of `a` and of `b`.
    pub steps: [usize; 2],
    /// The first step that differs, from 1; none if no common one does.
    pub first_step: Option<u64>,
    /// Digests of each tree that were read to find it.
    pub digests_read: usize,
    /// What differs in that step's lines.
    pub fields: Vec<Change>,
    /// The first block that differs in that step, where both traces are full.
    pub block: Option<BlockParting>,
}

/// The first block of a step that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BlockParting {
    /// Block, from 0.
    pub block: usize,
    /// `hidden states out`, `gradient of hidden states out`, or `gradient of the block's parameters`.
    pub tensor: &'static str,
}

impl Trace {
    /// A trace of lines that were just made or read.
    ///
    /// # Errors
    /// [`BisectError::Artifact`] for a line that has no canonical form; none has.
    pub fn of_lines(lines: Vec<TraceLine>) -> Result<Self, BisectError> {
        Self::new(lines, None)
    }

    /// Reads a trace or a full trace from its bytes.
    ///
    /// # Errors
    /// [`BisectError::Trace`] with the line at fault.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, BisectError> {
        let (mut lines, mut blocks) = (Vec::new(), Vec::new());
        for (row, line) in bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).enumerate() {
            let wrong = |detail: String| BisectError::Trace { path: path.to_owned(), line: row + 1, detail };
            let parsed = match serde_json::from_slice::<FullTraceLine>(line) {
                Ok(full) => {
                    blocks.push(full.blocks.clone());
                    full.line()
                }
                Err(_) => serde_json::from_slice(line).map_err(|error| wrong(error.to_string()))?,
            };
            if parsed.step != row as u64 + 1 {
                return Err(wrong(format!("step {}, expected {}", parsed.step, row + 1)));
            }
            lines.push(parsed);
        }
        if lines.is_empty() {
            let detail = "no line, expected one for each step".to_owned();
            return Err(BisectError::Trace { path: path.to_owned(), line: 1, detail });
        }
        let blocks = (blocks.len() == lines.len()).then_some(blocks);
        Self::new(lines, blocks)
    }

    /// Reads a trace file.
    ///
    /// # Errors
    /// [`BisectError::Artifact`] when it cannot be read, [`BisectError::Trace`].
    pub fn read(path: &Path) -> Result<Self, BisectError> {
        let read = std::fs::read(path);
        let bytes = read.map_err(|source| ArtifactError::Io { action: "read", path: path.to_owned(), source })?;
        Self::parse(path, &bytes)
    }

    fn new(lines: Vec<TraceLine>, blocks: Option<Vec<Vec<BlockTrace>>>) -> Result<Self, BisectError> {
        let texts = lines.iter().map(canonical).collect::<Result<Vec<_>, _>>()?;
        let tree = MerkleTree::of_lines(texts.iter().map(Vec::as_slice));
        Ok(Self { lines, blocks, tree })
    }

    /// Finds the first step that differs.
    pub fn parting(&self, other: &Self) -> TraceParting {
        let found = self.tree.parting(&other.tree);
        let line = |trace: &Self, row: usize| serde_json::to_value(&trace.lines[row]).unwrap_or_default();
        TraceParting {
            steps: [self.lines.len(), other.lines.len()],
            first_step: found.line.map(|row| self.lines[row].step),
            digests_read: found.digests_read,
            fields: found.line.map(|row| tree::changes(&line(self, row), &line(other, row))).unwrap_or_default(),
            block: found.line.and_then(|row| self.first_block(other, row)),
        }
    }

    /// Forward from the first block, then backward from the last.
    fn first_block(&self, other: &Self, row: usize) -> Option<BlockParting> {
        let (a, b) = (self.blocks.as_ref()?.get(row)?, other.blocks.as_ref()?.get(row)?);
        let pairs = || a.iter().zip(b).enumerate();
        let forward = pairs()
            .find(|(_, (a, b))| a.hidden_sha256 != b.hidden_sha256)
            .map(|(block, _)| BlockParting { block, tensor: "hidden states out" });
        let backward = || {
            pairs().rev().find_map(|(block, (a, b))| {
                let tensor = if a.hidden_gradient_sha256 != b.hidden_gradient_sha256 {
                    "gradient of hidden states out"
                } else if a.parameter_gradient_sha256 != b.parameter_gradient_sha256 {
                    "gradient of the block's parameters"
                } else {
                    return None;
                };
                Some(BlockParting { block, tensor })
            })
        };
        forward.or_else(backward)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(step: u64, hidden: [&str; 2], gradient: [&str; 2]) -> String {
        let block = |row: usize| {
            format!(
                r#"{{"hidden_gradient_sha256":"{}","hidden_sha256":"{}","parameter_gradient_sha256":"p"}}"#,
                gradient[row], hidden[row]
            )
        };
        let (sum, blocks) = (format!("{hidden:?}{gradient:?}").replace('"', ""), format!("{},{}", block(0), block(1)));
        format!(
            r#"{{"blocks":[{blocks}],"gradient_sha256":"{sum}","loss":"3f800000","parameters_sha256":"q","step":{step}}}"#
        )
    }

    fn parse(lines: &[String]) -> Result<Trace, BisectError> {
        Trace::parse(Path::new("t"), lines.join("\n").as_bytes())
    }

    #[test]
    fn full_traces_name_step_and_block() {
        let same = full(1, ["a", "b"], ["c", "d"]);
        let a = parse(&[same.clone(), full(2, ["a", "b"], ["c", "d"])]).expect("parses");
        let check = |line: String, expected: (usize, &str)| {
            let found = a.parting(&parse(&[same.clone(), line]).expect("parses"));
            assert_eq!(found.first_step, Some(2));
            let block = found.block.expect("full");
            assert_eq!((block.block, block.tensor), expected);
        };
        check(full(2, ["a", "x"], ["y", "y"]), (1, "hidden states out"));
        check(full(2, ["a", "b"], ["y", "y"]), (1, "gradient of hidden states out"));
        check(full(2, ["a", "b"], ["y", "d"]), (0, "gradient of hidden states out"));
        assert_eq!(a.parting(&a).first_step, None);
    }

    #[test]
    fn what_is_no_trace_is_refused_by_line() {
        let line = full(1, ["a", "b"], ["c", "d"]);
        for (lines, expected) in [
            (vec![], "line 1: no line"),
            (vec!["{}".to_owned()], "line 1"),
            (vec![line.clone(), line.clone()], "line 2: step 1, expected 2"),
        ] {
            let error = parse(&lines).expect_err("no trace").to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
