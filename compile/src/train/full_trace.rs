//! The full trace: each line of `training/trace.jsonl`, and beside it what every block computed in that step, as digests.
//!
//! It is no member of the artifact, so that asking for it changes no byte of one. Two machines that part can compare their full traces
//! and name the block without running anything again. A digest of a block is the SHA-256 over the digests of the batch's examples, in
//! their order, each of f32 values, little-endian.

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::engine::Watcher;
use super::parameters::hex;
use super::record::{Detail, OUTPUT, OUTPUT_GRADIENT, PARAMETER_GRADIENT, Recorded, Values};
use super::settings::{StepReport, TraceLine};

/// One line of a full trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FullTraceLine {
    /// Block by block, from the first.
    pub blocks: Vec<BlockTrace>,
    /// As in `training/trace.jsonl`.
    pub gradient_sha256: String,
    /// As in `training/trace.jsonl`.
    pub loss: String,
    /// As in `training/trace.jsonl`.
    pub parameters_sha256: String,
    /// As in `training/trace.jsonl`.
    pub step: u64,
}

/// What one block computed in one step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockTrace {
    /// Of the gradient of the hidden states that it gave.
    pub hidden_gradient_sha256: String,
    /// Of the hidden states that it gave.
    pub hidden_sha256: String,
    /// Of the gradient of its parameters.
    pub parameter_gradient_sha256: String,
}

impl FullTraceLine {
    /// The line of `training/trace.jsonl`.
    pub fn line(&self) -> TraceLine {
        TraceLine {
            step: self.step,
            loss: self.loss.clone(),
            gradient_sha256: self.gradient_sha256.clone(),
            parameters_sha256: self.parameters_sha256.clone(),
        }
    }
}

/// Collects a full trace, and passes on the steps to whoever shows them.
pub struct FullTrace<'a> {
    lines: Vec<FullTraceLine>,
    blocks: Vec<[Sha256; 3]>,
    shown: &'a mut dyn FnMut(&StepReport),
}

impl<'a> FullTrace<'a> {
    /// Collects the trace of a decoder of `layers` blocks.
    pub fn new(layers: usize, shown: &'a mut dyn FnMut(&StepReport)) -> Self {
        Self { lines: Vec::new(), blocks: vec![Default::default(); layers], shown }
    }

    /// Everything collected.
    pub fn lines(self) -> Vec<FullTraceLine> {
        self.lines
    }
}

impl Watcher for FullTrace<'_> {
    fn step(&mut self, report: &StepReport) {
        (self.shown)(report);
    }

    fn detail(&self, _: u64) -> Option<Detail> {
        Some(Detail::Blocks)
    }

    fn record(&mut self, recorded: Vec<Recorded>) -> std::io::Result<()> {
        for Recorded { place, values } in recorded {
            let kind = [OUTPUT, OUTPUT_GRADIENT, PARAMETER_GRADIENT].iter().position(|name| *name == place.tensor);
            if let (Some(block), Some(kind), Values::Sha256(digest)) = (place.block, kind, values) {
                self.blocks[block][kind].update(digest);
            }
        }
        Ok(())
    }

    fn traced(&mut self, line: &TraceLine) -> std::io::Result<ControlFlow<()>> {
        let blocks = self.blocks.iter_mut().map(|hashers| {
            let [hidden, gradient, parameters] = hashers.each_mut().map(|hasher| hex(&hasher.finalize_reset()));
            BlockTrace {
                hidden_sha256: hidden,
                hidden_gradient_sha256: gradient,
                parameter_gradient_sha256: parameters,
            }
        });
        self.lines.push(FullTraceLine {
            blocks: blocks.collect(),
            gradient_sha256: line.gradient_sha256.clone(),
            loss: line.loss.clone(),
            parameters_sha256: line.parameters_sha256.clone(),
            step: line.step,
        });
        Ok(ControlFlow::Continue(()))
    }
}
