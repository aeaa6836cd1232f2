//! Training an encoder from scratch on labelled passages: how `kolm/nano-encoder` is made.
//!
//! Each class has a proxy vector. A passage's loss is the cross-entropy of its class under `scale` times the dots of its unit vector
//! (first token, L2-normalised) with the proxies; passages of a class gather around their proxy. Proxies are thrown away at the end. No
//! passage sees another, so each gradient still stands alone. An example of the engine is a group of passages: their rows share the
//! products, attention stays within each passage.

use kolm_runtime::kernel::{self, Buffer, Level, PackedMatrix};
use kolm_runtime::model::{Activation, Encoder, EncoderActivations, EncoderConfig, ModelError, Pooling};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::checkpoint::CheckpointStore;
use super::engine::{self, ExampleGradient, Objective};
use super::error::TrainError;
use super::gradient::encoder::{
    Affine, EncoderBlockBackward, EncoderPlaces, affine, encoder_block_tensors, split_affine,
};
use super::gradient::linear::{argument_gradient, weight_gradient};
use super::gradient::norm::layer_norm_backward;
use super::parameters::{Layout, Parameters};
use super::pretrain::{Pretrained, initial_values};
use super::record::Detail;
use super::settings::{Settings, StepReport};
use super::stream::{shuffle, stream};

/// A passage and the class it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passage {
    /// Its tokens, special tokens included.
    pub tokens: Vec<u32>,
    /// Its class.
    pub class: u32,
}

/// What the encoder's classes are, and how sharply they are told apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProxyObjective {
    /// Number of classes.
    pub classes: usize,
    /// What dots of unit vectors with proxies are multiplied with.
    pub scale: f32,
    /// Passages in one group; the batch size of the settings counts groups.
    pub group: usize,
}

/// Trains an encoder of the shape in `config` (the bytes of a `config.json`) from scratch.
///
/// Groups are cut from the order of `stream(seed, "encoder.groups", 0)`. Initial values are those of [`super::pretrain_decoder`].
///
/// # Errors
/// As [`super::train_adapter`].
pub fn pretrain_encoder(
    level: Level,
    config: &[u8],
    passages: &[Passage],
    proxies: &ProxyObjective,
    settings: &Settings,
    checkpoint: Option<&CheckpointStore>,
    observe: &mut dyn FnMut(&StepReport),
) -> Result<Pretrained, TrainError> {
    let config = EncoderConfig::parse(config, None, None, "kolm/nano-encoder")?;
    check(&config, passages, proxies)?;
    let mut order: Vec<&Passage> = passages.iter().collect();
    shuffle(&mut stream(settings.seed, "encoder.groups", 0), &mut order);
    let groups = order.chunks(proxies.group).map(<[&Passage]>::to_vec).collect();
    let layouts = encoder_layouts(&config, proxies.classes);
    let values = layouts.par_iter().map(|layout| initial_values(layout, settings.seed, config.layers)).collect();
    let mut parameters = Parameters::new(layouts, values);
    let objective = EncoderObjective::new(level, config, *proxies, &parameters, groups);
    let trace = engine::run(level, &objective, settings, &mut parameters, checkpoint, &mut { observe })?;
    Ok(Pretrained::new(&parameters, trace, |name| name != PROXIES))
}

fn check(config: &EncoderConfig, passages: &[Passage], proxies: &ProxyObjective) -> Result<(), TrainError> {
    let setting = |name, found: String, expected| Err(TrainError::Setting { name, found, expected });
    if proxies.group == 0 {
        return setting("group", "0".to_string(), "at least 1");
    }
    if config.activation != Activation::Gelu || config.pooling != Pooling::Cls {
        return setting("encoder", format!("{:?}, {:?}", config.activation, config.pooling), "Gelu, Cls");
    }
    for (index, passage) in passages.iter().enumerate() {
        let refuse = |reason: String| Err(TrainError::Example { example: index, reason });
        if passage.class as usize >= proxies.classes {
            return refuse(format!("class {}, expected below {}", passage.class, proxies.classes));
        }
        if passage.tokens.is_empty() || passage.tokens.len() > config.max_positions {
            return refuse(format!("{} tokens, expected 1 to {}", passage.tokens.len(), config.max_positions));
        }
        if let Some(&id) = passage.tokens.iter().find(|&&id| id as usize >= config.vocabulary) {
            return refuse(format!("token {id}, expected below {}", config.vocabulary));
        }
    }
    Ok(())
}

