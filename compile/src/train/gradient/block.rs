//! Backward of one decoder block, generic over what learns: its LoRA pairs, all its own parameters, or both.

use kolm_runtime::kernel::{self, Buffer, Level, RopeTable};
use kolm_runtime::model::{Block, BlockActivations, DecoderConfig, LoraBlock, Target};

use super::activation::silu_multiply_backward;
use super::attention::{AttentionShape, attention_backward};
use super::linear::{argument_gradient, bias_gradient, pair_gradient, weight_gradient};
use super::norm::rms_norm_backward;
use crate::train::parameters::Layout;
use crate::train::record::{OUTPUT_GRADIENT, PARAMETER_GRADIENT, Recorder};
use std::ops::Range;

/// Where each gradient of a block lies in the block's flat vector; `None` where it is frozen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    input_norm: Option<Range<usize>>,
    post_norm: Option<Range<usize>>,
    weights: [Option<Range<usize>>; 7],
    biases: [Option<Range<usize>>; 7],
    pairs: [Option<(Range<usize>, Range<usize>)>; 7],
}

impl Places {
    /// Finds a block's tensors in its layout by the ends of their names.
    pub(crate) fn of(layout: &Layout) -> Self {
        let place = |target: Target, part: &str| layout.range(&format!("{}.{part}", target.module()));
        Self {
            input_norm: layout.range(".input_layernorm.weight"),
            post_norm: layout.range(".post_attention_layernorm.weight"),
            weights: Target::ALL.map(|target| place(target, "weight")),
            biases: Target::ALL.map(|target| place(target, "bias")),
            pairs: Target::ALL.map(|target| Some((place(target, "lora_A.weight")?, place(target, "lora_B.weight")?))),
        }
    }
}

/// A block as its backward pass sees it.
pub(crate) struct BlockBackward<'a> {
    /// SIMD level.
    pub(crate) level: Level,
    /// Shape of the model.
    pub(crate) config: &'a DecoderConfig,
    /// Rotary table.
    pub(crate) rope: &'a RopeTable,
    /// The block itself.
    pub(crate) block: &'a Block,
    /// Its LoRA pairs.
    pub(crate) lora: Option<&'a LoraBlock>,
    /// What learns.
    pub(crate) places: &'a Places,
    /// What the forward pass computed.
    pub(crate) saved: &'a BlockActivations,
    /// Who wants to see each tensor, and as which block's.
    pub(crate) record: Option<(&'a Recorder, usize)>,
}

