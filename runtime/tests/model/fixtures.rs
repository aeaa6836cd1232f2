//! Where the test models lie, and small models made in memory.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use kolm_runtime::model::safetensors::{Dtype, f32_bytes, write};
use kolm_runtime::model::{ModelSource, Target};
use serde_json::{Value, json};

/// A file of `golden/`, which every checkout has.
pub(crate) fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden").join(path)
}

/// A file of the data nobody here wrote; `None`, and a line that says so, where it is absent.
pub(crate) fn shared(path: &str, skipped: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("KOLM_SHARED_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"), PathBuf::from);
    present(folder.join(path), skipped)
}

pub(crate) fn present(path: PathBuf, skipped: &str) -> Option<PathBuf> {
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {skipped} ({} is absent)", path.display());
    None
}

pub(crate) fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("readable")).expect("json")
}

pub(crate) fn ids(value: &Value) -> Vec<u32> {
    value.as_array().expect("array").iter().map(|id| id.as_u64().expect("id") as u32).collect()
}

pub(crate) fn rows(value: &Value) -> Vec<f64> {
    let numbers = |row: &Value| -> Vec<f64> {
        row.as_array().expect("row").iter().map(|x| x.as_f64().expect("number")).collect()
    };
    value.as_array().expect("rows").iter().flat_map(numbers).collect()
}

/// max |difference| / max |expected|
pub(crate) fn relative_error(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let differences = found.iter().zip(expected).map(|(found, expected)| (f64::from(*found) - expected).abs());
    differences.fold(0.0, f64::max) / expected.iter().fold(0.0, |largest, x| x.abs().max(largest))
}

/// A tensor of a model made in memory.
pub(crate) type Tensor = (String, Vec<usize>, Vec<f32>);

/// config.json of a tiny Qwen2.
pub(crate) fn tiny_config() -> Value {
    json!({
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 24, "num_hidden_layers": 2,
        "num_attention_heads": 3, "num_key_value_heads": 1, "intermediate_size": 40, "vocab_size": 50,
        "max_position_embeddings": 700, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "hidden_act": "silu",
        "tie_word_embeddings": true, "eos_token_id": [2, 3], "bos_token_id": 1
    })
}

/// Weights for [`tiny_config`], the same at every call.
pub(crate) fn tiny_tensors() -> Vec<Tensor> {
    let config = kolm_runtime::model::DecoderConfig::parse(tiny_config().to_string().as_bytes(), None).expect("sound");
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut tensor = |name: String, shape: Vec<usize>| {
        let values = (0..shape.iter().product()).map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            ((state >> 40) as f32 / (1 << 24) as f32 - 0.5) * 0.7
        });
        (name, shape, values.collect())
    };
    let mut tensors = vec![
        tensor("model.embed_tokens.weight".into(), vec![config.vocabulary, config.hidden]),
        tensor("model.norm.weight".into(), vec![config.hidden]),
    ];
    for layer in 0..config.layers {
        for norm in ["input_layernorm", "post_attention_layernorm"] {
            tensors.push(tensor(format!("model.layers.{layer}.{norm}.weight"), vec![config.hidden]));
        }
        for target in Target::ALL {
            let (columns, rows) = target.features(&config);
            let module = target.module();
            tensors.push(tensor(format!("model.layers.{layer}.{module}.weight"), vec![rows, columns]));
            if matches!(target, Target::Query | Target::Key | Target::Value) {
                tensors.push(tensor(format!("model.layers.{layer}.{module}.bias"), vec![rows]));
            }
        }
    }
    tensors
}

pub(crate) fn encode(tensors: &[Tensor]) -> Vec<u8> {
    let bytes: Vec<Vec<u8>> = tensors.iter().map(|(_, _, values)| f32_bytes(values)).collect();
    let views: Vec<(&str, Dtype, &[usize], &[u8])> = tensors
        .iter()
        .zip(&bytes)
        .map(|((name, shape, _), bytes)| (name.as_str(), Dtype::F32, shape.as_slice(), bytes.as_slice()))
        .collect();
    write(&views, None).expect("sound tensors")
}

pub(crate) fn source_of(files: Vec<(&str, Vec<u8>)>) -> Result<ModelSource, kolm_runtime::model::ModelError> {
    let files = files.into_iter().map(|(path, bytes)| (path.to_owned(), Cow::Owned(bytes))).collect();
    ModelSource::from_bytes("test/tiny", files)
}

pub(crate) fn tiny() -> ModelSource {
    let files =
        vec![("config.json", tiny_config().to_string().into_bytes()), ("model.safetensors", encode(&tiny_tensors()))];
    source_of(files).expect("sound model")
}
