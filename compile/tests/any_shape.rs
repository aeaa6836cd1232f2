//! Any model shape, any batch: threads, examples in flight, SIMD level, recomputation and a stop in the middle never show in a bit.
//!
//! Shapes, weights, examples and conditions are drawn by proptest, which shrinks a failure to its smallest model and names its seed.

use std::borrow::Cow;
use std::sync::Arc;

use kolm_compile::train::stream::{below, stream, unit};
use kolm_compile::train::{CheckpointStore, Example, Settings, StepReport, TraceLine, initial_adapter, train_adapter};
use kolm_runtime::kernel::Level;
use kolm_runtime::model::safetensors::{self, Dtype, f32_bytes};
use kolm_runtime::model::{AdapterConfig, Decoder, ModelSource, Target};
use proptest::prelude::*;

#[derive(Clone, Debug)]
struct Shape {
    qwen2: bool,
    tied: bool,
    hidden: usize,
    intermediate: usize,
    layers: usize,
    kv_heads: usize,
    queries_per_kv_head: usize,
    half_head_dim: usize,
    vocabulary: usize,
    rank: usize,
    targets: Vec<Target>,
}

impl Shape {
    fn head_dim(&self) -> usize {
        2 * self.half_head_dim
    }

    fn heads(&self) -> usize {
        self.kv_heads * self.queries_per_kv_head
    }
}

#[derive(Clone, Debug)]
struct Run {
    seed: u64,
    /// Lengths of the examples in tokens.
    lengths: Vec<usize>,
    batch_size: usize,
    steps: u64,
    clip_norm: f64,
}

/// What must not show.
#[derive(Clone, Debug)]
struct Condition {
    threads: usize,
    /// Examples in flight; 0 is the whole batch.
    micro_batch: usize,
    recompute: bool,
    /// Of those this CPU has.
    level: usize,
    /// Stops after half the steps and goes on from the checkpoint.
    stopped: bool,
}

fn shapes() -> impl Strategy<Value = Shape> {
    let targets = prop::sample::subsequence(Target::ALL.to_vec(), 1..=Target::ALL.len());
    (
        any::<[bool; 2]>(),
        1..40_usize,
        1..48_usize,
        1..=3_usize,
        (1..=3_usize, 1..=3_usize, 1..=5_usize),
        3..50_usize,
        (1..=5_usize, targets),
    )
        .prop_map(|([qwen2, tied], hidden, intermediate, layers, heads, vocabulary, (rank, targets))| Shape {
            qwen2,
            tied,
            hidden,
            intermediate,
            layers,
            kv_heads: heads.0,
            queries_per_kv_head: heads.1,
            half_head_dim: heads.2,
            vocabulary,
            rank,
            targets,
        })
}

fn runs() -> impl Strategy<Value = Run> {
    let lengths = prop::collection::vec(2..40_usize, 1..14);
    (any::<u64>(), lengths, 1..10_usize, 1..4_u64, prop::sample::select(vec![0.0, 1.0]))
        .prop_map(|(seed, lengths, batch_size, steps, clip_norm)| Run { seed, lengths, batch_size, steps, clip_norm })
}

