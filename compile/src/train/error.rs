//! What can stop a training run.

use std::path::PathBuf;

use thiserror::Error;

/// Why training stopped.
#[derive(Debug, Error)]
pub enum TrainError {
    /// There is nothing to learn from.
    #[error("no training example")]
    NoExamples,
    /// A setting is outside its range.
    #[error("training setting {name} is {found}, expected {expected}")]
    Setting {
        /// Name of the setting.
        name: &'static str,
        /// What was given.
        found: String,
        /// What it must be.
        expected: &'static str,
    },
    /// An example cannot be learned.
    #[error("training example {example}: {reason}")]
    Example {
        /// Index in the list of examples.
        example: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// The loss or the gradient left the finite numbers.
    #[error("step {step}: {what} is not finite")]
    NotFinite {
        /// The step, counted from 1.
        step: u64,
        /// `loss`, or `gradient of` a tensor.
        what: String,
    },
    /// What a step computed could not be kept.
    #[error("recorded step: {0}")]
    Record(std::io::Error),
    /// The base's weights could not be read.
    #[error(transparent)]
    Model(#[from] kolm_runtime::model::ModelError),
    /// The tape refused an operation.
    #[error("tape: {0}")]
    Tape(#[from] candle_core::Error),
    /// The adapter does not fit the base.
    #[error("adapter: {reason}")]
    Adapter {
        /// What does not fit.
        reason: String,
    },
    /// A checkpoint could not be read or written.
    #[error("checkpoint {}: {source}", path.display())]
    CheckpointIo {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A checkpoint's bytes are damaged.
    #[error("checkpoint {}: {reason}", path.display())]
    CheckpointDamaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A checkpoint belongs to another run.
    #[error("checkpoint {} belongs to another run: its settings and inputs have fingerprint {found}, this run has {expected}", path.display())]
    CheckpointForeign {
        /// The file.
        path: PathBuf,
        /// Fingerprint in the file.
        found: String,
        /// Fingerprint of this run.
        expected: String,
    },
}
