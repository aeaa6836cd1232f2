//! One model under one adapter, as grading uses it: prefill, advance, logits.
//!
//! Rows are independent and cached decode equals prefill bit by bit (NUMERICS), so how many sequences share a forward pass,
//! and in what company, changes speed and memory only.

use crate::kernel::Buffer;
use crate::model::{Adapter, Decoder, DecoderConfig, KvCache, ModelError, Step};

use super::groups::shared_runs;
use super::{EvalError, limits};

/// The token that ends an answer: the first end token that the base names. Training learns this one.
pub fn end_token(config: &DecoderConfig) -> Option<u32> {
    config.eos_ids.first().copied()
}

/// A decoder, an adapter or none, and the end token.
pub(super) struct Engine<'a> {
    pub(super) model: &'a Decoder,
    adapter: Option<&'a Adapter>,
    pub(super) end: u32,
}

impl<'a> Engine<'a> {
    pub(super) fn new(model: &'a Decoder, adapter: Option<&'a Adapter>) -> Result<Engine<'a>, EvalError> {
        let end = end_token(&model.config).ok_or(EvalError::NoEndToken)?;
        in_vocabulary(model, &[end])?;
        Ok(Engine { model, adapter, end })
    }

    /// Runs prompts through the model together, what neighbours begin with once; gives each one's cache, with room for the
    /// tokens that stand beside it, and the logits after each one's last token, `[N, V]`.
    pub(super) fn prefill(&self, prompts: &[(&[u32], usize)]) -> Result<(Vec<KvCache>, Buffer), EvalError> {
        let runs = shared_runs(prompts.iter().map(|(tokens, _)| *tokens));
        let mut starts: Vec<(&[u32], KvCache)> = Vec::new();
        for run in runs.iter().filter(|run| run.shared > 0) {
            starts.push((run.first.get(..run.shared).unwrap_or_default(), self.model.new_cache(run.shared)));
        }
        let mut steps: Vec<Step<'_>> = starts.iter_mut().map(|(tokens, cache)| Step { tokens, cache }).collect();
        self.last_rows(&mut steps)?;
        drop(steps);
        let mut starts = starts.into_iter();
        let mut caches = Vec::with_capacity(prompts.len());
        let mut rest = prompts;
        for run in &runs {
            let (some, others) = rest.split_at(run.count);
            let start = if run.shared > 0 { starts.next() } else { None };
            let beginning = start.map(|(_, cache)| cache.into_beginning());
            caches.extend(some.iter().map(|(tokens, more)| match &beginning {
                Some(beginning) => beginning.cache(tokens.len() - run.shared + more),
                None => self.model.new_cache(tokens.len() + more),
            }));
            rest = others;
        }
        let mut steps: Vec<Step<'_>> = prompts
            .iter()
            .zip(&mut caches)
            .map(|((tokens, _), cache)| Step { tokens: tokens.get(cache.len()..).unwrap_or_default(), cache })
            .collect();
        let last = self.last_rows(&mut steps)?;
        drop(steps);
        Ok((caches, self.model.logits(&last)))
    }

    /// Runs sequences on, a bounded number of tokens at a time; gives the final hidden row of each one's last token, `[N, C]`.
    fn last_rows(&self, steps: &mut [Step<'_>]) -> Result<Vec<f32>, EvalError> {
        let mut last = Vec::with_capacity(steps.len() * self.model.config.hidden);
        let mut rest = steps;
        while !rest.is_empty() {
            let mut tokens = 0;
            let fits = |step: &&Step<'_>| {
                tokens += step.tokens.len();
                tokens <= limits::PREFILL_TOKENS
            };
            let count = rest.iter().take_while(fits).count().max(1);
            let (some, others) = rest.split_at_mut(count);
            last.extend(self.model.forward_last(self.adapter, some)?);
            rest = others;
        }
        Ok(last)
    }

    /// Runs several sequences on by their own tokens; gives the final hidden rows, `[Σ tokens, C]`.
    pub(super) fn advance(&self, steps: &mut [Step<'_>]) -> Result<Vec<f32>, EvalError> {
        Ok(self.model.forward(self.adapter, steps)?)
    }

    /// Calls `each` with the logits after every hidden row, in order, a bounded number of rows at a time.
    pub(super) fn for_each_logits(&self, rows: &[f32], mut each: impl FnMut(&[f32])) {
        let (hidden, vocabulary) = (self.model.config.hidden, self.model.config.vocabulary);
        let row_count = (limits::LOGITS_LEN_BYTES / 4 / vocabulary.max(1)).max(1);
        for rows in rows.chunks(row_count * hidden) {
            self.model.logits(rows).chunks_exact(vocabulary).for_each(&mut each);
        }
    }

    /// Bytes of one sequence's keys and values.
    pub(super) fn cache_len_bytes(&self, capacity: usize) -> usize {
        let config = &self.model.config;
        let padded = capacity.saturating_add(KvCache::PADDING);
        padded.saturating_mul(config.layers * config.kv_heads * config.head_dim * 2 * 4).max(1)
    }

    /// Refuses a prompt that is no sequence of the model's tokens, or that leaves no room for `answer` tokens in the context.
    pub(super) fn check_prompt(&self, id: &str, tokens: &[u32], answer: usize) -> Result<(), EvalError> {
        if tokens.is_empty() {
            return Err(EvalError::PromptWithoutTokens { id: id.to_owned() });
        }
        let limit = self.model.config.max_positions.saturating_sub(answer);
        if tokens.len() > limit {
            return Err(EvalError::PromptTooLong { id: id.to_owned(), found: tokens.len(), limit });
        }
        in_vocabulary(self.model, tokens)
    }
}

/// Refuses tokens that the model has no logit for.
pub(super) fn in_vocabulary(model: &Decoder, tokens: &[u32]) -> Result<(), EvalError> {
    let vocabulary = model.config.vocabulary;
    let outside = tokens.iter().find(|token| usize::try_from(**token).is_ok_and(|token| token >= vocabulary));
    outside.map_or(Ok(()), |found| Err(ModelError::TokenOutside { found: *found, vocabulary }.into()))
}

/// Whether no logit is NaN or infinite, which would make every comparison after it meaningless.
pub(super) fn finite(logits: &[f32]) -> bool {
    logits.iter().all(|logit| logit.is_finite())
}
