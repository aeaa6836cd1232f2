//! From inputs to content: every member that decides the CID, and what was measured on the way. Needs no key.
//!
//! What is made here depends on the job, the corpus, the models and the starting adapter alone. The work folder receives checkpoints, named
//! by the plan: the same plan finds them again.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use kolm_runtime::artifact::{Content, RecallContent, Task, canonical_lines, sha256_hex};
use kolm_runtime::eval::{self, Case, Outcome, Pack, Ppm};
use kolm_runtime::kernel::Level;
use kolm_runtime::model::{
    Adapter, AdapterConfig, Decoder, Encoder, ModelSource, PromptTemplate, Target, TextTokenizer,
};
use kolm_runtime::recall::RecallIndex;

use super::prompt::{Overlong, Prompter, Rendered};
use super::recall::Recall;
use super::render::Grounded;
use super::{CompileError, Previous, memory, plan, start};
use crate::cli::progress::Progress;
use crate::corpus::{Corpus, Row};
use crate::job::{Job, Metric};
use crate::train::{self, CheckpointStore, Example, TraceLine};

/// Everything a compile reads, located.
#[derive(Debug)]
pub struct Inputs {
    /// What to compile; its sections decide bytes, its paths are already resolved below.
    pub job: Job,
    /// The checked corpus.
    pub corpus: Corpus,
    /// The base.
    pub base: Base,
    /// The recall encoder; none when recall is off.
    pub encoder: Option<ModelSource>,
    /// Folder of the PEFT adapter to start from.
    pub init_adapter: Option<PathBuf>,
    /// Examples in flight; 0 the whole batch, `None` as many as fit. Never changes bits.
    pub micro_batch: Option<usize>,
    /// Folder below which checkpoints are kept.
    pub work_folder: PathBuf,
    /// The artifact to be replaced, from whose plan only the corpus may have moved.
    pub previous: Option<Previous>,
}

/// A base that can be trained on: decoder, tokenizer and end token.
pub struct Base {
    source: ModelSource,
    decoder: Arc<Decoder>,
    tokenizer: TextTokenizer,
    end_token: u32,
}

impl Base {
    /// Loads the base and sees that it has what the job asks of it.
    ///
    /// # Errors
    /// [`CompileError::Model`], [`CompileError::NoEndToken`], [`CompileError::Target`].
    pub fn load(level: Level, source: ModelSource, job: &Job) -> Result<Base, CompileError> {
        let decoder = Arc::new(Decoder::load(level, &source)?);
        let config = &decoder.config;
        let tokenizer = TextTokenizer::load(&source, config.vocabulary, &config.eos_ids)?;
        let end_token =
            eval::end_token(config).ok_or_else(|| CompileError::NoEndToken { base: source.repo().to_owned() })?;
        check_targets(job, &source)?;
        Ok(Base { source, decoder, tokenizer, end_token })
    }
}

impl fmt::Display for Base {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} rev={}", self.source.repo(), short(self.source.revision()))
    }
}

impl fmt::Debug for Base {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Base").field("source", &self.source).finish_non_exhaustive()
    }
}

/// The content of an artifact and what was measured of it.
#[derive(Debug)]
pub struct Made {
    /// Every member but manifest and receipt.
    pub content: Content,
    /// The locked cases.
    pub pack: Pack,
    /// The recall index; none when recall is off.
    pub recall: Option<RecallIndex>,
    /// What the adapter answered.
    pub outcome: Outcome,
    /// K of the base without the adapter.
    pub base_k: Ppm,
    /// K of always giving the most frequent training answer.
    pub majority_k: Ppm,
    /// Share of cases whose recalled passages hold the expected label; with recall and the metric `label` only.
    pub recall_at_k: Option<Ppm>,
    /// One line a training step.
    pub trace: Vec<TraceLine>,
    /// Folder of the checkpoints; whoever keeps the result drops it.
    pub checkpoints: PathBuf,
}

