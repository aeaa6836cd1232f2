//! Models against outside oracles, against themselves cut another way, and against bad input.
#![allow(clippy::disallowed_methods)] // tests find outside data through the environment

mod bad_input;
mod embedding;
mod equal_bits;
mod fixtures;
mod gguf;
mod oracle;
mod tokenizer;
