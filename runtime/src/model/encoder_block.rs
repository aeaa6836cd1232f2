//! One BERT block: full attention and the feed-forward layer, each added to its input and normed after.
//!
//! Texts are concatenated without padding: the linear layers see all rows at once, attention each text alone.

use rayon::prelude::*;

use super::encoder_config::{Activation, EncoderConfig};
use super::error::ModelError;
use super::linear::Linear;
use super::weights::TensorSource;
use crate::kernel::{self, Buffer, Level};

/// Weight and bias of a LayerNorm.
#[derive(Clone, Debug)]
pub struct Norm {
    /// `[C]`.
    pub weight: Vec<f32>,
    /// `[C]`.
    pub bias: Vec<f32>,
}

/// An encoder block.
#[derive(Clone, Debug)]
pub struct EncoderBlock {
    /// Query projection.
    pub q: Linear,
    /// Key projection.
    pub k: Linear,
    /// Value projection.
    pub v: Linear,
    /// Output projection.
    pub o: Linear,
    /// After the attention residual.
    pub attention_norm: Norm,
    /// First feed-forward layer.
    pub up: Linear,
    /// Second feed-forward layer.
    pub down: Linear,
    /// After the feed-forward residual.
    pub output_norm: Norm,
}

/// What one block computed for one text, for the backward pass. `R` rows.
#[derive(Clone, Default, Debug)]
pub struct EncoderActivations {
    /// Hidden states that came in, `[R, C]`.
    pub input: Buffer,
    /// Queries, `[R, C]`.
    pub q: Buffer,
    /// Keys, `[R, C]`.
    pub k: Buffer,
    /// Values, `[R, C]`.
    pub v: Buffer,
    /// Attention probabilities, `[H, R, R]`.
    pub probabilities: Buffer,
    /// Attention's result, `[R, C]`.
    pub attended: Buffer,
    /// Input plus projected attention, before its norm, `[R, C]`.
    pub attention_sum: Buffer,
    /// After that norm, `[R, C]`.
    pub middle: Buffer,
    /// Before the activation, `[R, I]`.
    pub inner: Buffer,
    /// After the activation, `[R, I]`.
    pub activated: Buffer,
    /// Middle plus feed-forward, before its norm, `[R, C]`.
    pub output_sum: Buffer,
}

impl Norm {
    /// Reads `NAME.weight` and `NAME.bias`, or TensorFlow's names `gamma` and `beta` that old checkpoints carry.
    ///
    /// # Errors
    /// Whatever `get` returns.
    pub fn from_tensors(name: &str, size: usize, get: &mut TensorSource<'_>) -> Result<Self, ModelError> {
        match get(&format!("{name}.weight"), &[size]) {
            Ok(weight) => Ok(Self { weight, bias: get(&format!("{name}.bias"), &[size])? }),
            Err(missing @ ModelError::TensorMissing { .. }) => {
                let weight = get(&format!("{name}.gamma"), &[size]).map_err(|_| missing)?;
                Ok(Self { weight, bias: get(&format!("{name}.beta"), &[size])? })
            }
            Err(error) => Err(error),
        }
    }

    /// `x [R, C]` normed.
    pub fn forward(&self, level: Level, x: &[f32], eps: f32) -> Buffer {
        let mut out = Buffer::unwritten(x.len());
        kernel::layer_norm(level, x, &self.weight, &self.bias, eps, &mut out);
        out
    }
}

impl EncoderBlock {
    /// Builds a block from its tensors: `get(name, shape)` gives each by its path inside the block, row-major.
    ///
    /// # Errors
    /// Whatever `get` returns.
    pub fn from_tensors(level: Level, config: &EncoderConfig, get: &mut TensorSource<'_>) -> Result<Self, ModelError> {
        let (hidden, intermediate) = (config.hidden, config.intermediate);
        let mut linear = |name: &str, in_features: usize, out_features: usize| -> Result<Linear, ModelError> {
            let weight = get(&format!("{name}.weight"), &[out_features, in_features])?;
            let bias = get(&format!("{name}.bias"), &[out_features])?;
            Ok(Linear::new(level, &weight.into(), Some(bias), in_features, out_features))
        };
        let q = linear("attention.self.query", hidden, hidden)?;
        let k = linear("attention.self.key", hidden, hidden)?;
        let v = linear("attention.self.value", hidden, hidden)?;
        let o = linear("attention.output.dense", hidden, hidden)?;
        let up = linear("intermediate.dense", hidden, intermediate)?;
        let down = linear("output.dense", intermediate, hidden)?;
        let attention_norm = Norm::from_tensors("attention.output.LayerNorm", hidden, get)?;
        let output_norm = Norm::from_tensors("output.LayerNorm", hidden, get)?;
        Ok(Self { q, k, v, o, attention_norm, up, down, output_norm })
    }