impl BlockBackward<'_> {
    /// Takes the gradient of the block's result `[T, C]` back to its argument (when `wants_input`) and, into the zeroed `flat`,
    /// to its parameters.
    pub(crate) fn run(&self, gradient: &[f32], wants_input: bool, flat: &mut [f32]) -> Option<Buffer> {
        let Self { level, config, saved, .. } = *self;
        let eps = config.rms_eps;
        let (hidden, queries, keys) = (config.hidden, config.query_width(), config.kv_width());
        self.note("block above or loss", OUTPUT_GRADIENT, hidden, gradient);
        let product = self.linear(Target::Down, &saved.product, gradient, true, flat)?;
        self.note("mlp.down_proj", "gradient of product", config.intermediate, &product);
        let (gate, up) = silu_multiply_backward(level, &saved.gate, &saved.up, &product);
        self.note("silu(gate) · up", "gradient of gate", config.intermediate, &gate);
        self.note("silu(gate) · up", "gradient of up", config.intermediate, &up);
        let mut normed2 = self.linear(Target::Gate, &saved.normed2, &gate, true, flat)?;
        kernel::add(level, &mut normed2, &self.linear(Target::Up, &saved.normed2, &up, true, flat)?);
        self.note("mlp.gate_proj, mlp.up_proj", "gradient of normed", hidden, &normed2);
        let norm = self.places.post_norm.clone().map(|range| &mut flat[range]);
        let mut middle = rms_norm_backward(level, &saved.middle, &self.block.post_norm, eps, &normed2, norm);
        kernel::add(level, &mut middle, gradient);
        self.note("post_attention_layernorm", "gradient of hidden states after attention", hidden, &middle);

        let attended = self.linear(Target::Output, &saved.attended, &middle, true, flat)?;
        self.note("self_attn.o_proj", "gradient of attended", queries, &attended);
        let shape = AttentionShape {
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            scale: config.attention_scale(),
            causal: true,
        };
        let mut d = attention_backward(level, shape, &saved.q, &saved.k, &saved.v, &saved.probabilities, &attended);
        self.note("attention", "gradient of values", keys, &d.v);
        self.rope.apply_inverse(level, &mut d.q, config.heads, 0);
        self.rope.apply_inverse(level, &mut d.k, config.kv_heads, 0);
        self.note("attention, rope", "gradient of queries", queries, &d.q);
        self.note("attention, rope", "gradient of keys", keys, &d.k);
        let wants_normed = wants_input || self.places.input_norm.is_some();
        let q = self.linear(Target::Query, &saved.normed, &d.q, wants_normed, flat);
        let k = self.linear(Target::Key, &saved.normed, &d.k, wants_normed, flat);
        let v = self.linear(Target::Value, &saved.normed, &d.v, wants_normed, flat);
        self.note_parameters(flat);
        let (mut normed, k, v) = (q?, k?, v?);
        kernel::add(level, &mut normed, &k);
        kernel::add(level, &mut normed, &v);
        self.note("self_attn.q_proj, k_proj, v_proj", "gradient of normed", hidden, &normed);
        let norm = self.places.input_norm.clone().map(|range| &mut flat[range]);
        let mut input = rms_norm_backward(level, &saved.input, &self.block.input_norm, eps, &normed, norm);
        kernel::add(level, &mut input, &middle);
        Some(input)
    }

    /// Shows a tensor of `width` columns to whoever records.
    fn note(&self, operation: &str, tensor: &str, width: usize, values: &[f32]) {
        if let Some((record, layer)) = self.record {
            record.tensor("backward", Some(layer), operation, tensor, &[values.len() / width, width], values);
        }
    }

    /// Shows the gradients of the LoRA pairs, in name order, and all of them as one.
    fn note_parameters(&self, flat: &[f32]) {
        let Some((record, layer)) = self.record else { return };
        let tensor = |operation: &str, tensor: &str, shape: &[usize], values: &[f32]| {
            record.tensor("backward", Some(layer), operation, tensor, shape, values);
        };
        for target in Target::ALL {
            let (Some((a, b)), (inputs, outputs)) =
                (self.places.pairs[target as usize].clone(), target.features(self.config))
            else {
                continue;
            };
            let rank = a.len() / inputs;
            tensor(target.module(), "gradient of lora_A", &[rank, inputs], &flat[a]);
            tensor(target.module(), "gradient of lora_B", &[outputs, rank], &flat[b]);
        }
        tensor("all adapted layers", PARAMETER_GRADIENT, &[flat.len()], flat);
    }

    fn linear(
        &self,
        target: Target,
        x: &[f32],
        gradient: &[f32],
        wants_input: bool,
        flat: &mut [f32],
    ) -> Option<Buffer> {
        let level = self.level;
        let place = target as usize;
        let (inputs, outputs) = target.features(self.config);
        if let Some(range) = self.places.weights[place].clone() {
            weight_gradient(level, gradient, x, outputs, inputs, &mut flat[range]);
        }
        if let Some(range) = self.places.biases[place].clone() {
            bias_gradient(level, gradient, &mut flat[range]);
        }
        let mut out = wants_input.then(|| argument_gradient(level, gradient, &self.block.linear(target).weight));
        if let Some(lora) = self.lora
            && let (Some(pair), Some((a, b))) = (lora.get(target), self.places.pairs[place].clone())
        {
            let (before, after) = flat.split_at_mut(b.start);
            let low = &self.saved.low[place];
            let (a, b) = (&mut before[a], &mut after[..b.len()]);
            let share = pair_gradient(level, pair, lora.scaling, x, low, gradient, a, b, wants_input);
            if let (Some(out), Some(share)) = (out.as_mut(), share) {
                kernel::add(level, out, &share);
            }
        }
        out
    }
}
