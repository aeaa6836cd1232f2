//! Checks of the whole trainer on tiny models: gradients against the f64 oracle, and that nothing but the inputs decides bits.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use kolm_runtime::kernel::Level;
use kolm_runtime::model::safetensors::{self, Dtype, f32_bytes};
use kolm_runtime::model::{Adapter, AdapterConfig, Decoder, DecoderConfig, EncoderConfig, ModelSource, Target};

use super::adapter::AdapterObjective;
use super::checkpoint::CheckpointStore;
use super::engine::Objective;
use super::oracle::{DecoderShape, EncoderShape, Tensors, check_gradients, decoder_loss, encoder_loss};
use super::parameters::{Layout, Parameters};
use super::pretrain::{DecoderObjective, decoder_layouts};
use super::pretrain_encoder::{EncoderObjective, encoder_layouts};
use super::stream::{below, stream, unit};
use super::tape::adapter_gradient;
use super::{
    Detail, Example, FullTrace, FullTraceLine, Passage, ProxyObjective, Recorded, Settings, StepReport, TraceLine,
    TrainError, Watcher, initial_adapter, pretrain_decoder, pretrain_encoder, train_adapter,
};

const SCALE: f64 = 2.0;

fn config_json(architecture: &str, tied: bool, layers: usize) -> Vec<u8> {
    let (class, kind) = match architecture {
        "qwen2" => ("Qwen2ForCausalLM", "qwen2"),
        _ => ("LlamaForCausalLM", "llama"),
    };
    format!(
        r#"{{"architectures":["{class}"],"model_type":"{kind}","hidden_size":12,"intermediate_size":20,"num_hidden_layers":{layers},
        "num_attention_heads":4,"num_key_value_heads":2,"head_dim":4,"vocab_size":17,"rms_norm_eps":1e-5,"rope_theta":100.0,
        "max_position_embeddings":64,"tie_word_embeddings":{tied},"hidden_act":"silu","eos_token_id":1}}"#
    )
    .into_bytes()
}

fn shape(layers: usize) -> DecoderShape {
    DecoderShape {
        hidden: 12,
        layers,
        heads: 4,
        kv_heads: 2,
        head_dim: 4,
        vocabulary: 17,
        eps: 1e-5,
        theta: 100.0,
        scaling: SCALE,
    }
}

/// Parameters that hide nothing: norms around 1, biases and weights large enough to matter.
fn random_parameters(config: &DecoderConfig, seed: u64) -> Parameters {
    random_values(decoder_layouts(config), seed)
}

fn random_values(layouts: Vec<Layout>, seed: u64) -> Parameters {
    let values = layouts.iter().enumerate().map(|(group, layout)| {
        let mut rng = stream(seed, "test.parameters", group as u64);
        let slots = layout.slots.iter();
        slots
            .flat_map(|slot| {
                let centre = if slot.name.to_lowercase().contains("norm.weight") { 1.0 } else { 0.0 };
                (0..slot.range.len()).map(|_| centre + unit(&mut rng) - 0.5).collect::<Vec<f32>>()
            })
            .collect()
    });
    let values = values.collect();
    Parameters::new(layouts, values)
}

fn examples(count: usize, seed: u64) -> Vec<Example> {
    let mut rng = stream(seed, "test.examples", 0);
    (0..count)
        .map(|_| {
            let length = 3 + below(&mut rng, 7) as usize;
            let tokens = (0..length).map(|_| below(&mut rng, 17) as u32).collect();
            Example { tokens, loss_from: 1 + below(&mut rng, length as u64 - 1) as usize }
        })
        .collect()
}

fn named(parameters: &Parameters, groups: &[Vec<f32>]) -> BTreeMap<String, Vec<f32>> {
    parameters
        .in_name_order()
        .map(|(group, slot)| (slot.name.clone(), groups[group][slot.range.clone()].to_vec()))
        .collect()
}

fn widened(tensors: &BTreeMap<String, Vec<f32>>) -> Tensors {
    tensors
        .iter()
        .map(|(name, values)| (name.clone(), values.iter().map(|&value| f64::from(value)).collect()))
        .collect()
}

