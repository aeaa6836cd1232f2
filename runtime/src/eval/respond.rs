//! Serving one artifact: a text in, an answer and the passages behind it out.
//!
//! A text goes the way that training and eval rows went: the k nearest passages, the template, the base's tokenizer, the same
//! label scoring or greedy decoding. An artifact below its gate does not serve. Nothing is learned, logged or fetched here.

use thiserror::Error;

use crate::artifact::{ArtifactError, Member, Opened, Pooling as PoolingPlan, RecallUse, TemplateSource};
use crate::kernel::Level;
use crate::model::{Adapter, Decoder, Encoder, ModelError, ModelSource, Pooling, PromptTemplate, TextTokenizer};
use crate::recall::{Hit, RecallError, RecallIndex, RecallMembers};

use super::{Answer, AnswerForm, Answerer, EvalError, Pack};

/// What stopped loading an artifact for serving, or answering.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServeError {
    /// A member cannot be read, or the artifact is below its gate.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// A model, tokenizer, adapter or template does not load.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The recall index is not sound.
    #[error(transparent)]
    Recall(#[from] RecallError),
    /// The text cannot be answered.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// The base has another chat template than the plan records.
    #[error("the base's chat template is not the one that plan.json records")]
    Template,
    /// The artifact recalls passages, and no encoder was given.
    #[error("the artifact needs its encoder {repo}")]
    EncoderAbsent {
        /// Repository.
        repo: String,
    },
}

impl ServeError {
    /// The stable name of the variant.
    pub fn code(&self) -> &'static str {
        match self {
            ServeError::Artifact(error) => error.code(),
            ServeError::Model(error) => error.code(),
            ServeError::Recall(error) => error.code(),
            ServeError::Eval(error) => error.code(),
            ServeError::Template => "template_differs",
            ServeError::EncoderAbsent { .. } => "encoder_absent",
        }
    }
}

/// Everything that serving an artifact needs, loaded.
pub struct Served {
    decoder: Decoder,
    tokenizer: TextTokenizer,
    adapter: Adapter,
    template: PromptTemplate,
    form: AnswerForm,
    grounding: Option<Grounding>,
}

struct Grounding {
    encoder: Encoder,
    tokenizer: TextTokenizer,
    index: RecallIndex,
    k: usize,
    usage: RecallUse,
}

impl Served {
    /// Loads what an artifact names. `base` and `encoder` are the located models, their files compared with the plan by the
    /// caller, as is everything else that `verify` checks.
    ///
    /// # Errors
    /// [`ArtifactError::GateNotMet`] for an artifact below its gate; [`ServeError`] by the part that does not load.
    pub fn load(
        level: Level,
        opened: &Opened,
        base: &ModelSource,
        encoder: Option<&ModelSource>,
    ) -> Result<Served, ServeError> {
        let summary = &opened.manifest.eval;
        if !summary.met {
            return Err(ArtifactError::GateNotMet { k: summary.k.clone(), gate: summary.gate.clone() }.into());
        }
        let decoder = Decoder::load(level, base)?;
        let tokenizer = TextTokenizer::load(base, decoder.config.vocabulary, &decoder.config.eos_ids)?;
        let adapter_config = opened.read(Member::AdapterConfig)?;
        let adapter_model = opened.read(Member::AdapterModel)?;
        let adapter = Adapter::from_files(level, &decoder.config, &adapter_config, adapter_model)?;
        let form = AnswerForm::of(&Pack::parse(&opened.read(Member::EvalPack)?)?);
        let grounding = Grounding::load(level, opened, encoder)?;
        let template = template(opened, base)?;
        Ok(Served { decoder, tokenizer, adapter, template, form, grounding })
    }

    /// Makes the model ready to answer; texts may be answered from several threads.
    ///
    /// # Errors
    /// As [`Answerer::new`].
    pub fn responder(&self) -> Result<Responder<'_>, ServeError> {
        let answerer = Answerer::new(&self.decoder, &self.tokenizer, Some(&self.adapter), &self.form)?;
        Ok(Responder { served: self, answerer })
    }
}

