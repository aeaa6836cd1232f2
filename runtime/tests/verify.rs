//! The verbs on a real small model: sealed, verified by replay, then every way it can go wrong on a machine.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use kolm_runtime::artifact::{
    ArtifactFile, Content, FileIdentity, KeySource, Measured, Opened, OperatorKey, Plan, Staged, Task, Timestamp, Tool,
    encode, seal, sha256_hex,
};
use kolm_runtime::eval::{self, Case, Metric, Outcome, Pack, Ppm};
use kolm_runtime::kernel::{Level, SplitMix};
use kolm_runtime::model::safetensors::{self, Dtype, f32_bytes};
use kolm_runtime::model::{Adapter, AdapterConfig, Decoder, HubCache, ModelSource, TextTokenizer};
use kolm_runtime::verify::{Exit, ModelPlaces, verb};
use serde_json::{Value, json};

const HIDDEN: usize = 32;
const REPO: &str = "test/random";
const REVISION: &str = "0123456789abcdef0123456789abcdef01234567";

/// A cache with one random Qwen2, a key, and an artifact made on it.
struct Site {
    folder: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        let site = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir_all(site.base()).unwrap();
        write_model(&site.base());
        OperatorKey::create(&site.key()).unwrap();
        let key = OperatorKey::load(&site.key()).unwrap();
        site.seal(&key, |_| {});
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn base(&self) -> PathBuf {
        self.path("cache/models--test--random/snapshots").join(REVISION)
    }

    fn key(&self) -> PathBuf {
        self.path("operator.key")
    }

    fn artifact(&self) -> PathBuf {
        self.path("random.kolm")
    }

    /// Grades the model and writes the artifact; `change` falsifies what is recorded.
    fn seal(&self, key: &OperatorKey, change: impl FnOnce(&mut Outcome)) {
        let level = Level::detect();
        let source = ModelSource::cached(&HubCache::new(self.path("cache")), REPO, REVISION).unwrap();
        let decoder = Decoder::load(level, &source).unwrap();
        let tokenizer = TextTokenizer::load(&source, decoder.config.vocabulary, &decoder.config.eos_ids).unwrap();
        let config = AdapterConfig::new(4, 8, &["down_proj".to_owned(), "q_proj".to_owned()]).unwrap();
        let mut random = SplitMix(8);
        let adapter = Adapter::from_factors(level, &decoder.config, config, &mut |_, target| {
            let (in_features, out_features) = target.features(&decoder.config);
            Ok((random.uniforms(4 * in_features), random.uniforms(out_features * 4)))
        });
        let adapter = adapter.unwrap();
        let pack = pack();
        let mut outcome = eval::run(&decoder, &tokenizer, Some(&adapter), &pack, &mut |_, _| ()).unwrap();
        change(&mut outcome);
        let outcome = Outcome::new(&pack, outcome.results);
        let content = Content {
            task: Task {
                format: Task::FORMAT.to_owned(),
                name: "random".to_owned(),
                version: "1".to_owned(),
                description: String::new(),
            },
            plan: plan(&source.identities().unwrap()),
            adapter_config: adapter.config.to_json(REPO),
            adapter_model: adapter.to_safetensors().unwrap(),
            recall: None,
            eval_pack: pack.bytes().to_vec(),
            eval_replay: outcome.bytes().unwrap(),
            training_trace: Vec::new(),
        };
        let members = seal(&content, &measured(&outcome), key).unwrap();
        Staged::write(&self.artifact(), &encode(&members).unwrap()).unwrap().commit().unwrap();
    }

    fn options(&self) -> verb::Verify {
        verb::Verify {
            artifact: self.artifact(),
            key: KeySource { file: Some(self.key()), ..KeySource::default() },
            places: ModelPlaces { cache: Some(HubCache::new(self.path("cache"))), ..ModelPlaces::default() },
            replay: true,
            gate: false,
            now: None,
            max_age_days: None,
            site: None,
            json: false,
        }
    }
}

fn pack() -> Pack {
    let labels = ["w1 w2 w3", "w1 w2 w4", "w5", "w6 w7"].map(str::to_owned).to_vec();
    let case = |row: usize| Case {
        expected: labels[row % 4].clone(),
        id: format!("case {row}"),
        metric: Metric::Label,
        prompt: (0..3 + row % 5).map(|word| format!("w{}", (row * 11 + word * 5) % 40)).collect::<Vec<_>>().join(" "),
        weight: 1,
    };
    Pack::new(Some(labels.clone()), 8, (0..12).map(case).collect()).unwrap()
}

