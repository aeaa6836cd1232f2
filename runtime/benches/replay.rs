//! Answering an eval pack with the embedded base and an adapter: what check 5 costs; `cargo bench -p kolm_runtime --bench replay`.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kolm_runtime::eval::{self, Case, Metric, Pack};
use kolm_runtime::kernel::{Level, SplitMix};
use kolm_runtime::model::{Adapter, AdapterConfig, Decoder, ModelSource, TextTokenizer};

const CASES: usize = 16;

fn replay(c: &mut Criterion) {
    let level = Level::detect();
    let source = ModelSource::embedded("kolm/nano").expect("the embedded base");
    let decoder = Decoder::load(level, &source).expect("a decoder");
    let tokenizer =
        TextTokenizer::load(&source, decoder.config.vocabulary, &decoder.config.eos_ids).expect("a tokenizer");
    let config = AdapterConfig::new(8, 16, &["q_proj".to_owned(), "v_proj".to_owned()]).expect("known targets");
    let mut random = SplitMix(1);
    let adapter = Adapter::from_factors(level, &decoder.config, config, &mut |_, target| {
        let (inputs, outputs) = target.features(&decoder.config);
        let mut draw = |count: usize| random.uniforms(count).iter().map(|x| x * 0.1).collect::<Vec<f32>>();
        Ok((draw(8 * inputs), draw(outputs * 8)))
    })
    .expect("an adapter");
    let mut group = c.benchmark_group("replay");
    group.sample_size(10);
    group.throughput(Throughput::Elements(CASES as u64));
    for (name, metric) in [("16 labels", Metric::Label), ("16 texts of 16 tokens", Metric::TokenF1)] {
        let pack = pack(metric);
        group.bench_function(name, |bench| {
            bench.iter(|| eval::run(&decoder, &tokenizer, Some(&adapter), &pack, &mut |_, _| ()).expect("answers"));
        });
    }
    group.finish();
}

fn pack(metric: Metric) -> Pack {
    let labels = ["billing", "shipping", "returns", "account"].map(str::to_owned).to_vec();
    let case = |row: usize| Case {
        expected: labels[row % labels.len()].clone(),
        id: format!("{row:02}"),
        metric,
        prompt: format!("Ticket {row}: the parcel was charged twice and has not arrived yet. Which queue takes it?"),
        weight: 1,
    };
    let cases = (0..CASES).map(case).collect();
    Pack::new((metric == Metric::Label).then(|| labels.clone()), 16, cases).expect("a pack")
}

criterion_group!(benches, replay);
criterion_main!(benches);
