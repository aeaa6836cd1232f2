//! Where training starts from and what it is asked to do: starting adapter and settings.

use std::path::Path;

use kolm_runtime::artifact::Plan;
use kolm_runtime::model::AdapterConfig;

use super::CompileError;
use super::memory::MemoryPlan;
use crate::job::Job;
use crate::train::{self, Settings};

/// `adapter_config.json` and `adapter_model.safetensors`.
pub(super) type PeftFiles = (Vec<u8>, Vec<u8>);

/// The two files of the PEFT adapter to start from, if one is named.
pub(super) fn initial_adapter(folder: Option<&Path>) -> Result<Option<PeftFiles>, CompileError> {
    let Some(folder) = folder else { return Ok(None) };
    let read = |name: &str| {
        let path = folder.join(name);
        std::fs::read(&path).map_err(|source| CompileError::Io { action: "read", path, source })
    };
    Ok(Some((read("adapter_config.json")?, read("adapter_model.safetensors")?)))
}

/// Refuses a starting adapter of another shape than the job's.
pub(super) fn same_shape(found: &AdapterConfig, expected: &AdapterConfig) -> Result<(), CompileError> {
    let differs = |what, found: String, expected: String| Err(CompileError::InitialAdapter { what, found, expected });
    if found.rank != expected.rank {
        return differs("rank", found.rank.to_string(), expected.rank.to_string());
    }
    if found.alpha != expected.alpha {
        return differs("alpha", found.alpha.to_string(), expected.alpha.to_string());
    }
    if found.targets != expected.targets {
        return differs("targets", found.targets.join(", "), expected.targets.join(", "));
    }
    Ok(())
}

/// The training run that job and plan ask for.
pub(super) fn settings(job: &Job, plan: &Plan, memory: &MemoryPlan) -> Settings {
    let train = &job.train;
    Settings {
        seed: train.seed,
        steps: plan.train.steps,
        batch_size: usize::try_from(train.batch_size).unwrap_or(usize::MAX),
        learning_rate: train.learning_rate.value(),
        warmup_steps: plan.train.warmup_steps,
        schedule: match train.schedule {
            crate::job::Schedule::Linear => train::Schedule::Linear,
            crate::job::Schedule::Constant => train::Schedule::Constant,
        },
        beta1: train.beta1.value(),
        beta2: train.beta2.value(),
        epsilon: train.epsilon.value(),
        weight_decay: train.weight_decay.value(),
        clip_norm: train.clip_norm.value(),
        order: train::Order::Shuffled,
        trace_every: 1,
        micro_batch: memory.micro_batch,
        recompute: memory.recompute,
    }
}