fn plan(files: &[FileIdentity]) -> Plan {
    let zeros = "0".repeat(64);
    let plan = json!({
        "format": Plan::FORMAT, "numerics": Plan::NUMERICS, "seed": "0",
        "task": { "template": "{{ prompt }}", "template_source": "job" },
        "base": { "repo": REPO, "revision": REVISION, "dtype": "f32", "architecture": "qwen2", "files": files },
        "corpus": {
            "files": [{ "role": "train", "sha256": zeros, "size": 1, "rows": 1 }],
            "columns": { "id": null, "prompt": "prompt", "completion": "completion", "split": null },
            "overlong": "error", "duplicates": "error", "rows": { "read": 1, "train": 1, "eval": 12, "dropped": 0 },
            "train_sha256": zeros, "eval_sha256": zeros, "scan_sha256": zeros,
        },
        "split": { "method": "hash", "eval_cases": 12 },
        "adapter": { "rank": 4, "alpha": 8, "targets": ["down_proj", "q_proj"], "init_sha256": null },
        "train": {
            "steps": 0, "epochs": "0", "batch_size": 1, "learning_rate": "0", "warmup_steps": 0, "schedule": "constant",
            "beta1": "0.9", "beta2": "0.999", "epsilon": "0.00000001", "weight_decay": "0", "clip_norm": "0", "max_length": 64,
        },
        "recall": null,
        "eval": { "metric": "label", "labels": pack().labels(), "cases": 12, "gate": "0.850000", "max_new_tokens": 8 },
    });
    serde_json::from_value(plan).unwrap()
}

fn measured(outcome: &Outcome) -> Measured {
    Measured {
        created: Timestamp::parse("2026-11-23T00:00:00Z").unwrap(),
        tool: Tool { name: "test".to_owned(), version: "0".to_owned() },
        k: outcome.k.to_string(),
        k_base: Ppm::ZERO.to_string(),
        k_majority: Ppm::ZERO.to_string(),
        wilson_low: outcome.wilson.0.to_string(),
        wilson_high: outcome.wilson.1.to_string(),
        replay_digest: outcome.replay_digest.clone(),
        recall_at_k: None,
        final_loss: None,
        supersedes: None,
    }
}

/// Two layers, grouped heads, 42 words.
fn write_model(folder: &Path) {
    let mut random = SplitMix(7);
    let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    let mut tensor = |name: &str, shape: &[usize], scale: f32, offset: f32| {
        let values: Vec<f32> = random.uniforms(shape.iter().product()).iter().map(|x| x * scale + offset).collect();
        tensors.push((name.to_owned(), shape.to_vec(), f32_bytes(&values)));
    };
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
    let views: Vec<_> = tensors
        .iter()
        .map(|(name, shape, bytes)| (name.as_str(), Dtype::F32, shape.as_slice(), bytes.as_slice()))
        .collect();
    let mut vocabulary = String::new();
    (0..40).for_each(|word| write!(vocabulary, "\"w{word}\":{word},").unwrap());
    let config = format!(
        r#"{{"architectures":["Qwen2ForCausalLM"],"hidden_size":{HIDDEN},"num_hidden_layers":2,"num_attention_heads":4,
        "num_key_value_heads":2,"intermediate_size":48,"vocab_size":42,"rms_norm_eps":1e-6,"rope_theta":10000.0,
        "max_position_embeddings":64,"tie_word_embeddings":true,"eos_token_id":41,"hidden_act":"silu"}}"#
    );
    let tokenizer = format!(
        r#"{{"version":"1.0","truncation":null,"padding":null,"added_tokens":[{{"id":41,"content":"<end>","single_word":false,
        "lstrip":false,"rstrip":false,"normalized":false,"special":true}}],"normalizer":null,"pre_tokenizer":{{"type":"Whitespace"}},
        "post_processor":null,"decoder":null,"model":{{"type":"WordLevel","vocab":{{{vocabulary}"<unk>":40}},"unk_token":"<unk>"}}}}"#
    );
    fs::write(folder.join("config.json"), config).unwrap();
    fs::write(folder.join("tokenizer.json"), tokenizer).unwrap();
    fs::write(folder.join("model.safetensors"), safetensors::write(&views, None).unwrap()).unwrap();
}

