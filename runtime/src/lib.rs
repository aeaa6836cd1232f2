//! The bounded side of kolm: reads, verifies, serves and replays artifacts.
//!
//! Forward mathematics, formats and grading exist once, here. This crate never opens a socket, holds no `unsafe` code,
//! and depends on pure Rust only.
#![forbid(unsafe_code)]

pub mod artifact;
pub mod bundle;
pub mod eval;
pub mod inspect;
pub mod kernel;
pub mod model;
pub mod recall;
pub mod selftest;
pub mod verify;
