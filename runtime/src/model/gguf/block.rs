//! The block formats of GGUF tensors, and the f32 values they mean (NUMERICS section 12).
//!
//! Every product below is exact in binary32, since a 16-bit scale times small integers fits its 24 bits; only the difference of
//! Q4_K rounds, once. So no order and no fusing can show.

use crate::model::coding::Coding;
use crate::model::safetensors::{bf16_to_f32, f16_to_f32};

/// Element coding of a GGUF tensor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::model) enum BlockType {
    F32,
    F16,
    Bf16,
    Q8_0,
    Q4_0,
    Q4K,
    Q6K,
}

impl BlockType {
    const ALL: [BlockType; 7] = [
        BlockType::F32,
        BlockType::F16,
        BlockType::Bf16,
        BlockType::Q8_0,
        BlockType::Q4_0,
        BlockType::Q4K,
        BlockType::Q6K,
    ];

    /// The type of a number in the file, or the name of one that is not read here.
    pub(in crate::model) fn parse(id: u32) -> Result<Self, String> {
        match BlockType::ALL.iter().find(|known| known.id() == id) {
            Some(known) => Ok(*known),
            None => Err(OTHER
                .iter()
                .find(|(other, _)| *other == id)
                .map_or_else(|| format!("{id}"), |(_, name)| (*name).to_owned())),
        }
    }

    /// Number in the file.
    pub(in crate::model) fn id(self) -> u32 {
        match self {
            BlockType::F32 => 0,
            BlockType::F16 => 1,
            BlockType::Q4_0 => 2,
            BlockType::Q8_0 => 8,
            BlockType::Q4K => 12,
            BlockType::Q6K => 14,
            BlockType::Bf16 => 30,
        }
    }

    /// Name in messages.
    pub(in crate::model) fn name(self) -> &'static str {
        match self {
            BlockType::F32 => "F32",
            BlockType::F16 => "F16",
            BlockType::Bf16 => "BF16",
            BlockType::Q8_0 => "Q8_0",
            BlockType::Q4_0 => "Q4_0",
            BlockType::Q4K => "Q4_K",
            BlockType::Q6K => "Q6_K",
        }
    }

    /// What plans call it.
    pub(in crate::model) fn coding(self) -> Coding {
        match self {
            BlockType::F32 => Coding::F32,
            BlockType::F16 => Coding::F16,
            BlockType::Bf16 => Coding::Bf16,
            BlockType::Q8_0 => Coding::Q8_0,
            BlockType::Q4_0 => Coding::Q4_0,
            BlockType::Q4K => Coding::Q4K,
            BlockType::Q6K => Coding::Q6K,
        }
    }

    /// Elements of one block.
    pub(in crate::model) fn block_len(self) -> usize {
        match self {
            BlockType::F32 | BlockType::F16 | BlockType::Bf16 => 1,
            BlockType::Q8_0 | BlockType::Q4_0 => 32,
            BlockType::Q4K | BlockType::Q6K => SUPER,
        }
    }

    /// Bytes of one block.
    pub(in crate::model) fn block_len_bytes(self) -> usize {
        match self {
            BlockType::F32 => 4,
            BlockType::F16 | BlockType::Bf16 => 2,
            BlockType::Q8_0 => 34,
            BlockType::Q4_0 => 18,
            BlockType::Q4K => 144,
            BlockType::Q6K => 210,
        }
    }

    /// The values of whole blocks.
    pub(in crate::model) fn to_f32(self, bytes: &[u8]) -> Vec<f32> {
        let (pairs, _) = bytes.as_chunks::<2>();
        let mut out = Vec::with_capacity(bytes.len() / self.block_len_bytes() * self.block_len());
        match self {
            BlockType::F32 => out.extend(bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b))),
            BlockType::F16 => out.extend(pairs.iter().map(|b| f16_to_f32(u16::from_le_bytes(*b)))),
            BlockType::Bf16 => out.extend(pairs.iter().map(|b| bf16_to_f32(u16::from_le_bytes(*b)))),
            BlockType::Q8_0 => bytes.as_chunks::<34>().0.iter().for_each(|block| q8_0(block, &mut out)),
            BlockType::Q4_0 => bytes.as_chunks::<18>().0.iter().for_each(|block| q4_0(block, &mut out)),
            BlockType::Q4K => bytes.as_chunks::<144>().0.iter().for_each(|block| q4_k(block, &mut out)),
            BlockType::Q6K => bytes.as_chunks::<210>().0.iter().for_each(|block| q6_k(block, &mut out)),
        }
        out
    }
}

