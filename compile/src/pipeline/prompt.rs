//! From rows to token ids: template, context, end token, and what happens to a text that is too long.

use kolm_runtime::model::{DecoderConfig, PromptTemplate, TextTokenizer};

use super::error::CompileError;
use crate::corpus::Row;
use crate::job::{Job, Overlong};
use crate::train::Example;

/// Turns rows into prompts and training examples, the same way for training, eval and serving.
pub(super) struct Prompter<'a> {
    /// Renders the final prompt.
    pub(super) template: &'a PromptTemplate,
    /// The base's tokenizer.
    pub(super) tokenizer: &'a TextTokenizer,
    /// The token learned at the end of every completion.
    pub(super) end_token: u32,
    /// Longest row in tokens: prompt, completion and end token.
    pub(super) max_length: usize,
    /// What to do beyond it.
    pub(super) overlong: Overlong,
    /// Positions of the base: prompt and any label must fit.
    pub(super) max_positions: usize,
    /// Tokens of the longest label with its end token; 0 for a metric without labels.
    pub(super) label_room: usize,
}

/// A row as the model sees it.
#[derive(Debug, Clone)]
pub(super) struct Rendered {
    /// The final prompt.
    pub(super) prompt: String,
    /// Its tokens, then the completion's, then the end token.
    pub(super) tokens: Vec<u32>,
    /// Index of the completion's first token.
    pub(super) loss_from: usize,
    /// Whether the row's prompt text was cut to make it fit.
    pub(super) shortened: bool,
}

impl Rendered {
    /// The row as a training example; its text is not needed any more.
    pub(super) fn into_example(mut self) -> Example {
        self.tokens.shrink_to_fit();
        Example { tokens: self.tokens, loss_from: self.loss_from }
    }
}

impl<'a> Prompter<'a> {
    /// As `job` has it for a base; `labels` are the corpus's, if its metric has any.
    ///
    /// # Errors
    /// [`CompileError::Model`] from the tokenizer.
    pub(super) fn new(
        job: &Job,
        config: &DecoderConfig,
        template: &'a PromptTemplate,
        (tokenizer, end_token): (&'a TextTokenizer, u32),
        labels: Option<&[String]>,
    ) -> Result<Self, CompileError> {
        let lengths = labels.unwrap_or_default().iter().map(|label| Ok(tokenizer.encode(label, false)?.len() + 1));
        let label_room = lengths.collect::<Result<Vec<_>, CompileError>>()?.into_iter().max().unwrap_or(0);
        Ok(Prompter {
            template,
            tokenizer,
            end_token,
            max_length: usize::try_from(job.train.max_length).unwrap_or(usize::MAX).min(config.max_positions),
            overlong: job.corpus.overlong,
            max_positions: config.max_positions,
            label_room,
        })
    }

    /// Renders one row with its context passages; `Ok(None)` when it is too long and is left out.
    ///
    /// # Errors
    /// [`CompileError::Overlong`] when the job says so, [`CompileError::Model`] from the template or the tokenizer.
    pub(super) fn render(&self, row: &Row, context: &[&str]) -> Result<Option<Rendered>, CompileError> {
        let whole = self.tokens(&row.prompt, &row.completion, context)?;
        if self.fits(&whole) {
            return Ok(Some(whole));
        }
        match self.overlong {
            Overlong::Drop => Ok(None),
            Overlong::Error => Err(CompileError::Overlong {
                id: row.id.clone(),
                row: row.row,
                found: whole.tokens.len(),
                limit: self.max_length,
            }),
            Overlong::Truncate => self.truncated(row, context),
        }
    }

    fn fits(&self, rendered: &Rendered) -> bool {
        rendered.tokens.len() <= self.max_length && rendered.loss_from + self.label_room <= self.max_positions
    }

    /// The longest prefix of the row's prompt text, in characters, with which the row fits, by bisection.
    fn truncated(&self, row: &Row, context: &[&str]) -> Result<Option<Rendered>, CompileError> {
        let boundaries: Vec<usize> = row.prompt.char_indices().map(|(at, _)| at).collect();
        let (mut fits, mut low, mut high) = (None, 0, boundaries.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let rendered = self.tokens(row.prompt[..boundaries[middle]].trim_end(), &row.completion, context)?;
            if self.fits(&rendered) {
                fits = Some(Rendered { shortened: true, ..rendered });
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(fits)
    }

    fn tokens(&self, prompt: &str, completion: &str, context: &[&str]) -> Result<Rendered, CompileError> {
        let prompt = self.template.render(prompt, context)?;
        let mut tokens = self.tokenizer.encode_prompt(&prompt)?;
        let loss_from = tokens.len();
        tokens.extend(self.tokenizer.encode(completion, false)?);
        tokens.push(self.end_token);
        Ok(Rendered { prompt, tokens, loss_from, shortened: false })
    }
}
