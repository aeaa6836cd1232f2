//! One measurement of ours for `ci/bench-peers`, printed as one JSON line:
//! `speed product M K N | decode MODEL | prefill MODEL | prompt MODEL | train MODEL | encode MODEL`.
//!
//! What is measured is what `ci/peers/torch_speed.py` and `ci/peers/llama_speed.py` measure: the same model files, token counts and
//! batches. `value` is a rate in `unit`, the median of the repetitions; `peak_mb` the process's greatest resident memory.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use kolm_compile::train::{Example, Order, Schedule, Settings, StepReport, train_adapter};
use kolm_runtime::kernel::{self, Level, PackedMatrix, SplitMix, argmax, product};
use kolm_runtime::model::{Adapter, Decoder, Encoder, ModelSource, Step};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let level = Level::from_environment()?;
    let (value, unit) = match arguments[..] {
        ["product", m, k, n] => (product_rate(level, m.parse()?, k.parse()?, n.parse()?), "GFLOP/s"),
        ["decode", model] => (decode(level, Path::new(model))?, "tokens/s"),
        ["prefill", model] => (prefill(level, Path::new(model))?, "tokens/s"),
        ["prompt", model] => (prompt(level, Path::new(model))?, "tokens/s"),
        ["train", model] => (train(level, Path::new(model))?, "tokens/s"),
        ["encode", model] => (encode(level, Path::new(model))?, "texts/s"),
        _ => anyhow::bail!("expected product M K N, or decode, prefill, prompt, train or encode and a MODEL"),
    };
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    println!(
        "{}",
        serde_json::json!({ "value": value, "unit": unit, "level": level.name(), "peak_mb": peak.map(|kb| kb / 1024) })
    );
    Ok(())
}

/// Median seconds of `body`, repeated for at least a second and five times after one unmeasured call.
fn median_seconds(mut body: impl FnMut()) -> f64 {
    body();
    let begin = now();
    let mut times = Vec::new();
    while times.len() < 5 || begin.elapsed().as_secs_f64() < 1.0 {
        let start = now();
        body();
        times.push(start.elapsed().as_secs_f64());
    }
    middle(times)
}

