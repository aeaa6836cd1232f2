//! What a step computed, tensor by tensor, in the order it was computed.
//!
//! A [`Recorder`] goes with one example through forward and backward pass. At [`Detail::Blocks`] it keeps three digests a block, at
//! [`Detail::Tensors`] every tensor an operation gave. It never decides anything: a recorded step has the bits of one that is not.
//! In this module `T` is tokens of one example, `C` hidden size, `H` heads.

use std::sync::{Mutex, PoisonError};

use kolm_runtime::model::{BlockActivations, DecoderConfig, Target};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::settings::Example;

/// How much is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Of each block the digests of its result, of the gradient that comes back to it, and of its parameters' gradient.
    Blocks,
    /// Every tensor.
    Tensors,
}

/// Where in a step a tensor belongs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// `start`, `batch`, `forward`, `loss`, `backward`, `sum`, `clip`, `optimiser`.
    pub stage: String,
    /// The example's place in the batch, from 0; none for what belongs to the whole step.
    pub example: Option<usize>,
    /// The transformer block, from 0; none outside of the blocks.
    pub block: Option<usize>,
    /// What computed it: a module's name as in the base, or the formula.
    pub operation: String,
    /// What it is called.
    pub tensor: String,
    /// Its shape.
    pub shape: Vec<usize>,
}

/// One recorded tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// Where it belongs.
    pub place: Place,
    /// Its values.
    pub values: Values,
}

/// A tensor's values.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Activations, gradients, parameters.
    F32(Vec<f32>),
    /// Scalars of the optimiser, losses.
    F64(Vec<f64>),
    /// Token ids, rows of the corpus.
    U32(Vec<u32>),
    /// SHA-256 of f32 values, little-endian, at [`Detail::Blocks`].
    Sha256([u8; 32]),
}

/// Collects what one example computes. The tape's operations own what they use, so it is shared.
#[derive(Debug)]
pub(crate) struct Recorder {
    detail: Detail,
    found: Mutex<Vec<Recorded>>,
}

/// The three tensors of a block that [`Detail::Blocks`] keeps.
pub(crate) const OUTPUT: &str = "hidden states out";
/// See [`OUTPUT`].
pub(crate) const OUTPUT_GRADIENT: &str = "gradient of hidden states out";
/// See [`OUTPUT`].
pub(crate) const PARAMETER_GRADIENT: &str = "gradient of the block's parameters";

impl Recorder {
    pub(crate) fn new(detail: Detail) -> Self {
        Self { detail, found: Mutex::new(Vec::new()) }
    }

    /// Everything recorded, in order.
    pub(crate) fn take(&self) -> Vec<Recorded> {
        std::mem::take(&mut self.found.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Records one f32 tensor where the detail asks for it.
    pub(crate) fn tensor(
        &self,
        stage: &str,
        block: Option<usize>,
        operation: &str,
        tensor: &str,
        shape: &[usize],
        values: &[f32],
    ) {
        let kept = match self.detail {
            Detail::Tensors => tensor != PARAMETER_GRADIENT,
            Detail::Blocks => [OUTPUT, OUTPUT_GRADIENT, PARAMETER_GRADIENT].contains(&tensor),
        };
        if !kept || values.is_empty() {
            return;
        }
        let place = Place {
            stage: stage.to_owned(),
            example: None,
            block,
            operation: operation.to_owned(),
            tensor: tensor.to_owned(),
            shape: shape.to_vec(),
        };
        let values = match self.detail {
            Detail::Tensors => Values::F32(values.to_vec()),
            Detail::Blocks => Values::Sha256(sha256(values)),
        };
        self.push(Recorded { place, values });
    }

    /// Records what the example reads and learns.
    pub(crate) fn tokens(&self, example: &Example) {
        if self.detail == Detail::Tensors {
            let place = Place {
                stage: "batch".to_owned(),
                operation: "tokenizer, prompt template".to_owned(),
                tensor: format!("tokens, learned from {}", example.loss_from),
                shape: vec![example.tokens.len()],
                ..Place::default()
            };
            self.push(Recorded { place, values: Values::U32(example.tokens.clone()) });
        }
    }

    /// Records losses, which are not f32 sums.
    pub(crate) fn loss(&self, losses: Vec<f64>) {
        if self.detail == Detail::Tensors {
            let place = Place {
                stage: "loss".to_owned(),
                operation: "cross-entropy".to_owned(),
                tensor: "losses of the learned tokens".to_owned(),
                shape: vec![losses.len()],
                ..Place::default()
            };
            self.push(Recorded { place, values: Values::F64(losses) });
        }
    }

    /// Records what a block's forward pass computed.
    pub(crate) fn forward(&self, layer: usize, config: &DecoderConfig, saved: &BlockActivations, out: &[f32]) {
        let rows = saved.input.len() / config.hidden;
        let hidden: &[usize] = &[rows, config.hidden];
        let queries: &[usize] = &[rows, config.query_width()];
        let keys: &[usize] = &[rows, config.kv_width()];
        let inner: &[usize] = &[rows, config.intermediate];
        let scores: &[usize] = &[config.heads, rows, rows];
        let note = |operation: &str, tensor: &str, shape: &[usize], values: &[f32]| {
            self.tensor("forward", Some(layer), operation, tensor, shape, values);
        };
        let low = |target: Target| {
            let values = &saved.low[target as usize];
            let operation = format!("{}.lora_A", target.module());
            note(&operation, "x Aᵀ", &[rows, values.len() / rows.max(1)], values);
        };
        note("input_layernorm", "normed", hidden, &saved.normed);
        low(Target::Query);
        note("self_attn.q_proj, rope", "queries", queries, &saved.q);
        low(Target::Key);
        note("self_attn.k_proj, rope", "keys", keys, &saved.k);
        low(Target::Value);
        note("self_attn.v_proj", "values", keys, &saved.v);
        note("softmax(queries keysᵀ · scale)", "attention probabilities", scores, &saved.probabilities);
        note("probabilities values", "attended", queries, &saved.attended);
        low(Target::Output);
        note("hidden + self_attn.o_proj", "hidden states after attention", hidden, &saved.middle);
        note("post_attention_layernorm", "normed", hidden, &saved.normed2);
        low(Target::Gate);
        note("mlp.gate_proj", "gate", inner, &saved.gate);
        low(Target::Up);
        note("mlp.up_proj", "up", inner, &saved.up);
        note("silu(gate) · up", "product", inner, &saved.product);
        low(Target::Down);
        note("hidden + mlp.down_proj", OUTPUT, hidden, out);
    }

    fn push(&self, recorded: Recorded) {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).push(recorded);
    }
}

/// SHA-256 over f32 values, little-endian.
fn sha256(values: &[f32]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    let mut bytes = Vec::with_capacity(4 * 16_384);
    for chunk in values.chunks(16_384) {
        bytes.clear();
        bytes.extend(chunk.iter().flat_map(|value| value.to_le_bytes()));
        hasher.update(&bytes);
    }
    hasher.finalize().into()
}
