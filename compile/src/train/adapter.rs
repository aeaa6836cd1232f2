//! Training a LoRA adapter on a frozen base.

use std::sync::Arc;

use candle_core::{Device, Var};
use kolm_runtime::kernel::Level;
use kolm_runtime::model::{
    Adapter, AdapterConfig, Decoder, DecoderConfig, ModelError, ModelSource, Target, tensor_name,
};
use sha2::{Digest, Sha256};

use super::checkpoint::CheckpointStore;
use super::engine::{self, ExampleGradient, Objective, Watcher};
use super::error::TrainError;
use super::gradient::block::Places;
use super::parameters::{Layout, Parameters};
use super::record::{Detail, Recorder};
use super::settings::{Example, Settings, TraceLine};
use super::stream::{stream, unit};
use super::tape::{Network, adapter_gradient};

/// Makes the adapter PEFT would start from: `A` uniform in ±1/√in (Kaiming with a = √5), `B` zero.
///
/// Layer l draws from `stream(seed, "lora.init", l)`: its targets in name order, each `A` row by row.
///
/// # Errors
/// [`ModelError::AdapterTarget`] when the configuration names a module decoders do not have.
pub fn initial_adapter(
    level: Level,
    decoder: &DecoderConfig,
    config: &AdapterConfig,
    seed: u64,
) -> Result<Adapter, ModelError> {
    let mut rng = stream(seed, "lora.init", 0);
    let mut current = 0;
    Adapter::from_factors(level, decoder, config.clone(), &mut |layer, target| {
        if layer != current {
            current = layer;
            rng = stream(seed, "lora.init", layer as u64);
        }
        let (inputs, outputs) = target.features(decoder);
        let bound = (1.0 / (inputs as f64).sqrt()) as f32;
        let a = (0..config.rank * inputs).map(|_| (2.0 * unit(&mut rng) - 1.0) * bound).collect();
        Ok((a, vec![0.0; outputs * config.rank]))
    })
}

/// Trains `initial` on `examples` and gives the trained adapter with its trace.
///
/// `source` is where `decoder` was loaded from: a checkpoint names its files. With a `checkpoint` store the run goes on from the newest
/// checkpoint that the store holds.
///
/// # Errors
/// `NoExamples`, `Setting`, `Example`, `Adapter` for what cannot be trained, `NotFinite` with the step at fault, `Model` when
/// the base cannot be read, and the checkpoint variants.
#[allow(clippy::too_many_arguments, reason = "a stage sees all its inputs and nothing else")]
pub fn train_adapter(
    level: Level,
    source: &ModelSource,
    decoder: &Arc<Decoder>,
    initial: Adapter,
    examples: &[Example],
    settings: &Settings,
    checkpoint: Option<&CheckpointStore>,
    watcher: &mut dyn Watcher,
) -> Result<(Adapter, Vec<TraceLine>), TrainError> {
    check_examples(&decoder.config, examples)?;
    let (objective, mut parameters) =
        AdapterObjective::new(level, source, decoder, &initial, examples, settings.recompute)?;
    drop(initial);
    let trace = engine::run(level, &objective, settings, &mut parameters, checkpoint, watcher)?;
    Ok((objective.adapter(&parameters)?, trace))
}

fn adapter_layout(decoder: &DecoderConfig, config: &AdapterConfig, layer: usize) -> Result<Layout, ModelError> {
    let targets = config.parsed_targets()?;
    Ok(Layout::new(targets.into_iter().flat_map(|target| {
        let (inputs, outputs) = target.features(decoder);
        [
            (tensor_name(layer, target, 'A'), vec![config.rank, inputs]),
            (tensor_name(layer, target, 'B'), vec![outputs, config.rank]),
        ]
    })))
}

/// Refuses what cannot be learned from, by the example's index.
pub(crate) fn check_examples(config: &DecoderConfig, examples: &[Example]) -> Result<(), TrainError> {
    for (index, example) in examples.iter().enumerate() {
        let length = example.tokens.len();
        let refuse = |reason: String| Err(TrainError::Example { example: index, reason });
        if example.loss_from == 0 || example.loss_from >= length {
            return refuse(format!("learned tokens start at {}, expected 1..{length}", example.loss_from));
        }
        if length - 1 > config.max_positions {
            return refuse(format!("{length} tokens, expected at most {}", config.max_positions + 1));
        }
        if let Some(&id) = example.tokens.iter().find(|&&id| id as usize >= config.vocabulary) {
            return refuse(format!("token {id}, expected below {}", config.vocabulary));
        }
    }
    Ok(())
}