/// Makes the content.
///
/// # Errors
/// [`CompileError`]; checkpoints stay, from which the same call resumes.
pub fn make(inputs: &Inputs, level: Level, progress: &mut Progress) -> Result<Made, CompileError> {
    let Inputs { job, base, corpus, .. } = inputs;
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
    let max_length = usize::try_from(job.train.max_length).unwrap_or(usize::MAX).min(config.max_positions);
    let label_room = match &corpus.labels {
        None => 0,
        Some(labels) => {
            let lengths = labels.iter().map(|label| tokenizer.encode(label, false).map(|tokens| tokens.len() + 1));
            lengths.collect::<Result<Vec<_>, _>>()?.into_iter().max().unwrap_or(0)
        }
    };
    let prompter = Prompter {
        template: &template,
        tokenizer,
        end_token: *end_token,
        max_length,
        overlong: overlong(job.corpus.overlong),
        max_positions: config.max_positions,
        label_room,
    };

    let recalled = match &encoder {
        None => None,
        Some((_, encoder, tokenizer)) => {
            let total = corpus.train.len() as u64;
            progress.stage("recall", &format!("embedding {total} passages with {} values each", encoder.hidden_size()));
            progress.start(total);
            let k = usize::try_from(job.recall.k).unwrap_or(usize::MAX);
            let recall = Recall::build(level, encoder, tokenizer, &corpus.train, k, |done| {
                progress.advance(done as u64, total, "passages")
            })?;
            progress.finish();
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
    let examples: Vec<Example> = rows.train.iter().map(Rendered::example).collect();
    let steps = plan.train.steps;
    let micro_batch =
        inputs.micro_batch.unwrap_or_else(|| memory::micro_batch(config, &examples, job.train.batch_size));
    let settings = start::settings(job, &plan, micro_batch);
    let checkpoints = inputs.work_folder.join(&sha256_hex(&plan.encode()?)[..32]);
    let store = CheckpointStore::new(&checkpoints, job.train.checkpoint_every);
    progress.stage("train", &format!("{} examples, {steps} steps of {}", examples.len(), settings.batch_size));
    progress.start(steps);
    let (adapter, trace) =
        train::train_adapter(level, base, decoder, initial, &examples, &settings, Some(&store), &mut |report| {
            progress.step(report.step, report.steps, report.loss, report.tokens);
        })?;
    progress.finish();

    progress.stage("eval", &format!("{} cases, {}", pack.cases().len(), pack.metric_name()));
    let mut grade = |adapter: Option<&Adapter>| {
        progress.start(pack.cases().len() as u64);
        let outcome = eval::run(decoder, tokenizer, adapter, &pack, &mut |done, total| {
            progress.advance(done as u64, total as u64, "cases")
        });
        progress.finish();
        outcome
    };
    let base_outcome = grade(None)?;
    let outcome = grade(Some(&adapter))?;
    let majority_k = eval::majority_k(&pack, corpus.train.iter().map(|row| row.completion.as_str()));
    let recall_at_k = recalled.as_ref().filter(|_| job.eval.metric == Metric::Label).map(|(recall, hits)| {
        kolm_runtime::recall::recall_at_k(&recall.index, hits, corpus.eval.iter().map(|row| row.completion.as_str()))
    });
    let recall = recalled.map(|(recall, _)| recall.index);
    let content = Content {
        task: Task {
            format: Task::FORMAT.to_owned(),
            name: job.task.name.clone(),
            version: job.task.version.clone(),
            description: job.task.description.clone(),
        },
        plan,
        adapter_config: adapter.config.to_json(base.repo()),
        adapter_model: adapter.to_safetensors()?,
        recall: match &recall {
            None => None,
            Some(index) => {
                let members = index.members()?;
                Some(RecallContent { config: members.config, vectors: members.vectors, passages: members.passages })
            }
        },
        eval_pack: pack.bytes().to_vec(),
        eval_replay: outcome.bytes()?,
        training_trace: canonical_lines(trace.iter())?,
    };
    Ok(Made { content, pack, recall, outcome, base_k: base_outcome.k, majority_k, recall_at_k, trace, checkpoints })
}

fn short(revision: &str) -> &str {
    revision.get(..8).unwrap_or(revision)
}

/// Every target is a module that the decoder has; all seven names are, in every architecture we load.
fn check_targets(job: &Job, base: &ModelSource) -> Result<(), CompileError> {
    match job.adapter.targets.iter().find(|name| Target::parse(name).is_err()) {
        None => Ok(()),
        Some(found) => Err(CompileError::Target {
            found: found.clone(),
            base: base.repo().to_owned(),
            expected: Target::ALL.map(Target::name).join(", "),
        }),
    }
}

fn template(job: &Job, base: &ModelSource) -> Result<(PromptTemplate, bool), CompileError> {
    if let Some(template) = &job.task.template {
        return Ok((PromptTemplate::of_job(template)?, false));
    }
    let template =
        PromptTemplate::of_base(base)?.ok_or_else(|| CompileError::NoTemplate { base: base.repo().to_owned() })?;
    Ok((template, true))
}

fn overlong(overlong: crate::job::Overlong) -> Overlong {
    match overlong {
        crate::job::Overlong::Drop => Overlong::Drop,
        crate::job::Overlong::Truncate => Overlong::Truncate,
        crate::job::Overlong::Error => Overlong::Error,
    }
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
