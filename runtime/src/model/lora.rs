//! Low-rank adaptation of one block: `y = y0 + scaling · (x Aᵀ) Bᵀ`, never merged into the weight (merging changes bits).
//!
//! The sum is one fused multiply-add per element: `y = fma(scaling, d, y0)` with `d = (x Aᵀ) Bᵀ`. Hu et al., arXiv:2106.09685.

use super::config::DecoderConfig;
use super::error::ModelError;
use super::linear::Linear;
use crate::kernel::{self, Buffer, Level, PackedMatrix};

/// A linear layer of a block that can be adapted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Target {
    /// `mlp.down_proj`
    Down,
    /// `mlp.gate_proj`
    Gate,
    /// `self_attn.k_proj`
    Key,
    /// `self_attn.o_proj`
    Output,
    /// `self_attn.q_proj`
    Query,
    /// `mlp.up_proj`
    Up,
    /// `self_attn.v_proj`
    Value,
}

impl Target {
    /// All targets, in the order of their names.
    pub const ALL: [Target; 7] =
        [Target::Down, Target::Gate, Target::Key, Target::Output, Target::Query, Target::Up, Target::Value];

    /// Name in adapter configurations: `q_proj` and kin.
    pub fn name(self) -> &'static str {
        match self {
            Target::Down => "down_proj",
            Target::Gate => "gate_proj",
            Target::Key => "k_proj",
            Target::Output => "o_proj",
            Target::Query => "q_proj",
            Target::Up => "up_proj",
            Target::Value => "v_proj",
        }
    }

    /// Path inside the block: `self_attn.q_proj` and kin.
    pub fn module(self) -> &'static str {
        match self {
            Target::Down => "mlp.down_proj",
            Target::Gate => "mlp.gate_proj",
            Target::Key => "self_attn.k_proj",
            Target::Output => "self_attn.o_proj",
            Target::Query => "self_attn.q_proj",
            Target::Up => "mlp.up_proj",
            Target::Value => "self_attn.v_proj",
        }
    }

    /// The target of this name.
    ///
    /// # Errors
    /// [`ModelError::AdapterTarget`].
    pub fn parse(name: &str) -> Result<Self, ModelError> {
        Target::ALL.into_iter().find(|target| target.name() == name).ok_or_else(|| ModelError::AdapterTarget {
            found: name.to_owned(),
            expected: Target::ALL.map(Target::name).join(", "),
        })
    }

    /// Columns of the layer's input and output.
    pub fn features(self, config: &DecoderConfig) -> (usize, usize) {
        match self {
            Target::Down => (config.intermediate, config.hidden),
            Target::Gate | Target::Up => (config.hidden, config.intermediate),
            Target::Key | Target::Value => (config.hidden, config.kv_width()),
            Target::Output => (config.query_width(), config.hidden),
            Target::Query => (config.hidden, config.query_width()),
        }
    }
}

/// The two factors of one adapted layer.
#[derive(Clone, Debug)]
pub struct LoraPair {
    /// `B[in, rank]` packed for the forward product.
    pub a: PackedMatrix,
    /// `B[rank, out]` packed for the forward product.
    pub b: PackedMatrix,
    /// `lora_A` as stored, `[rank, in]`.
    pub raw_a: Vec<f32>,
    /// `lora_B` as stored, `[out, rank]`.
    pub raw_b: Vec<f32>,
    /// Rank.
    pub rank: usize,
    /// Columns of the layer's input.
    pub in_features: usize,
    /// Columns of the layer's output.
    pub out_features: usize,
}

