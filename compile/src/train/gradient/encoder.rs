//! Backward of one encoder block over several texts: rows of all texts together, attention text by text.

use std::ops::Range;

use kolm_runtime::kernel::{self, Buffer, Level};
use kolm_runtime::model::{EncoderActivations, EncoderBlock, EncoderConfig, Linear};

use super::activation::gelu_backward;
use super::attention::{AttentionShape, attention_backward};
use super::linear::{argument_gradient, bias_gradient, weight_gradient};
use super::norm::layer_norm_backward;
use crate::train::parameters::Layout;

/// A linear layer of the block.
#[derive(Clone, Copy)]
enum Module {
    Query,
    Key,
    Value,
    Output,
    Up,
    Down,
}

const MODULES: [(Module, &str); 6] = [
    (Module::Query, "attention.self.query"),
    (Module::Key, "attention.self.key"),
    (Module::Value, "attention.self.value"),
    (Module::Output, "attention.output.dense"),
    (Module::Up, "intermediate.dense"),
    (Module::Down, "output.dense"),
];

fn features(config: &EncoderConfig, module: Module) -> (usize, usize) {
    match module {
        Module::Up => (config.hidden, config.intermediate),
        Module::Down => (config.intermediate, config.hidden),
        _ => (config.hidden, config.hidden),
    }
}

/// Names and shapes of a block's tensors.
pub(crate) fn encoder_block_tensors(config: &EncoderConfig) -> Vec<(String, Vec<usize>)> {
    let mut tensors = Vec::new();
    for (module, name) in MODULES {
        let (inputs, outputs) = features(config, module);
        tensors.push((format!("{name}.weight"), vec![outputs, inputs]));
        tensors.push((format!("{name}.bias"), vec![outputs]));
    }
    for name in ["attention.output.LayerNorm", "output.LayerNorm"] {
        tensors.push((format!("{name}.weight"), vec![config.hidden]));
        tensors.push((format!("{name}.bias"), vec![config.hidden]));
    }
    tensors
}

fn linear(block: &EncoderBlock, module: Module) -> &Linear {
    match module {
        Module::Query => &block.q,
        Module::Key => &block.k,
        Module::Value => &block.v,
        Module::Output => &block.o,
        Module::Up => &block.up,
        Module::Down => &block.down,
    }
}

/// A weight's and a bias's place in a flat vector.
pub(crate) type Affine = (Range<usize>, Range<usize>);

/// Where each gradient of a block lies in the block's flat vector.
pub(crate) struct EncoderPlaces {
    linears: [Affine; 6],
    attention_norm: Affine,
    output_norm: Affine,
}

impl EncoderPlaces {
    /// Finds a block's tensors in its layout; `prefix` is the block's path.
    pub(crate) fn of(layout: &Layout, prefix: &str) -> Self {
        let affine = |name: &str| affine(layout, &format!("{prefix}{name}"));
        Self {
            linears: MODULES.map(|(_, name)| affine(name)),
            attention_norm: affine("attention.output.LayerNorm"),
            output_norm: affine("output.LayerNorm"),
        }
    }
}

/// Places of `name.weight` and `name.bias`, which the layout holds.
pub(crate) fn affine(layout: &Layout, name: &str) -> Affine {
    let place =
        |part: &str| layout.named(&format!("{name}.{part}")).expect("the layout holds every tensor of the encoder");
    (place("weight"), place("bias"))
}

/// A block as its backward pass sees it.
pub(crate) struct EncoderBlockBackward<'a> {
    /// SIMD level.
    pub(crate) level: Level,
    /// Shape of the model.
    pub(crate) config: &'a EncoderConfig,
    /// The block itself.
    pub(crate) block: &'a EncoderBlock,
    /// Places in the flat vector.
    pub(crate) places: &'a EncoderPlaces,
    /// What the forward pass computed, text by text.
    pub(crate) saved: &'a [EncoderActivations],
}

impl EncoderBlockBackward<'_> {
    /// Takes the gradient of the block's result `[ΣT, C]` back to its argument and, into the zeroed `flat`, to its parameters.
    pub(crate) fn run(&self, gradient: &[f32], flat: &mut [f32]) -> Buffer {
        let Self { level, config, block, .. } = *self;
        let eps = config.norm_eps;
        let places = self.places;
        let output_sum = self.joined(|saved| &saved.output_sum);
        let (w, b) = split_affine(flat, &places.output_norm);
        let output = layer_norm_backward(level, &output_sum, &block.output_norm.weight, eps, gradient, w, b);
        let mut inner = self.linear(Module::Down, &self.joined(|saved| &saved.activated), &output, flat);
        gelu_backward(level, &self.joined(|saved| &saved.inner), &mut inner);
        let mut middle = output;
        kernel::add(level, &mut middle, &self.linear(Module::Up, &self.joined(|saved| &saved.middle), &inner, flat));
        let attention_sum = self.joined(|saved| &saved.attention_sum);
        let (w, b) = split_affine(flat, &places.attention_norm);
        let mut input = layer_norm_backward(level, &attention_sum, &block.attention_norm.weight, eps, &middle, w, b);
        let attended = self.linear(Module::Output, &self.joined(|saved| &saved.attended), &input, flat);
        let (q, k, v) = self.attention(&attended);
        let x = self.joined(|saved| &saved.input);
        for (module, gradient) in [(Module::Query, q), (Module::Key, k), (Module::Value, v)] {
            kernel::add(level, &mut input, &self.linear(module, &x, &gradient, flat));
        }
        input
    }

    fn joined(&self, part: impl Fn(&EncoderActivations) -> &Buffer) -> Vec<f32> {
        self.saved.iter().map(|saved| &**part(saved)).collect::<Vec<_>>().concat()
    }

    fn attention(&self, gradient: &[f32]) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
        let shape = AttentionShape {
            heads: self.config.heads,
            kv_heads: self.config.heads,
            head_dim: self.config.head_dim(),
            scale: self.config.attention_scale(),
            causal: false,
        };
        let (mut q, mut k, mut v) = (Vec::new(), Vec::new(), Vec::new());
        let mut rest = gradient;
        for saved in self.saved {
            let (of_text, others) = rest.split_at(saved.q.len());
            rest = others;
            let d = attention_backward(self.level, shape, &saved.q, &saved.k, &saved.v, &saved.probabilities, of_text);
            q.extend_from_slice(&d.q);
            k.extend_from_slice(&d.k);
            v.extend_from_slice(&d.v);
        }
        (q, k, v)
    }

    fn linear(&self, module: Module, x: &[f32], gradient: &[f32], flat: &mut [f32]) -> Buffer {
        let (inputs, outputs) = features(self.config, module);
        let (weight, bias) = self.places.linears[module as usize].clone();
        weight_gradient(self.level, gradient, x, outputs, inputs, &mut flat[weight]);
        bias_gradient(self.level, gradient, &mut flat[bias]);
        argument_gradient(self.level, gradient, &linear(self.block, module).weight)
    }
}

/// A weight's and a bias's values; the bias follows the weight.
pub(crate) fn split_affine<'a>(flat: &'a mut [f32], (weight, bias): &Affine) -> (&'a mut [f32], &'a mut [f32]) {
    let (before, after) = flat.split_at_mut(bias.start);
    (&mut before[weight.clone()], &mut after[..bias.len()])
}
