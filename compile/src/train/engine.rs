//! The training loop: order, examples in flight, the tree, the optimiser, the trace, checkpoints.
//!
//! It knows nothing of models: an [`Objective`] turns the parameters into whatever its examples need once per step, and gives one
//! example's loss and gradient. Each example is computed alone and added by the fixed tree, so neither the number of threads nor the number
//! of examples in flight can show in a result. NUMERICS.md, "Training", clauses T2 to T7.

use std::ops::ControlFlow;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use kolm_runtime::kernel::{self, Level};

use super::checkpoint::{CheckpointStore, Progress};
use super::error::TrainError;
use super::optimizer::{Moments, clip_factor, global_norm, learning_rate};
use super::parameters::{Parameters, hex};
use super::record::{Detail, Recorded};
use super::settings::{Order, Settings, StepReport, TraceLine};
use super::step_record;
use super::stream::{shuffle, stream};
use super::tree::Tree;

/// What is learned.
pub(crate) trait Objective: Sync {
    /// The parameters in the form that the step's examples use, made once per step.
    type Ready: Sync;

    /// How many examples there are.
    fn example_count(&self) -> usize;

    /// Prepares the parameters for a step.
    fn ready(&self, parameters: &Parameters) -> Result<Self::Ready, TrainError>;

    /// Loss and gradient of one example, each a sum over its learned tokens; what `detail` asks for is recorded by adapters only.
    fn gradient(
        &self,
        ready: &Self::Ready,
        example: usize,
        detail: Option<Detail>,
    ) -> Result<ExampleGradient, TrainError>;

    /// Hashes what the objective learns from (examples, frozen weights) into a checkpoint's fingerprint.
    fn fingerprint(&self, hasher: &mut Sha256);
}

/// Loss and gradient of one example, or the sum of several.
pub(crate) struct ExampleGradient {
    /// Sum of the learned tokens' losses.
    pub(crate) loss: f64,
    /// How many tokens were learned.
    pub(crate) learned: u64,
    /// How many tokens went through the model.
    pub(crate) tokens: u64,
    /// Sum of the gradients, group by group.
    pub(crate) groups: Vec<Vec<f32>>,
    /// What was recorded of one example; of a sum, nothing.
    pub(crate) recorded: Vec<Recorded>,
}

/// Whoever watches a run: it sees every step, may have some recorded, and may end the run. It never changes a bit.
pub trait Watcher {
    /// Sees a step that is done.
    fn step(&mut self, report: &StepReport);

    /// Says what to record of step `step`, counted from 1.
    fn detail(&self, _step: u64) -> Option<Detail> {
        None
    }

    /// Takes what was recorded, in the order in which it was computed.
    ///
    /// # Errors
    /// What ends the run, as [`TrainError::Record`].
    fn record(&mut self, _recorded: Vec<Recorded>) -> std::io::Result<()> {
        Ok(())
    }

    /// Sees the trace of a step; a break ends the run after it.
    ///
    /// # Errors
    /// What ends the run, as [`TrainError::Record`].
    fn traced(&mut self, _line: &TraceLine) -> std::io::Result<ControlFlow<()>> {
        Ok(ControlFlow::Continue(()))
    }
}

impl<F: FnMut(&StepReport)> Watcher for F {
    fn step(&mut self, report: &StepReport) {
        self(report);
    }
}

