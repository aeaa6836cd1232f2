//! tokenizer.json and tokenizer_config.json out of a GGUF file's metadata, for byte-level BPE.
//!
//! The file names its way of cutting text into words (`tokenizer.ggml.pre`) without giving it; the ones known here are those of
//! Qwen2, Llama 3 and GPT-2. Any other tokenizer is refused, with what to put beside the file: a guess would change every prompt.

use serde_json::{Value as Json, json};

use super::file::GgufFile;
use super::reader::Value;
use crate::model::error::ModelError;

/// tokenizer.json of a file.
///
/// # Errors
/// [`ModelError::GgufTokenizer`].
pub(super) fn tokenizer_of(file: &GgufFile) -> Result<Vec<u8>, ModelError> {
    let refuse = |found: String| ModelError::GgufTokenizer { file: file.label.clone(), found };
    let model = file.text("tokenizer.ggml.model").unwrap_or("absent");
    if model != "gpt2" {
        return Err(refuse(model.to_owned()));
    }
    let pre = file.text("tokenizer.ggml.pre").unwrap_or("absent");
    let words = WORDS.iter().find(|words| words.name == pre).ok_or_else(|| refuse(format!("gpt2, cut as {pre}")))?;
    let lacks = |key: &str| refuse(format!("gpt2 without {key}"));
    let tokens = file.texts("tokenizer.ggml.tokens").ok_or_else(|| lacks("tokenizer.ggml.tokens"))?;
    let merges = file.texts("tokenizer.ggml.merges").ok_or_else(|| lacks("tokenizer.ggml.merges"))?;
    let kinds = match file.metadata.get("tokenizer.ggml.token_type") {
        Some(Value::Integers(kinds)) if kinds.len() == tokens.len() => kinds,
        _ => return Err(lacks("a tokenizer.ggml.token_type for each token")),
    };
    let mut vocabulary = serde_json::Map::new();
    let mut added = Vec::new();
    for (id, (token, kind)) in tokens.iter().zip(kinds).enumerate() {
        match *kind {
            CONTROL | USER_DEFINED => added.push(json!({
                "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": *kind == CONTROL
            })),
            // Rows of the embedding that no text reaches.
            UNUSED => {}
            _ => {
                if vocabulary.insert(token.clone(), json!(id)).is_some() {
                    return Err(refuse(format!("gpt2 with two tokens {token:?}")));
                }
            }
        }
    }
    let beginning = match file.metadata.get("tokenizer.ggml.add_bos_token") {
        Some(Value::Flag(true)) => Some(token_of(file, "bos").ok_or_else(|| lacks("tokenizer.ggml.bos_token_id"))?),
        Some(Value::Flag(false)) => None,
        _ if words.begins => Some(token_of(file, "bos").ok_or_else(|| lacks("tokenizer.ggml.bos_token_id"))?),
        _ => None,
    };
    if matches!(file.metadata.get("tokenizer.ggml.add_eos_token"), Some(Value::Flag(true))) {
        return Err(refuse("gpt2 that ends every text".to_owned()));
    }
    let bytes = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false });
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": if words.composes { json!({ "type": "NFC" }) } else { Json::Null },
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": [
            { "type": "Split", "pattern": { "Regex": words.pattern }, "behavior": "Isolated", "invert": false },
            bytes.clone()
        ] },
        "post_processor": beginning.map_or(Json::Null, |(id, token)| json!({
            "type": "TemplateProcessing",
            "single": [{ "SpecialToken": { "id": token, "type_id": 0 } }, { "Sequence": { "id": "A", "type_id": 0 } }],
            "pair": [{ "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 0 } }],
            "special_tokens": { token.clone(): { "id": token, "ids": [id], "tokens": [token] } }
        })),
        "decoder": bytes,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": words.whole, "vocab": vocabulary, "merges": merges
        }
    });
    Ok(tokenizer.to_string().into_bytes())
}

/// tokenizer_config.json of a file: what a chat template needs.
pub(super) fn tokenizer_config_of(file: &GgufFile) -> Json {
    let token = |role: &str| token_of(file, role).map(|(_, token)| token);
    json!({
        "chat_template": file.text("tokenizer.chat_template"),
        "bos_token": token("bos"), "eos_token": token("eos"), "pad_token": token("padding"), "unk_token": token("unknown")
    })
}

fn token_of(file: &GgufFile, role: &str) -> Option<(usize, String)> {
    let id = match file.metadata.get(&format!("tokenizer.ggml.{role}_token_id")) {
        Some(Value::Integer(id)) => usize::try_from(*id).ok()?,
        _ => return None,
    };
    Some((id, file.texts("tokenizer.ggml.tokens")?.get(id)?.clone()))
}

/// One way of cutting text into words.
struct Words {
    name: &'static str,
    pattern: &'static str,
    /// Text is brought to NFC first.
    composes: bool,
    /// A word that is a token is taken whole, whatever the merges say.
    whole: bool,
    /// Texts begin with the bos token where the file does not say.
    begins: bool,
}

const WORDS: [Words; 3] = [
    Words {
        name: "qwen2",
        pattern: r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        composes: true,
        whole: false,
        begins: false,
    },
    Words {
        name: "llama-bpe",
        pattern: r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        composes: false,
        whole: true,
        begins: true,
    },
    Words {
        name: "gpt-2",
        pattern: r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
        composes: false,
        whole: false,
        begins: false,
    },
];

const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;
const UNUSED: i64 = 5;
