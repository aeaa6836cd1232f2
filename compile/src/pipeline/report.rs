//! The memory plan in words.

use std::fmt::Write;

use super::memory::MemoryPlan;
use super::size::Size;
use crate::train::ByStorage;

impl MemoryPlan {
    /// One line for the way to the training.
    pub fn summary(&self) -> String {
        let beyond = if self.peak > self.allowed { ": more than that, so it may be slow or be stopped" } else { "" };
        format!("{} at most, of {}{beyond}; {}", Size(self.peak), self.allowance(), self.way())
    }

    /// All of it, a line for each part.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |bytes: u64, what: &str| {
            // A String takes everything.
            let _ = writeln!(text, "{:>10}  {what}", Size(bytes).to_string());
        };
        line(self.base.values().sum(), &format!("base: {}", by_storage(&self.base)));
        line(self.adapter, "adapter: parameters, AdamW moments, packed factors");
        line(self.gradients, "gradients of the adapter, examples and their sums");
        line(self.activations, &format!("activations: {}", self.way()));
        line(self.recall, "recall index");
        line(self.rows, "rows as text and as tokens");
        line(self.process, "program, tokenizers, buffers");
        line(self.peak, &format!("at most, of {}", self.allowance()));
        let _ = writeln!(
            text,
            "longest example: {} tokens, {} in flight\nloss head: {} rows of logits at a time, {}\n\
             so far: {} at most, while models and rows were read",
            self.longest_example_tokens,
            Size(self.longest_example),
            self.loss_head_rows,
            Size(self.loss_head),
            Size(self.peak_so_far),
        );
        let _ = writeln!(
            text,
            "work: {} steps of {} examples, {} tokens a step; {} examples in all",
            self.steps, self.batch_size, self.tokens_per_step, self.examples
        );
        text
    }

    fn allowance(&self) -> String {
        let by = if self.allowed_by == "free" { "what kolm holds and half of what is free" } else { self.allowed_by };
        format!("{} ({by})", Size(self.allowed))
    }

    fn way(&self) -> String {
        let kept = if self.recompute { "computed again block by block" } else { "kept" };
        let examples = if self.in_flight == 1 { "example" } else { "examples" };
        format!("{} {examples} in flight, {kept}; micro-batch {}", self.in_flight, self.micro_batch)
    }
}

fn by_storage(parts: &ByStorage) -> String {
    let parts: Vec<String> = parts.iter().map(|(storage, bytes)| format!("{storage} {}", Size(*bytes))).collect();
    parts.join(", ")
}
