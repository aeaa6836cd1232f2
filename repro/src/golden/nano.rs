//! The recipe of the embedded models `kolm/nano` and `kolm/nano-encoder`: generated text, BPE, pre-training from scratch.
//!
//! Everything follows from the constants below. A whole run takes a quarter of an hour on two cores; [`prefix`] repeats its first steps,
//! which the warm-up makes independent of how many follow, and must give the digest that the whole run recorded.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use kolm_compile::train::{
    CheckpointStore, Order, Passage, Pretrained, ProxyObjective, Schedule, Settings, StepReport, packed_examples,
    pretrain_decoder, pretrain_encoder,
};
use kolm_compile::{bpe, generate};
use kolm_runtime::artifact::sha256_hex;
use kolm_runtime::kernel::Level;
use kolm_runtime::model::TextTokenizer;
use serde::{Deserialize, Serialize};

/// Which embedded model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Model {
    /// `kolm/nano`
    Decoder,
    /// `kolm/nano-encoder`
    Encoder,
}

impl Model {
    /// Both.
    pub const ALL: [Model; 2] = [Model::Decoder, Model::Encoder];

    /// Folder under `golden/models`.
    pub const fn folder(self) -> &'static str {
        match self {
            Model::Decoder => "nano",
            Model::Encoder => "nano-encoder",
        }
    }

    fn settings(self) -> Settings {
        let common = Settings {
            seed: SEED,
            warmup_steps: WARMUP_STEPS,
            schedule: Schedule::Linear,
            beta1: 0.9,
            beta2: 0.99,
            epsilon: 1e-8,
            weight_decay: 0.1,
            clip_norm: 1.0,
            order: Order::Shuffled,
            trace_every: 10,
            micro_batch: 0,
            ..Settings::default()
        };
        match self {
            Model::Decoder => Settings { steps: 500, batch_size: 32, learning_rate: 3e-3, ..common },
            Model::Encoder => Settings { steps: 1200, batch_size: 4, learning_rate: 1e-3, ..common },
        }
    }
}

/// What a whole run recorded, `golden/models/MODEL/recipe.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// Steps of the whole run.
    pub steps: u64,
    /// Steps of the prefix that CI repeats.
    pub prefix_steps: u64,
    /// SHA-256 of the parameters after the prefix.
    pub prefix_parameters_sha256: String,
    /// SHA-256 of the parameters after the whole run, in f32.
    pub parameters_sha256: String,
    /// SHA-256 of `tokenizer.json`.
    pub tokenizer_sha256: String,
    /// SHA-256 of `model.safetensors` (bf16).
    pub model_sha256: String,
}

