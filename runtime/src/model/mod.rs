//! Models: decoders, encoders, adapters, tokenizers, and where they lie on disk.
//!
//! A [`ModelSource`] locates a model and names its files by content; [`Decoder`], [`Encoder`] and [`TextTokenizer`] are loaded from it.
//! What loads is sound: shapes agree with config.json, weights are finite, ids have embeddings. Never writes, never fetches,
//! and whatever decides a result is computed or refused by name, never ignored.

mod adapter;
mod block;
mod cache;
mod coding;
mod config;
mod decoder;
#[cfg(feature = "embedded")]
mod embedded;
mod embedding;
mod encoder;
mod encoder_block;
mod encoder_config;
mod error;
mod gguf;
mod hub;
mod identity;
mod keys;
pub mod limits;
mod linear;
mod lora;
mod matrix;
pub mod quantization;
pub mod safetensors;
mod source;
mod storage;
mod template;
mod tokenizer;
mod weights;

pub use adapter::{ADAPTER_CONFIG, ADAPTER_MODEL, Adapter, AdapterConfig, FactorSource, tensor_name};
pub use block::{Block, BlockActivations, SegmentKv};
pub use cache::{Beginning, KvCache};
pub use coding::Coding;
pub use config::{Architecture, DecoderConfig};
pub use decoder::{Decoder, Step};
pub use embedding::Embedding;
pub use encoder::Encoder;
pub use encoder_block::{EncoderActivations, EncoderBlock, Norm};
pub use encoder_config::{Activation, EncoderConfig, Pooling};
pub use error::ModelError;
pub use hub::{HubCache, is_commit};
pub use identity::FileIdentity;
pub use linear::Linear;
pub use lora::{LoraBlock, LoraPair, Target};
pub use matrix::Matrix;
pub use quantization::{Quantization, QuantizationSource};
pub use source::ModelSource;
pub use template::{PromptTemplate, SpecialTokens};
pub use tokenizer::TextTokenizer;
pub use weights::{MatrixSource, SCALE, TensorSource, Weights};

#[cfg(feature = "embedded")]
use embedded::embedded_files;

/// A build without the feature carries no model.
#[cfg(not(feature = "embedded"))]
fn embedded_files(_name: &str) -> Option<&'static [(&'static str, &'static [u8])]> {
    None
}
