//! An adapter on candle's tape: one operation per block, a loss head. Pre-training walks the same functions in a plain loop.
//!
//! candle sees a chain of our own operations and nothing else, because its own CPU kernels give other bits on other machines. Each
//! operation's forward is runtime's function and its backward stands in `gradient`; frozen weights live inside the operation, so
//! the tape never asks for their gradient. Hidden states and their gradients pass from operation to operation beside the tape, on which
//! stands one value for each: candle would copy them with threads of its own, which take the cores from ours. What it adds to a
//! gradient, one IEEE addition `+0 + g`, is done to those beside it too.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Device, Layout as TapeLayout, Shape, Tensor, Var};
use kolm_runtime::kernel::{self, Buffer, Fma, KeyValue, Level, Vectorized};
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
    let embedded = network.decoder.embed(inputs)?;
    if let Some(record) = record {
        let shape = [inputs.len(), network.decoder.config.hidden];
        record.tensor("forward", None, "model.embed_tokens", "hidden states", &shape, &embedded);
    }
    let beside = Beside::of(embedded.into());
    let mut hidden = Tensor::from_slice(&[0.0f32], 1, &Device::Cpu)?;
    for (layer, flat) in leaves.iter().enumerate() {
        let (network, beside, kept) = (network.clone(), beside.clone(), Mutex::new(None));
        hidden = hidden.apply_op2(flat, BlockOp { network, layer, beside, kept, record: record.cloned() })?;
    }
    let result = Arc::new(OnceLock::new());
    let (network, record) = (network.clone(), record.cloned());
    let head = HeadOp { network, example: example.clone(), beside, result: result.clone(), record };
    let loss = hidden.apply_op1(head)?;
    let mut gradients = loss.backward()?;
    let groups = leaves
        .iter()
        .map(|leaf| match gradients.remove(leaf) {
            Some(gradient) => gradient.to_vec1::<f32>(),
            None => Ok(vec![0.0; leaf.elem_count()]),
        })
        .collect::<Result<_, _>>()?;
    let loss = result.get().copied().unwrap_or(f64::NAN);
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
    let mut hidden = Buffer::from(decoder.embed(inputs)?);
    let mut kept = Vec::with_capacity(layers);
    for layer in 0..layers {
        let (out, activations) = network.forward(layer, hidden, None);
        kept.push(activations);
        hidden = out;
    }
    let head = head(decoder.level, decoder, &hidden, example, true, None);
    let mut gradient = Buffer::from(head.hidden);
    let (mut norm, mut table) = head.learned.unwrap_or_default();
    for part in [&mut *gradient, &mut norm, &mut table] {
        positive_zeros(decoder.level, part);
    }
    let mut blocks = Vec::with_capacity(layers);
    for (layer, kept) in kept.into_iter().enumerate().rev() {
        let (input, mut flat) = network.backward(layer, kept, &gradient, true, None);
        gradient = input.unwrap_or_default();
        positive_zeros(decoder.level, &mut gradient);
        positive_zeros(decoder.level, &mut flat);
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
fn positive_zeros(level: Level, values: &mut [f32]) {
    kernel::in_parts(1, [values], [], |[values], []| level.vectorize(PositiveZeros(values)));
}

struct PositiveZeros<'a>(&'a mut [f32]);

impl Vectorized for PositiveZeros<'_> {
    type Output = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        for value in self.0 {
            *value += 0.0;
        }
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

/// What a block's backward pass starts from.
enum Kept {
    /// What the forward pass computed.
    Activations(Box<BlockActivations>),
    /// The hidden states that came in, where the rest is computed again.
    Input(Buffer),
}

impl Network {
    /// Runs one block over an example from position 0.
    fn forward(&self, layer: usize, input: Buffer, record: Option<&Recorder>) -> (Buffer, Kept) {
        if self.recompute {
            let (out, _) = self.run(layer, input.clone(), record.is_some(), record);
            (out, Kept::Input(input))
        } else {
            let (out, saved) = self.run(layer, input, true, record);
            (out, Kept::Activations(Box::new(saved)))
        }
    }