impl Grounding {
    fn load(level: Level, opened: &Opened, encoder: Option<&ModelSource>) -> Result<Option<Grounding>, ServeError> {
        let Some(plan) = &opened.plan.recall else { return Ok(None) };
        let source = encoder.ok_or_else(|| ServeError::EncoderAbsent { repo: plan.encoder.repo.clone() })?;
        let mut encoder = Encoder::load(level, source)?;
        // What the plan records decides: a folder's own name may suggest another pooling.
        encoder.config.pooling = match plan.encoder.pooling {
            PoolingPlan::Cls => Pooling::Cls,
            PoolingPlan::Mean => Pooling::Mean,
        };
        let tokenizer = TextTokenizer::load(source, encoder.config.vocabulary, &[])?;
        let members = RecallMembers {
            config: opened.read(Member::RecallConfig)?,
            vectors: opened.read(Member::RecallVectors)?,
            passages: opened.read(Member::RecallPassages)?,
        };
        let index = RecallIndex::parse(level, &members)?;
        let k = usize::try_from(plan.k).unwrap_or(usize::MAX);
        Ok(Some(Grounding { encoder, tokenizer, index, k, usage: plan.usage }))
    }

    fn nearest(&self, text: &str) -> Result<Vec<Hit>, ServeError> {
        let vectors = self.encoder.embed_texts(&self.tokenizer, &[text])?;
        let query = vectors.first().map(Vec::as_slice).unwrap_or_default();
        Ok(self.index.search(self.encoder.level, query, self.k, &|_| false)?)
    }
}

fn template(opened: &Opened, base: &ModelSource) -> Result<PromptTemplate, ServeError> {
    let plan = &opened.plan.task;
    match plan.template_source {
        TemplateSource::Job => Ok(PromptTemplate::of_job(&plan.template)?),
        TemplateSource::Base => {
            PromptTemplate::of_base(base)?.filter(|found| found.source() == plan.template).ok_or(ServeError::Template)
        }
    }
}

/// A loaded artifact, ready to answer.
pub struct Responder<'a> {
    served: &'a Served,
    answerer: Answerer<'a>,
}

/// An answer and where it comes from.
#[derive(Clone, PartialEq, Debug)]
pub struct Response {
    /// The answer.
    pub answer: Answer,
    /// The passages nearest to the text, nearest first; empty without recall.
    pub passages: Vec<Citation>,
}

/// One passage behind an answer.
#[derive(Clone, PartialEq, Debug)]
pub struct Citation {
    /// Name of the training row.
    pub id: String,
    /// Its text.
    pub text: String,
    /// Its answer.
    pub answer: String,
    /// Cosine with the asked text.
    pub cosine: f32,
}

impl Responder<'_> {
    /// Answers one text, as a row's prompt column would hold it.
    ///
    /// # Errors
    /// [`ServeError::Model`] from template and encoder, [`ServeError::Recall`], [`ServeError::Eval`].
    pub fn answer(&self, text: &str) -> Result<Response, ServeError> {
        let Served { template, grounding, .. } = self.served;
        let (mut context, mut passages) = (Vec::new(), Vec::new());
        if let Some(grounding) = grounding {
            let hits = grounding.nearest(text)?;
            if grounding.usage == RecallUse::Context {
                context = grounding.index.context(&hits);
            }
            let found = hits.iter().filter_map(|hit| Some((grounding.index.passages().get(hit.index)?, hit.score)));
            passages = found
                .map(|(passage, cosine)| Citation {
                    id: passage.id.clone(),
                    text: passage.text.clone(),
                    answer: passage.answer.clone(),
                    cosine,
                })
                .collect();
        }
        let context: Vec<&str> = context.iter().map(String::as_str).collect();
        let answer = self.answerer.answer(&template.render(text, &context)?)?;
        Ok(Response { answer, passages })
    }
}