/// Trains `parameters` and gives the trace.
pub(crate) fn run<O: Objective>(
    level: Level,
    objective: &O,
    settings: &Settings,
    parameters: &mut Parameters,
    checkpoint: Option<&CheckpointStore>,
    watcher: &mut dyn Watcher,
) -> Result<Vec<TraceLine>, TrainError> {
    check(settings, objective.example_count())?;
    let fingerprint = fingerprint(objective, settings, parameters);
    let resumed = match checkpoint {
        Some(store) => store.load(&fingerprint, parameters)?,
        None => None,
    };
    let mut progress =
        resumed.unwrap_or_else(|| Progress { step: 0, moments: Moments::new(parameters), trace: Vec::new() });
    let mut batches = Batches::new(settings, objective.example_count());
    while progress.step < settings.steps {
        let step = progress.step + 1;
        let batch = batches.at(progress.step);
        let detail = watcher.detail(step);
        let whole = detail == Some(Detail::Tensors);
        if whole {
            watcher.record(step_record::start(parameters, &progress.moments, batch)).map_err(TrainError::Record)?;
        }
        let mut sum = batch_gradient(level, objective, settings, parameters, batch, detail, watcher)?;
        let traced = step.is_multiple_of(settings.trace_every.max(1)) || step == settings.steps;
        let gradient_sha256 = if traced { hex(&parameters.sha256(&sum.groups)) } else { String::new() };
        let loss = (sum.loss / sum.learned as f64) as f32;
        if whole {
            watcher.record(step_record::sum(&sum, parameters)).map_err(TrainError::Record)?;
        }
        if !loss.is_finite() {
            return Err(TrainError::NotFinite { step, what: "loss".to_string() });
        }
        let count = sum.learned as f32;
        sum.groups
            .par_iter_mut()
            .for_each(|flat| flat.par_chunks_mut(CHUNK).for_each(|part| part.iter_mut().for_each(|g| *g /= count)));
        let norm = global_norm(level, parameters, &sum.groups)
            .map_err(|name| TrainError::NotFinite { step, what: format!("gradient of {name}") })?;
        let rate = learning_rate(settings, progress.step);
        let factor = clip_factor(settings.clip_norm, norm);
        progress.moments.step(level, settings, rate, factor, &sum.groups, parameters);
        progress.step = step;
        if whole {
            let scalars = [("global norm", norm), ("clip factor", f64::from(factor)), ("learning rate", rate)];
            let recorded = step_record::update(&scalars, parameters, &progress.moments);
            watcher.record(recorded).map_err(TrainError::Record)?;
        }
        let mut flow = ControlFlow::Continue(());
        if traced {
            let line = TraceLine {
                step,
                loss: format!("{:08x}", loss.to_bits()),
                gradient_sha256,
                parameters_sha256: hex(&parameters.sha256(&parameters.values)),
            };
            flow = watcher.traced(&line).map_err(TrainError::Record)?;
            progress.trace.push(line);
        }
        if let Some(store) = checkpoint
            && store.due(step)
        {
            store.save(&fingerprint, &progress, parameters)?;
        }
        watcher.step(&StepReport {
            step,
            steps: settings.steps,
            loss,
            gradient_norm: norm,
            learning_rate: rate,
            tokens: sum.tokens,
        });
        if flow.is_break() {
            break;
        }
    }
    Ok(progress.trace)
}

/// Sum over the examples of one batch, by the tree.
fn batch_gradient<O: Objective>(
    level: Level,
    objective: &O,
    settings: &Settings,
    parameters: &Parameters,
    batch: &[usize],
    detail: Option<Detail>,
    watcher: &mut dyn Watcher,
) -> Result<ExampleGradient, TrainError> {
    let ready = objective.ready(parameters)?;
    let in_flight = match (settings.micro_batch, detail) {
        // Every tensor of an example is much: one example at a time.
        (_, Some(Detail::Tensors)) => 1,
        (0, _) => batch.len(),
        (size, _) => size,
    };
    let mut place = 0;
    let mut tree = Tree::new();
    let mut add = |left: &mut ExampleGradient, right: &ExampleGradient| {
        left.loss += right.loss;
        left.learned += right.learned;
        left.tokens += right.tokens;
        for (left, right) in left.groups.iter_mut().zip(&right.groups) {
            kernel::add(level, left, right);
        }
    };
    for some in batch.chunks(in_flight) {
        for gradient in kernel::side_by_side(some.to_vec(), |example| objective.gradient(&ready, example, detail)) {
            let mut gradient = gradient?;
            let mut recorded = std::mem::take(&mut gradient.recorded);
            if detail.is_some() {
                recorded.iter_mut().for_each(|recorded| recorded.place.example = Some(place));
                watcher.record(recorded).map_err(TrainError::Record)?;
            }
            place += 1;
            tree.push(gradient, &mut add);
        }
    }
    tree.finish(&mut add).ok_or(TrainError::NoExamples)
}

