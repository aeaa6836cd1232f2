//! An adapter on candle's tape: one operation per block, a loss head. Pre-training walks the same functions in a plain loop.
//!
//! candle sees a chain of our own operations and nothing else, because its own CPU kernels give other bits on other machines. Each
//! operation's forward is runtime's function and its backward stands in `gradient`; frozen weights live inside the operation, so
//! the tape never asks for their gradient. What candle itself adds is one IEEE addition per gradient element, `+0 + g`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Device, Layout as TapeLayout, Shape, Storage, Tensor, Var};
use kolm_runtime::kernel::{self, Buffer, KeyValue};
use kolm_runtime::model::{BlockActivations, Decoder, LoraBlock, SegmentKv};

use super::engine::ExampleGradient;
use super::error::TrainError;
use super::gradient::block::{BlockBackward, Places};
use super::gradient::head::{HeadGradient, head};
use super::record::Recorder;
use super::settings::Example;

/// A decoder ready for one step: adapters of this step's parameters, what learns.
pub(crate) struct Network {
    /// The base, frozen or packed from this step's parameters.
    pub(crate) decoder: Arc<Decoder>,
    /// LoRA pairs by layer; empty in pre-training.
    pub(crate) lora: Vec<LoraBlock>,
    /// What learns in each block.
    pub(crate) places: Vec<Places>,
    /// Values in each block's flat vector.
    pub(crate) flat_lens: Vec<usize>,
    /// Compute activations again in the backward pass instead of keeping them.
    pub(crate) recompute: bool,
}

/// Records one example on a tape of its own and walks it back to `leaves`, one flat vector per block.
pub(crate) fn adapter_gradient(
    network: &Arc<Network>,
    leaves: &[Var],
    example: &Example,
    record: Option<&Arc<Recorder>>,
) -> Result<ExampleGradient, TrainError> {
    let inputs = inputs(example);
    let shape = (inputs.len(), network.decoder.config.hidden);
    let embedded = network.decoder.embed(inputs)?;
    if let Some(record) = record {
        record.tensor("forward", None, "model.embed_tokens", "hidden states", &[shape.0, shape.1], &embedded);
    }
    let mut hidden = Tensor::from_vec(embedded, shape, &Device::Cpu)?;
    for (layer, flat) in leaves.iter().enumerate() {
        let block = BlockOp { network: network.clone(), layer, saved: Mutex::new(None), record: record.cloned() };
        hidden = hidden.apply_op2(flat, block)?;
    }
    let result = Arc::new(OnceLock::new());
    let head =
        HeadOp { network: network.clone(), example: example.clone(), result: result.clone(), record: record.cloned() };
    let loss = hidden.apply_op1(head)?;
    let mut gradients = loss.backward()?;
    let groups = leaves
        .iter()
        .map(|leaf| match gradients.remove(leaf) {
            Some(gradient) => gradient.to_vec1::<f32>(),
            None => Ok(vec![0.0; leaf.elem_count()]),
        })
        .collect::<Result<_, _>>()?;
    let loss = result.get().map_or(f64::NAN, |result: &HeadGradient| result.loss);
    Ok(example_gradient(example, loss, groups))
}