/// A located model of these parameters.
fn source(config: &[u8], parameters: &Parameters) -> ModelSource {
    let tensors: Vec<_> = parameters
        .in_name_order()
        .map(|(group, slot)| {
            (slot.name.as_str(), slot.shape.as_slice(), f32_bytes(&parameters.values[group][slot.range.clone()]))
        })
        .collect();
    let views: Vec<_> =
        tensors.iter().map(|(name, shape, bytes)| (*name, Dtype::F32, *shape, bytes.as_slice())).collect();
    let file = safetensors::write(&views, None).expect("shapes fit");
    let files = vec![
        ("config.json".to_string(), Cow::Owned(config.to_vec())),
        ("model.safetensors".to_string(), Cow::Owned(file)),
    ];
    ModelSource::from_bytes("test/tiny", files).expect("a located model")
}

#[test]
fn decoder_gradients_follow_the_oracle() {
    for (architecture, tied) in [("qwen2", true), ("qwen2", false), ("llama", true)] {
        let config = DecoderConfig::parse(&config_json(architecture, tied, 2), None).expect("a configuration");
        let parameters = random_parameters(&config, 1);
        for example in &examples(2, 2) {
            let level = Level::detect();
            let one = std::slice::from_ref(example);
            let objective = DecoderObjective::new(level, config.clone(), &parameters, one, false);
            let ready = objective.ready(&parameters).expect("ready");
            let found = objective.gradient(&ready, 0, None).expect("a gradient");
            let mut tensors = widened(&named(&parameters, &parameters.values));
            let loss = |tensors: &Tensors| decoder_loss(&shape(2), tensors, &example.tokens, example.loss_from);
            assert!((found.loss - loss(&tensors)).abs() < 1e-5 * found.loss, "{} {}", found.loss, loss(&tensors));
            check_gradients(&mut tensors, &named(&parameters, &found.groups), loss);
        }
    }
}

fn all_targets() -> AdapterConfig {
    let targets = Target::ALL.map(|target| target.name().to_string());
    AdapterConfig::new(3, 6, &targets).expect("a configuration")
}

fn random_adapter(level: Level, config: &DecoderConfig, seed: u64) -> Adapter {
    let mut rng = stream(seed, "test.adapter", 0);
    Adapter::from_factors(level, config, all_targets(), &mut |_, target| {
        let (inputs, outputs) = target.features(config);
        let mut draw = |count: usize| (0..count).map(|_| unit(&mut rng) - 0.5).collect::<Vec<f32>>();
        Ok((draw(3 * inputs), draw(outputs * 3)))
    })
    .expect("an adapter")
}

#[test]
fn adapter_gradients_follow_the_oracle() {
    let level = Level::detect();
    let json = config_json("qwen2", true, 2);
    let config = DecoderConfig::parse(&json, None).expect("a configuration");
    let parameters = random_parameters(&config, 3);
    let source = source(&json, &parameters);
    let decoder = Arc::new(Decoder::load(level, &source).expect("a decoder"));
    let adapter = random_adapter(level, &config, 4);
    for example in &examples(2, 5) {
        let (objective, learned) =
            AdapterObjective::new(level, &source, &decoder, &adapter, std::slice::from_ref(example), false)
                .expect("fits");
        let (network, leaves) = objective.ready(&learned).expect("ready");
        let found = adapter_gradient(&network, &leaves, example, None).expect("a gradient");
        let mut tensors = widened(&named(&parameters, &parameters.values));
        tensors.extend(widened(&named(&learned, &learned.values)));
        let loss = |tensors: &Tensors| decoder_loss(&shape(2), tensors, &example.tokens, example.loss_from);
        assert!((found.loss - loss(&tensors)).abs() < 1e-5 * found.loss, "{} {}", found.loss, loss(&tensors));
        check_gradients(&mut tensors, &named(&learned, &found.groups), loss);
    }
}

fn settings() -> Settings {
    Settings { seed: 11, steps: 6, batch_size: 5, learning_rate: 1e-2, warmup_steps: 2, ..Settings::default() }
}

