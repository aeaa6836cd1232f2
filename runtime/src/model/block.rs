//! One transformer block of a decoder: attention, then the gated feed-forward layer, each added to the residual stream.
//!
//! Rows of several sequences are concatenated for the linear layers; attention sees each sequence alone. No row's result
//! depends on what else is in the batch, nor on how a sequence was cut into calls (NUMERICS, rows are independent).

use rayon::prelude::*;

use super::config::DecoderConfig;
use super::error::ModelError;
use super::linear::Linear;
use super::lora::{LoraBlock, Target, adapted};
use super::weights::MatrixSource;
use crate::kernel::{self, Buffer, KeyValue, Level, RopeTable};

/// A decoder block.
#[derive(Clone, Debug)]
pub struct Block {
    /// RMSNorm weight before attention, `[C]`.
    pub input_norm: Vec<f32>,
    /// Query projection.
    pub q: Linear,
    /// Key projection.
    pub k: Linear,
    /// Value projection.
    pub v: Linear,
    /// Output projection.
    pub o: Linear,
    /// RMSNorm weight before the feed-forward layer, `[C]`.
    pub post_norm: Vec<f32>,
    /// Gate projection.
    pub gate: Linear,
    /// Up projection.
    pub up: Linear,
    /// Down projection.
    pub down: Linear,
}

/// The rows of one sequence in a call, and the keys and values of this layer that precede them.
#[derive(Debug)]
pub struct SegmentKv<'a> {
    /// Rows of this sequence.
    pub tokens: usize,
    /// Its keys and values so far; the call appends.
    pub kv: &'a mut KeyValue,
}

/// What one block computed for one sequence from position 0, for the backward pass. `R` rows.
#[derive(Clone, Default, Debug)]
pub struct BlockActivations {
    /// Hidden states that came in, `[R, C]`.
    pub input: Buffer,
    /// After the first norm, `[R, C]`.
    pub normed: Buffer,
    /// Queries after RoPE, `[R, H * hd]`.
    pub q: Buffer,
    /// Keys after RoPE, `[R, KV * hd]`.
    pub k: Buffer,
    /// Values, `[R, KV * hd]`.
    pub v: Buffer,
    /// Attention probabilities, `[H, R, R]`; above the diagonal 0.
    pub probabilities: Buffer,
    /// Attention's result, `[R, H * hd]`.
    pub attended: Buffer,
    /// Hidden states after the attention residual, `[R, C]`.
    pub middle: Buffer,
    /// After the second norm, `[R, C]`.
    pub normed2: Buffer,
    /// Gate before SiLU, `[R, I]`.
    pub gate: Buffer,
    /// Up, `[R, I]`.
    pub up: Buffer,
    /// `silu(gate) * up`, `[R, I]`.
    pub product: Buffer,
    /// `x Aᵀ [R, rank]` of each adapted layer, by [`Target`]'s place in [`Target::ALL`]; empty where not adapted.
    pub low: [Buffer; 7],
}

impl Block {
    /// Builds a block from its tensors: `get(name, shape)` gives each by its path inside the block, row-major.
    ///
    /// # Errors
    /// Whatever `get` returns.
    pub fn from_tensors(level: Level, config: &DecoderConfig, get: &mut MatrixSource<'_>) -> Result<Self, ModelError> {
        let mut linear = |target: Target, bias: bool| -> Result<Linear, ModelError> {
            let (in_features, out_features) = target.features(config);
            let module = target.module();
            let weight = get(&format!("{module}.weight"), &[out_features, in_features])?;
            let bias = if bias { Some(get(&format!("{module}.bias"), &[out_features])?.into_values()) } else { None };
            Ok(Linear::new(level, &weight, bias, in_features, out_features))
        };
        let q = linear(Target::Query, config.attention_bias)?;
        let k = linear(Target::Key, config.attention_bias)?;
        let v = linear(Target::Value, config.attention_bias)?;
        let o = linear(Target::Output, config.output_bias)?;
        let gate = linear(Target::Gate, config.mlp_bias)?;
        let up = linear(Target::Up, config.mlp_bias)?;
        let down = linear(Target::Down, config.mlp_bias)?;
        let input_norm = get("input_layernorm.weight", &[config.hidden])?.into_values();
        let post_norm = get("post_attention_layernorm.weight", &[config.hidden])?.into_values();
        Ok(Self { input_norm, q, k, v, o, post_norm, gate, up, down })
    }

    /// The linear layer that an adapter's target names.
    pub fn linear(&self, target: Target) -> &Linear {
        match target {
            Target::Down => &self.down,
            Target::Gate => &self.gate,
            Target::Key => &self.k,
            Target::Output => &self.o,
            Target::Query => &self.q,
            Target::Up => &self.up,
            Target::Value => &self.v,
        }
    }