    /// Runs the block over `hidden [R, C]` in place; `segments` are the rows of each text, R their sum.
    ///
    /// `saved` is filled where given; then there must be one segment.
    pub fn forward(
        &self,
        level: Level,
        config: &EncoderConfig,
        hidden: &mut Buffer,
        segments: &[usize],
        saved: Option<&mut EncoderActivations>,
    ) {
        let rows = hidden.len() / config.hidden;
        let [q, k, v] = Linear::forward_all(level, [&self.q, &self.k, &self.v], hidden, rows);
        let mut attended = Buffer::unwritten(hidden.len());
        let seen = if saved.is_some() { config.heads * rows * rows } else { 0 };
        let mut probabilities = Buffer::unwritten(seen);
        let keep = if saved.is_some() { Some(&mut *probabilities) } else { None };
        attend(level, config, (&q, &k, &v), segments, |tokens| tokens, &mut attended, keep);
        let (output, rest) = self.after_attention(level, config, hidden, &attended, saved.is_some());
        let input = std::mem::replace(hidden, output);
        if let Some(saved) = saved {
            *saved = EncoderActivations { input, q, k, v, probabilities, attended, ..rest };
        }
    }

    /// Gives the row of each text's first token alone, `[N, C]`, as [`EncoderBlock::forward`] makes it: of the others only keys and values
    /// are computed.
    pub fn forward_first(&self, level: Level, config: &EncoderConfig, hidden: &[f32], segments: &[usize]) -> Buffer {
        let [k, v] = Linear::forward_all(level, [&self.k, &self.v], hidden, hidden.len() / config.hidden);
        let mut first = Buffer::unwritten(segments.len() * config.hidden);
        let mut rest = hidden;
        for (tokens, first) in segments.iter().zip(first.chunks_exact_mut(config.hidden)) {
            first.copy_from_slice(&rest[..config.hidden]);
            rest = &rest[tokens * config.hidden..];
        }
        let q = self.q.forward(level, &first, segments.len());
        let mut attended = Buffer::unwritten(first.len());
        attend(level, config, (&q, &k, &v), segments, |_| 1, &mut attended, None);
        self.after_attention(level, config, &first, &attended, false).0
    }

    /// From the rows that came in and what they attended to, both `[R, C]`, to those that go out, and what is computed on the way; that from
    /// before the activation only where it is to be `kept`.
    fn after_attention(
        &self,
        level: Level,
        config: &EncoderConfig,
        hidden: &[f32],
        attended: &[f32],
        kept: bool,
    ) -> (Buffer, EncoderActivations) {
        let rows = hidden.len() / config.hidden;
        let mut attention_sum = self.o.forward(level, attended, rows);
        kernel::add(level, &mut attention_sum, hidden);
        let middle = self.attention_norm.forward(level, &attention_sum, config.norm_eps);

        let mut activated = self.up.forward(level, &middle, rows);
        let inner = if kept { activated.clone() } else { Buffer::default() };
        match config.activation {
            Activation::Gelu => kernel::gelu(level, &mut activated),
            Activation::GeluTanh => kernel::gelu_tanh(level, &mut activated),
        }
        let mut output_sum = self.down.forward(level, &activated, rows);
        kernel::add(level, &mut output_sum, &middle);
        let output = self.output_norm.forward(level, &output_sum, config.norm_eps);
        (output, EncoderActivations { attention_sum, middle, inner, activated, output_sum, ..Default::default() })
    }
}

/// Attends each text to itself; `queries` says how many rows of `q` and `attended` are a text's, by its tokens.
fn attend(
    level: Level,
    config: &EncoderConfig,
    (q, k, v): (&[f32], &[f32], &[f32]),
    segments: &[usize],
    queries: impl Fn(usize) -> usize,
    attended: &mut [f32],
    probabilities: Option<&mut [f32]>,
) {
    let (heads, head_dim, scale) = (config.heads, config.head_dim(), config.attention_scale());
    if let [tokens] = segments {
        return kernel::attend_full(level, q, k, v, *tokens, heads, head_dim, scale, attended, probabilities);
    }
    let mut parts = Vec::with_capacity(segments.len());
    let (mut q, mut k, mut v, mut attended) = (q, k, v, attended);
    for tokens in segments {
        let (len, queries) = (tokens * config.hidden, queries(*tokens) * config.hidden);
        let (q_part, q_rest) = q.split_at(queries);
        let (k_part, k_rest) = k.split_at(len);
        let (v_part, v_rest) = v.split_at(len);
        let (out_part, out_rest) = attended.split_at_mut(queries);
        (q, k, v, attended) = (q_rest, k_rest, v_rest, out_rest);
        parts.push((*tokens, q_part, k_part, v_part, out_part));
    }
    parts.into_par_iter().for_each(|(tokens, q, k, v, out)| {
        kernel::attend_full(level, q, k, v, tokens, heads, head_dim, scale, out, None);
    });
}
