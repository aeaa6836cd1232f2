//! The memory plan of a training run: what it needs, how many examples are in flight, whether blocks are computed again.
//!
//! Speed first: as many examples as there are threads, their activations kept. Where that does not fit, fewer of them, but no fewer
//! than one for two threads; then activations are computed again block by block, with as many examples as fit. The choice changes
//! speed and memory, never a bit.

use kolm_runtime::kernel::Buffer;
use kolm_runtime::model::{Adapter, Decoder};
use serde::Serialize;

use super::CompileError;
use super::free::{Free, Held};
use super::size::Size;
use crate::train::{
    AdapterMemory, ByStorage, Example, base_len_bytes, example_len_bytes, gradients_held, in_flight,
    loss_head_len_bytes,
};

/// What a training run will hold in memory, in bytes, and what work it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemoryPlan {
    /// Base as both passes read it, by type.
    pub base: ByStorage,
    /// Adapter, gradients' moments (AdamW) and the packed factors of a step.
    pub adapter: u64,
    /// Vectors and passages of the recall index.
    pub recall: u64,
    /// Rows as text and as tokens.
    pub rows: u64,
    /// What else the process held when the plan was made, program and tokenizers, and what waits on its threads to be used again.
    pub process: u64,
    /// Activations of all examples in flight, the longest ones at once.
    pub activations: u64,
    /// Activations of the longest example.
    pub longest_example: u64,
    /// Its tokens.
    pub longest_example_tokens: usize,
    /// Examples in flight at once.
    pub in_flight: usize,
    /// Examples between two sums.
    pub micro_batch: usize,
    /// Whether a block's activations are computed again in the backward pass.
    pub recompute: bool,
    /// Rows of logits that the loss head holds at a time.
    pub loss_head_rows: usize,
    /// Those rows, their gradients with them; counted in the activations.
    pub loss_head: u64,
    /// Gradients of the adapter held at once.
    pub gradients: u64,
    /// The most that the process will hold.
    pub peak: u64,
    /// The most that it has held so far, while reading models and rows.
    pub peak_so_far: u64,
    /// What it may hold.
    pub allowed: u64,
    /// Who says so: `--memory`, or `free` for what the process held and half of what the system said was free.
    pub allowed_by: &'static str,
    /// Training examples.
    pub examples: usize,
    /// Optimiser steps.
    pub steps: u64,
    /// Examples a step.
    pub batch_size: usize,
    /// Tokens a step, on average.
    pub tokens_per_step: u64,
}

/// What the plan is made of.
pub(super) struct Parts<'a> {
    pub(super) decoder: &'a Decoder,
    pub(super) initial: &'a Adapter,
    pub(super) examples: &'a [Example],
    /// Bytes of the recall index.
    pub(super) recall: u64,
    /// Bytes of text that stays.
    pub(super) text: u64,
    pub(super) steps: u64,
    pub(super) batch_size: usize,
    /// Examples between two sums as asked for; 0 the whole batch.
    pub(super) micro_batch: Option<usize>,
    /// `--memory`.
    pub(super) memory: Option<Size>,
    pub(super) threads: usize,
}

