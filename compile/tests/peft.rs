//! LoRA training beside PEFT: same weights, same initial adapter, same batches, same AdamW.
//!
//! The oracle is golden/oracle/peft-training, 40 steps of PEFT written by ci/oracle/training.py. `KOLM_PEER_MODELS` may name a folder of
//! further models, larger ones, each a folder with config.json, model.safetensors, adapter_init/, batches.safetensors and the
//! peft.safetensors of the same script. Tolerances: loss within 1e-4 at each step, cosine of the adapters at least 0.9999.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kolm_compile::train::{Example, Order, Schedule, Settings, train_adapter};
use kolm_runtime::kernel::Level;
use kolm_runtime::model::safetensors::TensorFile;
use kolm_runtime::model::{Adapter, Decoder, ModelSource};

#[test]
fn training_follows_peft() {
    let oracle = Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden/oracle");
    check(&oracle.join("qwen2-gqa-tied"), &oracle.join("qwen2-gqa-tied-adapter"), &oracle.join("peft-training"));
}

#[test]
fn training_of_larger_models_follows_peft() {
    #[expect(clippy::disallowed_methods, reason = "where the outside oracle's files lie; no result depends on it")]
    let Some(folder) = std::env::var_os("KOLM_PEER_MODELS") else {
        println!("skipped: KOLM_PEER_MODELS is not set");
        return;
    };
    let mut models: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    models.sort();
    for model in models.iter().filter(|model| model.join("peft.safetensors").is_file()) {
        check(model, &model.join("adapter_init"), model);
    }
}

/// Trains the model from the initial adapter on the batches beside PEFT's result, and compares.
fn check(model: &Path, initial: &Path, peft: &Path) {
    let level = Level::from_environment().expect("a level");
    let read = |folder: &Path, name: &str| std::fs::read(folder.join(name)).expect("a file of the oracle");
    let source = ModelSource::folder(model).expect("a model");
    let decoder = Arc::new(Decoder::load(level, &source).expect("a decoder"));
    let initial = Adapter::from_files(
        level,
        &decoder.config,
        &read(initial, "adapter_config.json"),
        read(initial, "adapter_model.safetensors"),
    )
    .expect("an adapter");
    let result = TensorFile::from_bytes("peft", read(peft, "peft.safetensors")).expect("the oracle's result");
    let losses = result.tensor("losses").expect("losses").to_f32().expect("f32");
    let batches = TensorFile::from_bytes("batches", read(peft, "batches.safetensors")).expect("batches");
    let (examples, batch_size) = examples(&batches);
    let settings = Settings {
        steps: losses.len() as u64,
        batch_size,
        learning_rate: 1e-3,
        schedule: Schedule::Constant,
        weight_decay: 0.01,
        clip_norm: 0.0,
        order: Order::Sequential,
        ..Settings::default()
    };
    let mut found = Vec::new();
    let mut times = Vec::new();
    let mut last = now();
    let mut observe = |report: &kolm_compile::train::StepReport| {
        found.push(report.loss);
        times.push(last.elapsed());
        last = now();
    };
    let (adapter, _) =
        train_adapter(level, &source, &decoder, initial, &examples, &settings, None, &mut observe).expect("trains");
    let furthest = found.iter().zip(&losses).map(|(found, peft)| f64::from((found - peft).abs())).fold(0.0, larger);
    let cosine = cosine(&adapter, &result);
    times.drain(..2);
    times.sort_unstable();
    println!(
        "{}: {} steps, loss differs by at most {furthest:.1e}, adapter cosine {cosine:.8}, median {:.1} ms/step, least {:.1}",
        model.display(),
        losses.len(),
        milliseconds(times[times.len() / 2]),
        milliseconds(times[0]),
    );
    assert!(furthest <= 1e-4 && cosine >= 0.9999);
}

/// Rows without their padding; PEFT learns every token but the first.
fn examples(batches: &TensorFile) -> (Vec<Example>, usize) {
    let (_, shape) = batches.describe("input_ids").expect("input_ids");
    let (rows, length) = (shape[0] * shape[1], shape[2]);
    let numbers = |name: &str| -> Vec<i64> {
        let bytes = batches.tensor(name).expect("a tensor").bytes.into_owned();
        bytes.as_chunks::<8>().0.iter().map(|word| i64::from_le_bytes(*word)).collect()
    };
    let (ids, mask) = (numbers("input_ids"), numbers("attention_mask"));
    let examples = (0..rows).map(|row| {
        let span = row * length..(row + 1) * length;
        let seen = ids[span.clone()].iter().zip(&mask[span]).filter(|(_, mask)| **mask == 1);
        Example { tokens: seen.map(|(id, _)| u32::try_from(*id).expect("a token id")).collect(), loss_from: 1 }
    });
    (examples.collect(), shape[1])
}

fn cosine(adapter: &Adapter, peft: &TensorFile) -> f64 {
    let file = TensorFile::from_bytes("adapter", adapter.to_safetensors().expect("encodes")).expect("reads back");
    let (mut dot, mut left, mut right) = (0.0, 0.0, 0.0);
    for name in file.names() {
        let values = |file: &TensorFile| file.tensor(name).expect("the same tensors").to_f32().expect("f32");
        for (ours, theirs) in values(&file).into_iter().zip(values(peft)) {
            let (ours, theirs) = (f64::from(ours), f64::from(theirs));
            dot += ours * theirs;
            left += ours * ours;
            right += theirs * theirs;
        }
    }
    dot / (left * right).sqrt()
}

fn larger(left: f64, right: f64) -> f64 {
    if right > left { right } else { left }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[expect(clippy::disallowed_methods, reason = "step times are printed, never kept")]
fn now() -> Instant {
    Instant::now()
}
