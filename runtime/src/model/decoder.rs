//! A whole decoder: embedding, blocks, final norm, head; prefill, decode with a cache, greedy generation.
//!
//! Prefill of any batch and decode with a cache give equal bits, so callers may batch as they like.

use rayon::prelude::*;

use super::adapter::Adapter;
use super::block::{Block, SegmentKv};
use super::cache::KvCache;
use super::config::DecoderConfig;
use super::embedding::Embedding;
use super::error::ModelError;
use super::lora::{LoraBlock, Target};
use super::matrix::Matrix;
use super::source::ModelSource;
use super::weights::Weights;
use crate::kernel::{self, Buffer, KeyValue, Level, PackedMatrix, RopeTable};

/// A decoder, its weights packed for one SIMD level.
#[derive(Debug)]
pub struct Decoder {
    /// Shape and constants.
    pub config: DecoderConfig,
    /// Token embedding `[V, C]`.
    pub embedding: Embedding,
    /// Transformer blocks.
    pub blocks: Vec<Block>,
    /// RMSNorm weight before the head, `[C]`.
    pub final_norm: Vec<f32>,
    /// `B[C, V]`.
    pub head: PackedMatrix,
    /// Rotary table.
    pub rope: RopeTable,
    /// SIMD level of every kernel call.
    pub level: Level,
}

/// Tokens to append to one sequence.
#[derive(Debug)]
pub struct Step<'a> {
    /// The tokens, at least one.
    pub tokens: &'a [u32],
    /// The sequence so far.
    pub cache: &'a mut KvCache,
}