/// Feeds the examples into a fingerprint.
pub(crate) fn hash_examples(hasher: &mut Sha256, examples: &[Example]) {
    for example in examples {
        hasher.update((example.tokens.len() as u64).to_le_bytes());
        hasher.update((example.loss_from as u64).to_le_bytes());
        for token in &example.tokens {
            hasher.update(token.to_le_bytes());
        }
    }
}

pub(crate) struct AdapterObjective<'a> {
    level: Level,
    base: String,
    decoder: Arc<Decoder>,
    config: AdapterConfig,
    places: Vec<Places>,
    flat_lens: Vec<usize>,
    examples: &'a [Example],
    recompute: bool,
}

impl<'a> AdapterObjective<'a> {
    pub(crate) fn new(
        level: Level,
        source: &ModelSource,
        decoder: &Arc<Decoder>,
        initial: &Adapter,
        examples: &'a [Example],
        recompute: bool,
    ) -> Result<(Self, Parameters), TrainError> {
        let config = &decoder.config;
        if initial.layers.len() != config.layers {
            let reason = format!("{} layers, expected {}", initial.layers.len(), config.layers);
            return Err(TrainError::Adapter { reason });
        }
        let layouts: Vec<Layout> =
            (0..config.layers).map(|layer| adapter_layout(config, &initial.config, layer)).collect::<Result<_, _>>()?;
        let values = initial.layers.iter().map(|block| {
            let pairs = Target::ALL.into_iter().filter_map(|target| block.get(target));
            pairs.flat_map(|pair| pair.raw_a.iter().chain(&pair.raw_b)).copied().collect()
        });
        let parameters = Parameters::new(layouts, values.collect());
        let objective = Self {
            level,
            base: source.identities()?.iter().map(|file| format!("{file:?}")).collect(),
            decoder: decoder.clone(),
            config: initial.config.clone(),
            places: parameters.layouts.iter().map(Places::of).collect(),
            flat_lens: parameters.layouts.iter().map(Layout::len).collect(),
            examples,
            recompute,
        };
        Ok((objective, parameters))
    }

    fn adapter(&self, parameters: &Parameters) -> Result<Adapter, ModelError> {
        Adapter::from_factors(self.level, &self.decoder.config, self.config.clone(), &mut |layer, target| {
            let factor = |name: char| {
                let range = parameters.layouts[layer].range(&tensor_name(layer, target, name));
                parameters.values[layer][range.expect("the layout has every target's factors")].to_vec()
            };
            Ok((factor('A'), factor('B')))
        })
    }
}

impl Objective for AdapterObjective<'_> {
    type Ready = (Arc<Network>, Vec<Var>);

    fn example_count(&self) -> usize {
        self.examples.len()
    }

    fn ready(&self, parameters: &Parameters) -> Result<Self::Ready, TrainError> {
        let adapter = self.adapter(parameters)?;
        let network = Network {
            decoder: self.decoder.clone(),
            lora: adapter.layers,
            places: self.places.clone(),
            flat_lens: self.flat_lens.clone(),
            recompute: self.recompute,
        };
        let leaves = parameters
            .values
            .iter()
            .map(|flat| Var::from_slice(flat, flat.len(), &Device::Cpu))
            .collect::<Result<_, _>>()?;
        Ok((Arc::new(network), leaves))
    }

    fn gradient(
        &self,
        (network, leaves): &Self::Ready,
        example: usize,
        detail: Option<Detail>,
    ) -> Result<ExampleGradient, TrainError> {
        let example = &self.examples[example];
        let Some(detail) = detail else { return adapter_gradient(network, leaves, example, None) };
        let record = Arc::new(Recorder::new(detail));
        record.tokens(example);
        let mut gradient = adapter_gradient(network, leaves, example, Some(&record))?;
        gradient.recorded = record.take();
        Ok(gradient)
    }

    fn fingerprint(&self, hasher: &mut Sha256) {
        hasher.update(b"\nadapter\n");
        hasher.update(format!("{} {} {:?}\n", self.config.rank, self.config.alpha, self.config.targets));
        hasher.update(&self.base);
        hash_examples(hasher, self.examples);
    }
}