/// Loss and gradients of all parameters by a plain loop: group by group embedding, blocks, final norm, head unless tied.
///
/// The tape's own work, two passes over every gradient and the barriers of candle's thread pool, took a quarter of a step here. The bits
/// are the tape's: each gradient is `+0 + g`.
pub(crate) fn decoder_gradient(network: &Network, example: &Example) -> Result<ExampleGradient, TrainError> {
    let decoder = &network.decoder;
    let (config, layers) = (&decoder.config, network.places.len());
    let inputs = inputs(example);
    let mut hidden = decoder.embed(inputs)?;
    let mut kept = Vec::with_capacity(layers);
    for layer in 0..layers {
        let (out, saved) = network.forward(layer, &hidden, !network.recompute, None);
        kept.push(if network.recompute { Err(hidden) } else { Ok(saved) });
        hidden = out;
    }
    let head = head(decoder.level, decoder, &hidden, example, true, None);
    let mut gradient = Buffer::from(head.hidden);
    let (mut norm, mut table) = head.learned.unwrap_or_default();
    for part in [&mut *gradient, &mut norm, &mut table] {
        positive_zeros(part);
    }
    let mut blocks = Vec::with_capacity(layers);
    for (layer, kept) in kept.into_iter().enumerate().rev() {
        let saved = kept.unwrap_or_else(|input| network.forward(layer, &input, true, None).1);
        let (input, mut flat) = network.backward(layer, &saved, &gradient, true, None);
        gradient = input.unwrap_or_default();
        positive_zeros(&mut gradient);
        positive_zeros(&mut flat);
        blocks.push(flat);
    }
    let rows = token_rows(inputs, &gradient, config.hidden);
    let (mut embedding, untied) =
        if config.tied { (table, None) } else { (vec![0.0; config.vocabulary * config.hidden], Some(table)) };
    for (token, row) in rows {
        kernel::add(decoder.level, &mut embedding[token as usize * config.hidden..][..config.hidden], &row);
    }
    let groups = std::iter::once(embedding).chain(blocks.into_iter().rev()).chain([norm]).chain(untied).collect();
    Ok(example_gradient(example, head.loss, groups))
}

/// What the model reads: the last token is only ever predicted.
fn inputs(example: &Example) -> &[u32] {
    &example.tokens[..example.tokens.len() - 1]
}

fn example_gradient(example: &Example, loss: f64, groups: Vec<Vec<f32>>) -> ExampleGradient {
    let learned = (example.tokens.len() - example.loss_from) as u64;
    ExampleGradient { loss, learned, tokens: inputs(example).len() as u64, groups, recorded: Vec::new() }
}

/// Adds `+0` to each value: `-0` becomes `+0`, nothing else changes.
fn positive_zeros(values: &mut [f32]) {
    for value in values {
        *value += 0.0;
    }
}

/// Sums of the rows of each token that occurs, positions ascending from `+0`.
fn token_rows(tokens: &[u32], gradient: &[f32], width: usize) -> BTreeMap<u32, Vec<f32>> {
    let mut rows = BTreeMap::new();
    for (row, &token) in gradient.chunks_exact(width).zip(tokens) {
        let sum = rows.entry(token).or_insert_with(|| vec![0.0; width]);
        for (sum, g) in sum.iter_mut().zip(row) {
            *sum += g;
        }
    }
    rows
}

impl Network {
    /// Runs one block over an example from position 0.
    fn forward(
        &self,
        layer: usize,
        input: &[f32],
        keep: bool,
        record: Option<&Recorder>,
    ) -> (Vec<f32>, BlockActivations) {
        let decoder = &*self.decoder;
        let config = &decoder.config;
        let tokens = input.len() / config.hidden;
        let mut hidden = input.to_vec();
        let mut kv = KeyValue::new(config.kv_heads, config.head_dim, tokens);
        let mut saved = BlockActivations::default();
        let lora = self.lora.get(layer);
        let mut segments = [SegmentKv { tokens, kv: &mut kv }];
        let keep = (keep || record.is_some()).then_some(&mut saved);
        decoder.blocks[layer].forward(decoder.level, config, &decoder.rope, lora, &mut hidden, &mut segments, keep);
        if let Some(record) = record {
            record.forward(layer, config, &saved, &hidden);
        }
        (hidden, saved)
    }

    /// Takes a block's gradient back to its argument and its flat vector of parameters.
    fn backward(
        &self,
        layer: usize,
        saved: &BlockActivations,
        gradient: &[f32],
        wants_input: bool,
        record: Option<&Recorder>,
    ) -> (Option<Buffer>, Vec<f32>) {
        let backward = BlockBackward {
            level: self.decoder.level,
            config: &self.decoder.config,
            rope: &self.decoder.rope,
            block: &self.decoder.blocks[layer],
            lora: self.lora.get(layer),
            places: &self.places[layer],
            saved,
            record: record.map(|record| (record, layer)),
        };
        let mut flat = vec![0.0; self.flat_lens[layer]];
        let input = backward.run(gradient, wants_input, &mut flat);
        (input.filter(|_| wants_input), flat)
    }
}

