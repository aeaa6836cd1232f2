//! Training a decoder from scratch, all parameters: how `kolm/nano` is made.

use std::sync::Arc;

use kolm_runtime::kernel::Level;
use kolm_runtime::model::safetensors::{self, Dtype, bf16_bytes};
use kolm_runtime::model::{Block, Decoder, DecoderConfig, Matrix, ModelError, Target};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::adapter::{check_examples, hash_examples};
use super::checkpoint::CheckpointStore;
use super::engine::{self, ExampleGradient, Objective};
use super::error::TrainError;
use super::gradient::block::Places;
use super::parameters::{Layout, Parameters};
use super::record::Detail;
use super::settings::{Example, Settings, StepReport, TraceLine};
use super::stream::{bell, stream};
use super::tape::{Network, decoder_gradient};

/// A model trained from scratch.
#[derive(Clone, Debug)]
pub struct Pretrained {
    /// Name, shape and values of each tensor, in name order.
    pub tensors: Vec<(String, Vec<usize>, Vec<f32>)>,
    /// The run's trace.
    pub trace: Vec<TraceLine>,
}

impl Pretrained {
    pub(crate) fn new(parameters: &Parameters, trace: Vec<TraceLine>, keep: impl Fn(&str) -> bool) -> Self {
        let tensors = parameters
            .in_name_order()
            .filter(|(_, slot)| keep(&slot.name))
            .map(|(group, slot)| {
                (slot.name.clone(), slot.shape.clone(), parameters.values[group][slot.range.clone()].to_vec())
            })
            .collect();
        Self { tensors, trace }
    }

    /// Gives `model.safetensors` in bf16, each value rounded to nearest even.
    ///
    /// # Errors
    /// As `safetensors::write`; none for tensors that this module made.
    pub fn to_safetensors(&self) -> Result<Vec<u8>, ModelError> {
        let bytes: Vec<Vec<u8>> = self.tensors.iter().map(|(.., values)| bf16_bytes(values)).collect();
        let tensors: Vec<(&str, Dtype, &[usize], &[u8])> = self
            .tensors
            .iter()
            .zip(&bytes)
            .map(|((name, shape, _), bytes)| (name.as_str(), Dtype::Bf16, shape.as_slice(), bytes.as_slice()))
            .collect();
        safetensors::write(&tensors, Some(("format", "pt")))
    }
}

/// Joins documents, each followed by `end`, and cuts the stream into examples of `length` tokens that learn every token but the first.
///
/// Attention crosses documents. A remainder of fewer than two tokens is dropped.
pub fn packed_examples<'a>(documents: impl IntoIterator<Item = &'a [u32]>, end: u32, length: usize) -> Vec<Example> {
    let mut joined = Vec::new();
    for document in documents {
        joined.extend_from_slice(document);
        joined.push(end);
    }
    joined
        .chunks(length.max(2))
        .filter(|part| part.len() > 1)
        .map(|part| Example { tokens: part.to_vec(), loss_from: 1 })
        .collect()
}

/// Trains a decoder of the shape in `config` (the bytes of a `config.json`) from scratch.
///
/// Norm weights start at 1 and biases at 0; every other value is 0.02 times an Irwin-Hall number from
/// `stream(seed, "init." + tensor name, 0)`, except that the projections back into the residual stream are divided by √(2 · layers).
///
/// # Errors
/// As [`super::train_adapter`].
pub fn pretrain_decoder(
    level: Level,
    config: &[u8],
    examples: &[Example],
    settings: &Settings,
    checkpoint: Option<&CheckpointStore>,
    observe: &mut dyn FnMut(&StepReport),
) -> Result<Pretrained, TrainError> {
    let config = DecoderConfig::parse(config, None)?;
    check_examples(&config, examples)?;
    let layouts = decoder_layouts(&config);
    let values = layouts.par_iter().map(|layout| initial_values(layout, settings.seed, config.layers)).collect();
    let mut parameters = Parameters::new(layouts, values);
    let objective = DecoderObjective::new(level, config, &parameters, examples, settings.recompute);
    let trace = engine::run(level, &objective, settings, &mut parameters, checkpoint, &mut { observe })?;
    Ok(Pretrained::new(&parameters, trace, |_| true))
}