fn conditions() -> impl Strategy<Value = Condition> {
    (1..=8_usize, 0..=10_usize, any::<[bool; 2]>(), 0..4_usize).prop_map(
        |(threads, micro_batch, [recompute, stopped], level)| Condition {
            threads,
            micro_batch,
            recompute,
            level,
            stopped,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn nothing_but_the_inputs_decides_an_adapter(shape in shapes(), run in runs(), varied in prop::collection::vec(conditions(), 4)) {
        let plain = Condition { threads: 1, micro_batch: 0, recompute: false, level: 0, stopped: false };
        let expected = train(&shape, &run, &plain);
        prop_assert_eq!(expected.1.len() as u64, run.steps);
        for condition in &varied {
            let found = train(&shape, &run, condition);
            prop_assert!(found == expected, "{:?}: trace {:?}, expected {:?}", condition, found.1, expected.1);
        }
    }
}

/// The adapter's bytes and the trace.
fn train(shape: &Shape, run: &Run, condition: &Condition) -> (Vec<u8>, Vec<TraceLine>) {
    let levels = Level::available();
    let level = levels[condition.level % levels.len()];
    let source = model(shape, run.seed);
    let decoder = Arc::new(Decoder::load(level, &source).expect("a decoder"));
    let targets: Vec<String> = shape.targets.iter().map(|target| target.name().to_owned()).collect();
    let config = AdapterConfig::new(shape.rank, 8, &targets).expect("known targets");
    let settings = Settings {
        seed: run.seed,
        steps: run.steps,
        batch_size: run.batch_size,
        learning_rate: 1e-2,
        clip_norm: run.clip_norm,
        micro_batch: condition.micro_batch,
        recompute: condition.recompute,
        ..Settings::default()
    };
    let examples = examples(shape, run);
    let folder = tempfile::tempdir().expect("a folder");
    let store = CheckpointStore::new(folder.path(), 1);
    let train = || {
        let initial = initial_adapter(level, &decoder.config, &config, run.seed).expect("an adapter");
        let store = condition.stopped.then_some(&store);
        train_adapter(level, &source, &decoder, initial, &examples, &settings, store, &mut |_: &StepReport| ())
            .expect("trains")
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(condition.threads).build().expect("a pool");
    let (mut adapter, mut trace) = pool.install(train);
    if condition.stopped {
        // As if the run had ended before its last checkpoint: it goes on from the one before, or from the start.
        std::fs::remove_file(folder.path().join(format!("step-{:010}.kolm-checkpoint", run.steps)))
            .expect("a checkpoint");
        (adapter, trace) = pool.install(train);
    }
    (adapter.to_safetensors().expect("encodes"), trace)
}

fn examples(shape: &Shape, run: &Run) -> Vec<Example> {
    let mut rng = stream(run.seed, "test.examples", 0);
    let mut draw = |bound: usize| below(&mut rng, bound as u64) as usize;
    let example = |&length: &usize| Example {
        tokens: (0..length).map(|_| draw(shape.vocabulary) as u32).collect(),
        loss_from: 1 + draw(length - 1),
    };
    run.lengths.iter().map(example).collect()
}

/// A located model with drawn weights: norms around 1, everything else around 0 and large enough to matter.
fn model(shape: &Shape, seed: u64) -> ModelSource {
    let (hidden, queries, keys) = (shape.hidden, shape.heads() * shape.head_dim(), shape.kv_heads * shape.head_dim());
    let mut rng = stream(seed, "test.weights", 0);
    let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    let mut tensor = |name: String, shape: &[usize]| {
        let centre = if name.contains("norm") { 1.0 } else { 0.0 };
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| centre + unit(&mut rng) - 0.5).collect();
        tensors.push((name, shape.to_vec(), f32_bytes(&values)));
    };
    tensor("model.embed_tokens.weight".to_owned(), &[shape.vocabulary, hidden]);
    tensor("model.norm.weight".to_owned(), &[hidden]);
    if !shape.tied {
        tensor("lm_head.weight".to_owned(), &[shape.vocabulary, hidden]);
    }
    for layer in 0..shape.layers {
        for (name, rows, columns) in [
            ("self_attn.q_proj", queries, hidden),
            ("self_attn.k_proj", keys, hidden),
            ("self_attn.v_proj", keys, hidden),
            ("self_attn.o_proj", hidden, queries),
            ("mlp.gate_proj", shape.intermediate, hidden),
            ("mlp.up_proj", shape.intermediate, hidden),
            ("mlp.down_proj", hidden, shape.intermediate),
        ] {
            tensor(format!("model.layers.{layer}.{name}.weight"), &[rows, columns]);
            if shape.qwen2 && matches!(name, "self_attn.q_proj" | "self_attn.k_proj" | "self_attn.v_proj") {
                tensor(format!("model.layers.{layer}.{name}.bias"), &[rows]);
            }
        }
        for name in ["input_layernorm", "post_attention_layernorm"] {
            tensor(format!("model.layers.{layer}.{name}.weight"), &[hidden]);
        }
    }
    let (class, kind) = if shape.qwen2 { ("Qwen2ForCausalLM", "qwen2") } else { ("LlamaForCausalLM", "llama") };
    let config = format!(
        r#"{{"architectures":["{class}"],"model_type":"{kind}","hidden_size":{hidden},"intermediate_size":{},"num_hidden_layers":{},
        "num_attention_heads":{},"num_key_value_heads":{},"head_dim":{},"vocab_size":{},"rms_norm_eps":1e-5,"rope_theta":100.0,
        "max_position_embeddings":64,"tie_word_embeddings":{},"hidden_act":"silu","eos_token_id":1}}"#,
        shape.intermediate,
        shape.layers,
        shape.heads(),
        shape.kv_heads,
        shape.head_dim(),
        shape.vocabulary,
        shape.tied
    );
    let views: Vec<_> = tensors
        .iter()
        .map(|(name, shape, bytes)| (name.as_str(), Dtype::F32, shape.as_slice(), bytes.as_slice()))
        .collect();
    let weights = safetensors::write(&views, None).expect("shapes fit");
    let files = [("config.json", config.into_bytes()), ("model.safetensors", weights)];
    let files = files.map(|(name, bytes)| (name.to_owned(), Cow::Owned(bytes)));
    ModelSource::from_bytes("test/drawn", files.into()).expect("a located model")
}
