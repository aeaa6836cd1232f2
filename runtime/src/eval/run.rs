//! Answers a whole pack.
//!
//! As many cases are in flight as there are threads, never more, so memory is bounded; which thread answers which case, and
//! in what order, shows nowhere in the outcome.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::{Adapter, Decoder, TextTokenizer};

use super::engine::{Engine, in_vocabulary};
use super::generate::{self, Generated};
use super::labels::LabelTree;
use super::replay::bits_digest;
use super::{Case, CaseResult, EvalError, Metric, Outcome, Pack, limits};

/// Answers and scores every case of a pack. `progress` is told, from any thread but by one at a time, how many cases of how
/// many are answered.
///
/// # Errors
/// [`EvalError::NoEndToken`], [`EvalError::LabelWithoutTokens`], [`EvalError::LabelsShareTokens`] before any case is
/// answered; [`EvalError::PromptWithoutTokens`], [`EvalError::PromptTooLong`], [`EvalError::NonFinite`] for one case, the
/// same at any number of threads.
pub fn run(
    model: &Decoder,
    tokenizer: &TextTokenizer,
    adapter: Option<&Adapter>,
    pack: &Pack,
    progress: &mut (dyn FnMut(usize, usize) + Send),
) -> Result<Outcome, EvalError> {
    let engine = Engine::new(model, adapter)?;
    let labels = label_tree(model, tokenizer, pack.labels())?;
    let runner = Runner {
        engine,
        tokenizer,
        labels,
        max_new_tokens: usize::try_from(pack.max_new_tokens()).unwrap_or(usize::MAX),
    };
    let groups = runner.groups(pack)?;
    let answers = in_flight(&groups, |group| runner.answer(group), |answered| progress(answered, pack.cases().len()));
    let mut results = Vec::with_capacity(pack.cases().len());
    for (group, answers) in groups.iter().zip(answers) {
        results.extend(group.iter().map(|question| question.row).zip(answers?));
    }
    results.sort_by_key(|(row, _)| *row);
    Ok(Outcome::new(pack, results.into_iter().map(|(_, result)| result).collect()))
}

/// Makes the tree of a label set; empty for an empty set.
pub(super) fn label_tree(
    model: &Decoder,
    tokenizer: &TextTokenizer,
    labels: &[String],
) -> Result<LabelTree, EvalError> {
    let encoded = labels.iter().map(|label| {
        let tokens = tokenizer.encode(label, false)?;
        in_vocabulary(model, &tokens)?;
        Ok((label.clone(), tokens))
    });
    LabelTree::new(encoded.collect::<Result<_, EvalError>>()?)
}

/// A case and its place in the pack.
struct Question<'p> {
    row: usize,
    case: &'p Case,
    tokens: Vec<u32>,
}

struct Runner<'a> {
    engine: Engine<'a>,
    tokenizer: &'a TextTokenizer,
    labels: LabelTree,
    max_new_tokens: usize,
}

impl Runner<'_> {
    /// Cuts the pack into units of work: one label case, or a few generated answers whose caches fit in memory together.
    fn groups<'p>(&self, pack: &'p Pack) -> Result<Vec<Vec<Question<'p>>>, EvalError> {
        let mut groups = Vec::new();
        let (mut open, mut open_len_bytes) = (Vec::new(), 0);
        for (row, case) in pack.cases().iter().enumerate() {
            let question = Question { row, case, tokens: self.tokenizer.encode_prompt(&case.prompt)? };
            if case.metric == Metric::Label {
                groups.push(vec![question]);
                continue;
            }
            let len_bytes = self.engine.cache_len_bytes(question.tokens.len() + self.max_new_tokens);
            if open.len() == limits::GENERATION_GROUP
                || open_len_bytes + len_bytes > limits::GENERATION_CACHE_LEN_BYTES && !open.is_empty()
            {
                groups.push(std::mem::take(&mut open));
                open_len_bytes = 0;
            }
            open.push(question);
            open_len_bytes += len_bytes;
        }
        if !open.is_empty() {
            groups.push(open);
        }
        Ok(groups)
    }

    fn answer(&self, group: &[Question<'_>]) -> Result<Vec<CaseResult>, EvalError> {
        if let [Question { case, tokens, .. }] = group
            && case.metric == Metric::Label
        {
            return Ok(vec![self.choose(case, tokens)?]);
        }
        let prompts: Vec<(&str, &[u32])> =
            group.iter().map(|question| (question.case.id.as_str(), question.tokens.as_slice())).collect();
        let answers = generate::greedy(&self.engine, &prompts, self.max_new_tokens)?;
        group.iter().zip(answers).map(|(question, generated)| self.written(question.case, generated)).collect()
    }

    fn choose(&self, case: &Case, prompt: &[u32]) -> Result<CaseResult, EvalError> {
        let scored = self.labels.score(&self.engine, &case.id, prompt)?;
        let (label, tokens) = self.labels.label(scored.best).unwrap_or_default();
        Ok(CaseResult {
            answer: label.to_owned(),
            id: case.id.clone(),
            logits_sha256: bits_digest(scored.prompt_logits.iter().chain(&scored.scores)),
            score: case.metric.score(&case.expected, label),
            tokens: tokens.iter().copied().chain([self.engine.end]).collect(),
        })
    }

    fn written(&self, case: &Case, generated: Generated) -> Result<CaseResult, EvalError> {
        let answer = self.tokenizer.decode(generated.text_tokens(&self.engine))?;
        Ok(CaseResult {
            id: case.id.clone(),
            logits_sha256: bits_digest(&generated.logits),
            score: case.metric.score(&case.expected, &answer),
            answer,
            tokens: generated.tokens,
        })
    }
}

/// Does every piece of work, as many at once as there are threads, and gives what each gave, in order, up to and with the
/// first that failed. A thread that waits inside one piece cannot pile up further ones, as it could under `par_iter`.
fn in_flight<W: Sync, R: Send>(
    work: &[Vec<W>],
    each: impl Fn(&[W]) -> Result<R, EvalError> + Sync,
    mut progress: impl FnMut(usize) + Send,
) -> Vec<Result<R, EvalError>> {
    let slots: Vec<Mutex<Option<Result<R, EvalError>>>> = work.iter().map(|_| Mutex::new(None)).collect();
    let next = AtomicUsize::new(0);
    let answered = Mutex::new((0, &mut progress));
    let worker = || loop {
        let turn = next.fetch_add(1, Ordering::Relaxed);
        let Some((piece, slot)) = work.get(turn).zip(slots.get(turn)) else { return };
        let result = each(piece);
        if result.is_err() {
            next.store(work.len(), Ordering::Relaxed);
        }
        *lock(slot) = Some(result);
        let mut answered = lock(&answered);
        answered.0 += piece.len();
        let count = answered.0;
        (answered.1)(count);
    };
    rayon::in_place_scope(|scope| {
        for _ in 0..rayon::current_num_threads() {
            scope.spawn(|_| worker());
        }
    });
    // Pieces are taken in order, so all before the first failure are done: what was left is behind it.
    slots.into_iter().map_while(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner)).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