/// Exit, stdout, stderr.
fn verify(options: &verb::Verify) -> (Exit, String, String) {
    let (mut out, mut talk) = (Vec::new(), Vec::new());
    let exit = verb::verify(options, Level::detect(), &mut |_, _| (), &mut out, &mut talk).unwrap();
    (exit, String::from_utf8(out).unwrap(), String::from_utf8(talk).unwrap())
}

fn replay(site: &Site, level: Level) -> (Exit, Value) {
    let options = verb::Replay { artifact: site.artifact(), places: site.options().places, gate: false, json: true };
    let mut out = Vec::new();
    let exit = verb::replay(&options, level, &mut |_, _| (), &mut out, &mut Vec::new()).unwrap();
    (exit, serde_json::from_slice(&out).unwrap())
}

#[test]
fn a_sound_artifact_passes_word_by_word() {
    let site = Site::new();
    let opened = Opened::new(ArtifactFile::open(&site.artifact()).unwrap()).unwrap();
    let k = opened.manifest.eval.k.parse::<Ppm>().unwrap().short();
    let (exit, out, talk) = verify(&site.options());
    let expected = format!(
        "[1/5]     manifest schema                  ok
[2/5]     base + adapter present in cache  ok (0.08 MB + 9544 B)
[3/5]     HMAC receipt chain (5 steps)     ok
[4/5]     CID over canonical-JSON          ok ({})
[5/5]     embedded eval pack               K={k} (gate 0.85, not met)
PASS      artifact verifies entirely offline
",
        opened.manifest.cid
    );
    let sizes = |text: &str| text.lines().filter(|line| !line.starts_with("[2/5]")).collect::<Vec<_>>().join("\n");
    assert_eq!(sizes(&out), sizes(&expected));
    assert!(out.contains("[2/5]     base + adapter present in cache  ok (0."), "{out}");
    assert_eq!((exit, talk.as_str()), (Exit::Done, ""));

    let (exit, out, talk) = verify(&verb::Verify { gate: true, ..site.options() });
    assert_eq!(exit, Exit::Gate);
    assert!(out.ends_with(" is below the gate 0.850000\n") && talk.starts_with("hint: "), "{out}{talk}");

    let (exit, out, _) = verify(&verb::Verify { replay: false, ..site.options() });
    assert_eq!(exit, Exit::Done);
    assert!(out.contains("embedded eval pack               not run") && !out.contains("entirely"), "{out}");

    let (exit, out, _) = verify(&verb::Verify { json: true, ..site.options() });
    let value: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((exit, &value["verified"], value["checks"].as_array().unwrap().len()), (Exit::Done, &json!(true), 5));
    assert_eq!(value["eval"]["replayed_digest"], value["eval"]["replay_digest"]);
}

#[test]
fn a_replay_is_equal_at_every_level() {
    let site = Site::new();
    for level in Level::available() {
        let (exit, value) = replay(&site, level);
        assert_eq!((exit, &value["replayed"]), (Exit::Done, &json!(true)), "{} {value}", level.name());
        assert_eq!(value["replay_digest"], value["recorded_digest"]);
    }
}

#[test]
fn a_base_that_is_absent_cut_or_substituted_is_told_apart() {
    let site = Site::new();
    let (exit, out, talk) = verify(&verb::Verify { places: ModelPlaces::default(), ..site.options() });
    assert_eq!(exit, Exit::Missing);
    assert!(out.contains("present in cache  FAILED (model_absent)"), "{out}");
    assert!(out.contains("[3/5]     HMAC receipt chain (5 steps)     ok"), "{out}");
    assert!(talk.contains(&format!("hf download {REPO} --revision {REVISION}")), "{talk}");

    let named = ModelPlaces { base: Some(site.base()), ..ModelPlaces::default() };
    assert_eq!(verify(&verb::Verify { places: named, ..site.options() }).0, Exit::Done);

    let weights = site.base().join("model.safetensors");
    let honest = fs::read(&weights).unwrap();
    let mut changed = honest.clone();
    *changed.last_mut().unwrap() ^= 1;
    fs::write(&weights, &changed).unwrap();
    let (exit, out, _) = verify(&site.options());
    assert_eq!(exit, Exit::Refused);
    assert!(out.contains(&sha256_hex(&honest)) && out.contains(&sha256_hex(&changed)), "{out}");
    assert!(
        out.contains("FAILED (model_substituted)") && out.contains("embedded eval pack               not run"),
        "{out}"
    );

    fs::write(&weights, &honest).unwrap();
    fs::write(site.base().join("generation_config.json"), "{}").unwrap();
    assert!(verify(&site.options()).1.contains("model_substituted"));
    fs::remove_file(site.base().join("generation_config.json")).unwrap();

    fs::remove_file(&weights).unwrap();
    let (exit, out, _) = verify(&site.options());
    assert_eq!(exit, Exit::Missing);
    assert!(out.contains("model_file_absent"), "{out}");
}

