//! The stages of a compile, in order: sources, corpus, prompts, recall, training, grading, assembly.
//!
//! A stage sees only its predecessors' outputs; nothing flows back. Whatever decides a byte of the content is in the plan before training
//! starts; threads, paths, clock and environment are not.

mod assemble;
mod error;
pub mod fetch;
mod memory;
mod plan;
mod prompt;
mod recall;
mod sources;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kolm_runtime::artifact::{KeySource, Timestamp, sha256_hex};
use kolm_runtime::eval::{self, Case};
use kolm_runtime::kernel::Level;
use kolm_runtime::model::{
    Adapter, AdapterConfig, Decoder, Encoder, ModelSource, PromptTemplate, Target, TextTokenizer,
};

pub use assemble::Compiled;
pub use error::CompileError;
pub use sources::{Lookup, locate};

use crate::cli::environment::Environment;
use crate::cli::progress::Progress;
use crate::corpus::{self, Corpus, Row};
use crate::job::{Job, Metric, RecallUse};
use crate::train::{self, CheckpointStore, Example, Settings};
use prompt::{Overlong, Prompter, Rendered};
use recall::Recall;

/// One compile as asked for on the command line.
#[derive(Debug, Clone)]
pub struct Request {
    /// The job file.
    pub job: PathBuf,
    /// Folder that receives `NAME-VERSION.kolm`.
    pub out: PathBuf,
    /// Corpus files in place of the job's.
    pub corpus: Vec<PathBuf>,
    /// Base in place of the job's.
    pub base: Option<String>,
    /// Encoder in place of the job's.
    pub encoder: Option<String>,
    /// PEFT adapter to start from, in place of the job's.
    pub init_adapter: Option<PathBuf>,
    /// When the artifact is made.
    pub created: Timestamp,
    /// Examples in flight; 0 the whole batch, `None` as many as fit.
    pub micro_batch: Option<usize>,
    /// Write the artifact even when K is below the gate.
    pub allow_below_gate: bool,
    /// Replace an artifact of the same name and version.
    pub force: bool,
    /// Where the operator's key is.
    pub key: KeySource,
}

