//! The block formats of GGUF tensors, and the f32 values they mean (NUMERICS section 12).
//!
//! Every product is exact in binary32, since a 16-bit scale times small integers fits its 24 bits; only the difference of Q4_K and Q5_K
//! rounds, once. So no order and no fusing can show.

use crate::kernel::{IntegerBits, QuantizedRows};
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
    Q5_0,
    Q4K,
    Q5K,
    Q6K,
}

impl BlockType {
    const ALL: [BlockType; 9] = [
        BlockType::F32,
        BlockType::F16,
        BlockType::Bf16,
        BlockType::Q8_0,
        BlockType::Q4_0,
        BlockType::Q5_0,
        BlockType::Q4K,
        BlockType::Q5K,
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
            BlockType::Q5_0 => 6,
            BlockType::Q8_0 => 8,
            BlockType::Q4K => 12,
            BlockType::Q5K => 13,
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
            BlockType::Q5_0 => "Q5_0",
            BlockType::Q4K => "Q4_K",
            BlockType::Q5K => "Q5_K",
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
            BlockType::Q5_0 => Coding::Q5_0,
            BlockType::Q4K => Coding::Q4K,
            BlockType::Q5K => Coding::Q5K,
            BlockType::Q6K => Coding::Q6K,
        }
    }

    /// Elements of one block.
    pub(in crate::model) fn block_len(self) -> usize {
        match self {
            BlockType::F32 | BlockType::F16 | BlockType::Bf16 => 1,
            BlockType::Q8_0 | BlockType::Q4_0 | BlockType::Q5_0 => 32,
            BlockType::Q4K | BlockType::Q5K | BlockType::Q6K => SUPER,
        }
    }

    /// Bytes of one block.
    pub(in crate::model) fn block_len_bytes(self) -> usize {
        match self {
            BlockType::F32 => 4,
            BlockType::F16 | BlockType::Bf16 => 2,
            BlockType::Q8_0 => 34,
            BlockType::Q4_0 => 18,
            BlockType::Q5_0 => 22,
            BlockType::Q4K => 144,
            BlockType::Q5K => 176,
            BlockType::Q6K => 210,
        }
    }

    /// What whole blocks are as integers: their width, and how many share a scale; none for plain numbers.
    fn integers(self) -> Option<(IntegerBits, usize)> {
        match self {
            BlockType::F32 | BlockType::F16 | BlockType::Bf16 => None,
            BlockType::Q4_0 | BlockType::Q4K => Some((IntegerBits::Four, 32)),
            BlockType::Q8_0 | BlockType::Q5_0 | BlockType::Q5K => Some((IntegerBits::Eight, 32)),
            BlockType::Q6K => Some((IntegerBits::Eight, 16)),
        }
    }

    /// Whether blocks are integers.
    pub(in crate::model) fn is_integers(self) -> bool {
        self.integers().is_some()
    }

    /// Whole blocks of a matrix as integers, scales and minima in our layout, without loss; none for plain numbers.
    pub(in crate::model) fn quantized(self, bytes: &[u8], rows: usize, columns: usize) -> Option<QuantizedRows> {
        let (bits, group) = self.integers()?;
        let mut parts = Parts {
            integers: Vec::with_capacity(bits.len_bytes(rows * columns)),
            scales: Vec::with_capacity(rows * columns / group),
            minima: Vec::new(),
        };
        match self {
            BlockType::F32 | BlockType::F16 | BlockType::Bf16 => {}
            BlockType::Q8_0 => bytes.as_chunks().0.iter().for_each(|block| parts.q8_0(block)),
            BlockType::Q4_0 => bytes.as_chunks().0.iter().for_each(|block| parts.q4_0(block)),
            BlockType::Q5_0 => bytes.as_chunks().0.iter().for_each(|block| parts.q5_0(block)),
            BlockType::Q4K => bytes.as_chunks().0.iter().for_each(|block| parts.q4_k(block)),
            BlockType::Q5K => bytes.as_chunks().0.iter().for_each(|block| parts.q5_k(block)),
            BlockType::Q6K => bytes.as_chunks().0.iter().for_each(|block| parts.q6_k(block)),
        }
        let Parts { integers, scales, minima } = parts;
        Some(QuantizedRows { bits, group, rows, columns, integers, scales, minima })
    }

    /// The values of whole blocks.
    pub(in crate::model) fn to_f32(self, bytes: &[u8]) -> Vec<f32> {
        let (pairs, _) = bytes.as_chunks::<2>();
        match self {
            BlockType::F32 => bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
            BlockType::F16 => pairs.iter().map(|[low, high]| half(*low, *high)).collect(),
            BlockType::Bf16 => pairs.iter().map(|b| bf16_to_f32(u16::from_le_bytes(*b))).collect(),
            BlockType::Q8_0 | BlockType::Q4_0 | BlockType::Q5_0 | BlockType::Q4K | BlockType::Q5K | BlockType::Q6K => {
                let count = bytes.len() / self.block_len_bytes() * self.block_len();
                self.quantized(bytes, 1, count).map_or_else(Vec::new, |blocks| blocks.to_f32())
            }
        }
    }
}

