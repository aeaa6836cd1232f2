//! Each kind of bad input has its own error, with what was found and what was expected.

use kolm_runtime::kernel::Level;
use kolm_runtime::model::safetensors::{Dtype, TensorFile, bf16_bytes, f32_bytes, write};
use kolm_runtime::model::{
    Adapter, AdapterConfig, Decoder, DecoderConfig, EncoderConfig, HubCache, KvCache, ModelError, ModelSource, Step,
    TextTokenizer, Weights,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::fixtures::{Tensor, encode, golden, source_of, tiny, tiny_config, tiny_tensors};

/// The code is this one, and the message holds these pieces.
#[track_caller]
fn refused<T>(result: Result<T, ModelError>, code: &str, pieces: &[&str]) {
    let Err(error) = result else { panic!("accepted, expected {code}") };
    let message = error.to_string();
    assert_eq!(error.code(), code, "{message}");
    for piece in pieces {
        assert!(message.contains(piece), "{message:?} without {piece:?}");
    }
}

fn load(config: &Value, tensors: &[Tensor]) -> Result<Decoder, ModelError> {
    let files = vec![("config.json", config.to_string().into_bytes()), ("model.safetensors", encode(tensors))];
    Decoder::load(Level::detect(), &source_of(files)?)
}

fn file_with_header(header: &str, data: &[u8]) -> Result<TensorFile, ModelError> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(data);
    TensorFile::from_bytes("x.safetensors", bytes)
}

