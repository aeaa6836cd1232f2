//! The shape of a decoder, from config.json and generation_config.json.
//!
//! Reads the forms of transformers 4 and 5 (`rope_scaling`/`rope_theta` and `rope_parameters`, `torch_dtype` and `dtype`). What
//! would change the result and is not computed here, such as sliding windows or YaRN, is refused by name instead of ignored.

use super::error::ModelError;
use super::keys::Keys;
use super::limits;
use super::quantization::Quantization;
use super::source::{CONFIG, GENERATION_CONFIG, ModelSource};
use crate::kernel::RopeScaling;

/// The decoder families that run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Architecture {
    /// Qwen2 and Qwen2.5: biases on q, k and v.
    Qwen2,
    /// Llama 2, 3 and their like.
    Llama,
}

impl Architecture {
    /// Name in plans: `qwen2`, `llama`.
    pub fn name(self) -> &'static str {
        match self {
            Architecture::Qwen2 => "qwen2",
            Architecture::Llama => "llama",
        }
    }
}

/// Shape and constants of a decoder.
#[derive(Clone, PartialEq, Debug)]
pub struct DecoderConfig {
    /// Family.
    pub architecture: Architecture,
    /// Width C of the hidden states.
    pub hidden: usize,
    /// Transformer blocks.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of one head; even.
    pub head_dim: usize,
    /// Width of the feed-forward layer.
    pub intermediate: usize,
    /// Rows V of the embedding.
    pub vocabulary: usize,
    /// Added to the mean square before the root.
    pub rms_eps: f32,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// How the rotary frequencies are stretched.
    pub rope_scaling: RopeScaling,
    /// Longest sequence: what the model declares, at most [`limits::POSITION_COUNT`].
    pub max_positions: usize,
    /// Whether the output head is the embedding.
    pub tied: bool,
    /// Whether q, k and v have a bias.
    pub attention_bias: bool,
    /// Whether o has a bias.
    pub output_bias: bool,
    /// Whether gate, up and down have a bias.
    pub mlp_bias: bool,
    /// Ids that end an answer; the first is the one that training appends.
    pub eos_ids: Vec<u32>,
    /// Id that begins a text, if any.
    pub bos_id: Option<u32>,
}

impl DecoderConfig {
    /// Reads the configuration of a located model.
    ///
    /// # Errors
    /// Those of [`DecoderConfig::parse`] and of reading files.
    pub fn load(source: &ModelSource) -> Result<Self, ModelError> {
        let generation = if source.has(GENERATION_CONFIG) { Some(source.read(GENERATION_CONFIG)?) } else { None };
        let Some(gguf) = source.gguf()? else { return Self::parse(&source.read(CONFIG)?, generation.as_deref()) };
        let declared = gguf.config()?;
        if !source.has(CONFIG) {
            return Ok(declared);
        }
        let config = Self::parse(&source.read(CONFIG)?, generation.as_deref())?;
        if config.architecture != declared.architecture {
            let (found, expected) = (config.architecture.name().to_owned(), "the architecture of the GGUF file");
            return Err(ModelError::Architecture { file: CONFIG.to_owned(), found, expected });
        }
        Ok(config)
    }

    /// Reads config.json, and generation_config.json for the end tokens.
    ///
    /// # Errors
    /// [`ModelError::NotJson`], [`ModelError::Architecture`], [`ModelError::ConfigValue`].
    pub fn parse(config: &[u8], generation: Option<&[u8]>) -> Result<Self, ModelError> {
        let keys = Keys::parse(CONFIG, config)?;
        let architecture = architecture_of(&keys)?;
        refuse_other_mathematics(&keys)?;
        let hidden = keys.count("hidden_size", limits::HIDDEN_SIZE)?;
        let heads = keys.count("num_attention_heads", limits::HEAD_COUNT)?;
        let kv_heads = keys.optional_count("num_key_value_heads", limits::HEAD_COUNT)?.unwrap_or(heads);
        if !heads.is_multiple_of(kv_heads) {
            return Err(keys.wrong("num_key_value_heads", &format!("a divisor of num_attention_heads = {heads}")));
        }
        let head_dim = match keys.optional_count("head_dim", limits::HEAD_SIZE)? {
            Some(head_dim) => head_dim,
            None if hidden.is_multiple_of(heads) => hidden / heads,
            None => return Err(keys.wrong("num_attention_heads", &format!("a divisor of hidden_size = {hidden}"))),
        };
        if !head_dim.is_multiple_of(2) || head_dim > limits::HEAD_SIZE {
            let expected = format!("an even head size up to {}", limits::HEAD_SIZE);
            return Err(keys.wrong("head_dim", &expected));
        }
        let vocabulary = keys.count("vocab_size", limits::VOCABULARY_SIZE)?;
        let declared = keys.count("max_position_embeddings", usize::MAX)?;
        let (rope_theta, rope_scaling) = rope_of(&keys, declared)?;
        // Qwen2 has no such keys: its q, k and v always have a bias.
        let llama = architecture == Architecture::Llama;
        let output_bias = llama && keys.flag("attention_bias", false)?;
        let mut eos_ids = match generation {
            Some(generation) => Keys::parse(GENERATION_CONFIG, generation)?.ids("eos_token_id", vocabulary)?,
            None => Vec::new(),
        };
        if eos_ids.is_empty() {
            eos_ids = keys.ids("eos_token_id", vocabulary)?;
        }
        Ok(Self {
            architecture,
            hidden,
            layers: keys.count("num_hidden_layers", limits::LAYER_COUNT)?,
            heads,
            kv_heads,
            head_dim,
            intermediate: keys.count("intermediate_size", limits::INTERMEDIATE_SIZE)?,
            vocabulary,
            rms_eps: keys.positive("rms_norm_eps")?.unwrap_or(1e-6) as f32,
            rope_theta,
            rope_scaling,
            max_positions: declared.min(limits::POSITION_COUNT),
            tied: keys.flag("tie_word_embeddings", false)?,
            attention_bias: output_bias || !llama,
            output_bias,
            mlp_bias: llama && keys.flag("mlp_bias", false)?,
            eos_ids,
            bos_id: keys.ids("bos_token_id", vocabulary)?.first().copied(),
        })
    }

