//! From inputs to content: every member that decides the CID, and what was measured on the way. Needs no key.
//!
//! What is made here depends on the job, the corpus, the models and the starting adapter alone. The work folder receives checkpoints, named
//! by the plan: the same plan finds them again.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use kolm_runtime::artifact::{Content, RecallContent, Staged, Task, canonical_lines, sha256_hex};
use kolm_runtime::eval::{self, Outcome, Pack, Ppm};
use kolm_runtime::kernel::Level;
use kolm_runtime::model::{Adapter, Decoder, DecoderConfig, ModelSource, Target, TextTokenizer};
use kolm_runtime::recall::RecallIndex;

use super::prepare::{Prepared, prepare};
use super::{CompileError, Previous, Size};
use crate::cli::progress::Progress;
use crate::corpus::Corpus;
use crate::job::{Job, Metric};
use crate::train::{CheckpointStore, FullTrace, StepReport, TraceLine};

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
    /// Memory that the training may take; `None` for what is free. Never changes bits.
    pub memory: Option<Size>,
    /// Folder below which checkpoints are kept.
    pub work_folder: PathBuf,
    /// The artifact to be replaced, from whose plan only the corpus may have moved.
    pub previous: Option<Previous>,
    /// File that receives the full trace: digests of every block, step by step. Never changes bits.
    pub full_trace: Option<PathBuf>,
}

/// A base that can be trained on: decoder, tokenizer and end token.
pub struct Base {
    pub(super) source: ModelSource,
    pub(super) decoder: Arc<Decoder>,
    pub(super) tokenizer: TextTokenizer,
    pub(super) end_token: u32,
}

impl Base {
    /// Loads the base and sees that it has what the job asks of it.
    ///
    /// # Errors
    /// [`CompileError::Model`], [`CompileError::NoEndToken`], [`CompileError::Target`].
    pub fn load(level: Level, source: ModelSource, job: &Job) -> Result<Base, CompileError> {
        // What can be refused for its settings is, before gigabytes of weights are read.
        let (_, tokenizer, end_token) = load_text_side(&source)?;
        check_targets(job, &source)?;
        let decoder = Arc::new(Decoder::load(level, &source)?);
        Ok(Base { source, decoder, tokenizer, end_token })
    }
}

impl Base {
    /// Where it was loaded from.
    pub fn source(&self) -> &ModelSource {
        &self.source
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

/// What a base needs to read text: settings, tokenizer, the token that ends an answer.
///
/// # Errors
/// [`CompileError::Model`], [`CompileError::NoEndToken`].
pub(super) fn load_text_side(source: &ModelSource) -> Result<(DecoderConfig, TextTokenizer, u32), CompileError> {
    let config = DecoderConfig::load(source)?;
    let tokenizer = TextTokenizer::load(source, config.vocabulary, &config.eos_ids)?;
    let end_token =
        eval::end_token(&config).ok_or_else(|| CompileError::NoEndToken { base: source.repo().to_owned() })?;
    Ok((config, tokenizer, end_token))
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
    let Inputs { job, base: Base { source: base, decoder, tokenizer, .. }, corpus, .. } = inputs;
    let prepared = prepare(inputs, level, progress)?;
    let (examples, settings) = (prepared.examples.len(), &prepared.settings);
    let checkpoints = inputs.work_folder.join(&sha256_hex(&prepared.plan.encode()?)[..32]);
    let store = CheckpointStore::new(&checkpoints, job.train.checkpoint_every);
    progress.stage("memory", &prepared.memory.summary());
    progress.stage("train", &format!("{examples} examples, {} steps of {}", settings.steps, settings.batch_size));
    progress.start(settings.steps);
    let mut shown = |report: &StepReport| progress.step(report.step, report.steps, report.loss, report.tokens);
    let (adapter, trace) = match &inputs.full_trace {
        None => prepared.train(Some(&store), &mut shown)?,
        Some(path) => {
            // No checkpoint: one has no digests of the steps before it.
            let mut full = FullTrace::new(decoder.config.layers, &mut shown);
            let trained = prepared.train(None, &mut full)?;
            Staged::write(path, &canonical_lines(full.lines().iter())?)?.commit()?;
            trained
        }
    };
    progress.finish();

    let Prepared { plan, pack, recalled, .. } = prepared;
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
