//! One model under one adapter, as grading uses it: prefill, advance, logits.
//!
//! Rows are independent and cached decode equals prefill bit by bit (NUMERICS), so how many sequences share a forward pass,
//! and in what company, changes speed and memory only.

use crate::kernel;
use crate::model::{Adapter, Decoder, DecoderConfig, KvCache, ModelError, Step};

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

    /// Runs a prompt through the model; gives its cache, with room for `more` tokens, and the logits after its last token.
    pub(super) fn prefill(&self, id: &str, tokens: &[u32], more: usize) -> Result<(KvCache, Vec<f32>), EvalError> {
        let mut cache = self.model.new_cache(tokens.len() + more);
        let rows = self.advance(&mut [Step { tokens, cache: &mut cache }])?;
        let last = rows.rchunks_exact(self.model.config.hidden).next().unwrap_or_default();
        let logits = self.model.logits(last);
        finite(id, &logits)?;
        Ok((cache, logits))
    }

    /// Runs several sequences on by their own tokens; gives the final hidden rows, `[Σ tokens, C]`.
    pub(super) fn advance(&self, steps: &mut [Step<'_>]) -> Result<Vec<f32>, EvalError> {
        Ok(self.model.forward(self.adapter, steps)?)
    }

    /// Calls `each` with the logits after every hidden row, in order, a bounded number of rows at a time.
    pub(super) fn for_each_logits(
        &self,
        id: &str,
        rows: &[f32],
        mut each: impl FnMut(&[f32]),
    ) -> Result<(), EvalError> {
        let (hidden, vocabulary) = (self.model.config.hidden, self.model.config.vocabulary);
        let row_count = (limits::LOGITS_LEN_BYTES / 4 / vocabulary.max(1)).max(1);
        for rows in rows.chunks(row_count * hidden) {
            let logits = self.model.logits(rows);
            finite(id, &logits)?;
            logits.chunks_exact(vocabulary).for_each(&mut each);
        }
        Ok(())
    }

    /// `ln p(token)` under logits, in f32.
    pub(super) fn log_probability(&self, logits: &[f32], token: u32) -> f32 {
        kernel::log_probability(self.model.level, logits, usize::try_from(token).unwrap_or(usize::MAX))
    }

    /// Bytes of one sequence's keys and values.
    pub(super) fn cache_len_bytes(&self, capacity: usize) -> usize {
        let config = &self.model.config;
        capacity.saturating_mul(config.layers * config.kv_heads * config.head_dim * 2 * 4).max(1)
    }

    /// Refuses a prompt that is empty or leaves no room for `answer` tokens in the context.
    pub(super) fn check_length(&self, id: &str, tokens: &[u32], answer: usize) -> Result<(), EvalError> {
        if tokens.is_empty() {
            return Err(EvalError::PromptWithoutTokens { id: id.to_owned() });
        }
        let limit = self.model.config.max_positions.saturating_sub(answer);
        if tokens.len() > limit {
            return Err(EvalError::PromptTooLong { id: id.to_owned(), found: tokens.len(), limit });
        }
        Ok(())
    }
}

/// Refuses tokens that the model has no logit for.
pub(super) fn in_vocabulary(model: &Decoder, tokens: &[u32]) -> Result<(), EvalError> {
    let vocabulary = model.config.vocabulary;
    let outside = tokens.iter().find(|token| usize::try_from(**token).is_ok_and(|token| token >= vocabulary));
    outside.map_or(Ok(()), |found| Err(ModelError::TokenOutside { found: *found, vocabulary }.into()))
}

/// Refuses NaN and infinity: they would make every comparison after them meaningless.
pub(super) fn finite(id: &str, logits: &[f32]) -> Result<(), EvalError> {
    if logits.iter().all(|logit| logit.is_finite()) { Ok(()) } else { Err(EvalError::NonFinite { id: id.to_owned() }) }
}