#[test]
fn headers_that_lie() {
    let check = |header: &str, data: usize, code: &str, pieces: &[&str]| {
        refused(file_with_header(header, &vec![0; data]), code, pieces);
    };
    let two = |first: &str, second: &str| {
        format!(
            r#"{{"a":{{"dtype":"F32","shape":[1],"data_offsets":{first}}},"b":{{"dtype":"F32","shape":[1],"data_offsets":{second}}}}}"#
        )
    };
    assert!(file_with_header(&two("[0,4]", "[4,8]"), &[0; 8]).is_ok());
    check(&two("[0,4]", "[2,6]"), 8, "model_tensor_offsets", &["b at bytes 2..6", "begin at 4"]);
    check(&two("[0,4]", "[5,9]"), 9, "model_tensor_offsets", &["b at bytes 5..9", "begin at 4"]);
    check(&two("[4,0]", "[4,8]"), 8, "model_tensor_offsets", &["a at bytes 4..0"]);
    check(&two("[0,4]", "[4,8]"), 7, "model_tensor_offsets", &["within 7"]);
    check(&two("[0,4]", "[4,8]"), 9, "model_trailing_bytes", &["9 bytes", "expected 8"]);
    check(&two("[0,4]", "[4,9]"), 9, "model_tensor_length", &["5 bytes", "expected 4", "[1]"]);
    check(r#"{"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,4]}}"#, 4, "model_tensor_length", &["expected 24"]);
    let overflow = r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}"#;
    check(overflow, 4, "model_tensor_length", &["[4294967296, 4294967296]"]);
    check(r#"{"a":{"dtype":"Q4","shape":[1],"data_offsets":[0,4]}}"#, 4, "model_tensor_dtype", &["Q4"]);
    check(&two("[0,4]", "[4,8]").replace("\"b\"", "\"a\""), 8, "model_header_malformed", &["a given twice"]);
    check(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}}"#, 4, "model_header_malformed", &["x"]);
    check(r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#, 4, "model_header_malformed", &["-1"]);
    check(
        r#"{"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]}}"#,
        4,
        "model_header_malformed",
        &["9"],
    );
    check(" {}", 0, "model_header_malformed", &["{"]);
    check("[]", 0, "model_header_malformed", &[]);
    check("{", 0, "model_header_malformed", &[]);
    let open = |bytes: &'static [u8]| TensorFile::from_bytes("x", bytes);
    refused(open(b""), "model_header_truncated", &["0 bytes", "at least 8"]);
    refused(open(b"\x10\0\0\0\0\0\0\0{}"), "model_header_truncated", &["10 bytes", "at least 24"]);
    refused(
        open(b"\xff\xff\xff\xff\xff\xff\xff\xff{}"),
        "model_header_too_long",
        &["18446744073709551615", "100000000"],
    );
}

#[test]
fn weights_that_do_not_fit_the_configuration() {
    let (config, tensors) = (tiny_config(), tiny_tensors());
    assert!(load(&config, &tensors).is_ok());
    let changed = |change: &dyn Fn(&mut Vec<Tensor>)| {
        let mut tensors = tensors.clone();
        change(&mut tensors);
        load(&config, &tensors)
    };
    let q = "model.layers.1.self_attn.q_proj.weight";
    let place = tensors.iter().position(|tensor| tensor.0 == q).expect("there");
    refused(changed(&|tensors| drop(tensors.remove(place))), "model_tensor_missing", &[q, "test/tiny"]);
    refused(changed(&|tensors| tensors[place].1 = vec![48, 12]), "model_tensor_shape", &[q, "[48, 12]", "[24, 24]"]);
    for (value, name) in [(f32::NAN, "NaN"), (f32::NEG_INFINITY, "-inf")] {
        let result = changed(&|tensors| tensors[place].2[7] = value);
        refused(result, "model_weight_not_finite", &[q, name, "element 7"]);
    }
    let bytes = encode(&tensors);
    let integers = String::from_utf8_lossy(&bytes).replacen("F32", "I32", 1);
    assert!(integers.contains("I32"));
    let place = bytes.windows(3).position(|window| window == b"F32").expect("there");
    let mut bytes = bytes;
    bytes[place] = b'I';
    let files = vec![("config.json", config.to_string().into_bytes()), ("model.safetensors", bytes)];
    refused(Decoder::load(Level::detect(), &source_of(files).expect("located")), "model_tensor_dtype", &["I32"]);
}

#[test]
fn configurations_that_cannot_be_run() {
    let check = |key: &str, value: Value, code: &str, pieces: &[&str]| {
        let mut config = tiny_config();
        config[key] = value;
        refused(DecoderConfig::parse(config.to_string().as_bytes(), None), code, pieces);
    };
    let value = "model_config_value";
    check(
        "architectures",
        json!(["MambaForCausalLM"]),
        "model_architecture",
        &["MambaForCausalLM", "LlamaForCausalLM"],
    );
    check("num_attention_heads", json!(0), value, &["num_attention_heads is 0", "from 1"]);
    check("num_attention_heads", json!(5), value, &["hidden_size = 24"]);
    check("num_attention_heads", json!(null), value, &["num_attention_heads is null"]);
    check("num_key_value_heads", json!(2), value, &["num_key_value_heads is 2", "divisor"]);
    check("hidden_size", json!("24"), value, &["hidden_size is \"24\""]);
    check("hidden_size", json!(-24), value, &["-24"]);
    check("hidden_size", json!(1_u64 << 40), value, &["1099511627776", "65536"]);
    check("num_hidden_layers", json!(1.5), value, &["1.5"]);
    check("head_dim", json!(7), value, &["head_dim is 7", "even"]);
    check("vocab_size", json!(0), value, &["vocab_size is 0"]);
    check("rms_norm_eps", json!(-1.0), value, &["above 0"]);
    check("rope_theta", json!("x"), value, &["rope_theta"]);
    check("rope_scaling", json!({"rope_type": "yarn", "factor": 4.0}), value, &["yarn", "linear or llama3"]);
    check("rope_parameters", json!({"rope_type": "linear", "rope_theta": 1e4}), value, &["factor is absent"]);
    check("use_sliding_window", json!(true), value, &["use_sliding_window is true"]);
    check("hidden_act", json!("relu"), value, &["relu", "silu"]);
    check("quantization_config", json!({"bits": 4}), value, &["quantization_config"]);
    check("eos_token_id", json!([2, 50]), value, &["eos_token_id", "below 50"]);
    refused(DecoderConfig::parse(b"{", None), "model_not_json", &["config.json"]);
    refused(DecoderConfig::parse(b"[]", None), "model_not_json", &["object"]);
    refused(EncoderConfig::parse(br#"{"model_type":"roberta"}"#, None, None, "x"), "model_architecture", &["roberta"]);
}

#[test]
fn configurations_of_transformers_4_and_5_mean_the_same() {
    let parse = |config: &Value| DecoderConfig::parse(config.to_string().as_bytes(), None).expect("sound");
    let mut old = tiny_config();
    old["rope_scaling"] = json!({"type": "linear", "factor": 2.0});
    old["torch_dtype"] = json!("float32");
    let mut new = tiny_config();
    new.as_object_mut().expect("object").remove("rope_theta");
    new["rope_parameters"] = json!({"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0});
    new["dtype"] = json!("float32");
    new["head_dim"] = json!(8);
    new["layer_types"] = json!(["full_attention", "full_attention"]);
    assert_eq!(parse(&old), parse(&new));
    let generation = br#"{"eos_token_id": 7}"#;
    let config = DecoderConfig::parse(tiny_config().to_string().as_bytes(), Some(generation)).expect("sound");
    assert_eq!((config.eos_ids, config.bos_id), (vec![7], Some(1)));
    assert_eq!(parse(&tiny_config()).eos_ids, vec![2, 3]);
}

#[test]
fn shards_that_are_not_there() {
    let folder = golden("oracle/qwen2-gqa-untied-sharded-bf16");
    let read = |name: &str| std::fs::read(folder.join(name)).expect("readable");
    let index = "model.safetensors.index.json";
    let shard = |number: usize| format!("model-0000{number}-of-00003.safetensors");
    let names = [shard(1), shard(2), shard(3)];
    let with = |index_bytes: Vec<u8>, shards: &[&str]| {
        let mut files = vec![("config.json", read("config.json")), (index, index_bytes)];
        files.extend(shards.iter().map(|name| (*name, read(name))));
        Weights::open(&source_of(files)?).map(|_| ())
    };
    let [one, two, three] = names.each_ref().map(String::as_str);
    assert!(with(read(index), &[one, two, three]).is_ok());
    refused(with(read(index), &[one, three]), "model_shard_missing", &[two, "model."]);
    let text = String::from_utf8(read(index)).expect("text");
    let moved = text.replacen(three, one, 1);
    refused(with(moved.into_bytes(), &[one, two, three]), "model_tensor_missing", &[one]);
    let outside = text.replace(three, "../x.safetensors");
    refused(with(outside.into_bytes(), &[one, two]), "model_bad_name", &["../x.safetensors"]);
    refused(with(b"{}".to_vec(), &[one]), "model_shard_index", &["weight_map"]);
    refused(with(br#"{"weight_map":{}}"#.to_vec(), &[one]), "model_shard_index", &["no tensor"]);
    refused(source_of(vec![("config.json", b"{}".to_vec())]), "model_file_missing", &["model.safetensors"]);
    refused(source_of(vec![("model.safetensors", encode(&[]))]), "model_file_missing", &["config.json"]);
}

#[test]
fn models_that_are_nowhere() {
    let root = tempfile::tempdir().expect("temporary folder");
    refused(ModelSource::folder(&root.path().join("none")), "model_unreadable", &["none"]);
    refused(ModelSource::folder(root.path()), "model_file_missing", &["config.json"]);
    let cache = HubCache::new(root.path());
    let error = ModelSource::cached(&cache, "Qwen/Qwen2.5-3B-Instruct", "main").unwrap_err();
    assert!(error.is_missing_input());
    refused(Err::<(), _>(error), "model_repo_not_cached", &["Qwen/Qwen2.5-3B-Instruct"]);
    refused(ModelSource::embedded("kolm/none"), "model_not_embedded", &["kolm/none"]);
}

#[test]
#[cfg(unix)]
fn a_cache_snapshot_loads_through_its_links() {
    let root = tempfile::tempdir().expect("temporary folder");
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let repo = root.path().join("models--kolm--tiny");
    let (blobs, snapshot) = (repo.join("blobs"), repo.join("snapshots").join(commit));
    for folder in [&blobs, &snapshot, &repo.join("refs")] {
        std::fs::create_dir_all(folder).expect("folder");
    }
    std::fs::write(repo.join("refs/main"), commit).expect("file");
    for (name, bytes) in
        [("config.json", tiny_config().to_string().into_bytes()), ("model.safetensors", encode(&tiny_tensors()))]
    {
        std::fs::write(blobs.join(name), bytes).expect("file");
        std::os::unix::fs::symlink(format!("../../blobs/{name}"), snapshot.join(name)).expect("link");
    }
    let source = ModelSource::cached(&HubCache::new(root.path()), "kolm/tiny", "main").expect("cached");
    assert_eq!((source.repo(), source.revision()), ("kolm/tiny", commit));
    assert_eq!(source.identities().expect("readable"), tiny().identities().expect("readable"));
    assert!(Decoder::load(Level::detect(), &source).is_ok());
    std::fs::remove_file(blobs.join("model.safetensors")).expect("removed");
    let gone = ModelSource::cached(&HubCache::new(root.path()), "kolm/tiny", commit);
    refused(gone, "model_file_missing", &["model.safetensors"]);
}

#[test]
fn tokenizers_that_do_not_match() {
    let tokenizer = json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1, "c": 9}, "unk_token": "a"}});
    let tokenizer = TextTokenizer::from_bytes(tokenizer.to_string().as_bytes()).expect("parses");
    assert!(tokenizer.check(10, &[9]).is_ok());
    refused(tokenizer.check(9, &[]), "model_tokenizer_vocabulary", &["largest id is 9", "vocabulary of 9"]);
    refused(tokenizer.check(10, &[5]), "model_tokenizer_special", &["id 5"]);
    refused(TextTokenizer::from_bytes(b"{}"), "model_tokenizer", &[]);
    let random = json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": null, "post_processor": null, "decoder": null,
        "model": {"type": "BPE", "dropout": 0.1, "vocab": {"a": 0}, "merges": []}});
    refused(TextTokenizer::from_bytes(random.to_string().as_bytes()), "model_tokenizer", &["dropout"]);
    refused(TextTokenizer::load(&tiny(), 50, &[]), "model_file_missing", &["tokenizer.json"]);
}

#[test]
fn tokens_and_lengths_outside_the_model() {
    let model = Decoder::load(Level::detect(), &tiny()).expect("loads");
    let run = |tokens: &[u32], cache: &mut KvCache| model.forward(None, &mut [Step { tokens, cache }]);
    let mut cache = model.new_cache(4);
    refused(run(&[50], &mut cache), "model_token_outside", &["50", "below 50"]);
    refused(run(&[], &mut cache), "model_sequence_empty", &[]);
    refused(run(&[1; 5], &mut cache), "model_sequence_too_long", &["5 tokens", "at most 4"]);
    assert!(run(&[1; 3], &mut cache).is_ok());
    refused(run(&[1; 2], &mut cache), "model_sequence_too_long", &["5 tokens", "at most 4"]);
    assert_eq!((cache.len(), model.new_cache(9999).capacity()), (3, 700));
    refused(model.greedy(None, &[1; 701], 5, &[]), "model_sequence_too_long", &["701", "700"]);
}

#[test]
fn adapters_that_ask_for_something_else() {
    let base = json!({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], "bias": "none"});
    assert!(AdapterConfig::parse(base.to_string().as_bytes()).is_ok());
    let check = |key: &str, value: Value, code: &str, pieces: &[&str]| {
        let mut config = base.clone();
        config[key] = value;
        refused(AdapterConfig::parse(config.to_string().as_bytes()), code, pieces);
    };
    check("use_dora", json!(true), "model_adapter_feature", &["use_dora = true"]);
    check("use_rslora", json!(true), "model_adapter_feature", &["use_rslora"]);
    check("modules_to_save", json!(["lm_head"]), "model_adapter_feature", &["modules_to_save", "lm_head"]);
    check("rank_pattern", json!({"q_proj": 8}), "model_adapter_feature", &["rank_pattern"]);
    check("fan_in_fan_out", json!(true), "model_adapter_feature", &["fan_in_fan_out"]);
    check("some_new_method", json!({"x": 1}), "model_adapter_feature", &["some_new_method"]);
    check("bias", json!("all"), "model_adapter_feature", &["bias", "\"none\""]);
    check("target_modules", json!(["c_attn"]), "model_adapter_target", &["c_attn", "q_proj"]);
    check("target_modules", json!([]), "model_adapter_feature", &["target_modules"]);
    check("target_modules", json!(".*_proj"), "model_config_value", &["target_modules"]);
    check("r", json!(0), "model_config_value", &["r is 0"]);
    check("lora_alpha", json!(0.5), "model_config_value", &["whole"]);
    check("peft_type", json!("IA3"), "model_config_value", &["IA3"]);

    let model = Decoder::load(Level::detect(), &tiny()).expect("loads");
    let config = AdapterConfig::new(2, 4, &["v_proj".to_owned()]).expect("sound");
    let factors = |rank: usize| (vec![0.5; rank * 24], vec![0.25; 8 * rank]);
    let adapter = Adapter::from_factors(model.level, &model.config, config, &mut |_, _| Ok(factors(2))).expect("sound");
    let tensors = adapter.to_safetensors().expect("sound");
    let read = |config: &[u8]| Adapter::from_files(model.level, &model.config, config, tensors.clone());
    let json = adapter.config.to_json("base");
    assert!(read(&json).is_ok());
    let text = String::from_utf8(json).expect("text");
    refused(read(text.replace("v_proj", "q_proj").as_bytes()), "model_adapter_tensor", &["v_proj"]);
    refused(
        read(text.replace("[\"v_proj\"]", "[\"q_proj\",\"v_proj\"]").as_bytes()),
        "model_tensor_missing",
        &["q_proj"],
    );
    refused(read(text.replace("\"r\":2", "\"r\":3").as_bytes()), "model_tensor_shape", &["[2, 24]", "[3, 24]"]);
}