    /// Width of all query heads.
    pub fn query_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Width of all key (or value) heads.
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// What scores are multiplied with: `1 / sqrt(head_dim)`, rounded once.
    pub fn attention_scale(&self) -> f32 {
        (1.0 / (self.head_dim as f64).sqrt()) as f32
    }

    /// The token that training appends to a completion.
    pub fn end_token(&self) -> Option<u32> {
        self.eos_ids.first().copied()
    }
}

fn architecture_of(keys: &Keys<'_>) -> Result<Architecture, ModelError> {
    let named = match keys.value("architectures") {
        Some(serde_json::Value::Array(names)) => names.first().and_then(|name| name.as_str()),
        _ => None,
    };
    let found = named.or(keys.text("model_type")?).unwrap_or("absent");
    match found {
        "Qwen2ForCausalLM" | "qwen2" => Ok(Architecture::Qwen2),
        "LlamaForCausalLM" | "llama" => Ok(Architecture::Llama),
        other => Err(ModelError::Architecture {
            file: CONFIG.to_owned(),
            found: other.to_owned(),
            expected: "Qwen2ForCausalLM or LlamaForCausalLM",
        }),
    }
}

fn refuse_other_mathematics(keys: &Keys<'_>) -> Result<(), ModelError> {
    if !matches!(keys.text("hidden_act")?, None | Some("silu")) {
        return Err(keys.wrong("hidden_act", "\"silu\""));
    }
    if keys.flag("use_sliding_window", false)? {
        return Err(keys.wrong("use_sliding_window", "false"));
    }
    if let Some(serde_json::Value::Array(layers)) = keys.value("layer_types")
        && layers.iter().any(|layer| layer.as_str() != Some("full_attention"))
    {
        return Err(keys.wrong("layer_types", "\"full_attention\" for each layer"));
    }
    Quantization::of(keys)?;
    match keys.positive("partial_rotary_factor")? {
        None => Ok(()),
        Some(1.0) => Ok(()),
        Some(_) => Err(keys.wrong("partial_rotary_factor", "1")),
    }
}

fn rope_of(keys: &Keys<'_>, declared_positions: usize) -> Result<(f64, RopeScaling), ModelError> {
    // transformers 5 moved theta into rope_parameters; 4 has it outside, beside rope_scaling.
    let (nested, name) = match keys.object("rope_parameters")? {
        Some(nested) => (Some(nested), "rope_parameters"),
        None => (keys.object("rope_scaling")?, "rope_scaling"),
    };
    let inner_theta = match &nested {
        Some(nested) => nested.positive("rope_theta")?,
        None => None,
    };
    let theta = inner_theta.or(keys.positive("rope_theta")?).unwrap_or(10_000.0);
    let Some(nested) = nested else { return Ok((theta, RopeScaling::None)) };
    let kind = nested.text("rope_type")?.or(nested.text("type")?).unwrap_or("default");
    let required = |key: &'static str| nested.positive(key)?.ok_or_else(|| nested.wrong(key, "a number above 0"));
    let scaling = match kind {
        "default" => RopeScaling::None,
        "linear" => RopeScaling::Linear(required("factor")?),
        "llama3" => RopeScaling::Llama3 {
            factor: required("factor")?,
            low_frequency_factor: required("low_freq_factor")?,
            high_frequency_factor: required("high_freq_factor")?,
            original_max_positions: nested
                .positive("original_max_position_embeddings")?
                .unwrap_or(declared_positions as f64),
        },
        _ => return Err(keys.wrong(name, "rope_type default, linear or llama3")),
    };
    if nested.positive("partial_rotary_factor")?.is_some_and(|factor| factor != 1.0) {
        return Err(nested.wrong("partial_rotary_factor", "1"));
    }
    Ok((theta, scaling))
}
