//! Element types, and the exact widening of the two short ones.

/// Element type of a stored tensor.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Dtype {
    /// 32-bit IEEE.
    F32,
    /// Upper half of a 32-bit IEEE.
    Bf16,
    /// 16-bit IEEE.
    F16,
    /// A type this program stores or reads no weights in, by its name in the file and its size.
    Other(&'static str, usize),
}

impl Dtype {
    /// Name in a safetensors header.
    pub fn name(self) -> &'static str {
        match self {
            Dtype::F32 => "F32",
            Dtype::Bf16 => "BF16",
            Dtype::F16 => "F16",
            Dtype::Other(name, _) => name,
        }
    }

    /// Name in manifests and messages: `f32`, `bf16`, `f16`.
    pub fn short_name(self) -> &'static str {
        match self {
            Dtype::F32 => "f32",
            Dtype::Bf16 => "bf16",
            Dtype::F16 => "f16",
            Dtype::Other(name, _) => name,
        }
    }

    /// Bytes of one element.
    pub fn len_bytes(self) -> usize {
        match self {
            Dtype::F32 => 4,
            Dtype::Bf16 | Dtype::F16 => 2,
            Dtype::Other(_, len) => len,
        }
    }

    /// Eight-bit integers of a quantised weight.
    pub const I8: Dtype = Dtype::Other("I8", 1);
    /// Pairs of four-bit integers of a quantised weight.
    pub const U8: Dtype = Dtype::Other("U8", 1);

    pub(super) fn parse(name: &str) -> Option<Self> {
        const OTHER: [(&str, usize); 12] = [
            ("BOOL", 1),
            ("U8", 1),
            ("I8", 1),
            ("F8_E4M3", 1),
            ("F8_E5M2", 1),
            ("I16", 2),
            ("U16", 2),
            ("I32", 4),
            ("U32", 4),
            ("F64", 8),
            ("I64", 8),
            ("U64", 8),
        ];
        match name {
            "F32" => Some(Dtype::F32),
            "BF16" => Some(Dtype::Bf16),
            "F16" => Some(Dtype::F16),
            _ => OTHER.iter().find(|(known, _)| *known == name).map(|(known, len)| Dtype::Other(known, *len)),
        }
    }
}

pub(in crate::model) fn bf16_to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// Exact: every f16 is an f32. Subnormals are mantissa * 2^-24.
pub(crate) fn f16_to_f32(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let (exponent, mantissa) = (u32::from(bits >> 10) & 0x1f, u32::from(bits & 0x3ff));
    match exponent {
        0 => f32::from_bits(sign | (mantissa as f32 * f32::from_bits(0x3380_0000)).to_bits()),
        31 => f32::from_bits(sign | 0x7f80_0000 | (mantissa << 13)),
        _ => f32::from_bits(sign | ((exponent + 112) << 23) | (mantissa << 13)),
    }
}