/// Scale, 32 signed bytes.
fn q8_0([low, high, q @ ..]: &[u8; 34], out: &mut Vec<f32>) {
    let scale = half(*low, *high);
    out.extend(q.iter().map(|q| scale * f32::from(q.cast_signed())));
}

/// Scale, 16 bytes: elements 0..16 in the low halves, 16..32 in the high ones, each 8 too large.
fn q4_0([low, high, q @ ..]: &[u8; 18], out: &mut Vec<f32>) {
    let scale = half(*low, *high);
    let value = |nibble: u8| scale * (f32::from(nibble) - 8.0);
    out.extend(q.iter().map(|q| value(q & 15)));
    out.extend(q.iter().map(|q| value(q >> 4)));
}

/// Scale, scale of the minima, twelve bytes of eight 6-bit scales and minima, 128 bytes of 4-bit values.
fn q4_k(block: &[u8; 144], out: &mut Vec<f32>) {
    for (values, pair) in q4_k_nibbles(block).chunks_exact(32).zip(q4_k_scales(block).chunks_exact(2)) {
        for ((s, m), shift) in pair.iter().zip([0, 4]) {
            out.extend(values.iter().map(|q| s * f32::from((q >> shift) & 15) - m));
        }
    }
}

/// The scale and the minimum of each 32 elements of a Q4_K block.
pub(in crate::model) fn q4_k_scales([d_low, d_high, m_low, m_high, rest @ ..]: &[u8; 144]) -> [(f32, f32); 8] {
    let (scale, minimum) = (half(*d_low, *d_high), half(*m_low, *m_high));
    q4_k_groups(rest).map(|(s, m)| (scale * f32::from(s), minimum * f32::from(m)))
}

/// The integers of a Q4_K block: of each 32 bytes the lower halves, then the upper ones.
pub(in crate::model) fn q4_k_nibbles(block: &[u8; 144]) -> &[u8] {
    block.get(16..).unwrap_or_default()
}

/// The 6-bit scale and minimum of each of the eight groups of a Q4_K block.
fn q4_k_groups(packed: &[u8]) -> [(u8, u8); 8] {
    let byte = |at: usize| packed.get(at).copied().unwrap_or(0);
    std::array::from_fn(|group| match group {
        0..4 => (byte(group) & 63, byte(group + 4) & 63),
        _ => {
            ((byte(group + 4) & 15) | ((byte(group - 4) >> 6) << 4), (byte(group + 4) >> 4) | ((byte(group) >> 6) << 4))
        }
    })
}

/// 128 bytes of low halves, 64 bytes of upper two bits, 16 signed scales, scale.
fn q6_k(block: &[u8; 210], out: &mut Vec<f32>) {
    let scale = match block {
        [.., low, high] => half(*low, *high),
    };
    for (q, s) in q6_k_values(block).chunks_exact(16).zip(q6_k_scales(block)) {
        let s = scale * f32::from(s);
        out.extend(q.iter().map(|q| s * f32::from(*q)));
    }
}

/// The sixteen scales of a Q6_K block, one for each 16 elements.
pub(in crate::model) fn q6_k_scales(block: &[u8; 210]) -> [i8; 16] {
    std::array::from_fn(|group| block.get(192 + group).copied().unwrap_or(0).cast_signed())
}

/// The 256 integers of a Q6_K block, -32..32.
pub(in crate::model) fn q6_k_values(block: &[u8; 210]) -> [i8; SUPER] {
    let byte = |at: usize| block.get(at).copied().unwrap_or(0);
    std::array::from_fn(|element| {
        // Halves of 128 elements; in each four runs of 32, which share bytes two by two.
        let (side, run, at) = (element / 128, element % 128 / 32, element % 32);
        let low = byte(64 * side + 32 * (run % 2) + at) >> (4 * (run / 2)) & 15;
        let high = byte(128 + 32 * side + at) >> (2 * run) & 3;
        (low | (high << 4)).cast_signed() - 32
    })
}

/// A 16-bit float of two bytes.
pub(in crate::model) fn half(low: u8, high: u8) -> f32 {
    f16_to_f32(u16::from_le_bytes([low, high]))
}

/// Elements of a block of the K formats.
const SUPER: usize = 256;

/// Types of the format that are not read here, so that a refusal can name them.
const OTHER: [(u32, &str); 26] = [
    (3, "Q4_1"),
    (6, "Q5_0"),
    (7, "Q5_1"),
    (9, "Q8_1"),
    (10, "Q2_K"),
    (11, "Q3_K"),
    (13, "Q5_K"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (39, "MXFP4"),
    (40, "NVFP4"),
];