    fn run(&self, layer: usize, hidden: Buffer, keep: bool, record: Option<&Recorder>) -> (Buffer, BlockActivations) {
        let decoder = &*self.decoder;
        let config = &decoder.config;
        let tokens = hidden.len() / config.hidden;
        let mut kv = KeyValue::new(config.kv_heads, config.head_dim, tokens);
        let mut saved = BlockActivations::default();
        let lora = self.lora.get(layer);
        let mut segments = [SegmentKv { tokens, kv: &mut kv }];
        let keep = keep.then_some(&mut saved);
        let block = &decoder.blocks[layer];
        let out = block.forward(decoder.level, config, &decoder.rope, lora, hidden, &mut segments, keep);
        if let Some(record) = record {
            record.forward(layer, config, &saved, &out);
        }
        (out, saved)
    }

    /// Takes a block's gradient back to its argument and its flat vector of parameters.
    fn backward(
        &self,
        layer: usize,
        kept: Kept,
        gradient: &[f32],
        wants_input: bool,
        record: Option<&Recorder>,
    ) -> (Option<Buffer>, Vec<f32>) {
        let saved = match kept {
            Kept::Activations(saved) => saved,
            Kept::Input(input) => Box::new(self.run(layer, input, true, None).1),
        };
        let backward = BlockBackward {
            level: self.decoder.level,
            config: &self.decoder.config,
            rope: &self.decoder.rope,
            block: &self.decoder.blocks[layer],
            lora: self.lora.get(layer),
            places: &self.places[layer],
            saved: &saved,
            record: record.map(|record| (record, layer)),
        };
        let mut flat = vec![0.0; self.flat_lens[layer]];
        let input = backward.run(gradient, wants_input, &mut flat);
        (input.filter(|_| wants_input), flat)
    }
}

/// What passes from operation to operation beside the tape: the hidden states on the way there, their gradient on the way back.
#[derive(Clone)]
struct Beside(Arc<Mutex<Buffer>>);

impl Beside {
    fn of(hidden: Buffer) -> Self {
        Self(Arc::new(Mutex::new(hidden)))
    }

    fn take(&self) -> Buffer {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn put(&self, values: Buffer) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = values;
    }
}

/// One transformer block over one example from position 0.
struct BlockOp {
    network: Arc<Network>,
    layer: usize,
    beside: Beside,
    kept: Mutex<Option<Kept>>,
    record: Option<Arc<Recorder>>,
}

impl CustomOp2 for BlockOp {
    fn name(&self) -> &'static str {
        "decoder block"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &TapeLayout,
        _: &CpuStorage,
        _: &TapeLayout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (out, kept) = self.network.forward(self.layer, self.beside.take(), self.record.as_deref());
        self.beside.put(out);
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        Ok(one_value())
    }

    fn bwd(
        &self,
        hidden: &Tensor,
        flat: &Tensor,
        _: &Tensor,
        _: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).take();
        let kept =
            kept.ok_or_else(|| candle_core::Error::Msg("a block runs forward first, and back once".to_string()))?;
        let mut gradient = self.beside.take();
        positive_zeros(self.network.decoder.level, &mut gradient);
        // Below the first block of a frozen base nothing learns.
        let wants_input = self.layer > 0;
        let (input, flat_gradient) =
            self.network.backward(self.layer, kept, &gradient, wants_input, self.record.as_deref());
        let input = input.map(|input| {
            self.beside.put(input);
            hidden.clone()
        });
        Ok((input, Some(Tensor::from_vec(flat_gradient, flat.shape(), &Device::Cpu)?)))
    }
}

/// Final norm, output head and cross-entropy; gradients are computed with the loss and handed out later.
struct HeadOp {
    network: Arc<Network>,
    example: Example,
    beside: Beside,
    result: Arc<OnceLock<f64>>,
    record: Option<Arc<Recorder>>,
}

impl CustomOp1 for HeadOp {
    fn name(&self) -> &'static str {
        "loss head"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &TapeLayout) -> candle_core::Result<(CpuStorage, Shape)> {
        let decoder = &*self.network.decoder;
        let hidden = self.beside.take();
        let HeadGradient { loss, hidden, .. } =
            head(decoder.level, decoder, &hidden, &self.example, false, self.record.as_deref());
        self.beside.put(hidden.into());
        // Each operation runs forward once, so the cell is empty.
        let _ = self.result.set(loss);
        Ok(one_value())
    }

    fn bwd(&self, hidden: &Tensor, _: &Tensor, _: &Tensor) -> candle_core::Result<Option<Tensor>> {
        Ok(Some(hidden.clone()))
    }
}

/// What stands on the tape for values beside it.
fn one_value() -> (CpuStorage, Shape) {
    (CpuStorage::F32(vec![0.0]), 1.into())
}
