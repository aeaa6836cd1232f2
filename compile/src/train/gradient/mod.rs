//! Backward passes, written by hand beside runtime's forward functions.
//!
//! Each function here takes what its forward saved and the gradient of its result, and gives the gradients of what it read. Products go
//! through runtime's product contract, rows through its reductions, so the bits are as fixed as the forward's: NUMERICS.md, "Training",
//! clause T4, has one paragraph per function. Frozen weights get no gradient.
//!
//! In this module `T` is tokens of one example, `C` hidden size, `H` heads, `D` head size.
#![allow(clippy::too_many_arguments, reason = "a backward pass takes everything its forward saved")]

pub(crate) mod activation;
pub(crate) mod attention;
pub(crate) mod block;
pub(crate) mod encoder;
pub(crate) mod head;
pub(crate) mod linear;
pub(crate) mod norm;
