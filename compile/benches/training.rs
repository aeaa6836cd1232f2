//! One LoRA step on the embedded base at plain sizes: batch 8, 128 tokens an example, rank 8; `cargo bench -p kolm_compile --bench training`.
//!
//! Loading and packing the base is left out: the time runs from the end of a run's first step to the end of its last.

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kolm_compile::train::stream::{below, stream};
use kolm_compile::train::{Example, Settings, StepReport, initial_adapter, train_adapter};
use kolm_runtime::kernel::Level;
use kolm_runtime::model::{AdapterConfig, Decoder, ModelSource};

const BATCH: usize = 8;
const TOKENS: usize = 128;
const LEARNED_FROM: usize = 96;

fn step(c: &mut Criterion) {
    let level = Level::detect();
    let source = ModelSource::embedded("kolm/nano").expect("the embedded base");
    let decoder = Arc::new(Decoder::load(level, &source).expect("a decoder"));
    let targets = ["q_proj", "k_proj", "v_proj", "o_proj"].map(str::to_owned);
    let config = AdapterConfig::new(8, 16, &targets).expect("known targets");
    let mut rng = stream(1, "bench.examples", 0);
    let vocabulary = decoder.config.vocabulary as u64;
    let mut tokens = || (0..TOKENS).map(|_| below(&mut rng, vocabulary) as u32).collect();
    let examples: Vec<_> = (0..4 * BATCH).map(|_| Example { tokens: tokens(), loss_from: LEARNED_FROM }).collect();
    let mut group = c.benchmark_group("training");
    group.sample_size(10);
    group.throughput(Throughput::Elements((BATCH * TOKENS) as u64));
    group.bench_function("step, 8 of 128 tokens", |bench| {
        bench.iter_custom(|steps| {
            let settings = Settings { steps: steps + 1, batch_size: BATCH, ..Settings::default() };
            let initial = initial_adapter(level, &decoder.config, &config, 0).expect("an adapter");
            let (mut first, mut passed) = (None, Duration::ZERO);
            let mut observe = |_: &StepReport| passed = first.get_or_insert_with(now).elapsed();
            train_adapter(level, &source, &decoder, initial, &examples, &settings, None, &mut observe).expect("trains");
            passed
        });
    });
    group.finish();
}

#[expect(clippy::disallowed_methods, reason = "a measurement's clock")]
fn now() -> Instant {
    Instant::now()
}

criterion_group!(benches, step);
criterion_main!(benches);
