//! From inputs to everything that training and grading need: prompts, recall index, plan, eval pack, starting adapter.
//!
//! A compile trains and grades what is prepared here; a bisection trains a part of it, with every tensor recorded. Nothing is written.

use kolm_runtime::artifact::{Plan, sha256_hex};
use kolm_runtime::eval::{self, Case, Pack};
use kolm_runtime::kernel::Level;
use kolm_runtime::model::{Adapter, AdapterConfig, Encoder, ModelSource, PromptTemplate, TextTokenizer};
use kolm_runtime::recall::Hit;

use super::content::{Base, Inputs};
use super::memory::MemoryPlan;
use super::prompt::{Prompter, Rendered};
use super::recall::Recall;
use super::render::Grounded;
use super::{CompileError, memory, plan, start};
use crate::cli::progress::Progress;
use crate::corpus::Row;
use crate::job::{Job, Metric};
use crate::train::{self, CheckpointStore, Example, Settings, TraceLine, TrainError, Watcher};

/// A compile up to its first training step.
pub struct Prepared<'a> {
    level: Level,
    base: &'a Base,
    /// The resolved plan.
    pub plan: Plan,
    /// The locked cases.
    pub pack: Pack,
    /// What training starts from.
    pub initial: Adapter,
    /// What is learned, in the order of the training rows.
    pub examples: Vec<Example>,
    /// How it is learned.
    pub settings: Settings,
    /// What that needs of memory.
    pub memory: MemoryPlan,
    /// Index and what it gives for each eval row; none when recall is off.
    pub(super) recalled: Option<(Recall, Vec<Vec<Hit>>)>,
}

impl Prepared<'_> {
    /// Trains, and gives adapter and trace.
    ///
    /// # Errors
    /// As [`train::train_adapter`].
    pub fn train(
        &self,
        checkpoints: Option<&CheckpointStore>,
        watcher: &mut dyn Watcher,
    ) -> Result<(Adapter, Vec<TraceLine>), TrainError> {
        let Base { source, decoder, .. } = self.base;
        let initial = self.initial.clone();
        train::train_adapter(self.level, source, decoder, initial, &self.examples, &self.settings, checkpoints, watcher)
    }
}

/// Prepares a compile.
///
/// # Errors
/// [`CompileError`].
pub fn prepare<'a>(inputs: &'a Inputs, level: Level, progress: &mut Progress) -> Result<Prepared<'a>, CompileError> {
    let Inputs { job, base, corpus, .. } = inputs;
    let whole = base;
    let Base { source: base, decoder, tokenizer, end_token } = base;
    let config = &decoder.config;
    progress.stage(
        "corpus",
        &format!(
            "{} training rows, {} eval rows, {} left out, {} identifiers",
            corpus.train.len(),
            corpus.eval.len(),
            corpus.dropped.total(),
            corpus.scan.total()
        ),
    );

    let encoder = match &inputs.encoder {
        None => None,
        Some(source) => {
            let encoder = Encoder::load(level, source)?;
            let tokenizer = TextTokenizer::load(source, encoder.config.vocabulary, &[])?;
            Some((source, encoder, tokenizer))
        }
    };

    let (template, template_of_base) = template(job, base)?;
    let prompter = Prompter::new(job, config, &template, (tokenizer, *end_token), corpus.labels.as_deref())?;
    let max_length = prompter.max_length;

    let recalled = match &encoder {
        None => None,
        Some((_, encoder, tokenizer)) => {
            let recall = Recall::build(level, encoder, tokenizer, &corpus.train, &job.recall, progress)?;
            let hits = recall.of_eval_rows(encoder, tokenizer, &corpus.eval)?;
            Some((recall, hits))
        }
    };
    let stage = Grounded { corpus, prompter: &prompter, usage: job.recall.usage };
    let rows = stage.render(recalled.as_ref())?;
    progress.stage(
        "prompts",
        &format!(
            "{} training rows, {} eval rows; {} left out as longer than {max_length} tokens",
            rows.train.len(),
            rows.eval.len(),
            rows.dropped
        ),
    );

    let labels = corpus.labels.clone();
    let init = start::initial_adapter(inputs.init_adapter.as_deref())?;
    let plan = plan::resolve(&plan::Resolved {
        job,
        base,
        base_config: config,
        encoder: encoder.as_ref().map(|(source, encoder, _)| (*source, &encoder.config)),
        template: template.source(),
        template_of_base,
        corpus,
        train_rows: rows.train.len() as u64,
        eval_rows: rows.eval.len() as u64,
        dropped: rows.dropped,
        labels: labels.clone(),
        max_length,
        init_sha256: init.as_ref().map(|(_, tensors)| sha256_hex(tensors)),
    })?;
    if let Some(previous) = &inputs.previous {
        previous.check_plan(&plan, job)?;
    }
    let cases = rows.eval.iter().map(|(row, rendered)| case(job, row, rendered)).collect();
    let max_new_tokens = u32::try_from(job.eval.max_new_tokens).unwrap_or(u32::MAX);
    let pack = Pack::new(labels, max_new_tokens, cases)?;

    let adapter_config = AdapterConfig::new(
        usize::try_from(job.adapter.rank).unwrap_or(usize::MAX),
        u32::try_from(job.adapter.alpha).unwrap_or(u32::MAX),
        &job.adapter.targets,
    )?;
    let initial = match init {
        None => train::initial_adapter(level, config, &adapter_config, job.train.seed)?,
        Some((settings, tensors)) => {
            let adapter = Adapter::from_files(level, config, &settings, tensors)?;
            start::same_shape(&adapter.config, &adapter_config)?;
            adapter
        }
    };
    // What only the stages before needed is given back before memory is measured.
    let examples = rows.train;
    drop((encoder, rows.eval));
    let memory = memory::plan(&memory::Parts {
        decoder,
        initial: &initial,
        examples: &examples,
        recall: recalled.as_ref().map_or(0, |(recall, _)| recall.len_bytes()),
        text: corpus.train.iter().chain(&corpus.eval).map(|row| (row.prompt.len() + row.completion.len()) as u64).sum(),
        steps: plan.train.steps,
        batch_size: usize::try_from(job.train.batch_size).unwrap_or(usize::MAX),
        micro_batch: inputs.micro_batch,
        memory: inputs.memory,
        threads: rayon::current_num_threads(),
    })?;
    let settings = start::settings(job, &plan, &memory);
    Ok(Prepared { level, base: whole, plan, pack, initial, examples, settings, memory, recalled })
}

/// The job's template, or that of its base; and whether it is the base's.
pub(super) fn template(job: &Job, base: &ModelSource) -> Result<(PromptTemplate, bool), CompileError> {
    if let Some(template) = &job.task.template {
        return Ok((PromptTemplate::of_job(template)?, false));
    }
    let template =
        PromptTemplate::of_base(base)?.ok_or_else(|| CompileError::NoTemplate { base: base.repo().to_owned() })?;
    Ok((template, true))
}

fn case(job: &Job, row: &Row, rendered: &Rendered) -> Case {
    Case {
        id: row.id.clone(),
        prompt: rendered.prompt.clone(),
        expected: row.completion.clone(),
        weight: 1,
        metric: metric(job.eval.metric),
    }
}

fn metric(metric: Metric) -> eval::Metric {
    match metric {
        Metric::Label => eval::Metric::Label,
        Metric::Exact => eval::Metric::Exact,
        Metric::Contains => eval::Metric::Contains,
        Metric::Json => eval::Metric::Json,
        Metric::TokenF1 => eval::Metric::TokenF1,
        Metric::RougeL => eval::Metric::RougeL,
    }
}