fn tiny_run(level: Level, settings: &Settings, checkpoint: Option<&CheckpointStore>) -> (Vec<u8>, Vec<TraceLine>) {
    tiny_watched(level, settings, checkpoint, &mut |_: &StepReport| ())
}

fn tiny_watched(
    level: Level,
    settings: &Settings,
    checkpoint: Option<&CheckpointStore>,
    watcher: &mut dyn Watcher,
) -> (Vec<u8>, Vec<TraceLine>) {
    let json = config_json("qwen2", true, 2);
    let config = DecoderConfig::parse(&json, None).expect("a configuration");
    let source = source(&json, &random_parameters(&config, 6));
    let decoder = Arc::new(Decoder::load(level, &source).expect("a decoder"));
    let initial = initial_adapter(level, &config, &all_targets(), settings.seed).expect("an adapter");
    let (adapter, trace) =
        train_adapter(level, &source, &decoder, initial, &examples(9, 7), settings, checkpoint, watcher)
            .expect("trains");
    (adapter.to_safetensors().expect("encodes"), trace)
}

fn on_threads<R: Send>(threads: usize, body: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool").install(body)
}

#[test]
fn nothing_but_the_inputs_decides_an_adapter() {
    let plain = tiny_run(Level::detect(), &settings(), None);
    assert_eq!(plain.1.len(), 6);
    for level in Level::available() {
        assert_eq!(tiny_run(level, &settings(), None), plain, "level {}", level.name());
    }
    for micro_batch in [1, 2, 3, 5] {
        for threads in [1, 2, 3, 8] {
            let settings = Settings { micro_batch, recompute: threads == 3, ..settings() };
            let found = on_threads(threads, || tiny_run(Level::detect(), &settings, None));
            assert_eq!(found, plain, "micro-batch {micro_batch}, {threads} threads");
        }
    }
    assert_ne!(tiny_run(Level::detect(), &Settings { seed: 12, ..settings() }, None), plain);
}

/// Records one step, and ends the run after another.
struct Recording {
    step: u64,
    last: u64,
    recorded: Vec<Recorded>,
}

impl Watcher for Recording {
    fn step(&mut self, _: &StepReport) {}

    fn detail(&self, step: u64) -> Option<Detail> {
        (step == self.step).then_some(Detail::Tensors)
    }

    fn record(&mut self, recorded: Vec<Recorded>) -> std::io::Result<()> {
        self.recorded.extend(recorded);
        Ok(())
    }