impl LoraPair {
    /// Packs `lora_A [rank, in]` and `lora_B [out, rank]`.
    ///
    /// # Errors
    /// [`ModelError::TensorShape`] when a length does not fit.
    pub fn new(
        level: Level,
        raw_a: Vec<f32>,
        raw_b: Vec<f32>,
        rank: usize,
        in_features: usize,
        out_features: usize,
    ) -> Result<Self, ModelError> {
        for (name, found, expected) in
            [("lora_A", raw_a.len(), [rank, in_features]), ("lora_B", raw_b.len(), [out_features, rank])]
        {
            if found != expected.iter().product::<usize>() {
                let (tensor, found, expected) = (name.to_owned(), vec![found], expected.to_vec());
                return Err(ModelError::TensorShape { tensor, found, expected });
            }
        }
        let a = PackedMatrix::from_columns(level, &raw_a, rank, in_features);
        let b = PackedMatrix::from_columns(level, &raw_b, out_features, rank);
        Ok(Self { a, b, raw_a, raw_b, rank, in_features, out_features })
    }
}

/// The adapted layers of one block.
#[derive(Clone, Debug, Default)]
pub struct LoraBlock {
    /// `self_attn.q_proj`
    pub q: Option<LoraPair>,
    /// `self_attn.k_proj`
    pub k: Option<LoraPair>,
    /// `self_attn.v_proj`
    pub v: Option<LoraPair>,
    /// `self_attn.o_proj`
    pub o: Option<LoraPair>,
    /// `mlp.gate_proj`
    pub gate: Option<LoraPair>,
    /// `mlp.up_proj`
    pub up: Option<LoraPair>,
    /// `mlp.down_proj`
    pub down: Option<LoraPair>,
    /// `alpha / rank`, rounded once.
    pub scaling: f32,
}

impl LoraBlock {
    /// The pair of one target.
    pub fn get(&self, target: Target) -> Option<&LoraPair> {
        match target {
            Target::Down => self.down.as_ref(),
            Target::Gate => self.gate.as_ref(),
            Target::Key => self.k.as_ref(),
            Target::Output => self.o.as_ref(),
            Target::Query => self.q.as_ref(),
            Target::Up => self.up.as_ref(),
            Target::Value => self.v.as_ref(),
        }
    }

    /// Sets the pair of one target.
    pub fn set(&mut self, target: Target, pair: LoraPair) {
        let slot = match target {
            Target::Down => &mut self.down,
            Target::Gate => &mut self.gate,
            Target::Key => &mut self.k,
            Target::Output => &mut self.o,
            Target::Query => &mut self.q,
            Target::Up => &mut self.up,
            Target::Value => &mut self.v,
        };
        *slot = Some(pair);
    }
}

/// For each of some linear layers of one input: the layer of `x` plus the adaptation of its target, if there is one, and `x Aᵀ
/// [rows, rank]` (empty without adaptation), which the backward pass needs.
pub(super) fn adapted<const N: usize>(
    level: Level,
    layers: [(Target, &Linear); N],
    lora: Option<&LoraBlock>,
    x: &[f32],
    rows: usize,
) -> [(Buffer, Buffer); N] {
    let pairs = layers.map(|(target, _)| lora.and_then(|block| block.get(target)));
    let mut out = std::array::from_fn(|i| {
        let rank = pairs[i].map_or(0, |pair| pair.rank);
        (Buffer::unwritten(rows * layers[i].1.out_features), Buffer::unwritten(rows * rank))
    });
    let mut right = Vec::with_capacity(2 * N);
    for (((_, linear), pair), (y, low)) in layers.iter().zip(pairs).zip(&mut out) {
        right.push((&linear.weight, linear.bias.as_deref(), &mut **y));
        if let Some(pair) = pair {
            right.push((&pair.a, None, &mut **low));
        }
    }
    kernel::products(level, x, rows, right);
    for (pair, (y, low)) in pairs.into_iter().zip(&mut out) {
        if let (Some(block), Some(pair)) = (lora, pair) {
            let mut delta = Buffer::unwritten(y.len());
            kernel::product(level, low, rows, &pair.b, &mut delta);
            kernel::scaled_add(level, y, block.scaling, &delta);
        }
    }
    out
}