#[test]
fn half_precision_widens_exactly() {
    // zero, smallest subnormal, largest subnormal, smallest normal, one, largest, negative, infinity
    let half: [(u16, f32); 8] = [
        (0x0000, 0.0),
        (0x0001, 5.960_464_5e-8),
        (0x03ff, 6.097_555e-5),
        (0x0400, 6.103_515_6e-5),
        (0x3c00, 1.0),
        (0x7bff, 65504.0),
        (0xc100, -2.5),
        (0x7c00, f32::INFINITY),
    ];
    let bytes: Vec<u8> = half.iter().flat_map(|(bits, _)| bits.to_le_bytes()).collect();
    let file =
        TensorFile::from_bytes("x", write(&[("h", Dtype::F16, &[8], &bytes)], None).expect("sound")).expect("sound");
    let values: Vec<f32> = half.iter().map(|(_, value)| *value).collect();
    assert_eq!(file.tensor("h").expect("there").to_f32().expect("floats"), values);
    let wide = [1.0_f32, -0.0, 3.140_625, f32::MIN_POSITIVE, f32::from_bits(0x0001_0000)];
    let bytes = bf16_bytes(&wide);
    let file = TensorFile::from_bytes("x", write(&[("b", Dtype::Bf16, &[5], &bytes)], None).expect("sound"));
    assert_eq!(file.expect("sound").tensor("b").expect("there").to_f32().expect("floats"), wide);
    assert_eq!(bf16_bytes(&[f32::from_bits(0x3f80_8000), f32::from_bits(0x3f81_8000)]), [0x80, 0x3f, 0x82, 0x3f]);
}