    fn traced(&mut self, line: &TraceLine) -> std::io::Result<ControlFlow<()>> {
        Ok(if line.step == self.last { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }
}

#[test]
fn a_recorded_run_has_the_bits_of_one_that_is_not() {
    let plain = tiny_run(Level::detect(), &settings(), None);
    let mut recording = Recording { step: 3, last: u64::MAX, recorded: Vec::new() };
    assert_eq!(tiny_watched(Level::detect(), &settings(), None, &mut recording), plain);
    let mut shown = |_: &StepReport| ();
    let mut full = FullTrace::new(2, &mut shown);
    assert_eq!(tiny_watched(Level::detect(), &settings(), None, &mut full), plain);
    let lines = full.lines();
    assert_eq!(lines.iter().map(FullTraceLine::line).collect::<Vec<_>>(), plain.1);
    assert!(lines.iter().all(|line| line.blocks.len() == 2));

    // Each example goes forward and back through both blocks; the parameters are seen before and after the step.
    let recorded = &recording.recorded;
    let count = |stage: &str| recorded.iter().filter(|recorded| recorded.place.stage == stage).count();
    let tensors = 2 * 7 * 2;
    assert_eq!((count("start"), count("sum"), count("optimiser")), (3 * tensors, 2 + tensors, 3 * tensors));
    for example in 0..5 {
        for block in 0..2 {
            let of_block = |stage: &str| {
                let here = recorded.iter().filter(|recorded| recorded.place.stage == stage);
                here.filter(|recorded| recorded.place.example == Some(example) && recorded.place.block == Some(block))
                    .count()
            };
            assert_eq!((of_block("forward"), of_block("backward")), (19, 10 + 14 + usize::from(block > 0)));
        }
    }
}

#[test]
fn a_run_that_is_ended_goes_on_from_the_checkpoint_before() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = CheckpointStore::new(folder.path(), 0).up_to(3);
    let mut recording = Recording { step: 4, last: 4, recorded: Vec::new() };
    let (_, trace) = tiny_watched(Level::detect(), &settings(), Some(&store), &mut recording);
    assert_eq!(trace.len(), 4);
    let mut again = Recording { step: 4, last: 4, recorded: Vec::new() };
    let resumed = tiny_watched(Level::detect(), &settings(), Some(&store), &mut again);
    assert_eq!(resumed.1, trace);
    assert_eq!(again.recorded, recording.recorded);
}

fn tiny_pretraining(
    level: Level,
    settings: &Settings,
    checkpoint: Option<&CheckpointStore>,
) -> (Vec<u8>, Vec<TraceLine>) {
    let json = config_json("llama", false, 2);
    let trained = pretrain_decoder(level, &json, &examples(9, 8), settings, checkpoint, &mut |_| ()).expect("trains");
    (trained.to_safetensors().expect("encodes"), trained.trace)
}

#[test]
fn nothing_but_the_inputs_decides_a_pretrained_decoder() {
    let plain = tiny_pretraining(Level::detect(), &settings(), None);
    for level in Level::available() {
        assert_eq!(tiny_pretraining(level, &settings(), None), plain, "level {}", level.name());
    }
    for (micro_batch, threads) in [(1, 1), (2, 2), (3, 3), (5, 8), (0, 2)] {
        let settings = Settings { micro_batch, ..settings() };
        let found = on_threads(threads, || tiny_pretraining(Level::detect(), &settings, None));
        assert_eq!(found, plain, "micro-batch {micro_batch}, {threads} threads");
    }
}

/// A run that stops after some steps and starts again from its checkpoint ends in the unbroken run's bytes.
#[test]
fn a_resumed_run_equals_the_unbroken_one() {
    let level = Level::detect();
    let unbroken = tiny_run(level, &settings(), None);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = CheckpointStore::new(folder.path(), 2);
    assert_eq!(tiny_run(level, &settings(), Some(&store)), unbroken);
    // The newest checkpoint is of the last step; without it the run goes on from step 4.
    std::fs::remove_file(folder.path().join("step-0000000006.kolm-checkpoint")).expect("removed");
    std::fs::write(folder.path().join("step-0000000005.partial"), b"torn").expect("written");
    assert_eq!(tiny_run(level, &settings(), Some(&store)), unbroken);
    let other = Settings { learning_rate: 2e-2, ..settings() };
    let json = config_json("llama", false, 2);
    let refused = pretrain_decoder(level, &json, &examples(9, 8), &other, Some(&store), &mut |_| ());
    assert!(matches!(refused, Err(TrainError::CheckpointForeign { .. })));
}

#[test]
fn a_run_that_diverges_names_its_step() {
    let json = config_json("llama", false, 2);
    let settings = Settings { learning_rate: 1e30, warmup_steps: 0, clip_norm: 0.0, ..settings() };
    let error =
        pretrain_decoder(Level::detect(), &json, &examples(9, 8), &settings, None, &mut |_| ()).expect_err("diverges");
    assert!(matches!(error, TrainError::NotFinite { step: 2, .. }), "{error}");
}

#[test]
fn what_cannot_be_learned_is_refused() {
    let json = config_json("llama", false, 2);
    let run = |examples: &[Example], settings: &Settings| {
        pretrain_decoder(Level::detect(), &json, examples, settings, None, &mut |_| ())
            .expect_err("is refused")
            .to_string()
    };
    let example = |tokens: Vec<u32>, loss_from| [Example { tokens, loss_from }];
    assert_eq!(run(&[], &settings()), "no training example");
    assert_eq!(
        run(&example(vec![1, 2], 2), &settings()),
        "training example 0: learned tokens start at 2, expected 1..2"
    );
    assert_eq!(run(&example(vec![1, 17], 1), &settings()), "training example 0: token 17, expected below 17");
    assert_eq!(run(&example(vec![1; 66], 1), &settings()), "training example 0: 66 tokens, expected at most 65");
    let settings = Settings { batch_size: 0, ..settings() };
    assert_eq!(run(&example(vec![1, 2], 1), &settings), "training setting batch_size is 0, expected at least 1");
}

/// Training really learns: the loss of a memorisable set falls far below that of guessing.
#[test]
fn training_learns() {
    let json = config_json("llama", true, 2);
    let settings = Settings { steps: 150, learning_rate: 3e-2, schedule: super::Schedule::Constant, ..settings() };
    let mut last = f32::MAX;
    pretrain_decoder(Level::detect(), &json, &examples(5, 9), &settings, None, &mut |report| last = report.loss)
        .expect("trains");
    assert!(last < 0.5, "{last}");
}

fn encoder_json() -> &'static [u8] {
    br#"{"architectures":["BertModel"],"model_type":"bert","hidden_size":12,"intermediate_size":20,"num_hidden_layers":2,
    "num_attention_heads":3,"vocab_size":17,"max_position_embeddings":16,"type_vocab_size":2,"layer_norm_eps":1e-5,"hidden_act":"gelu"}"#
}

