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
    /// Whether every logit was a number; where not, the answer ends there and means nothing.
    pub(super) finite: bool,
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

struct Sequence {
    cache: KvCache,
    last: u32,
    room: usize,
    generated: Generated,
}

/// Answers prompts that [`Engine::check_prompt`] accepted; one pass over the weights serves every sequence still going.
pub(super) fn greedy(
    engine: &Engine<'_>,
    prompts: &[&[u32]],
    max_new_tokens: usize,
) -> Result<Vec<Generated>, EvalError> {
    let room = |tokens: &[u32]| max_new_tokens.min(engine.model.config.max_positions.saturating_sub(tokens.len()));
    let prompts: Vec<(&[u32], usize)> = prompts.iter().map(|tokens| (*tokens, room(tokens))).collect();
    let (caches, logits) = engine.prefill(&prompts)?;
    let rows = logits.chunks_exact(engine.model.config.vocabulary);
    let mut sequences: Vec<Sequence> = (prompts.iter().zip(caches).zip(rows))
        .map(|(((_, room), cache), logits)| {
            let generated = Generated { tokens: Vec::new(), logits: Vec::new(), finite: true };
            let mut sequence = Sequence { cache, last: 0, room: *room, generated };
            sequence.choose(engine, logits);
            sequence
        })
        .collect();
    // One token is a long chain of small kernels.
    kernel::awake(|| go_on(engine, &mut sequences))?;
    Ok(sequences.into_iter().map(|sequence| sequence.generated).collect())
}

/// Adds a token to every sequence still going until none is.
fn go_on(engine: &Engine<'_>, sequences: &mut [Sequence]) -> Result<(), EvalError> {
    loop {
        let mut going: Vec<&mut Sequence> = sequences.iter_mut().filter(|sequence| sequence.room > 0).collect();
        if going.is_empty() {
            return Ok(());
        }
        let mut steps: Vec<Step<'_>> = going
            .iter_mut()
            .map(|sequence| Step { tokens: std::slice::from_ref(&sequence.last), cache: &mut sequence.cache })
            .collect();
        let rows = engine.advance(&mut steps)?;
        drop(steps);
        let logits = engine.model.logits(&rows);
        for (sequence, logits) in going.into_iter().zip(logits.chunks_exact(engine.model.config.vocabulary)) {
            sequence.choose(engine, logits);
        }
    }
}

impl Sequence {
    /// Takes the likeliest token; a sequence that is done has no room.
    fn choose(&mut self, engine: &Engine<'_>, logits: &[f32]) {
        self.last = u32::try_from(kernel::argmax(logits)).unwrap_or(u32::MAX);
        self.generated.tokens.push(self.last);
        self.room = self.room.saturating_sub(1);
        self.generated.finite = finite(logits);
        if engine.model.config.eos_ids.contains(&self.last) || !self.generated.finite {
            self.room = 0;
        }
        if self.room == 0 {
            self.generated.logits = logits.to_vec();
        }
    }
}
