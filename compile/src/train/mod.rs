//! Training: backward passes, tape, optimiser, checkpoints.