/// Makes the plan.
///
/// # Errors
/// [`CompileError::Memory`] when `--memory` does not hold what reading the models took, or the fewest examples in flight.
pub(super) fn plan(parts: &Parts<'_>) -> Result<MemoryPlan, CompileError> {
    let Parts { decoder, initial, examples, batch_size, threads, .. } = *parts;
    let base = base_len_bytes(decoder);
    let adapter = AdapterMemory::of(initial);
    let tokens: u64 = examples.iter().map(|example| example.tokens.len() as u64).sum();
    let rows = parts.text + examples.iter().map(|example| 4 * example.tokens.capacity() as u64).sum::<u64>();
    let known = base.values().sum::<u64>() + adapter.initial + parts.recall + rows;
    let held = Held::now().unwrap_or(Held { now: known + ASSUMED_PROCESS, peak: known + ASSUMED_PROCESS });
    let (kept, recomputed) = (longest(parts, false), longest(parts, true));
    let waiting_on_one = recomputed.first().map_or(0, |cost| (*cost).min(Buffer::WAITING_LEN_BYTES as u64));
    let waiting = waiting_on_one * threads.min(batch_size) as u64;
    let needs = Needs {
        fixed: held.now + adapter.state + waiting,
        kept,
        recomputed,
        gradient: adapter.gradient,
        batch_size,
        threads,
    };
    let (allowed, allowed_by) = match parts.memory {
        Some(Size(bytes)) => (bytes, "--memory"),
        None => (held.now + Free::now().0 / 2, "free"),
    };
    let choice = needs.choose(parts.micro_batch, allowed);
    // That of reading the models is behind us.
    let peak = held.peak.max(needs.peak(choice));
    let longest_example = examples.iter().map(|example| example.tokens.len()).max().unwrap_or(0);
    if parts.memory.is_some() && peak > allowed {
        let with = match in_flight(choice.micro_batch, threads) {
            // The examples fit: what came before them does not.
            _ if needs.peak(choice) <= allowed => "while models and rows are read".to_owned(),
            1 => format!("with one example of {longest_example} tokens in flight and blocks computed again"),
            many => format!("with {many} examples of {longest_example} tokens in flight and blocks computed again"),
        };
        return Err(CompileError::Memory { needed: Size(peak), given: Size(allowed), with });
    }
    let costs = needs.costs(choice.recompute);
    let (loss_head_rows, loss_head) = loss_head_len_bytes(&decoder.config, examples);
    Ok(MemoryPlan {
        base,
        adapter: adapter.initial + adapter.state,
        recall: parts.recall,
        rows,
        process: held.now.saturating_sub(known) + waiting,
        activations: needs.activations(choice),
        longest_example: costs.first().copied().unwrap_or(0),
        longest_example_tokens: longest_example,
        in_flight: in_flight(choice.micro_batch, threads),
        micro_batch: choice.micro_batch,
        recompute: choice.recompute,
        loss_head_rows,
        loss_head,
        gradients: gradients_held(choice.micro_batch, batch_size) as u64 * adapter.gradient,
        peak,
        peak_so_far: held.peak,
        allowed,
        allowed_by,
        examples: examples.len(),
        steps: parts.steps,
        batch_size,
        tokens_per_step: tokens * batch_size as u64 / examples.len().max(1) as u64,
    })
}

/// Sees, before the corpus is read, that the base alone fits.
///
/// # Errors
/// [`CompileError::Memory`].
pub(super) fn check_base(decoder: &Decoder, memory: Option<Size>) -> Result<(), CompileError> {
    let needed = Size(Held::now().map_or_else(|| base_len_bytes(decoder).values().sum(), |held| held.now));
    match memory {
        Some(given) if needed > given => {
            Err(CompileError::Memory { needed, given, with: "for the base and the program alone".to_owned() })
        }
        _ => Ok(()),
    }
}