/// What blocks are made of, in the layout of [`QuantizedRows`].
struct Parts {
    integers: Vec<u8>,
    scales: Vec<f32>,
    minima: Vec<f32>,
}

impl Parts {
    /// Scale, 32 signed bytes.
    fn q8_0(&mut self, [low, high, q @ ..]: &[u8; 34]) {
        self.scales.push(half(*low, *high));
        self.integers.extend_from_slice(q);
    }

    /// Scale, 16 bytes: elements 0..16 in the low halves, 16..32 in the high ones, each 8 too large.
    fn q4_0(&mut self, [low, high, q @ ..]: &[u8; 18]) {
        self.scales.push(half(*low, *high));
        self.halves(q);
    }

    /// Scale, the fifth bits of 32 elements, their other four as in Q4_0, each 16 too large.
    fn q5_0(&mut self, [low, high, a, b, c, d, q @ ..]: &[u8; 22]) {
        self.scales.push(half(*low, *high));
        let fifths = u32::from_le_bytes([*a, *b, *c, *d]);
        let low_bits = q.iter().map(|q| q & 15).chain(q.iter().map(|q| q >> 4));
        let values = low_bits.zip(0..).map(|(q, at)| q | (u8::from(fifths >> at & 1 == 1) << 4));
        self.integers.extend(values.map(|q| q.wrapping_sub(16)));
    }

    /// Scale, scale of the minima, twelve bytes of scales and minima, of each 64 elements 32 bytes as in Q4_0.
    fn q4_k(&mut self, [d_low, d_high, m_low, m_high, rest @ ..]: &[u8; 144]) {
        let (groups, q) = rest.split_at(12);
        self.scales_and_minima(half(*d_low, *d_high), half(*m_low, *m_high), groups);
        q.chunks_exact(32).for_each(|q| self.halves(q));
    }

    /// As Q4_K, with 32 bytes of the fifth bits before the others: bit g of byte i is that of element 32 g + i.
    fn q5_k(&mut self, [d_low, d_high, m_low, m_high, rest @ ..]: &[u8; 176]) {
        let (groups, rest) = rest.split_at(12);
        let (fifths, q) = rest.split_at(32);
        self.scales_and_minima(half(*d_low, *d_high), half(*m_low, *m_high), groups);
        for (g, (q, shift)) in q.chunks_exact(32).flat_map(|q| [(q, 0), (q, 4)]).enumerate() {
            self.integers.extend(q.iter().zip(fifths).map(|(q, fifth)| (q >> shift & 15) | ((fifth >> g & 1) << 4)));
        }
    }

    /// 128 bytes of low halves, 64 bytes of upper two bits, 16 signed scales, scale.
    fn q6_k(&mut self, [rest @ .., low, high]: &[u8; 210]) {
        let scale = half(*low, *high);
        let byte = |at: usize| rest.get(at).copied().unwrap_or(0);
        self.scales.extend((192..208).map(|at| scale * f32::from(byte(at).cast_signed())));
        self.integers.extend((0..SUPER).map(|element| {
            // Halves of 128 elements; in each four runs of 32, which share bytes two by two.
            let (side, run, at) = (element / 128, element % 128 / 32, element % 32);
            let low = byte(64 * side + 32 * (run % 2) + at) >> (4 * (run / 2)) & 15;
            let high = byte(128 + 32 * side + at) >> (2 * run) & 3;
            (low | (high << 4)).wrapping_sub(32)
        }));
    }

    /// Adds the lower four bits of all bytes, then the upper ones, two to a byte.
    fn halves(&mut self, bytes: &[u8]) {
        for shift in [0, 4] {
            let pairs = bytes.as_chunks::<2>().0;
            self.integers.extend(pairs.iter().map(|[a, b]| (a >> shift & 15) | ((b >> shift & 15) << 4)));
        }
    }

    /// Adds the scale and minimum of each of the eight groups of a block of Q4_K or Q5_K: six bits each, in twelve bytes.
    fn scales_and_minima(&mut self, scale: f32, minimum: f32, packed: &[u8]) {
        let byte = |at: usize| packed.get(at).copied().unwrap_or(0);
        for group in 0..8 {
            let (s, m) = match group {
                0..4 => (byte(group) & 63, byte(group + 4) & 63),
                _ => (
                    (byte(group + 4) & 15) | ((byte(group - 4) >> 6) << 4),
                    (byte(group + 4) >> 4) | ((byte(group) >> 6) << 4),
                ),
            };
            self.scales.push(scale * f32::from(s));
            self.minima.push(minimum * f32::from(m));
        }
    }
}

/// A 16-bit float of two bytes.
fn half(low: u8, high: u8) -> f32 {
    f16_to_f32(u16::from_le_bytes([low, high]))
}

/// Elements of a block of the K formats.
const SUPER: usize = 256;

/// Types of the format that are not read here, so that a refusal can name them.
const OTHER: [(u32, &str); 24] = [
    (3, "Q4_1"),
    (7, "Q5_1"),
    (9, "Q8_1"),
    (10, "Q2_K"),
    (11, "Q3_K"),
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
