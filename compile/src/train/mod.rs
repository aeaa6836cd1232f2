//! Training: backward passes, tape, optimiser, checkpoints.
//!
//! The forward mathematics is runtime's; here stands what a gradient needs. The same examples, settings and starting point give the same
//! bytes on every machine: each example's gradient is computed alone, examples are added by a fixed tree, and nothing here reads the
//! clock, the environment or a global generator. NUMERICS.md, "Training", is the normative text.

mod adapter;
mod checkpoint;
#[cfg(test)]
mod checks;
mod engine;
mod error;
mod full_trace;
mod gradient;
mod memory;
mod optimizer;
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "an oracle in f64, compared within a tolerance")]
mod oracle;
mod parameters;
mod pretrain;
mod pretrain_encoder;
mod record;
mod settings;
mod step_record;
pub mod stream;
mod tape;
mod tree;

pub use adapter::{initial_adapter, train_adapter};
pub use checkpoint::CheckpointStore;
pub use engine::Watcher;
pub use error::TrainError;
pub use full_trace::{BlockTrace, FullTrace, FullTraceLine};
pub use memory::{
    AdapterMemory, ByStorage, base_len_bytes, example_len_bytes, gradients_held, in_flight, loss_head_len_bytes,
};
pub use pretrain::{Pretrained, packed_examples, pretrain_decoder};
pub use pretrain_encoder::{Passage, ProxyObjective, pretrain_encoder};
pub use record::{Detail, Place, Recorded, Values};
pub use settings::{Example, Order, Schedule, Settings, StepReport, TraceLine};
