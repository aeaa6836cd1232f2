//! Generated answers: greedy decoding, several sequences in lockstep.
//!
//! Ties go to the lowest token id; an answer ends at an end token (kept in its tokens), at its length limit, or at the end
//! of the context.

use crate::kernel;
use crate::model::{KvCache, Step};

use super::EvalError;
use super::engine::{Engine, finite};

/// One generated answer.
pub(super) struct Generated {
    /// Its tokens, the end token included where there is one.
    pub(super) tokens: Vec<u32>,
    /// The logits that its last token was chosen from.
    pub(super) logits: Vec<f32>,
}

impl Generated {
    /// The tokens that are text: all but a last end token.
    pub(super) fn text_tokens(&self, engine: &Engine<'_>) -> &[u32] {
        match self.tokens.split_last() {
            Some((last, text)) if engine.model.config.eos_ids.contains(last) => text,
            _ => &self.tokens,
        }
    }
}

struct Sequence<'p> {
    id: &'p str,
    cache: KvCache,
    last: u32,
    room: usize,
    generated: Generated,
}

/// Answers prompts, each `(case id, tokens)`; one pass over the weights serves every sequence still going.
pub(super) fn greedy(
    engine: &Engine<'_>,
    prompts: &[(&str, &[u32])],
    max_new_tokens: usize,
) -> Result<Vec<Generated>, EvalError> {
    let mut sequences = Vec::with_capacity(prompts.len());
    for (id, tokens) in prompts {
        engine.check_length(id, tokens, 1)?;
        let room = max_new_tokens.min(engine.model.config.max_positions - tokens.len());
        let (cache, logits) = engine.prefill(id, tokens, room)?;
        let mut sequence =
            Sequence { id, cache, last: 0, room, generated: Generated { tokens: Vec::new(), logits: Vec::new() } };
        sequence.choose(engine, &logits);
        sequences.push(sequence);
    }
    loop {
        let mut going: Vec<&mut Sequence<'_>> = sequences.iter_mut().filter(|sequence| sequence.room > 0).collect();
        if going.is_empty() {
            return Ok(sequences.into_iter().map(|sequence| sequence.generated).collect());
        }
        let mut steps: Vec<Step<'_>> = going
            .iter_mut()
            .map(|sequence| Step { tokens: std::slice::from_ref(&sequence.last), cache: &mut sequence.cache })
            .collect();
        let rows = engine.advance(&mut steps)?;
        drop(steps);
        let logits = engine.model.logits(&rows);
        for (sequence, logits) in going.into_iter().zip(logits.chunks_exact(engine.model.config.vocabulary)) {
            finite(sequence.id, logits)?;
            sequence.choose(engine, logits);
        }
    }
}

impl Sequence<'_> {
    /// Takes the likeliest token; a sequence that is done has no room.
    fn choose(&mut self, engine: &Engine<'_>, logits: &[f32]) {
        self.last = u32::try_from(kernel::argmax(logits)).unwrap_or(u32::MAX);
        self.generated.tokens.push(self.last);
        self.room -= 1;
        if engine.model.config.eos_ids.contains(&self.last) {
            self.room = 0;
        }
        if self.room == 0 {
            self.generated.logits = logits.to_vec();
        }
    }
}
