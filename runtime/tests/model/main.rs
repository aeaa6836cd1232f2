//! Models against outside oracles, against themselves cut another way, and against bad input.

mod bad_input;
mod embedding;
mod equal_bits;
mod fixtures;
mod oracle;
mod tokenizer;