impl Decoder {
    /// Loads and packs a decoder.
    ///
    /// # Errors
    /// The configuration, shard, header, tensor and weight variants of [`ModelError`].
    pub fn load(level: Level, source: &ModelSource) -> Result<Self, ModelError> {
        let config = DecoderConfig::load(source)?;
        let weights = Weights::open(source)?;
        // Before the blocks: the greatest matrices then never lie beside them in two forms.
        let (embedding, head) = load_ends(level, &config, &weights)?;
        let blocks = (0..config.layers)
            .into_par_iter()
            .map(|layer| {
                let mut get =
                    |name: &str, shape: &[usize]| weights.matrix(&format!("model.layers.{layer}.{name}"), shape);
                Block::from_tensors(level, &config, &mut get)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let final_norm = weights.tensor_f32("model.norm.weight", &[config.hidden])?;
        Ok(Self::assemble(level, config, embedding, blocks, final_norm, head))
    }

    /// Puts a decoder together from tensors of checked shape; `head [V, C]` is absent where it is tied to the embedding.
    pub fn from_parts(
        level: Level,
        config: DecoderConfig,
        embedding: Matrix,
        blocks: Vec<Block>,
        final_norm: Vec<f32>,
        head: Option<&Matrix>,
    ) -> Self {
        let packed = head.unwrap_or(&embedding).pack(level, config.vocabulary, config.hidden);
        let embedding = if head.is_some() { Embedding::new(embedding) } else { Embedding::Tied };
        Self::assemble(level, config, embedding, blocks, final_norm, packed)
    }

    fn assemble(
        level: Level,
        config: DecoderConfig,
        embedding: Embedding,
        blocks: Vec<Block>,
        final_norm: Vec<f32>,
        head: PackedMatrix,
    ) -> Self {
        let scaling = config.rope_scaling;
        let rope = RopeTable::new(config.rope_theta, config.head_dim, config.max_positions, scaling);
        Self { config, embedding, blocks, final_norm, head, rope, level }
    }

    /// An empty cache for one sequence of at most `capacity` positions, never more than the model's own limit.
    pub fn new_cache(&self, capacity: usize) -> KvCache {
        let capacity = capacity.min(self.config.max_positions);
        let layer = || KeyValue::new(self.config.kv_heads, self.config.head_dim, capacity);
        KvCache { layers: std::iter::repeat_with(layer).take(self.config.layers).collect(), capacity }
    }

    /// Appends each step's tokens to its sequence; gives the final-normed hidden rows `[ΣT, C]`, in the order of the steps.
    ///
    /// # Errors
    /// [`ModelError::SequenceEmpty`], [`ModelError::SequenceTooLong`], [`ModelError::TokenOutside`],
    /// [`ModelError::LayerCount`]; then no cache has changed.
    pub fn forward(&self, adapter: Option<&Adapter>, steps: &mut [Step<'_>]) -> Result<Vec<f32>, ModelError> {
        self.run(adapter, steps, false)
    }

    /// As [`Decoder::forward`], but gives the row of each step's last token alone, `[N, C]`: what the last block computes for the
    /// others beside their keys and values is left out.
    ///
    /// # Errors
    /// Those of [`Decoder::forward`].
    pub fn forward_last(&self, adapter: Option<&Adapter>, steps: &mut [Step<'_>]) -> Result<Vec<f32>, ModelError> {
        self.run(adapter, steps, true)
    }

    /// Checks adapter and steps; then each group of steps goes through all blocks, side by side with the others.
    fn run(&self, adapter: Option<&Adapter>, steps: &mut [Step<'_>], last_only: bool) -> Result<Vec<f32>, ModelError> {
        if let Some(adapter) = adapter {
            self.check_layers("adapter", adapter.layers.len())?;
        }
        for step in steps.iter() {
            self.check_layers("cache", step.cache.layers.len())?;
            self.check_length(step.cache.len() + step.tokens.len(), step.cache.capacity)?;
            self.check_tokens(step.tokens)?;
        }
        let (mut groups, mut rest) = (Vec::new(), steps);
        for count in groups_of(rest.iter().map(|step| step.tokens.len())) {
            let (some, others) = rest.split_at_mut(count);
            rest = others;
            groups.push(some);
        }
        let rows = kernel::side_by_side(groups, |steps| self.run_group(adapter, steps, last_only));
        Ok(rows.into_iter().collect::<Result<Vec<_>, _>>()?.concat())
    }

    /// Embeds the tokens of some steps and takes them through every block and the final norm.
    fn run_group(
        &self,
        adapter: Option<&Adapter>,
        steps: &mut [Step<'_>],
        last_only: bool,
    ) -> Result<Vec<f32>, ModelError> {
        let mut embedded = Vec::new();
        for step in steps.iter() {
            self.embed_onto(step.tokens, &mut embedded)?;
        }
        let mut hidden = Buffer::from(embedded);
        for (layer, block) in self.blocks.iter().enumerate() {
            let lora = adapter.and_then(|adapter| adapter.layers.get(layer));
            if last_only && layer + 1 == self.blocks.len() {
                let last = self.keep_last(layer, block, lora, &hidden, steps);
                hidden = self.run_block(layer, block, lora, last.into(), steps, |_| 1);
            } else {
                hidden = self.run_block(layer, block, lora, hidden, steps, |tokens| tokens);
            }
        }
        let mut normed = vec![0.0; hidden.len()];
        kernel::rms_norm(self.level, &hidden, &self.final_norm, self.config.rms_eps, &mut normed);
        Ok(normed)
    }

    /// Runs one block; `rows` says how many rows of `hidden` are a step's, by its tokens.
    fn run_block(
        &self,
        layer: usize,
        block: &Block,
        lora: Option<&LoraBlock>,
        hidden: Buffer,
        steps: &mut [Step<'_>],
        rows: impl Fn(usize) -> usize,
    ) -> Buffer {
        let mut segments: Vec<SegmentKv<'_>> = steps
            .iter_mut()
            .filter_map(|step| {
                let tokens = rows(step.tokens.len());
                step.cache.layers.get_mut(layer).map(|kv| SegmentKv { tokens, kv })
            })
            .collect();
        block.forward(self.level, &self.config, &self.rope, lora, hidden, &mut segments, None)
    }

    /// Appends the keys and values of all of each step's rows but the last, and gives the last ones, `[N, C]`.
    fn keep_last(
        &self,
        layer: usize,
        block: &Block,
        lora: Option<&LoraBlock>,
        hidden: &[f32],
        steps: &mut [Step<'_>],
    ) -> Vec<f32> {
        let width = self.config.hidden;
        let (mut early, mut last, mut rest) = (Vec::with_capacity(hidden.len()), Vec::new(), hidden);
        for step in steps.iter() {
            let (rows, others) = rest.split_at(step.tokens.len() * width);
            let (all_but_last, one) = rows.split_at(rows.len() - width);
            early.extend_from_slice(all_but_last);
            last.extend_from_slice(one);
            rest = others;
        }
        let rows = early.len() / width;
        if rows == 0 {
            return last;
        }
        let mut normed = Buffer::unwritten(early.len());
        kernel::rms_norm(self.level, &early, &block.input_norm, self.config.rms_eps, &mut normed);
        let [(mut k, _), (v, _)] = block.adapted(self.level, [Target::Key, Target::Value], lora, &normed, rows);
        let (mut k, mut v) = (&mut *k, &*v);
        for step in steps {
            let Some(kv) = step.cache.layers.get_mut(layer) else { continue };
            let len = (step.tokens.len() - 1) * self.config.kv_width();
            let (own_k, others_k) = k.split_at_mut(len);
            let (own_v, others_v) = v.split_at(len);
            self.rope.apply(self.level, own_k, self.config.kv_heads, kv.len());
            kv.push(own_k, own_v);
            (k, v) = (others_k, others_v);
        }
        last
    }

    /// Embedding rows of a sequence, `[T, C]`.
    ///
    /// # Errors
    /// [`ModelError::SequenceEmpty`], [`ModelError::SequenceTooLong`], [`ModelError::TokenOutside`].
    pub fn embed(&self, tokens: &[u32]) -> Result<Vec<f32>, ModelError> {
        self.check_tokens(tokens)?;
        let mut rows = Vec::new();
        self.embed_onto(tokens, &mut rows)?;
        Ok(rows)
    }

    /// Appends the embedding rows of tokens.
    fn embed_onto(&self, tokens: &[u32], rows: &mut Vec<f32>) -> Result<(), ModelError> {
        rows.reserve(tokens.len() * self.config.hidden);
        for &token in tokens {
            let row = self.embedding.row(token as usize, self.config.hidden, &self.head);
            rows.extend_from_slice(&row.ok_or_else(|| self.outside(token))?);
        }
        Ok(())
    }

    /// Logits `[R, V]` of final-normed rows `[R, C]`.
    pub fn logits(&self, rows: &[f32]) -> Buffer {
        let count = rows.len() / self.config.hidden;
        let mut logits = Buffer::unwritten(count * self.config.vocabulary);
        self.logits_into(rows, &mut logits);
        logits
    }

    /// Writes the logits `[R, V]` of final-normed rows `[R, C]`.
    ///
    /// # Panics
    ///
    /// Where the shapes do not fit.
    pub fn logits_into(&self, rows: &[f32], logits: &mut [f32]) {
        kernel::product(self.level, rows, rows.len() / self.config.hidden, &self.head, logits);
    }

    /// Appends the most likely token (the lowest id of equals) until one of `stop` or `max_new` tokens.
    ///
    /// Gives the new tokens, without the stop token, and the logits `[V]` of the last decision: those that chose the stop token,
    /// or the last of `max_new` tokens. Generation also ends where the model's positions do.
    ///
    /// # Errors
    /// Those of [`Decoder::forward`].
    pub fn greedy(
        &self,
        adapter: Option<&Adapter>,
        prompt: &[u32],
        max_new: usize,
        stop: &[u32],
    ) -> Result<(Vec<u32>, Buffer), ModelError> {
        kernel::awake(|| self.greedy_steps(adapter, prompt, max_new, stop))
    }

    fn greedy_steps(
        &self,
        adapter: Option<&Adapter>,
        prompt: &[u32],
        max_new: usize,
        stop: &[u32],
    ) -> Result<(Vec<u32>, Buffer), ModelError> {
        let mut cache = self.new_cache(prompt.len().saturating_add(max_new));
        let mut tokens = Vec::new();
        let mut pending = prompt.to_vec();
        loop {
            let last = self.forward_last(adapter, &mut [Step { tokens: &pending, cache: &mut cache }])?;
            let logits = self.logits(&last);
            if tokens.len() == max_new {
                return Ok((tokens, logits));
            }
            // argmax is below the vocabulary, whose limit fits u32
            let next = kernel::argmax(&logits) as u32;
            if stop.contains(&next) {
                return Ok((tokens, logits));
            }
            tokens.push(next);
            if tokens.len() == max_new || cache.len() == cache.capacity() {
                return Ok((tokens, logits));
            }
            pending = vec![next];
        }
    }

    fn check_layers(&self, what: &'static str, found: usize) -> Result<(), ModelError> {
        let expected = self.config.layers;
        if found == expected { Ok(()) } else { Err(ModelError::LayerCount { what, found, expected }) }
    }

    fn check_tokens(&self, tokens: &[u32]) -> Result<(), ModelError> {
        if tokens.is_empty() {
            return Err(ModelError::SequenceEmpty);
        }
        self.check_length(tokens.len(), self.config.max_positions)?;
        let outside = tokens.iter().find(|token| **token as usize >= self.config.vocabulary);
        outside.map_or(Ok(()), |token| Err(self.outside(*token)))
    }

    fn outside(&self, found: u32) -> ModelError {
        ModelError::TokenOutside { found, vocabulary: self.config.vocabulary }
    }

    fn check_length(&self, found: usize, limit: usize) -> Result<(), ModelError> {
        let limit = limit.min(self.config.max_positions);
        if found <= limit { Ok(()) } else { Err(ModelError::SequenceTooLong { found, limit }) }
    }
}

/// Reads the embedding and the output head into the forms they are kept in, one after the other.
fn load_ends(level: Level, config: &DecoderConfig, weights: &Weights) -> Result<(Embedding, PackedMatrix), ModelError> {
    let (rows, columns) = (config.vocabulary, config.hidden);
    let table = weights.matrix("model.embed_tokens.weight", &[rows, columns])?;
    if config.tied {
        return Ok((Embedding::Tied, table.pack(level, rows, columns)));
    }
    let embedding = Embedding::new(table);
    let head = weights.matrix("lm_head.weight", &[rows, columns])?;
    Ok((embedding, head.pack(level, rows, columns)))
}

/// Cuts steps of so many tokens into groups of successive ones, each of at most [`GROUP_TOKENS`] or a single step, and gives how many
/// steps each has. What a group computes between two layers then stays near the core that takes it through all layers.
fn groups_of(tokens: impl Iterator<Item = usize>) -> Vec<usize> {
    let (mut groups, mut sum) = (Vec::new(), 0);
    for tokens in tokens {
        match groups.last_mut() {
            Some(count) if sum + tokens <= GROUP_TOKENS => (*count, sum) = (*count + 1, sum + tokens),
            _ => {
                groups.push(1);
                sum = tokens;
            }
        }
    }
    groups
}

/// Enough rows that reading a layer's weights again for each group costs little.
const GROUP_TOKENS: usize = 256;