    /// Some linear layers of the same input `x [rows, in]`, each adapted; see [`adapted`].
    pub(super) fn adapted<const N: usize>(
        &self,
        level: Level,
        targets: [Target; N],
        lora: Option<&LoraBlock>,
        x: &[f32],
        rows: usize,
    ) -> [(Buffer, Buffer); N] {
        adapted(level, targets.map(|target| (target, self.linear(target))), lora, x, rows)
    }

    /// Takes `hidden [R, C]` through the block, R the sum of the segments' tokens, and appends to each segment's keys and values.
    ///
    /// `saved` is filled where given; then there must be one segment, from position 0.
    #[allow(clippy::too_many_arguments)] // the block's whole world, and nothing of it is shared state
    pub fn forward(
        &self,
        level: Level,
        config: &DecoderConfig,
        rope: &RopeTable,
        lora: Option<&LoraBlock>,
        hidden: Buffer,
        segments: &mut [SegmentKv<'_>],
        saved: Option<&mut BlockActivations>,
    ) -> Buffer {
        let rows = hidden.len() / config.hidden;

        let mut normed = Buffer::unwritten(hidden.len());
        kernel::rms_norm(level, &hidden, &self.input_norm, config.rms_eps, &mut normed);
        let [(mut q, q_low), (mut k, k_low), (v, v_low)] =
            self.adapted(level, [Target::Query, Target::Key, Target::Value], lora, &normed, rows);
        let seen = if saved.is_some() { config.heads * rows * rows } else { 0 };
        let mut probabilities = Buffer::unwritten(seen);
        let mut attended = Buffer::unwritten(q.len());
        let keep = if saved.is_some() { Some(&mut *probabilities) } else { None };
        attend(level, config, rope, (&mut q, &mut k, &v), segments, &mut attended, keep);
        let [(mut middle, o_low)] = self.adapted(level, [Target::Output], lora, &attended, rows);
        kernel::add(level, &mut middle, &hidden);

        let mut normed2 = Buffer::unwritten(middle.len());
        kernel::rms_norm(level, &middle, &self.post_norm, config.rms_eps, &mut normed2);
        let [(gate, gate_low), (up, up_low)] = self.adapted(level, [Target::Gate, Target::Up], lora, &normed2, rows);
        let mut product = Buffer::unwritten(gate.len());
        kernel::silu_multiply(level, &gate, &up, &mut product);
        let [(mut out, down_low)] = self.adapted(level, [Target::Down], lora, &product, rows);
        kernel::add(level, &mut out, &middle);

        if let Some(saved) = saved {
            let low = [down_low, gate_low, k_low, o_low, q_low, up_low, v_low];
            *saved = BlockActivations {
                input: hidden,
                normed,
                q,
                k,
                v,
                probabilities,
                attended,
                middle,
                normed2,
                gate,
                up,
                product,
                low,
            };
        }
        out
    }
}

/// Rotates queries and keys, appends keys and values, attends: each segment alone, segments in parallel.
fn attend(
    level: Level,
    config: &DecoderConfig,
    rope: &RopeTable,
    (q, k, v): (&mut [f32], &mut [f32], &[f32]),
    segments: &mut [SegmentKv<'_>],
    attended: &mut [f32],
    probabilities: Option<&mut [f32]>,
) {
    let (query_width, kv_width) = (config.query_width(), config.kv_width());
    let one = |segment: &mut SegmentKv<'_>,
               q: &mut [f32],
               k: &mut [f32],
               v: &[f32],
               out: &mut [f32],
               probabilities: Option<&mut [f32]>| {
        let first_position = segment.kv.len();
        rope.apply(level, q, config.heads, first_position);
        rope.apply(level, k, config.kv_heads, first_position);
        segment.kv.push(k, v);
        let scale = config.attention_scale();
        kernel::attend_causal(level, q, segment.kv, first_position, config.heads, scale, out, probabilities);
    };
    if let [segment] = segments {
        return one(segment, q, k, v, attended, probabilities);
    }
    let mut parts = Vec::with_capacity(segments.len());
    let (mut q, mut k, mut v, mut attended) = (q, k, v, attended);
    for segment in segments {
        let (q_part, q_rest) = q.split_at_mut(segment.tokens * query_width);
        let (k_part, k_rest) = k.split_at_mut(segment.tokens * kv_width);
        let (v_part, v_rest) = v.split_at(segment.tokens * kv_width);
        let (out_part, out_rest) = attended.split_at_mut(segment.tokens * query_width);
        (q, k, v, attended) = (q_rest, k_rest, v_rest, out_rest);
        parts.push((segment, q_part, k_part, v_part, out_part));
    }
    parts.into_par_iter().for_each(|(segment, q, k, v, out)| one(segment, q, k, v, out, None));
}
