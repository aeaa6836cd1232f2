//! A decoder's shape from a GGUF file's metadata and table.
//!
//! Whatever would change the result and is not computed here is refused by name: other architectures, YaRN, partial rotation, and
//! the table of rotary factors that llama.cpp keeps as a tensor (it does not hold the numbers it came from).

use serde_json::{Map, Number, Value as Json};

use super::file::GgufFile;
use super::reader::Value;
use crate::kernel::RopeScaling;
use crate::model::config::{Architecture, DecoderConfig};
use crate::model::error::ModelError;
use crate::model::keys::Keys;
use crate::model::limits;

/// The architecture a file declares.
pub(super) fn architecture_of(file: &GgufFile) -> Result<Architecture, ModelError> {
    match file.text("general.architecture") {
        Some("qwen2") => Ok(Architecture::Qwen2),
        Some("llama") => Ok(Architecture::Llama),
        other => Err(ModelError::Architecture {
            file: file.label.clone(),
            found: other.unwrap_or("absent").to_owned(),
            expected: "qwen2 or llama",
        }),
    }
}

/// The configuration a file declares.
///
/// # Errors
/// [`ModelError::Architecture`], [`ModelError::ConfigValue`], [`ModelError::TensorMissing`], [`ModelError::TensorUnknown`].
pub(super) fn config_of(file: &GgufFile) -> Result<DecoderConfig, ModelError> {
    let architecture = architecture_of(file)?;
    let keys = Keys::of(&file.label, &of_prefix(file, architecture.name()));
    let hidden = keys.count("embedding_length", limits::HIDDEN_SIZE)?;
    let heads = keys.count("attention.head_count", limits::HEAD_COUNT)?;
    let kv_heads = keys.optional_count("attention.head_count_kv", limits::HEAD_COUNT)?.unwrap_or(heads);
    if !heads.is_multiple_of(kv_heads) {
        return Err(keys.wrong("attention.head_count_kv", &format!("a divisor of attention.head_count = {heads}")));
    }
    let head_dim = match keys.optional_count("attention.key_length", limits::HEAD_SIZE)? {
        Some(head_dim) => head_dim,
        None if hidden.is_multiple_of(heads) => hidden / heads,
        None => return Err(keys.wrong("attention.head_count", &format!("a divisor of embedding_length = {hidden}"))),
    };
    if !head_dim.is_multiple_of(2) || head_dim > limits::HEAD_SIZE {
        return Err(keys.wrong("attention.key_length", &format!("an even head size up to {}", limits::HEAD_SIZE)));
    }
    for key in ["attention.value_length", "rope.dimension_count"] {
        if keys.optional_count(key, limits::HEAD_SIZE)?.is_some_and(|size| size != head_dim) {
            return Err(keys.wrong(key, &format!("the head size, {head_dim}")));
        }
    }
    for key in ["attention.sliding_window", "expert_count"] {
        if keys.value(key).is_some_and(|value| value.as_u64() != Some(0)) {
            return Err(keys.wrong(key, "absent"));
        }
    }
    let vocabulary = vocabulary_of(file, &keys)?;
    let declared = keys.count("context_length", usize::MAX)?;
    let tokens = Keys::of(&file.label, &of_prefix(file, "tokenizer.ggml"));
    let mut eos_ids = tokens.ids("eos_token_id", vocabulary)?;
    for id in tokens.ids("eot_token_id", vocabulary)? {
        if !eos_ids.contains(&id) {
            eos_ids.push(id);
        }
    }
    let has = |name: &str| file.tensors.contains_key(name);
    Ok(DecoderConfig {
        architecture,
        hidden,
        layers: keys.count("block_count", limits::LAYER_COUNT)?,
        heads,
        kv_heads,
        head_dim,
        intermediate: keys.count("feed_forward_length", limits::INTERMEDIATE_SIZE)?,
        vocabulary,
        rms_eps: match keys.positive("attention.layer_norm_rms_epsilon")? {
            Some(eps) => eps as f32,
            None => return Err(keys.wrong("attention.layer_norm_rms_epsilon", "a number above 0")),
        },
        rope_theta: keys.positive("rope.freq_base")?.unwrap_or(10_000.0),
        rope_scaling: scaling_of(&keys)?,
        max_positions: declared.min(limits::POSITION_COUNT),
        tied: !has("output.weight"),
        attention_bias: architecture == Architecture::Qwen2 || has("blk.0.attn_q.bias"),
        output_bias: has("blk.0.attn_output.bias"),
        mlp_bias: has("blk.0.ffn_gate.bias"),
        eos_ids,
        bos_id: tokens.ids("bos_token_id", vocabulary)?.first().copied(),
    })
}

/// Rows of the embedding: what the metadata says has to be what the tensor has.
fn vocabulary_of(file: &GgufFile, keys: &Keys<'_>) -> Result<usize, ModelError> {
    let missing = || ModelError::TensorMissing { model: file.label.clone(), tensor: "token_embd.weight".to_owned() };
    let embedding = file.tensors.get("token_embd.weight").ok_or_else(missing)?;
    let rows = embedding.shape.first().copied().unwrap_or(0);
    let declared = keys.optional_count("vocab_size", limits::VOCABULARY_SIZE)?;
    if rows > limits::VOCABULARY_SIZE || declared.is_some_and(|declared| declared != rows) {
        return Err(keys.wrong(
            "vocab_size",
            &format!("the {rows} rows of token_embd.weight, at most {}", limits::VOCABULARY_SIZE),
        ));
    }
    match file.texts("tokenizer.ggml.tokens") {
        Some(tokens) if tokens.len() > rows => Err(ModelError::TokenizerVocabulary {
            found: u32::try_from(tokens.len() - 1).unwrap_or(u32::MAX),
            expected: rows,
        }),
        _ => Ok(rows),
    }
}

fn scaling_of(keys: &Keys<'_>) -> Result<RopeScaling, ModelError> {
    match keys.text("rope.scaling.type")? {
        None | Some("none") => Ok(RopeScaling::None),
        Some("linear") => match keys.positive("rope.scaling.factor")? {
            Some(factor) => Ok(RopeScaling::Linear(factor)),
            None => Err(keys.wrong("rope.scaling.factor", "a number above 0")),
        },
        Some(_) => Err(keys.wrong("rope.scaling.type", "none or linear")),
    }
}

/// The scalar values below a prefix, without it.
fn of_prefix(file: &GgufFile, prefix: &str) -> Map<String, Json> {
    let json = |value: &Value| match value {
        Value::Integer(value) => match (u64::try_from(*value), i64::try_from(*value)) {
            (Ok(value), _) => Json::from(value),
            (_, Ok(value)) => Json::from(value),
            _ => Json::Null,
        },
        // A number that is not finite is none: whoever needs the key says what it expected.
        Value::Float(value) => Number::from_f64(*value).map_or_else(|| Json::from(value.to_string()), Json::Number),
        Value::Flag(value) => Json::from(*value),
        Value::Text(value) => Json::from(value.as_str()),
        Value::Integers(values) => Json::from(values.as_slice()),
        Value::Texts(values) => Json::from(format!("a list of {} texts", values.len())),
        Value::Passed => Json::from("a list"),
    };
    let inside = |key: &str| key.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('.')).map(str::to_owned);
    file.metadata.iter().filter_map(|(key, value)| inside(key).map(|key| (key, json(value)))).collect()
}
