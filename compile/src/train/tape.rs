//! A decoder on candle's tape: an embedding, one operation per block, a loss head.
//!
//! candle sees a chain of our own operations and nothing else, because its own CPU kernels give other bits on other machines. Each
//! operation's forward is runtime's function and its backward stands in `gradient`; frozen weights live inside the operation, so
//! the tape never asks for their gradient. What candle itself adds is one IEEE addition per gradient element, `+0 + g`.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, Device, Layout as TapeLayout, Shape, Storage, Tensor, Var,
};
use kolm_runtime::kernel::{KeyValue, Level};
use kolm_runtime::model::{BlockActivations, Decoder, SegmentKv};

use super::engine::ExampleGradient;
use super::error::TrainError;
use super::gradient::block::{BackwardBlock, BlockBackward, LoraLayer, Places};
use super::gradient::head::{HeadGradient, head};
use super::gradient::linear::BackwardWeight;
use super::settings::Example;

/// Frozen or freshly packed weights for the backward pass.
pub(crate) struct BackwardDecoder {
    /// Block by block.
    pub(crate) blocks: Vec<BackwardBlock>,
    /// The output head `[V, C]`.
    pub(crate) head: BackwardWeight,
}

/// A decoder ready for one step: weights packed both ways, adapters of this step's parameters, what learns.
pub(crate) struct Network {
    /// The forward side.
    pub(crate) decoder: Arc<Decoder>,
    /// The backward side.
    pub(crate) backward: Arc<BackwardDecoder>,
    /// LoRA pairs by layer; empty in pre-training.
    pub(crate) lora: Vec<LoraLayer>,
    /// What learns in each block.
    pub(crate) places: Vec<Places>,
    /// Values in each block's flat vector.
    pub(crate) flat_lens: Vec<usize>,
    /// Compute activations again in the backward pass instead of keeping them.
    pub(crate) recompute: bool,
}

/// The parameters of a step as the tape's leaves.
pub(crate) enum Leaves {
    /// One flat vector per block.
    Adapter(Vec<Var>),
    /// Everything: embedding, one flat vector per block, final norm, output head unless it is the embedding.
    Everything {
        /// `[V · C]`.
        embedding: Var,
        /// Block by block.
        blocks: Vec<Var>,
        /// `[C]`.
        norm: Var,
        /// `[V · C]`; absent where it is the embedding.
        head: Option<Var>,
    },
}

impl Leaves {
    fn blocks(&self) -> &[Var] {
        match self {
            Leaves::Adapter(blocks) | Leaves::Everything { blocks, .. } => blocks,
        }
    }

    /// All leaves, in the order of the parameter groups.
    fn all(&self) -> Vec<&Var> {
        match self {
            Leaves::Adapter(blocks) => blocks.iter().collect(),
            Leaves::Everything { embedding, blocks, norm, head } => {
                std::iter::once(embedding).chain(blocks).chain([norm]).chain(head).collect()
            }
        }
    }
}

/// Records one example on a tape of its own and walks it back.
pub(crate) fn example_gradient(
    network: &Arc<Network>,
    leaves: &Leaves,
    example: &Example,
) -> Result<ExampleGradient, TrainError> {
    // The last token is only ever predicted.
    let inputs: Vec<u32> = example.tokens[..example.tokens.len() - 1].to_vec();
    let token_count = inputs.len();
    let width = network.decoder.config.hidden;
    let mut hidden = match leaves {
        Leaves::Adapter(_) => Tensor::from_vec(network.decoder.embed(&inputs)?, (token_count, width), &Device::Cpu)?,
        Leaves::Everything { embedding, .. } => {
            embedding.apply_op1(EmbeddingOp { network: network.clone(), tokens: inputs })?
        }
    };
    for (layer, flat) in leaves.blocks().iter().enumerate() {
        hidden = hidden.apply_op2(flat, BlockOp { network: network.clone(), layer, saved: Mutex::new(None) })?;
    }
    let result = Arc::new(OnceLock::new());
    let op = HeadOp { network: network.clone(), example: example.clone(), result: result.clone() };
    let loss = match leaves {
        Leaves::Adapter(_) => hidden.apply_op1(op)?,
        Leaves::Everything { embedding, norm, head, .. } => {
            hidden.apply_op3(norm, head.as_ref().unwrap_or(embedding), op)?
        }
    };
    let mut gradients = loss.backward()?;
    let groups = leaves
        .all()
        .into_iter()
        .map(|leaf| match gradients.remove(leaf) {
            Some(gradient) => gradient.flatten_all()?.to_vec1::<f32>(),
            None => Ok(vec![0.0; leaf.elem_count()]),
        })
        .collect::<Result<_, _>>()?;
    Ok(ExampleGradient {
        loss: result.get().map_or(f64::NAN, |result: &HeadGradient| result.loss),
        learned: (example.tokens.len() - example.loss_from) as u64,
        tokens: token_count as u64,
        groups,
    })
}

/// Rows of the embedding; its gradient adds each token's row, tokens ascending.
struct EmbeddingOp {
    network: Arc<Network>,
    tokens: Vec<u32>,
}

