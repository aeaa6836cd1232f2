//! A small random Qwen2, a small random BERT, and a tokenizer of 40 words for both: enough to test everything above them.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::kernel::{Level, SplitMix};
use crate::model::safetensors::{self, Dtype, f32_bytes};
use crate::model::{Adapter, AdapterConfig, Decoder, ModelSource, TextTokenizer};

/// A loaded decoder.
pub(crate) struct Model {
    pub(crate) source: ModelSource,
    pub(crate) decoder: Decoder,
    pub(crate) tokenizer: TextTokenizer,
    pub(crate) adapter: Adapter,
}

/// The files of a model.
pub(crate) type Files = Vec<(String, Cow<'static, [u8]>)>;

/// Files of a decoder with two layers, grouped heads, and 42 words: `w0` to `w39`, the unknown word, the end token 41.
pub(crate) fn decoder_files() -> Files {
    let config = format!(
        r#"{{"architectures":["Qwen2ForCausalLM"],"hidden_size":{HIDDEN},"num_hidden_layers":2,"num_attention_heads":4,
        "num_key_value_heads":2,"intermediate_size":48,"vocab_size":42,"rms_norm_eps":1e-6,"rope_theta":10000.0,
        "max_position_embeddings":64,"tie_word_embeddings":true,"eos_token_id":41,"hidden_act":"silu"}}"#
    );
    let mut tensors = Tensors::new(7);
    let mut tensor = |name: &str, shape: &[usize], scale: f32, offset: f32| tensors.add(name, shape, scale, offset);
    tensor("model.embed_tokens.weight", &[42, HIDDEN], 1.0, 0.0);
    tensor("model.norm.weight", &[HIDDEN], 0.2, 1.0);
    for layer in 0..2 {
        for (name, shape) in [
            ("self_attn.q_proj", [HIDDEN, HIDDEN]),
            ("self_attn.k_proj", [16, HIDDEN]),
            ("self_attn.v_proj", [16, HIDDEN]),
            ("self_attn.o_proj", [HIDDEN, HIDDEN]),
            ("mlp.gate_proj", [48, HIDDEN]),
            ("mlp.up_proj", [48, HIDDEN]),
            ("mlp.down_proj", [HIDDEN, 48]),
        ] {
            tensor(&format!("model.layers.{layer}.{name}.weight"), &shape, 0.4, 0.0);
            if name.ends_with("q_proj") || name.ends_with("k_proj") || name.ends_with("v_proj") {
                tensor(&format!("model.layers.{layer}.{name}.bias"), &shape[..1], 0.2, 0.0);
            }
        }
        for name in ["input_layernorm", "post_attention_layernorm"] {
            tensor(&format!("model.layers.{layer}.{name}.weight"), &[HIDDEN], 0.2, 1.0);
        }
    }
    files(config, tensors)
}

/// Files of an encoder with one layer, mean pooling and the same words.
pub(crate) fn encoder_files() -> Files {
    let config = format!(
        r#"{{"model_type":"bert","hidden_size":{HIDDEN},"num_hidden_layers":1,"num_attention_heads":4,"intermediate_size":48,
        "vocab_size":42,"max_position_embeddings":64,"type_vocab_size":2,"layer_norm_eps":1e-12,"hidden_act":"gelu"}}"#
    );
    let mut tensors = Tensors::new(9);
    tensors.add("embeddings.word_embeddings.weight", &[42, HIDDEN], 1.0, 0.0);
    tensors.add("embeddings.position_embeddings.weight", &[64, HIDDEN], 0.1, 0.0);
    tensors.add("embeddings.token_type_embeddings.weight", &[2, HIDDEN], 0.1, 0.0);
    for (name, out_features, in_features) in [
        ("attention.self.query", HIDDEN, HIDDEN),
        ("attention.self.key", HIDDEN, HIDDEN),
        ("attention.self.value", HIDDEN, HIDDEN),
        ("attention.output.dense", HIDDEN, HIDDEN),
        ("intermediate.dense", 48, HIDDEN),
        ("output.dense", HIDDEN, 48),
    ] {
        tensors.add(&format!("encoder.layer.0.{name}.weight"), &[out_features, in_features], 0.2, 0.0);
        tensors.add(&format!("encoder.layer.0.{name}.bias"), &[out_features], 0.1, 0.0);
    }
    for name in ["embeddings", "encoder.layer.0.attention.output", "encoder.layer.0.output"] {
        tensors.add(&format!("{name}.LayerNorm.weight"), &[HIDDEN], 0.2, 1.0);
        tensors.add(&format!("{name}.LayerNorm.bias"), &[HIDDEN], 0.1, 0.0);
    }
    let mut files = files(config, tensors);
    let pooling = br#"{"pooling_mode_mean_tokens":true}"#.as_slice();
    files.push(("1_Pooling/config.json".to_owned(), Cow::Borrowed(pooling)));
    files
}