/// Compiles a job into an artifact and writes it.
///
/// # Errors
/// [`CompileError`]; nothing is left behind but checkpoints, from which the same compile resumes.
pub fn compile(
    request: &Request,
    level: Level,
    environment: &Environment,
    progress: &mut Progress,
) -> Result<Compiled, CompileError> {
    let job = Job::read(&request.job)?;
    let output = assemble::Output::prepare(request, &job)?;
    let folder = job.path.parent().unwrap_or(Path::new("")).to_owned();
    let (cache, offline) = (environment.hub_cache.as_path(), environment.offline.as_ref());
    let endpoint = environment.hub_endpoint.as_deref();
    // What the job names is relative to the job file, what the command line names to the working folder.
    let of_job = |model, revision| locate(Lookup { model, revision, folder: &folder, cache, endpoint, offline });
    let typed = |model| locate(Lookup { model, revision: None, folder: Path::new(""), cache, endpoint, offline });
    let base = match &request.base {
        Some(model) => typed(model)?,
        None => of_job(&job.base.model, job.base.revision.as_deref())?,
    };
    let decoder = Arc::new(Decoder::load(level, &base)?);
    let config = &decoder.config;
    let tokenizer = TextTokenizer::load(&base, config.vocabulary, &config.eos_ids)?;
    let end_token = eval::end_token(config).ok_or_else(|| CompileError::NoEndToken { base: base.repo().to_owned() })?;
    check_targets(&job, &base)?;
    let (key, key_was_made) = request.key.load_or_create()?;
    if key_was_made && let Some(path) = request.key.path() {
        progress.stage(
            "key",
            &format!("made {} (id {}); keep a copy where the artifacts are verified", path.display(), key.id()),
        );
    }
    progress.stage("base", &format!("{} rev={}", base.repo(), short(base.revision())));

    let corpus = corpus::load(&corpus::Request::from_job(&job, &request.corpus))?;
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

    let encoder = match job.recall.usage {
        RecallUse::Off => None,
        _ => {
            let source = match &request.encoder {
                Some(model) => typed(model)?,
                None => of_job(&job.recall.encoder, job.recall.revision.as_deref())?,
            };
            let encoder = Encoder::load(level, &source)?;
            let tokenizer = TextTokenizer::load(&source, encoder.config.vocabulary, &[])?;
            Some((source, encoder, tokenizer))
        }
    };

    let (template, template_of_base) = template(&job, &base)?;
    let max_length = usize::try_from(job.train.max_length).unwrap_or(usize::MAX).min(config.max_positions);
    let prompter = Prompter {
        template: &template,
        tokenizer: &tokenizer,
        end_token,
        max_length,
        overlong: overlong(job.corpus.overlong),
    };

    let stage = Grounded { corpus: &corpus, prompter: &prompter, usage: job.recall.usage };
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
    let rows = stage.render(recalled.as_ref())?;

    let labels = corpus.labels.clone();
    let init = initial_adapter(request, &job)?;
    let plan = plan::resolve(&plan::Resolved {
        job: &job,
        base: &base,
        base_config: config,
        encoder: encoder.as_ref().map(|(source, encoder, _)| (source, &encoder.config)),
        template: template.source(),
        template_of_base,
        corpus: &corpus,
        train_rows: rows.train.len() as u64,
        eval_rows: rows.eval.len() as u64,
        dropped: rows.dropped,
        labels: labels.clone(),
        max_length,
        init_sha256: init.as_ref().map(|(_, tensors)| sha256_hex(tensors)),
    })?;
    let cases = rows.eval.iter().map(|(row, rendered)| case(&job, row, rendered)).collect();
    let max_new_tokens = u32::try_from(job.eval.max_new_tokens).unwrap_or(u32::MAX);
    let pack = eval::Pack::new(labels, max_new_tokens, cases)?;

    let adapter_config = AdapterConfig::new(
        usize::try_from(job.adapter.rank).unwrap_or(usize::MAX),
        u32::try_from(job.adapter.alpha).unwrap_or(u32::MAX),
        &job.adapter.targets,
    )?;
    let initial = match init {
        None => train::initial_adapter(level, config, &adapter_config, job.train.seed)?,
        Some((settings, tensors)) => {
            let adapter = Adapter::from_files(level, config, &settings, tensors)?;
            same_shape(&adapter.config, &adapter_config)?;
            adapter
        }
    };
    let examples: Vec<Example> = rows.train.iter().map(Rendered::example).collect();
    let steps = plan.train.steps;
    let settings = settings(&job, request, &plan, memory::micro_batch(config, &examples, job.train.batch_size));
    let checkpoints = output.checkpoints(environment, &plan)?;
    let store = CheckpointStore::new(&checkpoints, job.train.checkpoint_every);
    progress.stage("train", &format!("{} examples, {steps} steps of {}", examples.len(), settings.batch_size));
    progress.start(steps);
    let (adapter, trace) =
        train::train_adapter(level, &base, &decoder, initial, &examples, &settings, Some(&store), &mut |report| {
            progress.step(report.step, report.steps, report.loss, report.tokens);
        })?;
    progress.finish();

    progress.stage("eval", &format!("{} cases, {}", pack.cases().len(), pack.metric_name()));
    let mut grade = |adapter: Option<&Adapter>| {
        progress.start(pack.cases().len() as u64);
        let outcome = eval::run(&decoder, &tokenizer, adapter, &pack, &mut |done, total| {
            progress.advance(done as u64, total as u64, "cases")
        });
        progress.finish();
        outcome
    };
    let base_outcome = grade(None)?;
    let outcome = grade(Some(&adapter))?;
    let majority = eval::majority_k(&pack, corpus.train.iter().map(|row| row.completion.as_str()));
    let gate = plan::gate(&job);
    if outcome.k < gate && !request.allow_below_gate {
        return Err(CompileError::BelowGate { k: outcome.k.to_string(), gate: gate.to_string() });
    }
    let recall_at_k = recalled.as_ref().filter(|_| job.eval.metric == Metric::Label).map(|(recall, hits)| {
        kolm_runtime::recall::recall_at_k(&recall.index, hits, corpus.eval.iter().map(|row| row.completion.as_str()))
    });
    let graded = assemble::Graded { outcome: &outcome, base_k: base_outcome.k, majority_k: majority, recall_at_k };
    assemble::write(
        &output,
        &assemble::Parts {
            job: &job,
            plan,
            adapter: &adapter,
            base_repo: base.repo(),
            recall: recalled.as_ref().map(|(recall, _)| &recall.index),
            pack: &pack,
            graded,
            trace: &trace,
            created: request.created,
            key: &key,
        },
        environment,
        &checkpoints,
    )
}