proptest! {
    #[test]
    fn the_reader_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = TensorFile::from_bytes("x", bytes);
    }

    #[test]
    fn a_changed_byte_is_refused_or_read(place in 0_usize..120, value in any::<u8>()) {
        let data = f32_bytes(&[1.0, 2.0]);
        let mut bytes = write(&[("a", Dtype::F32, &[2], &data), ("b", Dtype::F32, &[], &data[..4])], None).unwrap();
        let place = place % bytes.len();
        bytes[place] = value;
        if let Ok(file) = TensorFile::from_bytes("x", bytes) {
            for name in file.names() {
                prop_assert!(file.tensor(name).is_ok());
            }
        }
    }

    #[test]
    fn what_is_written_is_read(
        shapes in proptest::collection::btree_map("[a-z.\"\\\\é]{0,9}", proptest::collection::vec(0_usize..5, 0..4), 0..6),
        key in proptest::option::of("[ -~]{0,9}"),
    ) {
        let data: Vec<Vec<u8>> = shapes
            .values()
            .map(|shape| (0..shape.iter().product::<usize>()).flat_map(|i| (i as f32 * 0.5).to_le_bytes()).collect())
            .collect();
        let mut tensors: Vec<_> = shapes
            .iter()
            .zip(&data)
            .map(|((name, shape), bytes)| (name.as_str(), Dtype::F32, shape.as_slice(), bytes.as_slice()))
            .collect();
        let metadata = key.as_deref().map(|key| (key, "value"));
        let bytes = write(&tensors, metadata).unwrap();
        let header_len = u64::from_le_bytes(bytes[..8].try_into().unwrap());
        prop_assert_eq!(header_len % 8, 0);
        tensors.reverse();
        prop_assert_eq!(&write(&tensors, metadata).unwrap(), &bytes);
        let file = TensorFile::from_bytes("x", bytes.clone()).unwrap();
        for (name, _, shape, data) in &tensors {
            let view = file.tensor(name).unwrap();
            prop_assert_eq!(view.shape, *shape);
            prop_assert_eq!(&view.bytes[..], *data);
        }
        prop_assert_eq!(file.canonical_bytes().unwrap(), bytes);
    }
}