struct Tensors {
    random: SplitMix,
    tensors: Vec<(String, Vec<usize>, Vec<u8>)>,
}

impl Tensors {
    fn new(seed: u64) -> Tensors {
        Tensors { random: SplitMix(seed), tensors: Vec::new() }
    }

    fn add(&mut self, name: &str, shape: &[usize], scale: f32, offset: f32) {
        let values = self.random.uniforms(shape.iter().product());
        let values: Vec<f32> = values.iter().map(|x| x * scale + offset).collect();
        self.tensors.push((name.to_owned(), shape.to_vec(), f32_bytes(&values)));
    }
}

fn files(config: String, tensors: Tensors) -> Files {
    let views = tensors.tensors.iter();
    let views: Vec<_> = views.map(|(name, shape, bytes)| (name.as_str(), Dtype::F32, &shape[..], &bytes[..])).collect();
    let files = [
        ("config.json", config.into_bytes()),
        ("model.safetensors", safetensors::write(&views, None).unwrap()),
        ("tokenizer.json", tokenizer().into_bytes()),
    ];
    files.into_iter().map(|(name, bytes)| (name.to_owned(), Cow::Owned(bytes))).collect()
}

fn tokenizer() -> String {
    let mut vocabulary = String::new();
    for word in 0..WORDS {
        write!(vocabulary, "\"w{word}\":{word},").unwrap();
    }
    format!(
        r#"{{"version":"1.0","truncation":null,"padding":null,"added_tokens":[{{"id":41,"content":"<end>","single_word":false,
        "lstrip":false,"rstrip":false,"normalized":false,"special":true}}],"normalizer":null,"pre_tokenizer":{{"type":"Whitespace"}},
        "post_processor":null,"decoder":null,"model":{{"type":"WordLevel","vocab":{{{vocabulary}"<unk>":40}},"unk_token":"<unk>"}}}}"#
    )
}

/// Loads the decoder, and an adapter for it that changes every answer's logits.
pub(crate) fn model(level: Level) -> Model {
    let source = ModelSource::from_bytes("test/decoder", decoder_files()).unwrap();
    let decoder = Decoder::load(level, &source).unwrap();
    let tokenizer = TextTokenizer::load(&source, decoder.config.vocabulary, &decoder.config.eos_ids).unwrap();
    let config = AdapterConfig::new(4, 8, &["q_proj".to_owned(), "down_proj".to_owned()]).unwrap();
    let mut random = SplitMix(8);
    let adapter = Adapter::from_factors(level, &decoder.config, config, &mut |_, target| {
        let (in_features, out_features) = target.features(&decoder.config);
        Ok((random.uniforms(4 * in_features), random.uniforms(out_features * 4)))
    });
    let adapter = adapter.unwrap();
    Model { source, decoder, tokenizer, adapter }
}

const WORDS: u32 = 40;
const HIDDEN: usize = 32;
