//! GGUF bases: equal to the safetensors they came from, equal to gguf's own values, and refused where the file lies.

use kolm_runtime::kernel::{Level, SplitMix};
use kolm_runtime::model::{Block, Decoder, DecoderConfig, Matrix, ModelError, ModelSource, TextTokenizer, Weights};

use crate::fixtures::{Tensor, golden, json, source_of, tiny, tiny_config, tiny_tensors};

/// A GGUF file in the making: what a sound one has, each part open to a lie.
struct Gguf {
    keys: Vec<(String, Vec<u8>)>,
    /// Name, dimensions in the file's order, type, bytes, and an offset other than the right one.
    tensors: Vec<(String, Vec<u64>, u32, Vec<u8>, Option<u64>)>,
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

impl Gguf {
    fn key(&mut self, key: &str, kind: u32, value: &[u8]) {
        self.keys.retain(|(known, _)| known != key);
        self.keys.push((key.to_owned(), [&kind.to_le_bytes(), value].concat()));
    }

    fn count(&mut self, key: &str, value: u32) {
        self.key(key, 4, &value.to_le_bytes());
    }

    fn texts(&mut self, key: &str, texts: &[&str]) {
        let mut value = [8_u32.to_le_bytes().as_slice(), &(texts.len() as u64).to_le_bytes()].concat();
        texts.iter().for_each(|one| value.extend(text(one)));
        self.key(key, 9, &value);
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = b"GGUF\x03\0\0\0".to_vec();
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.keys.len() as u64).to_le_bytes());
        for (key, value) in &self.keys {
            out.extend([text(key), value.clone()].concat());
        }
        let mut data = Vec::new();
        for (name, dimensions, kind, bytes, offset) in &self.tensors {
            out.extend(text(name));
            out.extend((dimensions.len() as u32).to_le_bytes());
            dimensions.iter().for_each(|size| out.extend(size.to_le_bytes()));
            out.extend(kind.to_le_bytes());
            out.extend(offset.unwrap_or(data.len() as u64).to_le_bytes());
            data.extend(bytes);
            data.resize(data.len().next_multiple_of(32), 0);
        }
        out.resize(out.len().next_multiple_of(32), 0);
        out.extend(data);
        out
    }

    fn source(&self) -> Result<ModelSource, ModelError> {
        source_of(vec![("tiny.gguf", self.bytes())])
    }
}

