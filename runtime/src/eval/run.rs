//! Answers a whole pack.
//!
//! Cases are answered in groups of such as begin alike, as many groups at once as there are threads, never more, so memory is
//! bounded; which thread answers which case, in what company and in what order shows nowhere in the outcome.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::kernel;
use crate::model::{Adapter, Decoder, TextTokenizer};

use super::engine::{Engine, in_vocabulary};
use super::generate::{self, Generated};
use super::groups::{Bounds, Question, Share, group};
use super::labels::{LabelScores, LabelTree};
use super::replay::bits_digest;
use super::{Case, CaseResult, EvalError, Metric, Outcome, Pack, limits};

/// Answers and scores every case of a pack. `progress` is told, from any thread but by one at a time, how many cases of how
/// many are answered.
///
/// # Errors
/// Before any case is answered [`EvalError::NoEndToken`], [`EvalError::LabelWithoutTokens`], [`EvalError::LabelsShareTokens`],
/// and of the first prompt in the pack's order that cannot be answered [`EvalError::PromptWithoutTokens`],
/// [`EvalError::PromptTooLong`] or [`EvalError::Model`]; [`EvalError::NonFinite`] of the first case in the pack's order. The
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
    let max_new_tokens = usize::try_from(pack.max_new_tokens()).unwrap_or(usize::MAX);
    let runner = Runner { engine, tokenizer, labels, max_new_tokens };
    let groups = runner.groups(pack)?;
    let answers = in_flight(&groups, |group| runner.answer(group), |answered| progress(answered, pack.cases().len()));
    let mut results = Vec::with_capacity(pack.cases().len());
    for (group, answers) in groups.iter().zip(answers) {
        results.extend(group.iter().map(|question| question.row).zip(answers));
    }
    // What was left out lies behind the first failure, in the pack's order.
    results.sort_by_key(|(row, _)| *row);
    Ok(Outcome::new(pack, results.into_iter().map(|(_, result)| result).collect::<Result<_, _>>()?))
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

struct Runner<'a> {
    engine: Engine<'a>,
    tokenizer: &'a TextTokenizer,
    labels: LabelTree,
    max_new_tokens: usize,
}

impl Runner<'_> {
    /// Cuts the pack into units of work, after a look at every prompt.
    fn groups<'p>(&self, pack: &'p Pack) -> Result<Vec<Vec<Question<'p>>>, EvalError> {
        let (mut chosen, mut written) = (Vec::new(), Vec::new());
        for (row, case) in pack.cases().iter().enumerate() {
            let tokens = self.tokenizer.encode_prompt(&case.prompt)?;
            let (side, answer) = match case.metric {
                Metric::Label => (&mut chosen, self.labels.longest()),
                _ => (&mut written, 1),
            };
            self.engine.check_prompt(&case.id, &tokens, answer)?;
            side.push(Question { row, case, tokens });
        }
        let logits = (limits::LOGITS_LEN_BYTES / 4 / self.engine.model.config.vocabulary.max(1)).max(1);
        let threads = rayon::current_num_threads();
        let bounds = |cases: usize, group: usize, cache_len_bytes: usize| Bounds {
            // As many groups for one thread as for another.
            cases: cases.div_ceil(cases.div_ceil(group.min(logits)).next_multiple_of(threads).max(1)).max(1),
            cache_len_bytes,
        };
        let bytes = |tokens: usize| self.engine.cache_len_bytes(tokens);
        let share = Share::of(threads);
        let labels = bounds(chosen.len(), limits::LABEL_GROUP, share.prompts);
        let texts = bounds(written.len(), limits::GENERATION_GROUP, share.texts);
        let mut groups = group(chosen, &labels, bytes);
        groups.extend(group(written, &texts, |tokens| bytes(tokens.saturating_add(self.max_new_tokens))));
        Ok(groups)
    }

    /// Answers the cases of one group, all of one kind.
    fn answer(&self, group: &[Question<'_>]) -> Result<Results, EvalError> {
        let prompts: Vec<&[u32]> = group.iter().map(|question| question.tokens.as_slice()).collect();
        if group.first().is_some_and(|question| question.case.metric == Metric::Label) {
            let scored = self.labels.score(&self.engine, &prompts)?;
            return Ok(group
                .iter()
                .zip(scored)
                .map(|(question, scored)| self.chosen(question.case, &scored))
                .collect());
        }
        let answers = generate::greedy(&self.engine, &prompts, self.max_new_tokens)?;
        Ok(group.iter().zip(answers).map(|(question, generated)| self.written(question.case, generated)).collect())
    }

    fn chosen(&self, case: &Case, scored: &LabelScores) -> Result<CaseResult, EvalError> {
        all_finite(case, scored.finite)?;
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
        all_finite(case, generated.finite)?;
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

fn all_finite(case: &Case, finite: bool) -> Result<(), EvalError> {
    if finite { Ok(()) } else { Err(EvalError::NonFinite { id: case.id.clone() }) }
}

/// Results of a group's cases, in the group's order.
type Results = Vec<Result<CaseResult, EvalError>>;

/// Answers every group, each beside others on a thread of its own, and gives their results, in order; nothing for groups that lie, in the
/// pack's order, behind a failure.
fn in_flight(
    work: &[Vec<Question<'_>>],
    each: impl Fn(&[Question<'_>]) -> Result<Results, EvalError> + Sync,
    progress: impl FnMut(usize) + Send,
) -> Vec<Results> {
    let first_failure = AtomicUsize::new(usize::MAX);
    let answered = Mutex::new((0, progress));
    kernel::side_by_side(work.iter().collect(), |group: &Vec<Question<'_>>| {
        let first_row = group.iter().map(|question| question.row).min().unwrap_or(usize::MAX);
        if first_row > first_failure.load(Ordering::Relaxed) {
            return Results::new();
        }
        // What no prompt caused stops every case: the first of the group stands for it.
        let results = each(group).unwrap_or_else(|error| vec![Err(error)]);
        let failed = group.iter().zip(&results).filter(|(_, result)| result.is_err()).map(|(question, _)| question.row);
        first_failure.fetch_min(failed.min().unwrap_or(usize::MAX), Ordering::Relaxed);
        let mut answered = answered.lock().unwrap_or_else(PoisonError::into_inner);
        answered.0 += group.len();
        let count = answered.0;
        (answered.1)(count);
        results
    })
}