/// Groups of an encoder: embeddings, blocks, proxies.
pub(crate) fn encoder_layouts(config: &EncoderConfig, classes: usize) -> Vec<Layout> {
    let hidden = config.hidden;
    let embeddings = [
        (WORDS.to_string(), vec![config.vocabulary, hidden]),
        (POSITIONS.to_string(), vec![config.max_positions, hidden]),
        (TOKEN_TYPES.to_string(), vec![config.token_types, hidden]),
        (format!("{EMBEDDING_NORM}.weight"), vec![hidden]),
        (format!("{EMBEDDING_NORM}.bias"), vec![hidden]),
    ];
    let mut layouts = vec![Layout::new(embeddings)];
    for layer in 0..config.layers {
        let tensors = encoder_block_tensors(config).into_iter();
        layouts.push(Layout::new(tensors.map(|(name, shape)| (format!("{}{name}", prefix(layer)), shape))));
    }
    layouts.push(Layout::new([(PROXIES.to_string(), vec![classes, hidden])]));
    layouts
}

fn prefix(layer: usize) -> String {
    format!("encoder.layer.{layer}.")
}

pub(crate) struct EncoderObjective<'a> {
    level: Level,
    config: EncoderConfig,
    proxies: ProxyObjective,
    lens: Vec<usize>,
    blocks: Vec<EncoderPlaces>,
    words: usize,
    positions: usize,
    token_type: usize,
    embedding_norm: Affine,
    groups: Vec<Vec<&'a Passage>>,
}

/// An encoder ready for one step.
pub(crate) struct EncoderNetwork {
    encoder: Encoder,
    proxies: PackedMatrix,
}

impl<'a> EncoderObjective<'a> {
    pub(crate) fn new(
        level: Level,
        config: EncoderConfig,
        proxies: ProxyObjective,
        parameters: &Parameters,
        groups: Vec<Vec<&'a Passage>>,
    ) -> Self {
        let embeddings = &parameters.layouts[0];
        let start = |name| embeddings.named(name).expect("the layout holds every embedding").start;
        Self {
            level,
            proxies,
            lens: parameters.layouts.iter().map(Layout::len).collect(),
            blocks: (0..config.layers)
                .map(|layer| EncoderPlaces::of(&parameters.layouts[layer + 1], &prefix(layer)))
                .collect(),
            words: start(WORDS),
            positions: start(POSITIONS),
            token_type: start(TOKEN_TYPES),
            embedding_norm: affine(embeddings, EMBEDDING_NORM),
            groups,
            config,
        }
    }

    /// Loss, gradient of the last hidden states and of the proxies.
    fn head(
        &self,
        network: &EncoderNetwork,
        group: &[&Passage],
        hidden: &[Buffer],
        proxies: &mut [f32],
    ) -> (f64, Buffer) {
        let (level, width, classes) = (self.level, self.config.hidden, self.proxies.classes);
        let unit: Vec<f32> = hidden.iter().flat_map(|rows| network.encoder.pool(rows)).collect();
        let mut logits = vec![0.0; group.len() * classes];
        kernel::product(level, &unit, group.len(), &network.proxies, &mut logits);
        let mut loss = 0.0;
        for (row, passage) in logits.chunks_exact_mut(classes).zip(group) {
            row.iter_mut().for_each(|logit| *logit *= self.proxies.scale);
            loss += f64::from(kernel::cross_entropy(level, row, passage.class as usize));
            row.iter_mut().for_each(|g| *g *= self.proxies.scale);
        }
        let logits_gradient = logits;
        weight_gradient(level, &logits_gradient, &unit, classes, width, proxies);
        let unit_gradient = argument_gradient(level, &logits_gradient, &network.proxies);
        let mut out = Vec::with_capacity(hidden.iter().map(|rows| rows.len()).sum());
        for ((rows, e), d) in hidden.iter().zip(unit.chunks_exact(width)).zip(unit_gradient.chunks_exact(width)) {
            let norm = kernel::sum_squares(level, &rows[..width]).sqrt();
            let along = kernel::dot(level, e, d);
            out.extend(e.iter().zip(d).map(|(e, d)| kernel::fma(-e, along, *d) / norm));
            out.resize(out.len() + rows.len() - width, 0.0);
        }
        (loss, out.into())
    }

