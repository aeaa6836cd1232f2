//! Limits on what a recall index may claim.

/// Most passages: with 384 numbers each, 3.2 GB of int8 vectors.
pub const PASSAGE_COUNT: usize = 1 << 23;
/// Most passages that are searched exactly where a job leaves the choice: 1.6 GB of f32 vectors, in well under a second.
pub const EXACT_COUNT: usize = 1 << 20;
/// Most lists: some hundred passages each at the most passages.
pub const LISTS: usize = 1 << 16;
/// Widest vector; the largest sentence encoders in use give 4 096.
pub const DIMENSION: usize = 8192;
/// Longest text and answer of a passage together; a line of `recall/passages.jsonl`, with its escapes, may be twice as long.
pub const LINE_LEN_BYTES: usize = 1 << 20;
/// Longest passage id.
pub const ID_LEN_BYTES: usize = 256;
/// Most passages one search gives.
pub const NEAREST: usize = 256;
/// How far a stored vector's squared length may be from one: f32 normalisation of 8 192 numbers errs by less than 10⁻⁵.
pub const UNIT_TOLERANCE: f32 = 1e-4;
/// The same of a vector rounded to f16: its numbers move by 2⁻¹¹ of themselves at most, its squared length by 2⁻¹⁰.
pub const HALF_TOLERANCE: f32 = 1.1e-3;
/// Greatest magnitude among a vector's integers: that of the number which the scale is made of.
pub const GREATEST_INTEGER: u8 = 127;