/// The rows that are left, as the model sees them.
struct Rows<'a> {
    train: Vec<Rendered>,
    eval: Vec<(&'a Row, Rendered)>,
    dropped: u64,
}

/// Corpus, template and the way recall is used: what rendering needs.
struct Grounded<'a> {
    corpus: &'a Corpus,
    prompter: &'a Prompter<'a>,
    usage: RecallUse,
}

impl<'a> Grounded<'a> {
    fn render(
        &self,
        recalled: Option<&(Recall, Vec<Vec<kolm_runtime::recall::Hit>>)>,
    ) -> Result<Rows<'a>, CompileError> {
        let recalled = recalled.filter(|_| self.usage == RecallUse::Context);
        let mut rows = Rows { train: Vec::new(), eval: Vec::new(), dropped: 0 };
        for (index, row) in self.corpus.train.iter().enumerate() {
            let context = match recalled {
                Some((recall, _)) => recall.index.context(&recall.of_training_row(index)?),
                None => Vec::new(),
            };
            match self.render_row(row, &context)? {
                Some(rendered) => rows.train.push(rendered),
                None => rows.dropped += 1,
            }
        }
        for (index, row) in self.corpus.eval.iter().enumerate() {
            let context = match recalled {
                Some((recall, hits)) => recall.index.context(&hits[index]),
                None => Vec::new(),
            };
            match self.render_row(row, &context)? {
                Some(rendered) => rows.eval.push((row, rendered)),
                None => rows.dropped += 1,
            }
        }
        for (split, empty) in [("training", rows.train.is_empty()), ("eval", rows.eval.is_empty())] {
            if empty {
                return Err(CompileError::NothingLeft { split, dropped: rows.dropped });
            }
        }
        Ok(rows)
    }

    fn render_row(&self, row: &Row, context: &[String]) -> Result<Option<Rendered>, CompileError> {
        let context: Vec<&str> = context.iter().map(String::as_str).collect();
        self.prompter.render(row, &context)
    }
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

/// `adapter_config.json` and `adapter_model.safetensors`.
type PeftFiles = (Vec<u8>, Vec<u8>);

/// The two files of the PEFT adapter to start from, if one is named.
fn initial_adapter(request: &Request, job: &Job) -> Result<Option<PeftFiles>, CompileError> {
    let Some(folder) = request.init_adapter.clone().or_else(|| job.adapter.init.as_ref().map(|init| job.resolve(init)))
    else {
        return Ok(None);
    };
    let read = |name: &str| {
        let path = folder.join(name);
        std::fs::read(&path).map_err(|source| CompileError::Io { action: "read", path, source })
    };
    Ok(Some((read("adapter_config.json")?, read("adapter_model.safetensors")?)))
}

fn same_shape(found: &AdapterConfig, expected: &AdapterConfig) -> Result<(), CompileError> {
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

fn settings(job: &Job, request: &Request, plan: &kolm_runtime::artifact::Plan, fitting: usize) -> Settings {
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
        micro_batch: request
            .micro_batch
            .or_else(|| train.micro_batch.and_then(|size| usize::try_from(size).ok()))
            .unwrap_or(fitting),
        recompute: false,
    }
}
