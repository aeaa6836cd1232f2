//! The shape of a BERT encoder, from config.json, its pooling config, and its sentence config.

use super::error::ModelError;
use super::keys::Keys;
use super::limits;
use super::source::{CONFIG, ModelSource, POOLING, SENTENCE_CONFIG};

/// How a text's vector is made of its tokens'.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pooling {
    /// The first token's.
    Cls,
    /// The mean over all tokens.
    Mean,
}

impl Pooling {
    /// Name in plans: `cls`, `mean`.
    pub fn name(self) -> &'static str {
        match self {
            Pooling::Cls => "cls",
            Pooling::Mean => "mean",
        }
    }
}

/// The activation between the two feed-forward layers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Activation {
    /// GELU by erf.
    Gelu,
    /// GELU by tanh.
    GeluTanh,
}

/// Shape and constants of a BERT encoder.
#[derive(Clone, PartialEq, Debug)]
pub struct EncoderConfig {
    /// Width C of the hidden states and of a text's vector.
    pub hidden: usize,
    /// Blocks.
    pub layers: usize,
    /// Attention heads; divides `hidden`.
    pub heads: usize,
    /// Width of the feed-forward layer.
    pub intermediate: usize,
    /// Rows of the word embedding.
    pub vocabulary: usize,
    /// Rows of the position embedding.
    pub max_positions: usize,
    /// Rows of the token-type embedding; row 0 is used.
    pub token_types: usize,
    /// Added to the variance before the root.
    pub norm_eps: f32,
    /// Activation of the feed-forward layer.
    pub activation: Activation,
    /// How a text's vector is made.
    pub pooling: Pooling,
    /// Tokens of a text that are used, special tokens included.
    pub max_tokens: usize,
}

impl EncoderConfig {
    /// Reads the configuration of a located encoder.
    ///
    /// Pooling comes from `1_Pooling/config.json`; without it, mean for a name with `MiniLM` and the first token for any other.
    ///
    /// # Errors
    /// [`ModelError::NotJson`], [`ModelError::Architecture`], [`ModelError::ConfigValue`], and those of reading files.
    pub fn load(source: &ModelSource) -> Result<Self, ModelError> {
        let optional = |path| if source.has(path) { source.read(path).map(Some) } else { Ok(None) };
        let (pooling, sentence) = (optional(POOLING)?, optional(SENTENCE_CONFIG)?);
        Self::parse(&source.read(CONFIG)?, pooling.as_deref(), sentence.as_deref(), source.repo())
    }

    /// Reads config.json, and the two optional files beside it; `repo` is the model's name.
    ///
    /// # Errors
    /// [`ModelError::NotJson`], [`ModelError::Architecture`], [`ModelError::ConfigValue`].
    pub fn parse(
        config: &[u8],
        pooling: Option<&[u8]>,
        sentence: Option<&[u8]>,
        repo: &str,
    ) -> Result<Self, ModelError> {
        let keys = Keys::parse(CONFIG, config)?;
        let family = keys.text("model_type")?.unwrap_or("absent");
        if family != "bert" {
            let (file, found) = (CONFIG.to_owned(), family.to_owned());
            return Err(ModelError::Architecture { file, found, expected: "model_type bert" });
        }
        if !matches!(keys.text("position_embedding_type")?, None | Some("absolute")) {
            return Err(keys.wrong("position_embedding_type", "\"absolute\""));
        }
        let hidden = keys.count("hidden_size", limits::HIDDEN_SIZE)?;
        let heads = keys.count("num_attention_heads", limits::HEAD_COUNT)?;
        if !hidden.is_multiple_of(heads) {
            return Err(keys.wrong("num_attention_heads", &format!("a divisor of hidden_size = {hidden}")));
        }
        let activation = match keys.text("hidden_act")? {
            None | Some("gelu") => Activation::Gelu,
            Some("gelu_new" | "gelu_pytorch_tanh") => Activation::GeluTanh,
            Some(_) => return Err(keys.wrong("hidden_act", "\"gelu\", \"gelu_new\" or \"gelu_pytorch_tanh\"")),
        };
        let max_positions = keys.count("max_position_embeddings", limits::POSITION_COUNT)?;
        let declared = match sentence {
            Some(sentence) => {
                Keys::parse(SENTENCE_CONFIG, sentence)?.optional_count("max_seq_length", limits::POSITION_COUNT)?
            }
            None => None,
        };
        Ok(Self {
            hidden,
            layers: keys.count("num_hidden_layers", limits::LAYER_COUNT)?,
            heads,
            intermediate: keys.count("intermediate_size", limits::INTERMEDIATE_SIZE)?,
            vocabulary: keys.count("vocab_size", limits::VOCABULARY_SIZE)?,
            max_positions,
            token_types: keys.optional_count("type_vocab_size", limits::HIDDEN_SIZE)?.unwrap_or(2),
            norm_eps: keys.positive("layer_norm_eps")?.unwrap_or(1e-12) as f32,
            activation,
            pooling: match pooling {
                Some(pooling) => pooling_of(&Keys::parse(POOLING, pooling)?)?,
                None if repo.contains("MiniLM") => Pooling::Mean,
                None => Pooling::Cls,
            },
            max_tokens: declared.unwrap_or(max_positions).min(max_positions),
        })
    }

    /// Width of one head.
    pub fn head_dim(&self) -> usize {
        self.hidden / self.heads
    }

    /// What scores are multiplied with: `1 / sqrt(head_dim)`, rounded once.
    pub fn attention_scale(&self) -> f32 {
        (1.0 / (self.head_dim() as f64).sqrt()) as f32
    }
}

fn pooling_of(keys: &Keys<'_>) -> Result<Pooling, ModelError> {
    let cls = keys.flag("pooling_mode_cls_token", false)?;
    let mean = keys.flag("pooling_mode_mean_tokens", false)?;
    let others = ["pooling_mode_max_tokens", "pooling_mode_mean_sqrt_len_tokens", "pooling_mode_weightedmean_tokens"];
    for other in others.into_iter().chain(["pooling_mode_lasttoken"]) {
        if keys.flag(other, false)? {
            return Err(keys.wrong(other, "false: only the first token or the mean is computed"));
        }
    }
    match (cls, mean, keys.text("pooling_mode")?) {
        (true, false, None) | (false, false, Some("cls")) => Ok(Pooling::Cls),
        (false, true, None) | (false, false, Some("mean")) => Ok(Pooling::Mean),
        _ => Err(keys.wrong("pooling_mode_cls_token", "either pooling_mode_cls_token or pooling_mode_mean_tokens")),
    }
}
