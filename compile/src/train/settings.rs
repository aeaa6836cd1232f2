//! What a training run is asked to do, and what it says on the way.

use serde::{Deserialize, Serialize};

/// Everything that decides a run's bytes, and two numbers that do not (`micro_batch`, `recompute`).
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Seed of every stream.
    pub seed: u64,
    /// Optimiser steps.
    pub steps: u64,
    /// Examples per step.
    pub batch_size: usize,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Steps over which the learning rate rises from 0.
    pub warmup_steps: u64,
    /// What the learning rate does after the warm-up.
    pub schedule: Schedule,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the denominator.
    pub epsilon: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Largest global gradient norm; 0 turns clipping off.
    pub clip_norm: f64,
    /// In which order the examples are taken.
    pub order: Order,
    /// Hash gradient and parameters into the trace every so many steps (and at the last one).
    pub trace_every: u64,
    /// Examples in flight at once; 0 means the whole batch. Never changes bits.
    pub micro_batch: usize,
    /// Compute each block's activations again in the backward pass instead of keeping them. Never changes bits.
    pub recompute: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            seed: 0,
            steps: 100,
            batch_size: 8,
            learning_rate: 1e-3,
            warmup_steps: 0,
            schedule: Schedule::Linear,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.01,
            clip_norm: 1.0,
            order: Order::Shuffled,
            trace_every: 1,
            micro_batch: 0,
            recompute: false,
        }
    }
}

impl Settings {
    /// Names every setting that decides bytes, for the fingerprint of a checkpoint.
    pub(crate) fn canonical(&self) -> String {
        let bits = |value: f64| format!("{:016x}", value.to_bits());
        format!(
            "seed={} steps={} batch_size={} learning_rate={} warmup_steps={} schedule={:?} beta1={} beta2={} epsilon={} \
             weight_decay={} clip_norm={} order={:?} trace_every={}",
            self.seed,
            self.steps,
            self.batch_size,
            bits(self.learning_rate),
            self.warmup_steps,
            self.schedule,
            bits(self.beta1),
            bits(self.beta2),
            bits(self.epsilon),
            bits(self.weight_decay),
            bits(self.clip_norm),
            self.order,
            self.trace_every,
        )
    }
}

/// The learning rate after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Falls to 0 at the last step.
    Linear,
    /// Stays.
    Constant,
}

/// The order of the examples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// A new permutation each epoch, from `stream(seed, "train.order", epoch)`.
    Shuffled,
    /// As given, again and again.
    Sequential,
}

/// One training example: a prompt's tokens followed by what is to be learned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// Prompt, completion and end token.
    pub tokens: Vec<u32>,
    /// Index of the first learned token, at least 1: `tokens[loss_from..]` are learned, the end token included.
    pub loss_from: usize,
}

/// What one step says to whoever watches.
#[derive(Clone, Copy, Debug)]
pub struct StepReport {
    /// Steps done, this one included.
    pub step: u64,
    /// Steps in all.
    pub steps: u64,
    /// Mean loss over the step's learned tokens.
    pub loss: f32,
    /// Global gradient norm before clipping.
    pub gradient_norm: f64,
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// Tokens that went through the model.
    pub tokens: u64,
}

/// One line of `training/trace.jsonl`: enough to find the first step at which two runs part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceLine {
    /// Steps done, this one included.
    pub step: u64,
    /// Bits of the mean loss as 8 hex digits.
    pub loss: String,
    /// SHA-256 of the step's gradient: the tree's sum, before division and clipping.
    pub gradient_sha256: String,
    /// SHA-256 of the parameters after the step.
    pub parameters_sha256: String,
}
