//! The harness: rebuilds, compares, and owns `golden/`.
#![forbid(unsafe_code)]

pub mod agreement;
pub mod bisect;
pub mod cli;
pub mod golden;
pub mod machine;
pub mod matrix;
pub mod rebuild;
pub mod statement;