/// Which examples each step takes.
struct Batches {
    seed: u64,
    order: Order,
    batch_size: u64,
    examples: u64,
    epoch: Option<u64>,
    permutation: Vec<usize>,
    batch: Vec<usize>,
}

impl Batches {
    fn new(settings: &Settings, examples: usize) -> Self {
        Self {
            seed: settings.seed,
            order: settings.order,
            batch_size: settings.batch_size as u64,
            examples: examples as u64,
            epoch: None,
            permutation: (0..examples).collect(),
            batch: Vec::new(),
        }
    }

    /// The epochs' orders one after another, cut in batches; `step` counts from 0.
    fn at(&mut self, step: u64) -> &[usize] {
        self.batch.clear();
        for position in step * self.batch_size..(step + 1) * self.batch_size {
            let epoch = position / self.examples;
            if self.order == Order::Shuffled && self.epoch != Some(epoch) {
                self.permutation = (0..self.permutation.len()).collect();
                shuffle(&mut stream(self.seed, "train.order", epoch), &mut self.permutation);
                self.epoch = Some(epoch);
            }
            self.batch.push(self.permutation[(position % self.examples) as usize]);
        }
        &self.batch
    }
}

fn fingerprint<O: Objective>(objective: &O, settings: &Settings, parameters: &Parameters) -> String {
    let mut hasher = Sha256::new();
    hasher.update(b"kolm training 1\n");
    hasher.update(settings.canonical());
    for (_, slot) in parameters.in_name_order() {
        hasher.update(format!("\n{} {:?}", slot.name, slot.shape));
    }
    hasher.update(parameters.sha256(&parameters.values));
    objective.fingerprint(&mut hasher);
    hex(&hasher.finalize())
}

fn check(settings: &Settings, examples: usize) -> Result<(), TrainError> {
    if examples == 0 {
        return Err(TrainError::NoExamples);
    }
    let refuse = |name, found: String, expected| Err(TrainError::Setting { name, found, expected });
    if settings.batch_size == 0 {
        return refuse("batch_size", "0".to_string(), "at least 1");
    }
    let decay = |value: f64| (0.0..1.0).contains(&value);
    let not_negative = |value: f64| value.is_finite() && value >= 0.0;
    for (name, value, holds, expected) in [
        (
            "learning_rate",
            settings.learning_rate,
            settings.learning_rate.is_finite() && settings.learning_rate > 0.0,
            "above 0",
        ),
        ("beta1", settings.beta1, decay(settings.beta1), "at least 0 and below 1"),
        ("beta2", settings.beta2, decay(settings.beta2), "at least 0 and below 1"),
        ("epsilon", settings.epsilon, settings.epsilon.is_finite() && settings.epsilon > 0.0, "above 0"),
        ("weight_decay", settings.weight_decay, not_negative(settings.weight_decay), "at least 0"),
        ("clip_norm", settings.clip_norm, not_negative(settings.clip_norm), "at least 0"),
    ] {
        if !holds {
            return refuse(name, value.to_string(), expected);
        }
    }
    Ok(())
}

/// Values one thread divides at a time; does not show in the result.
const CHUNK: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::{Batches, Order, Settings};

    #[test]
    fn every_epoch_takes_every_example_once() {
        let settings = Settings { batch_size: 4, seed: 3, ..Settings::default() };
        let mut batches = Batches::new(&settings, 10);
        let taken: Vec<usize> = (0..5).flat_map(|step| batches.at(step).to_vec()).collect();
        for epoch in taken.chunks(10) {
            let mut sorted = epoch.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..10).collect::<Vec<_>>());
        }
        assert_ne!(taken[..10], taken[10..]);
        let again: Vec<usize> = Batches::new(&settings, 10).at(3).to_vec();
        assert_eq!(again, taken[12..16]);
    }

    #[test]
    fn sequential_order_wraps() {
        let settings = Settings { batch_size: 3, order: Order::Sequential, ..Settings::default() };
        let mut batches = Batches::new(&settings, 4);
        assert_eq!(batches.at(1), [3, 0, 1]);
    }
}
