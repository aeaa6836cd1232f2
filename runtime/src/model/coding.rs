//! How a model's weights are stored, as plans name it.

/// Element coding of stored weights.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Coding {
    /// bfloat16.
    Bf16,
    /// IEEE half.
    F16,
    /// IEEE single.
    F32,
    /// Eight-bit integers in groups along K, one f32 scale each (NUMERICS section 12).
    Int8,
    /// Four-bit integers in groups along K, one f32 scale each (NUMERICS section 12).
    Int4,
    /// GGUF blocks of 32 eight-bit integers.
    Q8_0,
    /// GGUF blocks of 32 four-bit integers.
    Q4_0,
    /// GGUF blocks of 32 five-bit integers.
    Q5_0,
    /// GGUF blocks of 256 four-bit integers with scales and minima.
    Q4K,
    /// GGUF blocks of 256 five-bit integers with scales and minima.
    Q5K,
    /// GGUF blocks of 256 six-bit integers with scales.
    Q6K,
}

impl Coding {
    /// Name in plans and messages.
    pub fn name(self) -> &'static str {
        match self {
            Coding::Bf16 => "bf16",
            Coding::F16 => "f16",
            Coding::F32 => "f32",
            Coding::Int8 => "int8",
            Coding::Int4 => "int4",
            Coding::Q8_0 => "q8_0",
            Coding::Q4_0 => "q4_0",
            Coding::Q5_0 => "q5_0",
            Coding::Q4K => "q4_k",
            Coding::Q5K => "q5_k",
            Coding::Q6K => "q6_k",
        }
    }
}