/// Files of a model and what is recorded of its training.
pub struct Made {
    /// Name and bytes of each file.
    pub files: Vec<(&'static str, Vec<u8>)>,
    /// For `recipe.json`.
    pub recorded: Recorded,
}

/// Runs the whole recipe of one model; checkpoints go to `work`.
///
/// # Errors
/// When training or writing fails.
pub fn make(level: Level, model: Model, work: &Path, observe: &mut dyn FnMut(&StepReport)) -> Result<Made> {
    let settings = model.settings();
    let store = CheckpointStore::new(work.join(model.folder()), 100);
    let tokenizer = tokenizer(model)?;
    let trained = train(level, model, &tokenizer, &settings, Some(&store), observe)?;
    let weights = trained.to_safetensors()?;
    let after = |steps: u64| {
        let line = trained.trace.iter().find(|line| line.step == steps);
        line.map(|line| line.parameters_sha256.clone()).with_context(|| format!("the trace has no step {steps}"))
    };
    let recorded = Recorded {
        steps: settings.steps,
        prefix_steps: PREFIX_STEPS,
        prefix_parameters_sha256: after(PREFIX_STEPS)?,
        parameters_sha256: after(settings.steps)?,
        tokenizer_sha256: sha256_hex(&tokenizer),
        model_sha256: sha256_hex(&weights),
    };
    let mut files = vec![("config.json", config(model).into_bytes()), ("tokenizer.json", tokenizer)];
    if model == Model::Decoder {
        files.push(("tokenizer_config.json", TOKENIZER_CONFIG.as_bytes().to_vec()));
    }
    files.push(("model.safetensors", weights));
    Ok(Made { files, recorded })
}

/// Repeats the first steps of the recipe and compares the parameters' digest with the recorded one.
///
/// # Errors
/// When training fails or a digest differs.
pub fn prefix(level: Level, model: Model, recorded: &Recorded) -> Result<()> {
    ensure!(recorded.prefix_steps <= WARMUP_STEPS, "the prefix reaches beyond the warm-up");
    let tokenizer = tokenizer(model)?;
    let found = sha256_hex(&tokenizer);
    ensure!(found == recorded.tokenizer_sha256, "tokenizer: made {found}, recorded {}", recorded.tokenizer_sha256);
    let settings = Settings { steps: recorded.prefix_steps, ..model.settings() };
    let trained = train(level, model, &tokenizer, &settings, None, &mut |_| {})?;
    let found = trained.trace.last().map(|line| line.parameters_sha256.clone()).unwrap_or_default();
    let expected = &recorded.prefix_parameters_sha256;
    ensure!(found == *expected, "parameters after {} steps: made {found}, recorded {expected}", recorded.prefix_steps);
    Ok(())
}

fn train(
    level: Level,
    model: Model,
    tokenizer: &[u8],
    settings: &Settings,
    store: Option<&CheckpointStore>,
    observe: &mut dyn FnMut(&StepReport),
) -> Result<Pretrained> {
    let tokenizer = TextTokenizer::from_bytes(tokenizer)?;
    let config = config(model);
    Ok(match model {
        Model::Decoder => {
            let documents = generate::documents(SEED, DOCUMENTS);
            let tokens = documents
                .iter()
                .map(|document| tokenizer.encode(&document.text, false))
                .collect::<Result<Vec<_>, _>>()?;
            let end = tokenizer.token_to_id("<|endoftext|>").context("the tokenizer has no <|endoftext|>")?;
            let examples = packed_examples(tokens.iter().map(Vec::as_slice), end, SEQUENCE_TOKENS);
            pretrain_decoder(level, config.as_bytes(), &examples, settings, store, observe)?
        }
        Model::Encoder => {
            let texts = generate::texts(SEED, PASSAGES);
            let passages = texts
                .iter()
                .map(|text| {
                    Ok(Passage { tokens: tokenizer.encode_truncated(&text.text, ENCODER_TOKENS)?, class: text.class })
                })
                .collect::<Result<Vec<_>>>()?;
            let proxies = ProxyObjective { classes: generate::class_count(), scale: 12.0, group: 8 };
            pretrain_encoder(level, config.as_bytes(), &passages, &proxies, settings, store, observe)?
        }
    })
}

fn tokenizer(model: Model) -> Result<Vec<u8>> {
    let documents = generate::documents(SEED, TOKENIZER_DOCUMENTS);
    let texts = documents.iter().map(|document| document.text.as_str());
    Ok(match model {
        Model::Decoder => bpe::train(texts, VOCABULARY, &bpe::DECODER_SPECIALS)?,
        Model::Encoder => bpe::train_encoder(texts, VOCABULARY)?,
    })
}

fn config(model: Model) -> String {
    // Special tokens are the vocabulary's last: <|endoftext|> <|im_start|> <|im_end|>.
    let end = VOCABULARY - 3;
    match model {
        Model::Decoder => format!(
            r#"{{
  "architectures": ["Qwen2ForCausalLM"],
  "model_type": "qwen2",
  "hidden_size": 192,
  "intermediate_size": 512,
  "num_hidden_layers": 4,
  "num_attention_heads": 6,
  "num_key_value_heads": 2,
  "vocab_size": {VOCABULARY},
  "max_position_embeddings": 512,
  "rms_norm_eps": 1e-06,
  "rope_theta": 10000.0,
  "hidden_act": "silu",
  "tie_word_embeddings": true,
  "bos_token_id": {end},
  "eos_token_id": {end},
  "torch_dtype": "bfloat16"
}}
"#
        ),
        Model::Encoder => format!(
            r#"{{
  "architectures": ["BertModel"],
  "model_type": "bert",
  "hidden_size": 128,
  "intermediate_size": 512,
  "num_hidden_layers": 3,
  "num_attention_heads": 4,
  "vocab_size": {VOCABULARY},
  "max_position_embeddings": 256,
  "type_vocab_size": 2,
  "layer_norm_eps": 1e-12,
  "hidden_act": "gelu",
  "torch_dtype": "bfloat16"
}}
"#
        ),
    }
}

const TOKENIZER_CONFIG: &str = r#"{
  "eos_token": "<|endoftext|>",
  "chat_template": "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
}
"#;

/// Seed of text and training.
const SEED: u64 = 2026;
/// Tokens in each vocabulary.
const VOCABULARY: usize = 2048;
/// Documents the vocabularies are learned from.
const TOKENIZER_DOCUMENTS: usize = 20_000;
/// Pre-training documents of the decoder.
const DOCUMENTS: usize = 50_000;
/// Tokens in a training sequence of the decoder.
const SEQUENCE_TOKENS: usize = 128;
/// Passages of the encoder.
const PASSAGES: usize = 24_000;
/// Longest passage of the encoder.
const ENCODER_TOKENS: usize = 128;
/// Steps of rising learning rate; no prefix may be longer.
const WARMUP_STEPS: u64 = 60;
/// Steps that CI repeats.
const PREFIX_STEPS: u64 = 10;
