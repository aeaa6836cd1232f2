//! Answers one rendered prompt, by the same code that answers a pack.

use crate::model::{Adapter, Decoder, TextTokenizer};

use super::engine::Engine;
use super::labels::LabelTree;
use super::run::label_tree;
use super::{EvalError, Pack, generate};

/// What an answer may be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AnswerForm {
    /// One of a closed set; ties go to the first.
    Label(Vec<String>),
    /// Generated text.
    Text {
        /// Most tokens, end token included.
        max_new_tokens: usize,
    },
}

impl AnswerForm {
    /// The form in which a pack's cases are answered: a label wherever the pack names labels.
    pub fn of(pack: &Pack) -> AnswerForm {
        if pack.labels().is_empty() {
            AnswerForm::Text { max_new_tokens: usize::try_from(pack.max_new_tokens()).unwrap_or(usize::MAX) }
        } else {
            AnswerForm::Label(pack.labels().to_vec())
        }
    }
}

/// One answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The label, or the generated text.
    pub text: String,
    /// Its token ids, end token included where there is one.
    pub tokens: Vec<u32>,
}

/// A model made ready to answer prompts in one form; prompts may be answered from several threads.
pub struct Answerer<'a> {
    engine: Engine<'a>,
    tokenizer: &'a TextTokenizer,
    form: Form,
}

enum Form {
    Label(LabelTree),
    Text(usize),
}

impl<'a> Answerer<'a> {
    /// Makes a model ready.
    ///
    /// # Errors
    /// [`EvalError::NoEndToken`], [`EvalError::LabelWithoutTokens`], [`EvalError::LabelsShareTokens`],
    /// [`EvalError::TooFewLabels`] on an empty set, [`EvalError::NewTokens`] on no tokens at all.
    pub fn new(
        model: &'a Decoder,
        tokenizer: &'a TextTokenizer,
        adapter: Option<&'a Adapter>,
        form: &AnswerForm,
    ) -> Result<Answerer<'a>, EvalError> {
        let engine = Engine::new(model, adapter)?;
        let form = match form {
            AnswerForm::Label(labels) if labels.is_empty() => return Err(EvalError::TooFewLabels { found: 0 }),
            AnswerForm::Text { max_new_tokens: 0 } => return Err(EvalError::NewTokens { found: 0 }),
            AnswerForm::Label(labels) => Form::Label(label_tree(model, tokenizer, labels)?),
            AnswerForm::Text { max_new_tokens } => Form::Text(*max_new_tokens),
        };
        Ok(Answerer { engine, tokenizer, form })
    }

    /// Answers a rendered prompt. Errors name it `prompt`.
    ///
    /// # Errors
    /// [`EvalError::PromptWithoutTokens`], [`EvalError::PromptTooLong`], [`EvalError::NonFinite`], [`EvalError::Model`].
    pub fn answer(&self, prompt: &str) -> Result<Answer, EvalError> {
        const ID: &str = "prompt";
        let prompt = self.tokenizer.encode_prompt(prompt)?;
        let finite = |finite: bool| if finite { Ok(()) } else { Err(EvalError::NonFinite { id: ID.to_owned() }) };
        let none = || EvalError::PromptWithoutTokens { id: ID.to_owned() };
        match &self.form {
            Form::Label(labels) => {
                self.engine.check_prompt(ID, &prompt, labels.longest())?;
                let scored = labels.score(&self.engine, &[&prompt])?.pop().ok_or_else(none)?;
                finite(scored.finite)?;
                let (label, tokens) = labels.label(scored.best).unwrap_or_default();
                Ok(Answer { text: label.to_owned(), tokens: tokens.iter().copied().chain([self.engine.end]).collect() })
            }
            Form::Text(max_new_tokens) => {
                self.engine.check_prompt(ID, &prompt, 1)?;
                let generated = generate::greedy(&self.engine, &[&prompt], *max_new_tokens)?.pop().ok_or_else(none)?;
                finite(generated.finite)?;
                Ok(Answer {
                    text: self.tokenizer.decode(generated.text_tokens(&self.engine))?,
                    tokens: generated.tokens,
                })
            }
        }
    }
}
