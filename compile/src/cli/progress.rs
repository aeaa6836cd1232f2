//! Progress on stderr: a bar on a terminal, a line now and then elsewhere.
//!
//! Durations and rates are talk: they never reach stdout and never an artifact.

use std::io::IsTerminal;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

/// Shows how far a compile is.
pub struct Progress {
    bar: Option<ProgressBar>,
    started: Instant,
    tokens: u64,
    last_tenth: u64,
    quiet: bool,
}

impl Progress {
    /// A progress display; `quiet` shows nothing at all.
    pub fn new(quiet: bool) -> Progress {
        Progress { bar: None, started: now(), tokens: 0, last_tenth: 0, quiet }
    }

    /// Announces a stage.
    pub fn stage(&mut self, name: &str, detail: &str) {
        self.finish();
        if !self.quiet {
            eprintln!("{name:<9} {detail}");
        }
    }

    /// Opens a counted stage of `total` units.
    pub fn start(&mut self, total: u64) {
        self.finish();
        self.started = now();
        self.tokens = 0;
        self.last_tenth = 0;
        if !self.quiet && std::io::stderr().is_terminal() {
            let bar = ProgressBar::new(total);
            if let Ok(style) = ProgressStyle::with_template("          [{bar:30}] {pos}/{len} {msg} eta {eta}") {
                bar.set_style(style.progress_chars("=> "));
            }
            self.bar = Some(bar);
        }
    }

    /// Reports one training step.
    pub fn step(&mut self, step: u64, steps: u64, loss: f32, tokens: u64) {
        self.tokens += tokens;
        let seconds = self.started.elapsed().as_secs_f64().max(1e-9);
        let rate = self.tokens as f64 / seconds;
        let message = format!("loss {loss:.4}  {rate:.0} tokens/s");
        self.advance(step, steps, &message);
    }

    /// Reports `done` of `total` replayed cases, a counted stage of its own.
    pub fn replayed(&mut self, done: u64, total: u64) {
        if done == 1 {
            self.start(total);
        }
        self.advance(done, total, "cases replayed");
        if done == total {
            self.finish();
        }
    }

    /// Reports `done` of `total` units with a message.
    pub fn advance(&mut self, done: u64, total: u64, message: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(message.to_owned());
            bar.set_position(done);
        } else if !self.quiet && total > 0 {
            let tenth = done * 10 / total;
            if tenth > self.last_tenth {
                self.last_tenth = tenth;
                eprintln!("          {done}/{total}  {message}");
            }
        }
    }

    /// Closes the open bar.
    pub fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "elapsed time for the progress bar, shown on stderr only")]
fn now() -> Instant {
    Instant::now()
}
