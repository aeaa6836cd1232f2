//! Records one training step: trains to the step before it, or starts from a checkpoint, and keeps every tensor of the step itself.

use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use kolm_compile::cli::progress::Progress;
use kolm_compile::pipeline::Prepared;
use kolm_compile::train::{CheckpointStore, Detail, Recorded, StepReport, TraceLine, Watcher};
use kolm_runtime::artifact::sha256_hex;

use super::error::BisectError;
use super::step::{FORMAT, StepHeader, StepWriter};

/// SHA-256 of a prepared compile's plan.
///
/// # Errors
/// [`BisectError::Artifact`]; a resolved plan always encodes.
pub fn plan_sha256(prepared: &Prepared<'_>) -> Result<String, BisectError> {
    Ok(sha256_hex(&prepared.plan.encode()?))
}

/// Records step `step` into `out`. The newest checkpoint before the step is the start, and the state right before it is left in `checkpoints`.
///
/// # Errors
/// [`BisectError::NoSuchStep`], [`BisectError::Rebuild`], [`BisectError::Artifact`].
pub fn record(
    prepared: &Prepared<'_>,
    step: u64,
    checkpoints: CheckpointStore,
    out: &Path,
    progress: &mut Progress,
) -> Result<TraceLine, BisectError> {
    let steps = prepared.settings.steps;
    if step == 0 || step > steps {
        return Err(BisectError::NoSuchStep { found: step, steps });
    }
    let plan_sha256 = plan_sha256(prepared)?;
    let store = (step > 1).then(|| checkpoints.up_to(step - 1));
    let header = StepHeader { format: FORMAT.to_owned(), plan_sha256, step };
    let mut recording = Recording { step, writer: StepWriter::create(out, &header)?, line: None, progress };
    recording.progress.stage("record", &format!("step {step} of {steps}, every tensor"));
    recording.progress.start(step);
    prepared.train(store.as_ref(), &mut recording)?;
    recording.progress.finish();
    let line = recording.line.ok_or(BisectError::NoSuchStep { found: step, steps })?;
    recording.writer.finish(&line)?;
    Ok(line)
}

/// The checkpoints of one plan, in a folder of their own below `folder`.
///
/// # Errors
/// As [`plan_sha256`].
pub(super) fn checkpoints(prepared: &Prepared<'_>, folder: &Path) -> Result<CheckpointStore, BisectError> {
    Ok(CheckpointStore::new(folder.join(&plan_sha256(prepared)?[..32]), CHECKPOINT_EVERY_STEPS))
}

struct Recording<'a> {
    step: u64,
    writer: StepWriter,
    line: Option<TraceLine>,
    progress: &'a mut Progress,
}

impl Watcher for Recording<'_> {
    fn step(&mut self, report: &StepReport) {
        self.progress.step(report.step, self.step, report.loss, report.tokens);
    }

    fn detail(&self, step: u64) -> Option<Detail> {
        (step == self.step).then_some(Detail::Tensors)
    }

    fn record(&mut self, recorded: Vec<Recorded>) -> io::Result<()> {
        self.writer.add(&recorded)
    }

    fn traced(&mut self, line: &TraceLine) -> io::Result<ControlFlow<()>> {
        if line.step < self.step {
            return Ok(ControlFlow::Continue(()));
        }
        self.line = Some(line.clone());
        Ok(ControlFlow::Break(()))
    }
}

/// Compares a run with a trace while it goes on, and ends it at the first step that differs.
pub(super) struct Follow<'a> {
    expected: &'a [TraceLine],
    /// The lines of this run, the differing one included.
    pub lines: Vec<TraceLine>,
    progress: &'a mut Progress,
}

impl<'a> Follow<'a> {
    /// Follows the trace `expected`.
    pub(super) fn new(expected: &'a [TraceLine], progress: &'a mut Progress) -> Self {
        Self { expected, lines: Vec::new(), progress }
    }
}

impl Watcher for Follow<'_> {
    fn step(&mut self, report: &StepReport) {
        self.progress.step(report.step, report.steps, report.loss, report.tokens);
    }

    fn traced(&mut self, line: &TraceLine) -> io::Result<ControlFlow<()>> {
        let same = self.expected.get(self.lines.len()) == Some(line);
        self.lines.push(line.clone());
        Ok(if same { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    }
}

const CHECKPOINT_EVERY_STEPS: u64 = 50;