    /// Adds the rows' gradients to words, positions and token type, passages and tokens ascending.
    fn embedding_gradient(
        &self,
        network: &EncoderNetwork,
        group: &[&Passage],
        gradient: &[f32],
        flat: &mut [f32],
    ) -> Result<(), TrainError> {
        let width = self.config.hidden;
        let sums: Vec<Vec<f32>> =
            group.iter().map(|passage| network.encoder.embedding_sum(&passage.tokens)).collect::<Result<_, _>>()?;
        let norm = &network.encoder.embedding_norm;
        let (w, b) = split_affine(flat, &self.embedding_norm);
        let rows = layer_norm_backward(self.level, &sums.concat(), &norm.weight, self.config.norm_eps, gradient, w, b);
        let tokens = group.iter().flat_map(|passage| passage.tokens.iter().enumerate());
        for (row, (position, &token)) in rows.chunks_exact(width).zip(tokens) {
            for start in [self.words + token as usize * width, self.positions + position * width, self.token_type] {
                kernel::add(self.level, &mut flat[start..start + width], row);
            }
        }
        Ok(())
    }
}

impl Objective for EncoderObjective<'_> {
    type Ready = EncoderNetwork;

    fn example_count(&self) -> usize {
        self.groups.len()
    }

    fn ready(&self, parameters: &Parameters) -> Result<EncoderNetwork, TrainError> {
        let (level, config) = (self.level, &self.config);
        let mut get = |name: &str, _: &[usize]| {
            let found = parameters
                .layouts
                .iter()
                .zip(&parameters.values)
                .find_map(|(layout, flat)| Some(flat[layout.named(name)?].to_vec()));
            found.ok_or_else(|| ModelError::TensorMissing {
                model: "the encoder in training".to_string(),
                tensor: name.to_string(),
            })
        };
        let encoder = Encoder::from_tensors(level, config.clone(), &mut get)?;
        let (classes, width) = (self.proxies.classes, config.hidden);
        let proxies = &parameters.values[config.layers + 1];
        Ok(EncoderNetwork { encoder, proxies: PackedMatrix::from_columns(level, proxies, classes, width) })
    }

    fn gradient(
        &self,
        network: &EncoderNetwork,
        example: usize,
        _: Option<Detail>,
    ) -> Result<ExampleGradient, TrainError> {
        let group = &self.groups[example];
        let layers = self.config.layers;
        let mut saved: Vec<Vec<EncoderActivations>> = vec![Vec::new(); layers];
        let mut hidden = Vec::with_capacity(group.len());
        for passage in group {
            let mut rows = network.encoder.embed_tokens(&passage.tokens)?;
            for (block, saved) in network.encoder.blocks.iter().zip(&mut saved) {
                let mut activations = EncoderActivations::default();
                block.forward(self.level, &self.config, &mut rows, &[passage.tokens.len()], Some(&mut activations));
                saved.push(activations);
            }
            hidden.push(rows);
        }
        let mut groups: Vec<Vec<f32>> = self.lens.iter().map(|&len| vec![0.0; len]).collect();
        let (loss, mut gradient) = self.head(network, group, &hidden, &mut groups[layers + 1]);
        for layer in (0..layers).rev() {
            let backward = EncoderBlockBackward {
                level: self.level,
                config: &self.config,
                block: &network.encoder.blocks[layer],
                places: &self.blocks[layer],
                saved: &saved[layer],
            };
            gradient = backward.run(&gradient, &mut groups[layer + 1]);
        }
        self.embedding_gradient(network, group, &gradient, &mut groups[0])?;
        let tokens = group.iter().map(|passage| passage.tokens.len() as u64).sum();
        Ok(ExampleGradient { loss, learned: group.len() as u64, tokens, groups, recorded: Vec::new() })
    }

    fn fingerprint(&self, hasher: &mut Sha256) {
        hasher.update(b"\nencoder\n");
        hasher.update(format!("{:?}\n{} {:08x}\n", self.config, self.proxies.classes, self.proxies.scale.to_bits()));
        for passage in self.groups.iter().flatten() {
            hasher.update((passage.tokens.len() as u64).to_le_bytes());
            hasher.update(passage.class.to_le_bytes());
            for token in &passage.tokens {
                hasher.update(token.to_le_bytes());
            }
        }
        hasher.update((self.proxies.group as u64).to_le_bytes());
    }
}

/// Name of the proxies among the parameters; never written to a file.
pub(crate) const PROXIES: &str = "proxies";
const WORDS: &str = "embeddings.word_embeddings.weight";
const POSITIONS: &str = "embeddings.position_embeddings.weight";
const TOKEN_TYPES: &str = "embeddings.token_type_embeddings.weight";
const EMBEDDING_NORM: &str = "embeddings.LayerNorm";
