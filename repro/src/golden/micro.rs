//! `golden/micro`: a base and an encoder so small that a whole compile takes seconds under an emulator.
//!
//! Their weights are drawn, not learned: the micro example proves bits, not quality.

use anyhow::{Context, Result};
use kolm_compile::train::{Example, Passage, Pretrained, ProxyObjective, Settings, pretrain_decoder, pretrain_encoder};
use kolm_compile::{bpe, generate};
use kolm_runtime::kernel::Level;

/// Makes the files, as (path under `golden/micro`, bytes).
///
/// # Errors
/// When a model cannot be made.
pub fn files(level: Level) -> Result<Vec<(String, Vec<u8>)>> {
    let documents = generate::documents(SEED, DOCUMENTS);
    let texts: Vec<&str> = documents.iter().map(|document| document.text.as_str()).collect();
    let decoder_tokenizer = bpe::train(texts.iter().copied(), VOCABULARY, &bpe::DECODER_SPECIALS)?;
    let encoder_tokenizer = bpe::train_encoder(texts.iter().copied(), VOCABULARY)?;
    let settings = Settings { seed: SEED, steps: STEPS, batch_size: 2, learning_rate: 5e-3, ..Settings::default() };

    let decoder_config = decoder_config();
    let tokenizer = kolm_runtime::model::TextTokenizer::from_bytes(&decoder_tokenizer)?;
    let tokens = tokenizer.encode(texts.first().context("no document")?, false)?;
    let examples = [Example { tokens: tokens.into_iter().take(24).collect(), loss_from: 1 }];
    let decoder = pretrain_decoder(level, decoder_config.as_bytes(), &examples, &settings, None, &mut |_| {})?;

    let encoder_config = encoder_config();
    let tokenizer = kolm_runtime::model::TextTokenizer::from_bytes(&encoder_tokenizer)?;
    let passages: Vec<Passage> = documents
        .iter()
        .take(8)
        .map(|document| Ok(Passage { tokens: tokenizer.encode_truncated(&document.text, 24)?, class: document.class }))
        .collect::<Result<_>>()?;
    let proxies = ProxyObjective { classes: generate::class_count(), scale: 12.0, group: 4 };
    let encoder =
        pretrain_encoder(level, encoder_config.as_bytes(), &passages, &proxies, &settings, None, &mut |_| {})?;

    let mut files = model("base", decoder_config, decoder_tokenizer, &decoder)?;
    files.extend(model("encoder", encoder_config, encoder_tokenizer, &encoder)?);
    Ok(files)
}

fn model(name: &str, config: String, tokenizer: Vec<u8>, trained: &Pretrained) -> Result<Vec<(String, Vec<u8>)>> {
    let path = |file: &str| format!("{name}/{file}");
    Ok(vec![
        (path("config.json"), config.into_bytes()),
        (path("tokenizer.json"), tokenizer),
        (path("model.safetensors"), trained.to_safetensors()?),
    ])
}

fn decoder_config() -> String {
    let end = VOCABULARY - 3;
    format!(
        r#"{{"model_type":"qwen2","hidden_size":32,"intermediate_size":48,"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"vocab_size":{VOCABULARY},"max_position_embeddings":128,"rms_norm_eps":1e-06,"rope_theta":10000.0,"hidden_act":"silu","tie_word_embeddings":true,"bos_token_id":{end},"eos_token_id":{end},"torch_dtype":"bfloat16"}}
"#
    )
}

fn encoder_config() -> String {
    format!(
        r#"{{"model_type":"bert","hidden_size":32,"intermediate_size":48,"num_hidden_layers":1,"num_attention_heads":2,"vocab_size":{VOCABULARY},"max_position_embeddings":64,"type_vocab_size":2,"layer_norm_eps":1e-12,"hidden_act":"gelu","torch_dtype":"bfloat16"}}
"#
    )
}

const SEED: u64 = 7;
const DOCUMENTS: usize = 200;
const VOCABULARY: usize = 384;
const STEPS: u64 = 4;