/// Groups of a decoder: embedding, blocks, final norm, output head unless tied.
pub(crate) fn decoder_layouts(config: &DecoderConfig) -> Vec<Layout> {
    let table = vec![config.vocabulary, config.hidden];
    let mut layouts = vec![Layout::new([("model.embed_tokens.weight".to_string(), table.clone())])];
    for layer in 0..config.layers {
        let name = |part: String| format!("model.layers.{layer}.{part}");
        let mut tensors = vec![
            (name("input_layernorm.weight".to_string()), vec![config.hidden]),
            (name("post_attention_layernorm.weight".to_string()), vec![config.hidden]),
        ];
        for target in Target::ALL {
            let (inputs, outputs) = target.features(config);
            tensors.push((name(format!("{}.weight", target.module())), vec![outputs, inputs]));
            if has_bias(config, target) {
                tensors.push((name(format!("{}.bias", target.module())), vec![outputs]));
            }
        }
        layouts.push(Layout::new(tensors));
    }
    layouts.push(Layout::new([("model.norm.weight".to_string(), vec![config.hidden])]));
    if !config.tied {
        layouts.push(Layout::new([("lm_head.weight".to_string(), table)]));
    }
    layouts
}

fn has_bias(config: &DecoderConfig, target: Target) -> bool {
    match target {
        Target::Query | Target::Key | Target::Value => config.attention_bias,
        Target::Output => config.output_bias,
        Target::Gate | Target::Up | Target::Down => config.mlp_bias,
    }
}

/// Values a group starts with.
pub(crate) fn initial_values(layout: &Layout, seed: u64, layers: usize) -> Vec<f32> {
    let mut values = Vec::with_capacity(layout.len());
    for slot in &layout.slots {
        let count = slot.range.len();
        if slot.name.ends_with(".bias") {
            values.resize(values.len() + count, 0.0);
        } else if slot.shape.len() == 1 {
            values.resize(values.len() + count, 1.0);
        } else {
            let into_residual = INTO_RESIDUAL.iter().any(|end| slot.name.ends_with(end));
            let deviation = if into_residual { DEVIATION / (2.0 * layers as f64).sqrt() } else { DEVIATION };
            let mut rng = stream(seed, &format!("init.{}", slot.name), 0);
            values.extend((0..count).map(|_| (bell(&mut rng) * deviation) as f32));
        }
    }
    values
}

pub(crate) struct DecoderObjective<'a> {
    level: Level,
    config: DecoderConfig,
    places: Vec<Places>,
    flat_lens: Vec<usize>,
    examples: &'a [Example],
    recompute: bool,
}

impl<'a> DecoderObjective<'a> {
    pub(crate) fn new(
        level: Level,
        config: DecoderConfig,
        parameters: &Parameters,
        examples: &'a [Example],
        recompute: bool,
    ) -> Self {
        let blocks = &parameters.layouts[1..=config.layers];
        let places = blocks.iter().map(Places::of).collect();
        let flat_lens = blocks.iter().map(Layout::len).collect();
        Self { level, config, places, flat_lens, examples, recompute }
    }

    fn network(&self, parameters: &Parameters) -> Result<Network, TrainError> {
        let (level, config) = (self.level, &self.config);
        let blocks = (1..=config.layers)
            .into_par_iter()
            .map(|group| {
                let mut get = |name: &str, _: &[usize]| {
                    let range = parameters.layouts[group].range(&format!(".{name}"));
                    let range = range.expect("the layout has every tensor of the block");
                    Ok(parameters.values[group][range].to_vec().into())
                };
                Block::from_tensors(level, config, &mut get)
            })
            .collect::<Result<_, ModelError>>()?;
        let embedding = parameters.values[0].clone();
        let norm = parameters.values[config.layers + 1].clone();
        let head = parameters.values.get(config.layers + 2).map(|head| Matrix::from(head.clone()));
        let decoder = Decoder::from_parts(level, config.clone(), embedding.into(), blocks, norm, head.as_ref());
        Ok(Network {
            decoder: Arc::new(decoder),
            lora: Vec::new(),
            places: self.places.clone(),
            flat_lens: self.flat_lens.clone(),
            recompute: self.recompute,
        })
    }
}

impl Objective for DecoderObjective<'_> {
    type Ready = Network;

    fn example_count(&self) -> usize {
        self.examples.len()
    }

    fn ready(&self, parameters: &Parameters) -> Result<Network, TrainError> {
        self.network(parameters)
    }

    fn gradient(&self, network: &Network, example: usize, _: Option<Detail>) -> Result<ExampleGradient, TrainError> {
        decoder_gradient(network, &self.examples[example])
    }

    fn fingerprint(&self, hasher: &mut Sha256) {
        hasher.update(b"\ndecoder\n");
        hasher.update(format!("{:?}\n", self.config));
        hash_examples(hasher, self.examples);
    }
}

/// Standard deviation of initial weights.
const DEVIATION: f64 = 0.02;
/// Tensors that write into the residual stream.
const INTO_RESIDUAL: [&str; 3] = ["self_attn.o_proj.weight", "mlp.down_proj.weight", ".output.dense.weight"];