fn passages(count: usize) -> Vec<Passage> {
    let mut rng = stream(12, "test.passages", 0);
    let mut draw = |bound| below(&mut rng, bound);
    (0..count)
        .map(|_| {
            let length = 2 + draw(6);
            Passage { tokens: (0..length).map(|_| draw(17) as u32).collect(), class: draw(4) as u32 }
        })
        .collect()
}

#[test]
fn encoder_gradients_follow_the_oracle() {
    let level = Level::detect();
    let config = EncoderConfig::parse(encoder_json(), None, None, "test").expect("a configuration");
    let proxies = ProxyObjective { classes: 4, scale: 3.0, group: 3 };
    let layouts = encoder_layouts(&config, proxies.classes);
    let parameters = random_values(layouts, 13);
    let passages = passages(3);
    let groups = vec![passages.iter().collect::<Vec<_>>()];
    let objective = EncoderObjective::new(level, config, proxies, &parameters, groups);
    let ready = objective.ready(&parameters).expect("ready");
    let found = objective.gradient(&ready, 0, None).expect("a gradient");
    let shape = EncoderShape { hidden: 12, layers: 2, heads: 3, eps: 1e-5, scale: 3.0, classes: 4 };
    let mut tensors = widened(&named(&parameters, &parameters.values));
    let loss = |tensors: &Tensors| -> f64 {
        passages.iter().map(|passage| encoder_loss(&shape, tensors, &passage.tokens, passage.class as usize)).sum()
    };
    assert!((found.loss - loss(&tensors)).abs() < 1e-5 * found.loss, "{} {}", found.loss, loss(&tensors));
    check_gradients(&mut tensors, &named(&parameters, &found.groups), loss);
}

#[test]
fn nothing_but_the_inputs_decides_a_pretrained_encoder() {
    let proxies = ProxyObjective { classes: 4, scale: 10.0, group: 3 };
    let run = |level: Level, micro_batch: usize| {
        let settings = Settings { micro_batch, ..settings() };
        let trained = pretrain_encoder(level, encoder_json(), &passages(20), &proxies, &settings, None, &mut |_| ());
        let trained = trained.expect("trains");
        assert!(trained.tensors.iter().all(|(name, ..)| name != "proxies"));
        (trained.to_safetensors().expect("encodes"), trained.trace)
    };
    let plain = run(Level::detect(), 0);
    for level in Level::available() {
        assert_eq!(run(level, 1), plain, "level {}", level.name());
    }
    for (micro_batch, threads) in [(1, 1), (2, 3), (5, 8)] {
        assert_eq!(on_threads(threads, || run(Level::detect(), micro_batch)), plain);
    }
}