impl CustomOp1 for EmbeddingOp {
    fn name(&self) -> &'static str {
        "embedding"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &TapeLayout) -> candle_core::Result<(CpuStorage, Shape)> {
        let decoder = &self.network.decoder;
        let rows = decoder.embed(&self.tokens).map_err(candle_core::Error::wrap)?;
        Ok((CpuStorage::F32(rows), (self.tokens.len(), decoder.config.hidden).into()))
    }

    fn bwd(&self, table: &Tensor, _: &Tensor, gradient: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let width = self.network.decoder.config.hidden;
        let mut out = vec![0.0; table.elem_count()];
        with_values(gradient, |gradient| {
            for (row, &token) in gradient.chunks_exact(width).zip(&self.tokens) {
                for (sum, g) in out[token as usize * width..][..width].iter_mut().zip(row) {
                    *sum += g;
                }
            }
        })?;
        Tensor::from_vec(out, table.shape(), &Device::Cpu).map(Some)
    }
}

/// One transformer block over one example from position 0.
struct BlockOp {
    network: Arc<Network>,
    layer: usize,
    saved: Mutex<Option<BlockActivations>>,
}

impl BlockOp {
    fn level(&self) -> Level {
        self.network.decoder.level
    }

    fn forward(&self, input: &[f32], keep: bool) -> (Vec<f32>, BlockActivations) {
        let Network { decoder, lora, .. } = &*self.network;
        let config = &decoder.config;
        let tokens = input.len() / config.hidden;
        let mut hidden = input.to_vec();
        let mut kv = KeyValue::new(config.kv_heads, config.head_dim, tokens);
        let mut saved = BlockActivations::default();
        let lora = lora.get(self.layer).map(|lora| &lora.forward);
        let mut segments = [SegmentKv { tokens, kv: &mut kv }];
        let keep = keep.then_some(&mut saved);
        decoder.blocks[self.layer].forward(
            decoder.level,
            config,
            &decoder.rope,
            lora,
            &mut hidden,
            &mut segments,
            keep,
        );
        (hidden, saved)
    }
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
        let (out, saved) = self.forward(values(hidden, hidden_layout)?, keep);
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
            None => with_values(hidden, |hidden| self.forward(hidden, true).1)?,
        };
        let network = &*self.network;
        let backward = BlockBackward {
            level: self.level(),
            config: &network.decoder.config,
            rope: &network.decoder.rope,
            block: &network.decoder.blocks[self.layer],
            weights: &network.backward.blocks[self.layer],
            lora: network.lora.get(self.layer),
            places: &network.places[self.layer],
            saved: &saved,
        };
        // Below the first block of a frozen base nothing learns.
        let wants_input = self.layer > 0 || network.lora.is_empty();
        let mut flat_gradient = vec![0.0; network.flat_lens[self.layer]];
        let input = with_values(gradient, |gradient| backward.run(gradient, wants_input, &mut flat_gradient))?;
        let input = input
            .filter(|_| wants_input)
            .map(|input| Tensor::from_vec(input, hidden.shape(), &Device::Cpu))
            .transpose()?;
        Ok((input, Some(Tensor::from_vec(flat_gradient, flat.shape(), &Device::Cpu)?)))
    }
}

/// Final norm, output head and cross-entropy; gradients are computed with the loss and handed out later.
struct HeadOp {
    network: Arc<Network>,
    example: Example,
    result: Arc<OnceLock<HeadGradient>>,
}

impl HeadOp {
    fn run(&self, hidden: &CpuStorage, layout: &TapeLayout, learns: bool) -> candle_core::Result<(CpuStorage, Shape)> {
        let Network { decoder, backward, .. } = &*self.network;
        let gradient = head(decoder.level, decoder, &backward.head, values(hidden, layout)?, &self.example, learns);
        let loss = gradient.loss as f32;
        let _ = self.result.set(gradient);
        Ok((CpuStorage::F32(vec![loss]), ().into()))
    }

    fn result(&self) -> candle_core::Result<&HeadGradient> {
        self.result.get().ok_or_else(|| candle_core::Error::Msg("the loss head runs forward first".to_string()))
    }
}

impl CustomOp1 for HeadOp {
    fn name(&self) -> &'static str {
        "loss head"
    }

    fn cpu_fwd(&self, hidden: &CpuStorage, layout: &TapeLayout) -> candle_core::Result<(CpuStorage, Shape)> {
        self.run(hidden, layout, false)
    }

    fn bwd(&self, hidden: &Tensor, _: &Tensor, _: &Tensor) -> candle_core::Result<Option<Tensor>> {
        Tensor::from_slice(&self.result()?.hidden, hidden.shape(), &Device::Cpu).map(Some)
    }
}

impl CustomOp3 for HeadOp {
    fn name(&self) -> &'static str {
        "loss head"
    }

    fn cpu_fwd(
        &self,
        hidden: &CpuStorage,
        layout: &TapeLayout,
        _: &CpuStorage,
        _: &TapeLayout,
        _: &CpuStorage,
        _: &TapeLayout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        self.run(hidden, layout, true)
    }

    fn bwd(
        &self,
        hidden: &Tensor,
        norm: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        _: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let result = self.result()?;
        let tensor = |values: &[f32], like: &Tensor| Tensor::from_slice(values, like.shape(), &Device::Cpu).map(Some);
        let (norm_gradient, weight_gradient) = match &result.learned {
            Some((of_norm, of_weight)) => (tensor(of_norm, norm)?, tensor(of_weight, weight)?),
            None => (None, None),
        };
        Ok((tensor(&result.hidden, hidden)?, norm_gradient, weight_gradient))
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
