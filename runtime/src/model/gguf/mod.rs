//! A decoder in one GGUF file, read as it is: configuration, tensors and tokenizer, under our names and in our order.
//!
//! A tensor that belongs to no layer is refused by name, since it would change the result: nothing is ignored. Nothing is
//! allocated before the header has been found sound.

mod block;
mod config;
mod file;
mod names;
mod reader;
mod tokenizer;

pub(in crate::model) use block::BlockType;
pub(super) use file::GgufFile;

use super::config::{Architecture, DecoderConfig};
use super::error::ModelError;
use crate::kernel::QuantizedRows;

/// The tensors of a decoder in a GGUF file.
#[derive(Debug)]
pub(super) struct GgufModel {
    file: GgufFile,
    architecture: Architecture,
    heads: usize,
    kv_heads: usize,
}

/// The blocks of one tensor in our order of rows.
pub(super) struct Blocks {
    pub(super) coding: BlockType,
    pub(super) bytes: Vec<u8>,
}

impl GgufModel {
    /// Takes the tensors of a file. With `configured`, config.json beside it has the last word on what the metadata cannot say.
    ///
    /// # Errors
    /// [`ModelError::Architecture`], [`ModelError::ConfigValue`], [`ModelError::TensorUnknown`].
    pub(super) fn new(file: GgufFile, configured: bool) -> Result<Self, ModelError> {
        let architecture = config::architecture_of(&file)?;
        let config = config::config_of(&file)?;
        for tensor in file.tensors.keys() {
            // The factors are config.json's rope_scaling, already applied.
            let known = names::our_name(tensor).is_some() || (configured && tensor == ROPE_FACTORS);
            if !known {
                let (file, architecture) = (file.label.clone(), architecture.name());
                return Err(ModelError::TensorUnknown { file, tensor: tensor.clone(), architecture });
            }
        }
        Ok(Self { file, architecture, heads: config.heads, kv_heads: config.kv_heads })
    }

    /// The configuration of the metadata.
    ///
    /// # Errors
    /// As [`GgufModel::new`].
    pub(super) fn config(&self) -> Result<DecoderConfig, ModelError> {
        config::config_of(&self.file)
    }

    /// tokenizer.json of the metadata.
    ///
    /// # Errors
    /// [`ModelError::GgufTokenizer`].
    pub(super) fn tokenizer(&self) -> Result<Vec<u8>, ModelError> {
        tokenizer::tokenizer_of(&self.file)
    }

    /// tokenizer_config.json of the metadata: the chat template and the special tokens it may print.
    pub(super) fn tokenizer_config(&self) -> serde_json::Value {
        tokenizer::tokenizer_config_of(&self.file)
    }

    /// Our names of the tensors.
    pub(super) fn names(&self) -> impl Iterator<Item = String> {
        self.file.tensors.keys().filter_map(|name| names::our_name(name))
    }

    /// Coding, shape and length of a tensor by our name.
    pub(super) fn describe(&self, name: &str) -> Option<(BlockType, &[usize], u64)> {
        let entry = self.file.tensors.get(&names::gguf_name(name)?)?;
        Some((entry.coding, &entry.shape, entry.len_bytes))
    }

    /// A matrix of checked shape as integers with scales and minima; none where its coding has another form.
    ///
    /// # Errors
    /// As [`GgufModel::blocks`].
    pub(super) fn quantized_rows(
        &self,
        name: &str,
        rows: usize,
        columns: usize,
    ) -> Result<Option<QuantizedRows>, ModelError> {
        match self.describe(name) {
            Some((coding, ..)) if coding.is_integers() => Ok(self.blocks(name)?.to_quantized_rows(rows, columns)),
            _ => Ok(None),
        }
    }

    /// The blocks of a tensor by our name, its rows in our order.
    ///
    /// # Errors
    /// [`ModelError::TensorMissing`], [`ModelError::Unreadable`].
    pub(super) fn blocks(&self, name: &str) -> Result<Blocks, ModelError> {
        let missing = || ModelError::TensorMissing { model: self.file.label.clone(), tensor: name.to_owned() };
        let entry = names::gguf_name(name).and_then(|name| self.file.tensors.get(&name)).ok_or_else(missing)?;
        let bytes = self.file.read(entry)?.into_owned();
        let coding = entry.coding;
        let bytes = match names::interleaved(name) {
            Some(query) if self.architecture == Architecture::Llama => {
                let heads = if query { self.heads } else { self.kv_heads };
                let rows = entry.shape.first().copied().unwrap_or(1);
                let sound = rows.is_multiple_of(2 * heads);
                if !sound {
                    let (found, expected) = (entry.shape.clone(), vec![rows.next_multiple_of(2 * heads)]);
                    return Err(ModelError::TensorShape { tensor: name.to_owned(), found, expected });
                }
                names::straighten(&bytes, bytes.len() / rows, heads)
            }
            _ => bytes,
        };
        Ok(Blocks { coding, bytes })
    }
}

impl Blocks {
    /// The same integers, scales and minima in our layout, without loss; none for a coding that has another form.
    fn to_quantized_rows(&self, rows: usize, columns: usize) -> Option<QuantizedRows> {
        self.coding.quantized(&self.bytes, rows, columns)
    }

    /// The values.
    pub(super) fn to_f32(&self) -> Vec<f32> {
        self.coding.to_f32(&self.bytes)
    }
}

const ROPE_FACTORS: &str = "rope_freqs.weight";