/// Costs of the examples that need most, in descending order, as many as can ever be in flight.
fn longest(parts: &Parts<'_>, recompute: bool) -> Vec<u64> {
    let cost = |example| example_len_bytes(&parts.decoder.config, parts.initial, example, recompute);
    let mut costs: Vec<u64> = parts.examples.iter().map(cost).collect();
    costs.sort_unstable_by(|a, b| b.cmp(a));
    costs.truncate(parts.batch_size.min(2 * parts.threads));
    costs
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Choice {
    micro_batch: usize,
    recompute: bool,
}

struct Needs {
    /// Whatever the choice.
    fixed: u64,
    /// Of the greatest examples, activations kept.
    kept: Vec<u64>,
    /// The same, activations computed again.
    recomputed: Vec<u64>,
    gradient: u64,
    batch_size: usize,
    threads: usize,
}

impl Needs {
    /// The first choice that fits, else the one that needs least.
    fn choose(&self, micro_batch: Option<usize>, allowed: u64) -> Choice {
        let all = self.threads.min(self.batch_size).max(1);
        let choices: Vec<Choice> = match micro_batch {
            Some(size) => {
                let size = if size == 0 { self.batch_size } else { size.min(self.batch_size) };
                [false, true].map(|recompute| Choice { micro_batch: size, recompute }).to_vec()
            }
            None => {
                let keep = (all.div_ceil(2)..=all).rev().map(|micro_batch| Choice { micro_batch, recompute: false });
                let again = (1..=all).rev().map(|micro_batch| Choice { micro_batch, recompute: true });
                keep.chain(again).collect()
            }
        };
        let fits = |choice: &Choice| self.peak(*choice) <= allowed;
        let least = choices.last().copied().unwrap_or(Choice { micro_batch: 1, recompute: true });
        let mut choice = choices.into_iter().find(fits).unwrap_or(least);
        // Threads wait for each other after a micro-batch: where only gradients are added, the more examples the better.
        if micro_batch.is_none() && choice.micro_batch == all {
            let more = |times: &usize| fits(&Choice { micro_batch: times * all, ..choice });
            let times = (1..=self.batch_size / all).rev().find(more).unwrap_or(1);
            choice.micro_batch = times * all;
        }
        choice
    }

    fn costs(&self, recompute: bool) -> &[u64] {
        if recompute { &self.recomputed } else { &self.kept }
    }

    fn activations(&self, choice: Choice) -> u64 {
        let costs = self.costs(choice.recompute);
        let in_flight = in_flight(choice.micro_batch, self.threads);
        // Examples move between threads, and large buffers wait where each was; a single one stays with its caller.
        let idle = if in_flight > 1 { self.threads.saturating_sub(in_flight) as u64 } else { 0 };
        let freed = costs.first().map_or(0, |cost| idle * (*cost).min(Buffer::LARGE_WAITING_LEN_BYTES as u64));
        costs.iter().take(in_flight).sum::<u64>() + freed
    }

    fn peak(&self, choice: Choice) -> u64 {
        let gradients = gradients_held(choice.micro_batch, self.batch_size) as u64 * self.gradient;
        self.fixed + self.activations(choice) + gradients
    }
}

/// What a process holds besides models and rows, where the system does not say.
const ASSUMED_PROCESS: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use super::{Choice, Needs};

    #[track_caller]
    fn check(threads: usize, batch_size: usize, asked: Option<usize>, allowed: u64, expected: (usize, bool)) {
        let needs =
            Needs { fixed: 1000, kept: vec![100; 16], recomputed: vec![10; 16], gradient: 1, batch_size, threads };
        let (micro_batch, recompute) = expected;
        assert_eq!(needs.choose(asked, allowed), Choice { micro_batch, recompute });
    }

    #[test]
    fn speed_comes_first_and_memory_when_needed() {
        check(2, 8, None, 5000, (8, false));
        // Two examples and their eight gradients need 1208.
        check(2, 8, None, 1207, (6, false));
        check(2, 8, None, 1204, (2, false));
        check(2, 8, None, 1203, (1, false));
        check(2, 8, None, 1103, (8, true));
        check(2, 8, None, 1014, (1, true));
        check(2, 8, None, 0, (1, true));
        check(8, 3, None, 5000, (3, false));
        check(8, 16, None, 1403, (16, true));
        check(3, 8, None, 5000, (6, false));
        // Three of four threads' examples leave what the fourth freed: 1403, as with four in flight.
        check(4, 4, None, 1402, (4, true));
    }

    #[test]
    fn a_micro_batch_that_was_asked_for_stays() {
        check(2, 8, Some(0), 5000, (8, false));
        check(2, 8, Some(0), 1100, (8, true));
        check(2, 8, Some(3), 0, (3, true));
        check(2, 8, Some(99), 5000, (8, false));
    }
}
