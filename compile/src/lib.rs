//! The connected side of kolm: job and corpus in, one signed artifact out.
//!
//! Adds to `kolm_runtime` what needs a corpus, a backward pass or a network. It owns no format and no forward mathematics.
#![forbid(unsafe_code)]

pub mod airgap;
pub mod bpe;
pub mod cli;
pub mod corpus;
pub mod diff;
pub mod gate;
pub mod generate;
pub mod job;
pub mod network;
pub mod pipeline;
pub mod quantize;
pub mod refresh;
pub mod train;