#[test]
fn another_key_is_not_called_tampering() {
    let site = Site::new();
    let other = site.path("other.key");
    OperatorKey::create(&other).unwrap();
    let key = KeySource { file: Some(other), ..KeySource::default() };
    let (exit, out, talk) = verify(&verb::Verify { key, ..site.options() });
    assert_eq!(exit, Exit::Refused);
    assert!(out.contains("FAIL      wrong key: ") && !out.contains("tampered"), "{out}");
    assert!(out.contains("[4/5]     CID over canonical-JSON          ok"), "{out}");
    assert!(talk.starts_with("hint: verify with the key whose id is "), "{talk}");

    let key = KeySource { file: Some(site.path("absent.key")), ..KeySource::default() };
    assert_eq!(verify(&verb::Verify { key, ..site.options() }).0, Exit::Missing);
}

#[test]
fn a_recorded_answer_that_the_model_does_not_give_is_refused() {
    let site = Site::new();
    let key = OperatorKey::load(&site.key()).unwrap();
    site.seal(&key, |outcome| outcome.results[3].tokens[0] ^= 1);
    let (exit, out, _) = verify(&site.options());
    assert_eq!(exit, Exit::Refused);
    assert!(out.contains("embedded eval pack               FAILED (replay_case)"), "{out}");
    assert!(out.contains("\"case 3\""), "{out}");

    site.seal(&key, |outcome| outcome.results[3].logits_sha256 = "0".repeat(64));
    assert!(verify(&site.options()).1.contains("1 cases were answered otherwise than recorded"));

    site.seal(&key, |outcome| outcome.results.iter_mut().for_each(|result| result.score = Ppm::ONE));
    let (exit, out, _) = verify(&site.options());
    assert_eq!(exit, Exit::Refused);
    assert!(out.contains("FAILED (replay_score)") && out.contains("manifest.json says K=1.000000"), "{out}");
}

#[test]
fn inspect_reads_as_documented() {
    let site = Site::new();
    // No weights are read: a damaged adapter does not show.
    let mut bytes = fs::read(site.artifact()).unwrap();
    let adapter = bytes.windows(12).position(|window| window == b"data_offsets").unwrap();
    bytes[adapter] ^= 1;
    fs::write(site.artifact(), bytes).unwrap();
    let show = |json| {
        let now = Timestamp::parse("2026-11-23T12:00:00Z");
        let (mut out, options) = (Vec::new(), verb::Inspect { artifact: site.artifact(), now, json });
        assert_eq!(verb::inspect(&options, &mut out, &mut Vec::new()).unwrap(), Exit::Done);
        String::from_utf8(out).unwrap()
    };
    let text = show(false);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with(&format!("base:     {REPO}  rev={REVISION}   approx 0.0")), "{text}");
    assert_eq!(lines[1], "adapter:  lora rank 4 on down_proj, q_proj");
    assert_eq!(lines[2], "recall:   off");
    assert!(lines[3].starts_with("eval:     embedded (12 cases, label)   K=0."), "{text}");
    assert!(lines[4].starts_with("receipt:  chain of 5 HMAC-SHA256 steps   key "), "{text}");
    assert_eq!(lines[5], "created:  2026-11-23 (0 days ago); manifest and receipt agree");
    for file in ["config.json", "tokenizer.json", "model.safetensors", "adapter/adapter_model.safetensors"] {
        assert!(text.contains(file), "{file}");
    }
    let value: Value = serde_json::from_str(&show(true)).unwrap();
    for pointer in
        ["/cid", "/name", "/version", "/base/repo", "/adapter/rank", "/eval/k", "/eval/gate", "/receipt/key_id"]
    {
        assert!(value.pointer(pointer).is_some_and(|value| !value.is_null()), "{pointer}");
    }
    assert!(value.get("recall").is_some_and(Value::is_null));
    assert_eq!(
        verify(&site.options()).1.lines().next(),
        Some("[1/5]     manifest schema                  FAILED (member_checksum)")
    );
}
