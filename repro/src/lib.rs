//! The harness: rebuilds, compares, and owns `golden/`.
#![forbid(unsafe_code)]

pub mod golden;
pub mod matrix;