/// One transformer block over one example from position 0.
struct BlockOp {
    network: Arc<Network>,
    layer: usize,
    saved: Mutex<Option<BlockActivations>>,
    record: Option<Arc<Recorder>>,
}

impl CustomOp2 for BlockOp {
    fn name(&self) -> &'static str {
        "decoder block"
    }

    fn cpu_fwd(
        &self,
        hidden: &CpuStorage,
        hidden_layout: &TapeLayout,
        _: &CpuStorage,
        _: &TapeLayout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let keep = !self.network.recompute;
        let (out, saved) =
            self.network.forward(self.layer, values(hidden, hidden_layout)?, keep, self.record.as_deref());
        if keep {
            *self.saved.lock().unwrap_or_else(PoisonError::into_inner) = Some(saved);
        }
        Ok((CpuStorage::F32(out), hidden_layout.shape().clone()))
    }

    fn bwd(
        &self,
        hidden: &Tensor,
        flat: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let kept = self.saved.lock().unwrap_or_else(PoisonError::into_inner).take();
        let saved = match kept {
            Some(saved) => saved,
            None => with_values(hidden, |hidden| self.network.forward(self.layer, hidden, true, None).1)?,
        };
        // Below the first block of a frozen base nothing learns.
        let wants_input = self.layer > 0;
        let (input, flat_gradient) = with_values(gradient, |gradient| {
            self.network.backward(self.layer, &saved, gradient, wants_input, self.record.as_deref())
        })?;
        let input = input.map(|input| Tensor::from_vec(input.into_vec(), hidden.shape(), &Device::Cpu)).transpose()?;
        Ok((input, Some(Tensor::from_vec(flat_gradient, flat.shape(), &Device::Cpu)?)))
    }
}

/// Final norm, output head and cross-entropy; gradients are computed with the loss and handed out later.
struct HeadOp {
    network: Arc<Network>,
    example: Example,
    result: Arc<OnceLock<HeadGradient>>,
    record: Option<Arc<Recorder>>,
}

impl CustomOp1 for HeadOp {
    fn name(&self) -> &'static str {
        "loss head"
    }

    fn cpu_fwd(&self, hidden: &CpuStorage, layout: &TapeLayout) -> candle_core::Result<(CpuStorage, Shape)> {
        let decoder = &*self.network.decoder;
        let (hidden, record) = (values(hidden, layout)?, self.record.as_deref());
        let gradient = head(decoder.level, decoder, hidden, &self.example, false, record);
        let loss = gradient.loss as f32;
        // Each operation runs forward once, so the cell is empty.
        let _ = self.result.set(gradient);
        Ok((CpuStorage::F32(vec![loss]), ().into()))
    }

    fn bwd(&self, hidden: &Tensor, _: &Tensor, _: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let result = self.result.get();
        let result = result.ok_or_else(|| candle_core::Error::Msg("the loss head runs forward first".to_string()))?;
        Tensor::from_slice(&result.hidden, hidden.shape(), &Device::Cpu).map(Some)
    }
}

fn values<'a>(storage: &'a CpuStorage, layout: &TapeLayout) -> candle_core::Result<&'a [f32]> {
    let (start, end) = layout
        .contiguous_offsets()
        .ok_or_else(|| candle_core::Error::Msg("a strided tensor on the tape".to_string()))?;
    Ok(&storage.as_slice::<f32>()?[start..end])
}

fn with_values<R>(tensor: &Tensor, body: impl FnOnce(&[f32]) -> R) -> candle_core::Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => Ok(body(values(storage, layout)?)),
        _ => Err(candle_core::Error::Msg("a tensor of another device on the tape".to_string())),
    }
}