fn middle(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn product_rate(level: Level, m: usize, k: usize, n: usize) -> f64 {
    let mut random = SplitMix(1);
    let (a, b) = (random.uniforms(m * k), random.uniforms(k * n));
    let b = PackedMatrix::from_rows(level, &b, k, n);
    let mut c = vec![0.0; m * n];
    let seconds = median_seconds(|| product(level, &a, m, &b, &mut c));
    2.0 * (m * k * n) as f64 / seconds / 1e9
}

/// 64 new tokens after a prompt of 64; the first comes out of the prompt and is not counted.
fn decode(level: Level, model: &Path) -> anyhow::Result<f64> {
    let decoder = Decoder::load(level, &ModelSource::folder(model)?)?;
    let prompt = tokens(&decoder, 64);
    let mut times = Vec::new();
    for _ in 0..4 {
        let mut cache = decoder.new_cache(128);
        let mut rows = decoder.forward(None, &mut [Step { tokens: &prompt, cache: &mut cache }])?;
        // As `Decoder::greedy` does.
        times.push(kernel::awake(|| -> anyhow::Result<f64> {
            let start = now();
            for _ in 0..63 {
                let last = rows.split_off(rows.len() - decoder.config.hidden);
                let next = u32::try_from(argmax(&decoder.logits(&last)))?;
                rows = decoder.forward(None, &mut [Step { tokens: &[next], cache: &mut cache }])?;
            }
            Ok(start.elapsed().as_secs_f64() / 63.0)
        })?);
    }
    times.remove(0);
    Ok(1.0 / middle(times))
}

/// 16 sequences of 128 tokens, the logits of the last of each.
fn prefill(level: Level, model: &Path) -> anyhow::Result<f64> {
    prompts(&Decoder::load(level, &ModelSource::folder(model)?)?, 16, 128)
}

/// One sequence of 512 tokens, the logits of its last.
fn prompt(level: Level, model: &Path) -> anyhow::Result<f64> {
    prompts(&Decoder::load(level, &ModelSource::folder(model)?)?, 1, 512)
}

/// `count` sequences of `length` tokens in one call, the logits of the last of each.
fn prompts(decoder: &Decoder, count: usize, length: usize) -> anyhow::Result<f64> {
    let all = tokens(decoder, count * length);
    let mut fault = None;
    let seconds = median_seconds(|| {
        let mut caches: Vec<_> = (0..count).map(|_| decoder.new_cache(length)).collect();
        let mut steps: Vec<_> =
            all.chunks(length).zip(&mut caches).map(|(tokens, cache)| Step { tokens, cache }).collect();
        match decoder.forward_last(None, &mut steps) {
            Ok(last) => drop(std::hint::black_box(decoder.logits(&last))),
            Err(error) => fault = Some(error),
        }
    });
    match fault {
        Some(error) => Err(error.into()),
        None => Ok((count * length) as f64 / seconds),
    }
}

/// LoRA of rank 16 on q, v and o, AdamW; batches as in `batches.json` beside the model, every token but the first learned.
fn train(level: Level, model: &Path) -> anyhow::Result<f64> {
    let batches: Vec<Vec<Vec<u32>>> = serde_json::from_slice(&std::fs::read(model.join("batches.json"))?)?;
    let batch_size = batches.first().map_or(0, Vec::len);
    // Padding counts, as it does in the peer.
    let longest = batches.iter().flatten().map(Vec::len).max().unwrap_or(0);
    let examples: Vec<Example> = batches.into_iter().flatten().map(|tokens| Example { tokens, loss_from: 1 }).collect();
    let source = ModelSource::folder(model)?;
    let decoder = Arc::new(Decoder::load(level, &source)?);
    let initial = Adapter::from_files(
        level,
        &decoder.config,
        &std::fs::read(model.join("adapter_init/adapter_config.json"))?,
        std::fs::read(model.join("adapter_init/adapter_model.safetensors"))?,
    )?;
    let settings = Settings {
        steps: if decoder.config.hidden > 600 { 5 } else { 20 },
        batch_size,
        learning_rate: 1e-3,
        schedule: Schedule::Constant,
        weight_decay: 0.01,
        clip_norm: 0.0,
        order: Order::Sequential,
        ..Settings::default()
    };
    let mut times = Vec::new();
    let mut last = now();
    let mut watch = |_: &StepReport| {
        times.push(last.elapsed().as_secs_f64());
        last = now();
    };
    train_adapter(level, &source, &decoder, initial, &examples, &settings, None, &mut watch)?;
    times.drain(..2);
    Ok((batch_size * longest) as f64 / middle(times))
}

/// 32 texts of 128 tokens to unit vectors.
fn encode(level: Level, model: &Path) -> anyhow::Result<f64> {
    let encoder = Encoder::load(level, &ModelSource::folder(model)?)?;
    let texts: Vec<Vec<u32>> =
        random_tokens(encoder.config.vocabulary, 32 * 128).chunks(128).map(<[u32]>::to_vec).collect();
    let mut fault = None;
    let seconds = median_seconds(|| match encoder.embed(&texts) {
        Ok(vectors) => drop(std::hint::black_box(vectors)),
        Err(error) => fault = Some(error),
    });
    fault.map_or(Ok(32.0 / seconds), |error| Err(error.into()))
}

fn tokens(decoder: &Decoder, count: usize) -> Vec<u32> {
    random_tokens(decoder.config.vocabulary, count)
}

fn random_tokens(vocabulary: usize, count: usize) -> Vec<u32> {
    let mut random = SplitMix(7);
    // below the vocabulary, whose limit fits u32
    (0..count).map(|_| (random.next() % vocabulary as u64) as u32).collect()
}

#[expect(clippy::disallowed_methods, reason = "this program measures time")]
fn now() -> Instant {
    Instant::now()
}