fn theirs(name: &str) -> String {
    [
        ("model.layers.", "blk."),
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("input_layernorm", "attn_norm"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("post_attention_layernorm", "ffn_norm"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    ]
    .iter()
    .fold(name.to_owned(), |name, (ours, theirs)| name.replace(ours, theirs))
}

/// The tiny model as llama.cpp's converter would write it for an architecture.
fn converted(architecture: &str, tensors: &[Tensor]) -> Gguf {
    let mut gguf = Gguf { keys: Vec::new(), tensors: Vec::new() };
    gguf.key("general.architecture", 8, &text(architecture));
    let config = tiny_config();
    for (key, from) in [
        ("embedding_length", "hidden_size"),
        ("block_count", "num_hidden_layers"),
        ("attention.head_count", "num_attention_heads"),
        ("attention.head_count_kv", "num_key_value_heads"),
        ("feed_forward_length", "intermediate_size"),
        ("context_length", "max_position_embeddings"),
        ("vocab_size", "vocab_size"),
    ] {
        gguf.count(&format!("{architecture}.{key}"), config[from].as_u64().expect("count") as u32);
    }
    gguf.key(&format!("{architecture}.attention.layer_norm_rms_epsilon"), 6, &1e-6_f32.to_le_bytes());
    gguf.key(&format!("{architecture}.rope.freq_base"), 6, &10_000_f32.to_le_bytes());
    gguf.count("tokenizer.ggml.eos_token_id", 2);
    gguf.count("tokenizer.ggml.eot_token_id", 3);
    gguf.count("tokenizer.ggml.bos_token_id", 1);
    for (name, shape, values) in tensors {
        let row_len = values.len() / shape[0];
        let heads = if name.contains("q_proj") { 3 } else { 1 };
        let mut values = values.clone();
        if architecture == "llama" && (name.contains("q_proj") || name.contains("k_proj")) {
            // reshape(heads, 2, half, columns).swapaxes(1, 2), as in convert_hf_to_gguf.py
            let half = shape[0] / heads / 2;
            values.clear();
            for (head, at, side) in (0..heads).flat_map(|h| (0..half).flat_map(move |i| [(h, i, 0), (h, i, 1)])) {
                let row = (head * 2 + side) * half + at;
                let (_, _, from) = tensors.iter().find(|(known, _, _)| known == name).expect("itself");
                values.extend_from_slice(&from[row * row_len..][..row_len]);
            }
        }
        let dimensions = shape.iter().rev().map(|size| *size as u64).collect();
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        gguf.tensors.push((theirs(name), dimensions, 0, bytes, None));
    }
    gguf
}

fn logits(source: &ModelSource) -> Vec<u32> {
    let decoder = Decoder::load(Level::detect(), source).expect("loads");
    let (_, logits) = decoder.greedy(None, &[5, 9, 11, 40], 6, &[]).expect("runs");
    logits.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn a_gguf_is_the_model_it_came_from() {
    let tensors = tiny_tensors();
    let source = converted("qwen2", &tensors).source().expect("sound");
    assert_eq!(DecoderConfig::load(&source).expect("config"), DecoderConfig::load(&tiny()).expect("config"));
    assert_eq!(logits(&source), logits(&tiny()));
    assert_eq!(source.paths().collect::<Vec<_>>(), ["tiny.gguf"]);
    assert_eq!(source.identities().expect("hashed")[0].sha256.len(), 64);
}

#[test]
fn the_interleaved_rows_of_llama_are_put_back() {
    let tensors = tiny_tensors();
    let weights = Weights::open(&converted("llama", &tensors).source().expect("sound")).expect("opens");
    for (name, shape, values) in &tensors {
        assert_eq!(&weights.tensor_f32(name, shape).expect("there"), values, "{name}");
    }
}

#[test]
fn blocks_mean_what_gguf_says() {
    for (name, id, columns) in
        [("Q8_0", 8, 32), ("Q4_0", 2, 32), ("Q5_0", 6, 32), ("Q4_K", 12, 256), ("Q5_K", 13, 256), ("Q6_K", 14, 256)]
    {
        let oracle = &json(&golden("oracle/gguf-blocks.json"))["types"][name];
        let hex = oracle["blocks"].as_str().expect("hex");
        let bytes: Vec<u8> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect();
        let bits: Vec<u32> = oracle["bits"]
            .as_array()
            .expect("list")
            .iter()
            .map(|bits| u32::from_str_radix(bits.as_str().expect("hex"), 16).expect("hex"))
            .collect();
        let rows = bits.len() / columns;
        let mut gguf = converted("qwen2", &[]);
        gguf.count("qwen2.vocab_size", rows as u32);
        gguf.count("qwen2.embedding_length", columns as u32);
        gguf.count("qwen2.attention.head_count", 4);
        gguf.tensors.push(("token_embd.weight".into(), vec![columns as u64, rows as u64], id, bytes, None));
        for (key, value) in [("eos_token_id", 0), ("eot_token_id", 0), ("bos_token_id", 0)] {
            gguf.count(&format!("tokenizer.ggml.{key}"), value);
        }
        let weights = Weights::open(&gguf.source().expect("sound")).expect("opens");
        assert_eq!(weights.coding().name(), name.to_lowercase());
        let values = weights.tensor_f32("model.embed_tokens.weight", &[rows, columns]).expect("reads");
        let found: Vec<u32> = values.iter().map(|x| x.to_bits()).collect();
        assert_eq!(found, bits, "{name}");
        // As it is kept in memory, and as an embedding reads it there: integers that must mean the same values.
        let kept = weights.matrix("model.embed_tokens.weight", &[rows, columns]).expect("reads");
        assert!(matches!(kept, Matrix::Quantized(_)), "{name}");
        for level in Level::available() {
            let packed = kept.pack(level, rows, columns);
            let read: Vec<u32> = (0..rows).flat_map(|row| packed.column(row)).map(f32::to_bits).collect();
            assert_eq!(read, bits, "{name} as packed for {level:?}");
        }
        assert_eq!(kept.into_values().iter().map(|x| x.to_bits()).collect::<Vec<_>>(), bits, "{name} as kept");
    }
}

/// Number in the file, values of a block, its bytes.
const TYPES: [(u32, u64, u64); 8] =
    [(1, 1, 2), (30, 1, 2), (8, 32, 34), (2, 32, 18), (6, 32, 22), (12, 256, 144), (13, 256, 176), (14, 256, 210)];

/// A model of one block, its matrices in random blocks of one type. `scale` is every scale and every whole number's upper byte.
fn random_blocks(architecture: &str, (id, values, len): (u32, u64, u64), scale: u8) -> Gguf {
    let mut gguf = converted(architecture, &[]);
    for (key, value) in [
        ("embedding_length", 256),
        ("block_count", 1),
        ("attention.head_count", 4),
        ("attention.head_count_kv", 1),
        ("feed_forward_length", 512),
        ("vocab_size", 40),
    ] {
        gguf.count(&format!("{architecture}.{key}"), value);
    }
    let mut random = SplitMix(u64::from(id));
    for (name, rows, columns) in [
        ("token_embd", 40, 256),
        ("blk.0.attn_q", 256, 256),
        ("blk.0.attn_k", 64, 256),
        ("blk.0.attn_v", 64, 256),
        ("blk.0.attn_output", 256, 256),
        ("blk.0.ffn_gate", 512, 256),
        ("blk.0.ffn_up", 512, 256),
        ("blk.0.ffn_down", 256, 512),
    ] {
        let mut bytes: Vec<u8> = (0..rows * columns / values * len).map(|_| random.next() as u8).collect();
        for block in bytes.chunks_exact_mut(len as usize) {
            let scales: &[usize] = match id {
                12 | 13 => &[1, 3],
                14 => &[209],
                _ => &[1],
            };
            scales.iter().for_each(|at| block[*at] = scale);
        }
        gguf.tensors.push((format!("{name}.weight"), vec![columns, rows], id, bytes, None));
    }
    let mut plain = vec![("output_norm.weight", 256), ("blk.0.attn_norm.weight", 256), ("blk.0.ffn_norm.weight", 256)];
    if architecture == "qwen2" {
        plain.extend([("blk.0.attn_q.bias", 256), ("blk.0.attn_k.bias", 64), ("blk.0.attn_v.bias", 64)]);
    }
    for (name, len) in plain {
        let bytes = random.uniforms(len).iter().flat_map(|x| x.to_le_bytes()).collect();
        gguf.tensors.push((name.to_owned(), vec![len as u64], 0, bytes, None));
    }
    gguf
}

#[test]
fn blocks_decode_as_their_values_in_f32() {
    for (architecture, kind) in ["qwen2", "llama"].into_iter().flat_map(|one| TYPES.map(|kind| (one, kind))) {
        let source = random_blocks(architecture, kind, 0x24).source().expect("sound");
        let (config, weights) = (DecoderConfig::load(&source).expect("config"), Weights::open(&source).expect("opens"));
        let wide = |name: &str, shape: &[usize]| weights.tensor_f32(name, shape).map(Matrix::Values);
        for level in Level::available() {
            let kept = Decoder::load(level, &source).expect("loads");
            let mut get = |name: &str, shape: &[usize]| wide(&format!("model.layers.0.{name}"), shape);
            let block = Block::from_tensors(level, &config, &mut get).expect("a block");
            let embedding = wide("model.embed_tokens.weight", &[40, 256]).expect("an embedding");
            let norm = weights.tensor_f32("model.norm.weight", &[256]).expect("a norm");
            let widened = Decoder::from_parts(level, config.clone(), embedding, vec![block], norm, None);
            assert!(kept.blocks[0].gate.weight.len_bytes() < 512 * 256 * 3, "{}", kept.blocks[0].gate.weight.storage());
            let run = |decoder: &Decoder| {
                let (tokens, logits) = decoder.greedy(None, &[5, 9, 11, 30, 2], 4, &[]).expect("runs");
                (tokens, logits.iter().map(|x| x.to_bits()).collect::<Vec<u32>>())
            };
            let (tokens, logits) = run(&kept);
            assert_eq!((tokens.len(), logits.len()), (4, 40));
            assert!(logits.iter().any(|x| *x != logits[0]) && logits.iter().all(|x| f32::from_bits(*x).is_finite()));
            assert_eq!((tokens, logits), run(&widened), "{architecture}, type {} at {level:?}", kind.0);
        }
    }
}

#[test]
fn a_scale_that_is_not_finite_is_refused() {
    for kind in TYPES {
        let source = random_blocks("llama", kind, 0x7f).source().expect("a sound header");
        let error = Decoder::load(Level::detect(), &source).map(|_| ()).expect_err("not finite");
        assert_eq!(error.code(), "model_weight_not_finite", "type {}: {error}", kind.0);
    }
}

#[test]
fn a_file_that_lies_is_refused_by_name() {
    type Lie = fn(&mut Gguf);
    let lies: &[(&str, &[&str], Lie)] = &[
        ("model_tensor_offsets", &["expected it to begin at 0"], |g| g.tensors[0].4 = Some(1 << 60)),
        ("model_tensor_offsets", &["expected it to begin at"], |g| g.tensors[1].4 = Some(32)),
        ("model_tensor_offsets", &["expected it to begin at"], |g| g.tensors[1].4 = Some(u64::MAX)),
        ("model_tensor_offsets", &["bytes 0..", "within"], |g| g.tensors[0].1 = vec![24, 1 << 40]),
        ("model_gguf_header", &["more elements than can be counted"], |g| g.tensors[0].1 = vec![1 << 40, 1 << 40]),
        ("model_gguf_header", &["0 dimensions"], |g| g.tensors[0].1 = vec![]),
        ("model_gguf_header", &["dimension of 0"], |g| g.tensors[0].1 = vec![24, 0]),
        ("model_gguf_header", &["5 dimensions"], |g| g.tensors[0].1 = vec![1; 5]),
        ("model_tensor_dtype", &["token_embd.weight", "Q3_K", "Q6_K"], |g| g.tensors[0].2 = 11),
        ("model_tensor_dtype", &["4096"], |g| g.tensors[0].2 = 4096),
        ("model_tensor_group", &["rows of 24", "multiple of 32 for Q8_0"], |g| g.tensors[0].2 = 8),
        ("model_gguf_header", &["tensor output_norm.weight given twice"], |g| {
            g.tensors[0].0 = "output_norm.weight".into()
        }),
        ("model_tensor_unknown", &["blk.0.attn_q_norm.weight", "qwen2"], |g| {
            g.tensors[1].0 = "blk.0.attn_q_norm.weight".into()
        }),
        ("model_tensor_missing", &["token_embd.weight"], |g| g.tensors[0].0 = "output.weight".into()),
        ("model_architecture", &["gemma3", "qwen2 or llama"], |g| g.key("general.architecture", 8, &text("gemma3"))),
        ("model_config_value", &["vocab_size is 51", "50 rows"], |g| g.count("qwen2.vocab_size", 51)),
        ("model_tokenizer_vocabulary", &["50", "expected below the vocabulary of 50"], |g| {
            g.texts("tokenizer.ggml.tokens", &["x"; 51])
        }),
        ("model_config_value", &["head_count_kv is 2", "divisor"], |g| g.count("qwen2.attention.head_count_kv", 2)),
        ("model_config_value", &["rope.scaling.type", "yarn"], |g| g.key("qwen2.rope.scaling.type", 8, &text("yarn"))),
        ("model_config_value", &["general.alignment is 3"], |g| g.count("general.alignment", 3)),
        ("model_config_value", &["eos_token_id is 50"], |g| g.count("tokenizer.ggml.eos_token_id", 50)),
        ("model_gguf_header", &["x has value type 77"], |g| g.key("x", 77, &[])),
        ("model_gguf_header", &["array of value type 9"], |g| {
            g.key("x", 9, &[9_u32.to_le_bytes().as_slice(), &[0; 8]].concat())
        }),
        ("model_gguf_header", &["expected at most"], |g| {
            g.key("x", 9, &[4_u32.to_le_bytes().as_slice(), &[255; 8]].concat())
        }),
        ("model_header_truncated", &["ends inside"], |g| {
            g.key("x", 9, &[10_u32.to_le_bytes().as_slice(), &(1_u64 << 20).to_le_bytes()].concat())
        }),
        ("model_gguf_header", &["x of 18446744073709551615 bytes"], |g| g.key("x", 8, &[255; 8])),
        ("model_gguf_header", &["flag 2"], |g| g.key("x", 7, &[2])),
        ("model_gguf_header", &["not UTF-8"], |g| g.key("x", 8, &[&1_u64.to_le_bytes()[..], &[255]].concat())),
    ];
    for (code, pieces, lie) in lies {
        let mut gguf = converted("qwen2", &tiny_tensors());
        lie(&mut gguf);
        let result = gguf.source().and_then(|source| Decoder::load(Level::detect(), &source));
        let error = result.map(|_| ()).expect_err(code);
        assert_eq!(error.code(), *code, "{error}");
        pieces.iter().for_each(|piece| assert!(error.to_string().contains(piece), "{error} without {piece:?}"));
    }
}

#[test]
fn a_cut_or_lengthened_file_is_refused_at_every_byte() {
    let whole = converted("qwen2", &tiny_tensors()).bytes();
    let open = |bytes: Vec<u8>| source_of(vec![("tiny.gguf", bytes)]).and_then(|source| DecoderConfig::load(&source));
    assert!(open(whole.clone()).is_ok());
    for len in (0..whole.len() - 31).step_by(97).chain(0..64) {
        assert!(open(whole[..len].to_vec()).is_err(), "{len} bytes of {}", whole.len());
    }
    let longer = [whole, vec![0; 64]].concat();
    assert_eq!(open(longer).expect_err("longer").code(), "model_trailing_bytes");
}

#[test]
fn one_file_is_a_base_and_two_are_a_question() {
    let bytes = converted("qwen2", &tiny_tensors()).bytes();
    let two = source_of(vec![("a.gguf", bytes.clone()), ("b.gguf", bytes.clone())]).expect_err("two");
    assert_eq!(two.code(), "model_gguf_several");
    let folder = tempfile::tempdir().expect("folder");
    for name in ["a.gguf", "b.gguf"] {
        std::fs::write(folder.path().join(name), &bytes).expect("written");
    }
    assert_eq!(ModelSource::folder(folder.path()).expect_err("two").code(), "model_gguf_several");
    let one = ModelSource::folder(&folder.path().join("b.gguf")).expect("one");
    assert_eq!((one.repo(), one.paths().collect::<Vec<_>>()), ("local/b.gguf", vec!["b.gguf"]));
    assert!(ModelSource::is_model(folder.path()));
}

#[test]
fn a_tokenizer_that_the_file_does_not_hold_is_asked_for() {
    let mut gguf = converted("qwen2", &tiny_tensors());
    gguf.key("tokenizer.ggml.model", 8, &text("llama"));
    let error = TextTokenizer::load(&gguf.source().expect("sound"), 50, &[]).expect_err("sentencepiece");
    assert_eq!(error.code(), "model_gguf_tokenizer");
    assert!(error.to_string().contains("kind llama") && error.to_string().contains("tokenizer.json"), "{error}");
}

#[test]
fn the_tokenizer_of_the_metadata_is_that_of_tokenizer_json() {
    let embedded = json(&golden("models/nano/tokenizer.json"));
    let (model, added) = (&embedded["model"], embedded["added_tokens"].as_array().expect("list"));
    let mut tokens = vec![(String::new(), 5_i32); added.len() + model["vocab"].as_object().expect("map").len()];
    for (token, id) in model["vocab"].as_object().expect("map") {
        tokens[id.as_u64().expect("id") as usize] = (token.clone(), 1);
    }
    for token in added {
        tokens[token["id"].as_u64().expect("id") as usize] = (token["content"].as_str().expect("text").to_owned(), 3);
    }
    let merges: Vec<String> = model["merges"]
        .as_array()
        .expect("list")
        .iter()
        .map(|merge| match merge.as_array() {
            Some(pair) => format!("{} {}", pair[0].as_str().expect("text"), pair[1].as_str().expect("text")),
            None => merge.as_str().expect("text").to_owned(),
        })
        .collect();
    let mut gguf = converted("qwen2", &[]);
    gguf.key("tokenizer.ggml.model", 8, &text("gpt2"));
    gguf.key("tokenizer.ggml.pre", 8, &text("qwen2"));
    gguf.texts("tokenizer.ggml.tokens", &tokens.iter().map(|(token, _)| token.as_str()).collect::<Vec<_>>());
    gguf.texts("tokenizer.ggml.merges", &merges.iter().map(String::as_str).collect::<Vec<_>>());
    let kinds: Vec<u8> = tokens.iter().flat_map(|(_, kind)| kind.to_le_bytes()).collect();
    gguf.key(
        "tokenizer.ggml.token_type",
        9,
        &[&5_u32.to_le_bytes()[..], &(tokens.len() as u64).to_le_bytes(), &kinds].concat(),
    );
    let vocabulary = tokens.len();
    gguf.count("qwen2.vocab_size", vocabulary as u32);
    gguf.tensors.push(("token_embd.weight".into(), vec![24, vocabulary as u64], 1, vec![0; 48 * vocabulary], None));
    let ours = TextTokenizer::load(&gguf.source().expect("sound"), vocabulary, &[]).expect("built");
    let bytes = std::fs::read(golden("models/nano/tokenizer.json")).expect("readable");
    let known = TextTokenizer::from_bytes(&bytes).expect("sound");
    for sample in [
        "Where is my order 4711?",
        "  It's\n\nfine — naïve café, cafe\u{301}.\t12345",
        "<|im_start|>user\nhi<|im_end|>",
        "日本語 💡",
    ] {
        assert_eq!(
            ours.encode(sample, true).expect("encodes"),
            known.encode(sample, true).expect("encodes"),
            "{sample}"
        );
    }
}
