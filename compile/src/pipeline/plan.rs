//! The resolved plan: every default of the job written out, every input named by hash.

use kolm_runtime::artifact::{
    AdapterPlan, Architecture, BasePlan, BaseSource, Columns, CorpusFile, CorpusPlan, CorpusRole, Duplicates,
    EncoderPlan, EvalPlan, Overlong, Plan, Pooling, RecallPlan, RecallUse, Rows, Schedule, SplitMethod, SplitPlan,
    TemplatePlan, TemplateSource, TrainPlan, WeightType,
};
use kolm_runtime::eval::Ppm;

use kolm_runtime::model::{self, Coding, DecoderConfig, EncoderConfig, ModelSource, Weights};
use kolm_runtime::recall::VectorType;

use super::error::CompileError;
use crate::corpus::{self, Corpus};
use crate::job::{self, Job};

/// What the plan takes from the stages before training.
pub(super) struct Resolved<'a> {
    pub(super) job: &'a Job,
    pub(super) base: &'a ModelSource,
    pub(super) base_config: &'a DecoderConfig,
    pub(super) encoder: Option<(&'a ModelSource, &'a EncoderConfig)>,
    pub(super) template: &'a str,
    pub(super) template_of_base: bool,
    pub(super) corpus: &'a Corpus,
    pub(super) train_rows: u64,
    pub(super) eval_rows: u64,
    pub(super) dropped: u64,
    pub(super) labels: Option<Vec<String>>,
    pub(super) max_length: usize,
    pub(super) init_sha256: Option<String>,
}

/// Writes the plan.
pub(super) fn resolve(resolved: &Resolved<'_>) -> Result<Plan, CompileError> {
    let Resolved { job, base, base_config, corpus, .. } = *resolved;
    let train = &job.train;
    let by_column = corpus.method == corpus::SplitMethod::Column;
    let steps = train.steps_for(resolved.train_rows);
    Ok(Plan {
        format: Plan::FORMAT.to_owned(),
        numerics: Plan::NUMERICS.to_owned(),
        seed: train.seed.to_string(),
        task: TemplatePlan {
            template: resolved.template.to_owned(),
            template_source: if resolved.template_of_base { TemplateSource::Base } else { TemplateSource::Job },
        },
        base: BasePlan {
            repo: base.repo().to_owned(),
            revision: base.revision().to_owned(),
            dtype: weight_type(base)?,
            architecture: match base_config.architecture {
                model::Architecture::Qwen2 => Architecture::Qwen2,
                model::Architecture::Llama => Architecture::Llama,
            },
            files: base.identities()?,
            source: Weights::open(base)?.quantization().map(|quantization| BaseSource {
                repo: quantization.source.repo.clone(),
                revision: quantization.source.revision.clone(),
                files: quantization.source.files.clone(),
            }),
        },
        corpus: CorpusPlan {
            files: corpus.files.iter().map(corpus_file).collect(),
            columns: Columns {
                id: job.corpus.id.clone(),
                prompt: job.corpus.prompt.clone(),
                completion: job.corpus.completion.clone(),
                split: job.corpus.split.clone(),
            },
            overlong: match job.corpus.overlong {
                job::Overlong::Drop => Overlong::Drop,
                job::Overlong::Truncate => Overlong::Truncate,
                job::Overlong::Error => Overlong::Error,
            },
            duplicates: match job.corpus.duplicates {
                job::Duplicates::Drop => Duplicates::Drop,
                job::Duplicates::Error => Duplicates::Error,
            },
            rows: Rows {
                read: corpus.read,
                train: resolved.train_rows,
                eval: resolved.eval_rows,
                dropped: corpus.dropped.total() + resolved.dropped,
            },
            train_sha256: corpus.train_sha256.clone(),
            eval_sha256: corpus.eval_sha256.clone(),
            scan_sha256: corpus.scan.sha256(),
        },
        split: SplitPlan {
            method: match corpus.method {
                corpus::SplitMethod::Hash => SplitMethod::Hash,
                corpus::SplitMethod::Column => SplitMethod::Column,
                corpus::SplitMethod::File => SplitMethod::File,
            },
            eval_cases: job.eval.cases,
            train: by_column.then(|| job.corpus.train_split.clone()),
            eval: by_column.then(|| job.corpus.eval_split.clone()),
        },
        adapter: AdapterPlan {
            rank: job.adapter.rank,
            alpha: job.adapter.alpha,
            targets: job.adapter.targets.clone(),
            init_sha256: resolved.init_sha256.clone(),
        },
        train: TrainPlan {
            steps,
            epochs: train.epochs.to_string(),
            batch_size: train.batch_size,
            learning_rate: train.learning_rate.to_string(),
            warmup_steps: train.warmup_for(steps),
            schedule: match train.schedule {
                job::Schedule::Linear => Schedule::Linear,
                job::Schedule::Constant => Schedule::Constant,
            },
            beta1: train.beta1.to_string(),
            beta2: train.beta2.to_string(),
            epsilon: train.epsilon.to_string(),
            weight_decay: train.weight_decay.to_string(),
            clip_norm: train.clip_norm.to_string(),
            max_length: resolved.max_length as u64,
        },
        recall: match resolved.encoder {
            None => None,
            Some((source, config)) => Some(RecallPlan {
                encoder: EncoderPlan {
                    repo: source.repo().to_owned(),
                    revision: source.revision().to_owned(),
                    dtype: weight_type(source)?,
                    pooling: match config.pooling {
                        model::Pooling::Cls => Pooling::Cls,
                        model::Pooling::Mean => Pooling::Mean,
                    },
                    files: source.identities()?,
                },
                k: job.recall.k,
                usage: match job.recall.usage {
                    job::RecallUse::Context => RecallUse::Context,
                    _ => RecallUse::Cite,
                },
                // The index holds every training row, also one too long to train on.
                passages: corpus.train.len() as u64,
                vectors: Some(job.recall.vectors).filter(|kind| *kind != VectorType::F32),
                lists: job.recall.lists_for(corpus.train.len() as u64),
            }),
        },
        eval: EvalPlan {
            metric: job.eval.metric.name().to_owned(),
            labels: resolved.labels.clone(),
            cases: resolved.eval_rows,
            gate: gate(job).to_string(),
            max_new_tokens: job.eval.max_new_tokens,
        },
    })
}

fn corpus_file(file: &corpus::CorpusFile) -> CorpusFile {
    let role = match file.role {
        corpus::Role::Train => CorpusRole::Train,
        corpus::Role::Eval => CorpusRole::Eval,
    };
    CorpusFile { role, sha256: file.sha256.clone(), size: file.size, rows: file.rows }
}

/// The job's gate.
pub(super) fn gate(job: &Job) -> Ppm {
    Ppm::new(job.eval.gate_ppm()).unwrap_or(Ppm::ONE)
}

fn weight_type(source: &ModelSource) -> Result<WeightType, CompileError> {
    Ok(match Weights::open(source)?.coding() {
        Coding::Bf16 => WeightType::Bf16,
        Coding::F16 => WeightType::F16,
        Coding::F32 => WeightType::F32,
        Coding::Int8 => WeightType::Int8,
        Coding::Int4 => WeightType::Int4,
        Coding::Q8_0 => WeightType::Q8_0,
        Coding::Q4_0 => WeightType::Q4_0,
        Coding::Q5_0 => WeightType::Q5_0,
        Coding::Q4K => WeightType::Q4K,
        Coding::Q5K => WeightType::Q5K,
        Coding::Q6K => WeightType::Q6K,
    })
}
