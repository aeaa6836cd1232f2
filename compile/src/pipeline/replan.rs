//! From a plan back to the job it resolved, so that an artifact is compiled again from what it carries and from no job file.
//!
//! The stages take a [`Job`]; this is the one whose resolved plan is the given plan. Two things of a job are not in a plan, and neither of
//! them decides a byte of an artifact that exists: what leakage and residual identifiers lead to (they did not stop the compile, and
//! dropping nothing is the same as having nothing to drop), and the interval between checkpoints.

use std::path::PathBuf;

use kolm_runtime::artifact::{self, Plan, Task, TemplateSource};

use super::CompileError;
use crate::corpus;
use crate::job::{
    AdapterSection, BaseSection, CorpusSection, Decimal, Duplicates, EvalSection, Identifiers, Job, Leakage, Metric,
    Overlong, RecallSection, RecallUse, Schedule, TaskSection, TrainSection,
};

/// The job that resolves to `plan`.
///
/// # Errors
/// [`CompileError::Value`] for a number in the plan that no job could have given.
pub fn job_of(task: &Task, plan: &Plan) -> Result<Job, CompileError> {
    let columns = &plan.corpus.columns;
    let recall = plan.recall.as_ref();
    Ok(Job {
        path: PathBuf::new(),
        task: TaskSection {
            name: task.name.clone(),
            version: task.version.clone(),
            description: task.description.clone(),
            template: match plan.task.template_source {
                TemplateSource::Job => Some(plan.task.template.clone()),
                TemplateSource::Base => None,
            },
        },
        base: BaseSection { model: plan.base.repo.clone(), revision: Some(plan.base.revision.clone()) },
        corpus: CorpusSection {
            train: Vec::new(),
            eval: Vec::new(),
            id: columns.id.clone(),
            prompt: columns.prompt.clone(),
            completion: columns.completion.clone(),
            split: columns.split.clone(),
            train_split: plan.split.train.clone().unwrap_or_default(),
            eval_split: plan.split.eval.clone().unwrap_or_default(),
            overlong: match plan.corpus.overlong {
                artifact::Overlong::Drop => Overlong::Drop,
                artifact::Overlong::Truncate => Overlong::Truncate,
                artifact::Overlong::Error => Overlong::Error,
            },
            duplicates: match plan.corpus.duplicates {
                artifact::Duplicates::Drop => Duplicates::Drop,
                artifact::Duplicates::Error => Duplicates::Error,
            },
            leakage: Leakage::Drop,
            identifiers: Identifiers::Allow,
        },
        adapter: AdapterSection {
            rank: plan.adapter.rank,
            alpha: plan.adapter.alpha,
            targets: plan.adapter.targets.clone(),
            init: None,
        },
        train: train(plan)?,
        recall: RecallSection {
            encoder: recall.map(|recall| recall.encoder.repo.clone()).unwrap_or_default(),
            revision: recall.map(|recall| recall.encoder.revision.clone()),
            k: recall.map_or(1, |recall| recall.k),
            usage: match recall.map(|recall| recall.usage) {
                None => RecallUse::Off,
                Some(artifact::RecallUse::Cite) => RecallUse::Cite,
                Some(artifact::RecallUse::Context) => RecallUse::Context,
            },
            vectors: recall.and_then(|recall| recall.vectors).unwrap_or_default(),
            lists: Some(recall.and_then(|recall| recall.lists).unwrap_or(0)),
        },
        eval: EvalSection {
            metric: Metric::named(&plan.eval.metric).ok_or_else(|| CompileError::Value {
                what: "plan.json eval.metric",
                found: plan.eval.metric.clone(),
                expected: "a metric that this version knows",
            })?,
            labels: plan.eval.labels.clone(),
            cases: plan.split.eval_cases,
            gate: decimal("plan.json eval.gate", &plan.eval.gate)?,
            max_new_tokens: plan.eval.max_new_tokens,
        },
    })
}

fn train(plan: &Plan) -> Result<TrainSection, CompileError> {
    let train = &plan.train;
    Ok(TrainSection {
        seed: whole("plan.json seed", &plan.seed)?,
        epochs: whole("plan.json train.epochs", &train.epochs)?,
        steps: Some(train.steps),
        batch_size: train.batch_size,
        micro_batch: None,
        learning_rate: decimal("plan.json train.learning_rate", &train.learning_rate)?,
        warmup_steps: Some(train.warmup_steps),
        schedule: match train.schedule {
            artifact::Schedule::Linear => Schedule::Linear,
            artifact::Schedule::Constant => Schedule::Constant,
        },
        beta1: decimal("plan.json train.beta1", &train.beta1)?,
        beta2: decimal("plan.json train.beta2", &train.beta2)?,
        epsilon: decimal("plan.json train.epsilon", &train.epsilon)?,
        weight_decay: decimal("plan.json train.weight_decay", &train.weight_decay)?,
        clip_norm: decimal("plan.json train.clip_norm", &train.clip_norm)?,
        max_length: train.max_length,
        checkpoint_every: CHECKPOINT_EVERY_STEPS,
    })
}

/// Loads the corpus and splits it as the plan says.
///
/// # Errors
/// [`CompileError::Corpus`], [`CompileError::Split`] when the splits are not the recorded ones.
pub fn load_corpus(
    job: &Job,
    plan: &Plan,
    train: Vec<PathBuf>,
    eval: Vec<PathBuf>,
) -> Result<corpus::Corpus, CompileError> {
    let found = corpus::load(&corpus::Request { train, eval, ..corpus::Request::from_job(job, &[]) })?;
    let recorded = &plan.corpus;
    if found.train_sha256 == recorded.train_sha256 && found.eval_sha256 == recorded.eval_sha256 {
        return Ok(found);
    }
    Err(CompileError::Split {
        train: [found.train_sha256, recorded.train_sha256.clone()],
        eval: [found.eval_sha256, recorded.eval_sha256.clone()],
    })
}

fn whole(what: &'static str, text: &str) -> Result<u64, CompileError> {
    let wrong = || CompileError::Value { what, found: text.to_owned(), expected: "a whole number" };
    text.parse().map_err(|_| wrong())
}

fn decimal(what: &'static str, text: &str) -> Result<Decimal, CompileError> {
    let wrong = || CompileError::Value { what, found: text.to_owned(), expected: "a finite number" };
    text.parse().ok().and_then(Decimal::new).ok_or_else(wrong)
}

/// A job's default.
const CHECKPOINT_EVERY_STEPS: u64 = 50;
