//! Measurements for `ci/cost`, each printed as one JSON line:
//! `cost step TOKENS | memory MICRO_BATCH keep|recompute | artifact FROM.kolm KEY LEN TO.kolm`.
//!
//! The base is random and made in memory. `step` gives the median seconds of a step of that many tokens, in rows of 128; `memory` trains
//! three steps of eight rows of 256 tokens and gives the process's greatest resident memory; `artifact` writes FROM again with LEN bytes of
//! adapter, signed with the same key, for `kolm verify --no-replay`.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use kolm_compile::train::{Example, Order, Settings, StepReport, initial_adapter, train_adapter};
use kolm_runtime::artifact::{
    ArtifactFile, Content, Measured, Member, Opened, OperatorKey, RecallContent, Staged, encode, seal,
};
use kolm_runtime::kernel::{Level, SplitMix};
use kolm_runtime::model::safetensors::{self, Dtype, f32_bytes};
use kolm_runtime::model::{AdapterConfig, Decoder, ModelSource};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (value, unit) = match arguments[..] {
        ["step", tokens] => {
            let batch_size = tokens.parse::<usize>()? / STEP_ROW;
            let mut times = train(Settings { steps: 7, batch_size, ..settings() }, STEP_ROW)?;
            // The first step warms caches and the allocator.
            times.remove(0);
            (middle(times), "s")
        }
        ["memory", micro_batch, way @ ("keep" | "recompute")] => {
            let (micro_batch, recompute) = (micro_batch.parse()?, way == "recompute");
            train(Settings { steps: 3, batch_size: 8, micro_batch, recompute, ..settings() }, MEMORY_ROW)?;
            (peak_bytes()? as f64, "bytes")
        }
        ["artifact", from, key, len, to] => {
            let len = len.parse()?;
            artifact(Path::new(from), Path::new(key), len, Path::new(to))?;
            (std::fs::metadata(to)?.len() as f64, "bytes")
        }
        _ => anyhow::bail!(
            "expected step TOKENS, memory MICRO_BATCH keep|recompute, or artifact FROM.kolm KEY LEN TO.kolm"
        ),
    };
    println!("{}", serde_json::json!({ "value": value, "unit": unit, "level": Level::from_environment()?.name() }));
    Ok(())
}

const STEP_ROW: usize = 128;
const MEMORY_ROW: usize = 256;
const VOCABULARY: usize = 4096;
const HIDDEN: usize = 256;
const INTERMEDIATE: usize = 704;
const LAYERS: usize = 6;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;

fn settings() -> Settings {
    Settings { order: Order::Sequential, ..Settings::default() }
}

/// Seconds of each step on rows of `row` tokens, the second half learned.
fn train(settings: Settings, row: usize) -> anyhow::Result<Vec<f64>> {
    let level = Level::from_environment()?;
    let source = base()?;
    let decoder = Arc::new(Decoder::load(level, &source)?);
    let config = AdapterConfig::new(16, 32, &["q_proj", "v_proj", "o_proj"].map(str::to_owned))?;
    let initial = initial_adapter(level, &decoder.config, &config, 0)?;
    let mut random = SplitMix(3);
    // One token more than go through the model; below the vocabulary, which fits u32.
    let mut tokens = || (0..=row).map(|_| (random.next() % VOCABULARY as u64) as u32).collect();
    let examples: Vec<_> =
        (0..settings.batch_size).map(|_| Example { tokens: tokens(), loss_from: row / 2 + 1 }).collect();
    let (mut times, mut last) = (Vec::new(), now());
    let mut watch = |_: &StepReport| {
        times.push(last.elapsed().as_secs_f64());
        last = now();
    };
    train_adapter(level, &source, &decoder, initial, &examples, &settings, None, &mut watch)?;
    Ok(times)
}

fn base() -> anyhow::Result<ModelSource> {
    let keys = HIDDEN / HEADS * KV_HEADS;
    let mut shapes = vec![
        ("model.embed_tokens.weight".to_owned(), vec![VOCABULARY, HIDDEN]),
        ("model.norm.weight".to_owned(), vec![HIDDEN]),
    ];
    for layer in 0..LAYERS {
        for (name, shape) in [
            ("self_attn.q_proj", vec![HIDDEN, HIDDEN]),
            ("self_attn.k_proj", vec![keys, HIDDEN]),
            ("self_attn.v_proj", vec![keys, HIDDEN]),
            ("self_attn.o_proj", vec![HIDDEN, HIDDEN]),
            ("mlp.gate_proj", vec![INTERMEDIATE, HIDDEN]),
            ("mlp.up_proj", vec![INTERMEDIATE, HIDDEN]),
            ("mlp.down_proj", vec![HIDDEN, INTERMEDIATE]),
            ("input_layernorm", vec![HIDDEN]),
            ("post_attention_layernorm", vec![HIDDEN]),
        ] {
            shapes.push((format!("model.layers.{layer}.{name}.weight"), shape));
        }
    }
    let mut random = SplitMix(1);
    let tensors: Vec<_> = shapes
        .into_iter()
        .map(|(name, shape)| {
            let values: Vec<f32> = random.uniforms(shape.iter().product()).iter().map(|x| x * 0.1).collect();
            (name, shape, f32_bytes(&values))
        })
        .collect();
    let views: Vec<_> = tensors
        .iter()
        .map(|(name, shape, bytes)| (name.as_str(), Dtype::F32, shape.as_slice(), bytes.as_slice()))
        .collect();
    let config = serde_json::json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN, "intermediate_size": INTERMEDIATE,
        "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "vocab_size": VOCABULARY,
        "rms_norm_eps": 1e-5, "max_position_embeddings": 512, "tie_word_embeddings": true, "hidden_act": "silu", "eos_token_id": 1,
        "rope_theta": 10000.0,
    });
    let files = vec![
        ("config.json".to_owned(), Cow::Owned(serde_json::to_vec(&config)?)),
        ("model.safetensors".to_owned(), Cow::Owned(safetensors::write(&views, None)?)),
    ];
    Ok(ModelSource::from_bytes("cost/random", files)?)
}

fn artifact(from: &Path, key: &Path, len: usize, to: &Path) -> anyhow::Result<()> {
    let opened = Opened::new(ArtifactFile::open(from)?)?;
    let read = |member| opened.read(member);
    let content = Content {
        task: opened.task.clone(),
        plan: opened.plan.clone(),
        adapter_config: read(Member::AdapterConfig)?,
        adapter_model: vec![0; len],
        recall: Some(RecallContent {
            config: read(Member::RecallConfig)?,
            vectors: read(Member::RecallVectors)?,
            passages: read(Member::RecallPassages)?,
        }),
        eval_pack: read(Member::EvalPack)?,
        eval_replay: read(Member::EvalReplay)?,
        training_trace: read(Member::TrainingTrace)?,
    };
    let measured = Measured::of(&opened.manifest);
    let members = seal(&content, &measured, &OperatorKey::load(key)?)?;
    Staged::write(to, &encode(&members)?)?.commit()?;
    Ok(())
}

fn peak_bytes() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    let kibibytes: u64 = line.ok_or_else(|| anyhow::anyhow!("/proc/self/status has no VmHWM"))?.parse()?;
    Ok(kibibytes * 1024)
}

fn middle(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

#[expect(clippy::disallowed_methods, reason = "this program measures time")]
fn now() -> Instant {
    Instant::now()
}
