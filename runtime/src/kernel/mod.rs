//! Kernels of numeric profile `num-1`: every result's bits are defined by an order of IEEE-754 operations (`NUMERICS.md`).
//!
//! A kernel takes a [`Level`], which chooses instructions and never bits; threads split work between whole outputs and
//! never inside a chain. Each kernel stands twice: here, and in [`mod@reference`] as a plain loop that reads like the formula;
//! the tests compare them by bits. Shapes are checked by assertion: a wrong shape is a fault of the caller, never of the data.
//! No kernel reads a clock, the environment (but `KOLM_SIMD`, in `level`), or the platform's mathematics library.
//!
//! Letters: `T` tokens (rows), `C` channels, `V` vocabulary; a product is `[M, K] × [K, N]`.

#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "indices and exponents of shapes that were checked; every narrowing of a value is part of the formula"
)]

mod activation;
mod aligned;
mod attention;
mod bits;
mod buffer;
mod fma;
mod half;
mod key_value;
mod lanes;
mod level;
mod loss;
pub mod math;
mod norm;
mod peak;
#[cfg(feature = "planted")]
mod planted;
mod product;
mod quantized;
mod reduce;
pub mod reference;
mod rope;
mod scores;
mod softmax;
mod spread;

pub use activation::{add, add_bias, gelu, gelu_tanh, scaled_add, silu_multiply};
pub use attention::{attend_causal, attend_full};
pub use bits::SplitMix;
pub use buffer::Buffer;
pub use fma::{Fma, Hardware, Software, fma};
pub use half::{HalfType, f16_bits};
pub use key_value::KeyValue;
pub use level::{Level, Vectorized};
pub use loss::{LogSoftmax, argmax, cross_entropies, cross_entropy, log_probability};
pub use norm::{layer_norm, rms_norm};
pub use peak::multiply_adds;
#[cfg(feature = "planted")]
pub use planted::{Plant, planted};
pub use product::{
    BLOCK, PackedMatrix, product, product_by_transpose, product_lower, product_transposed, product_transposed_lower,
    products, weighted_rows,
};
pub use quantized::{IntegerBits, QuantizedRows, quantize_group};
pub use reduce::{LANES, dot, max, sum, sum_squares};
pub use rope::{RopeScaling, RopeTable};
pub use scores::{StoredRows, scores, widen};
pub use softmax::{softmax, softmax_backward};
pub use spread::{awake, in_parts, side_by_side};

/// Why a kernel level cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// The name is none of [`Level::NAMES`].
    #[error("found instruction level `{found}`, expected one of scalar, neon, v3, v4")]
    LevelUnknown {
        /// What was given.
        found: String,
    },
    /// The name is known, but this CPU does not have it.
    #[error("this CPU does not have instruction level `{name}`")]
    LevelUnavailable {
        /// The level asked for.
        name: &'static str,
    },
}

impl KernelError {
    /// Gives the stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            KernelError::LevelUnknown { .. } => "kernel.level-unknown",
            KernelError::LevelUnavailable { .. } => "kernel.level-unavailable",
        }
    }
}

#[cfg(test)]
mod tests;
