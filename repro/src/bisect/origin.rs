//! Where the record of one side's step comes from: a file, another build on this machine, or this build.

use std::path::Path;
use std::process::{Command, Stdio};

use kolm_compile::cli::progress::Progress;
use kolm_compile::pipeline::Prepared;
use kolm_compile::train::TraceLine;

use super::Named;
use super::error::BisectError;
use super::record::{self, plan_sha256};
use super::step::StepReader;
use super::trace::Trace;

/// One side of a step that is to be compared.
pub(super) struct Origin<'a> {
    name: &'static str,
    named: &'a Named,
    /// The artifact whose plan it follows.
    artifact: &'a Path,
    prepared: Option<&'a Prepared<'a>>,
    line: Option<&'a TraceLine>,
    step: u64,
}

impl<'a> Origin<'a> {
    pub(super) fn new(
        name: &'static str,
        named: &'a Named,
        artifact: &'a Path,
        prepared: Option<&'a Prepared<'a>>,
        trace: &'a Trace,
        step: u64,
    ) -> Self {
        let line = trace.lines.iter().find(|line| line.step == step);
        Self { name, named, artifact, prepared, line, step }
    }

    /// Records the step, or opens its record. None, and a note, where there is no way to it. The state before the step may be that of the
    /// `other` side: the traces are the same up to there.
    pub(super) fn open(
        &self,
        work: &Path,
        checkpoints: &Path,
        other: Option<&Origin<'_>>,
        progress: &mut Progress,
        notes: &mut Vec<String>,
    ) -> Result<Option<StepReader>, BisectError> {
        let Self { name, step, .. } = *self;
        let made = work.join(format!("{name}.step"));
        let path = match (&self.named.recorded, &self.named.build, self.prepared) {
            (Some(path), _, _) => path,
            (None, Some(build), _) => {
                progress.stage("record", &format!("step {step} by {}", build.display()));
                self.build(build, &made, checkpoints)?;
                &made
            }
            (None, None, Some(prepared)) => {
                if let Some(other) = other.and_then(|other| other.prepared) {
                    let state = record::checkpoints(other, checkpoints)?.adopting();
                    let line = record::record(prepared, step, state, &made, progress)?;
                    if self.line != Some(&line) {
                        let own = record::checkpoints(prepared, checkpoints)?;
                        record::record(prepared, step, own, &made, progress)?;
                    }
                } else {
                    record::record(prepared, step, record::checkpoints(prepared, checkpoints)?, &made, progress)?;
                }
                &made
            }
            (None, None, None) => {
                notes.push(format!(
                    "the inputs of {name} are not at hand: name them (--corpus, --base, --encoder; those of b alone with \
                     --corpus-b, --base-b, --encoder-b), or bring a record of step {step} with --recorded-{name}"
                ));
                return Ok(None);
            }
        };
        let reader = StepReader::open(path)?;
        let plan = self.prepared.map(plan_sha256).transpose()?;
        if reader.header.step != step || plan.as_ref().is_some_and(|plan| *plan != reader.header.plan_sha256) {
            return Err(BisectError::StepOfOther {
                path: path.to_owned(),
                found_step: reader.header.step,
                found_plan: reader.header.plan_sha256.clone(),
                step,
                plan: plan.unwrap_or_else(|| reader.header.plan_sha256.clone()),
            });
        }
        if self.line != Some(&reader.trace) {
            let who = match (&self.named.recorded, &self.named.build) {
                (Some(path), _) => path.display().to_string(),
                (None, Some(build)) => build.display().to_string(),
                (None, None) => "this build".to_owned(),
            };
            notes.push(format!(
                "{who} does not give step {step} of {name}: {name} was made by another build or on a machine that computes \
                 otherwise; name that build with --build-{name}, or record the step there with `kolm-repro record-step` and bring \
                 the file with --recorded-{name}"
            ));
            return Ok(None);
        }
        Ok(Some(reader))
    }

    /// Has another `kolm-repro` record the step.
    fn build(&self, build: &Path, out: &Path, checkpoints: &Path) -> Result<(), BisectError> {
        let inputs = &self.named.inputs;
        let mut command = Command::new(build);
        command.arg("record-step").arg(self.artifact).arg("--corpus").args(&inputs.corpus);
        let folders = [
            ("--base", &inputs.models.base),
            ("--encoder", &inputs.models.encoder),
            ("--init-adapter", &inputs.init_adapter),
        ];
        for (flag, folder) in folders {
            if let Some(folder) = folder {
                command.arg(flag).arg(folder);
            }
        }
        command.arg("--cache").arg(&inputs.models.cache);
        command.args(["--quiet", "--step", &self.step.to_string()]);
        command.arg("--checkpoints").arg(checkpoints).arg("--out").arg(out).stdin(Stdio::null());
        let failed = |status: String, talk: String| BisectError::Build { build: build.to_owned(), status, talk };
        let output = command.output().map_err(|error| failed(error.to_string(), String::new()))?;
        if output.status.success() {
            return Ok(());
        }
        Err(failed(output.status.to_string(), String::from_utf8_lossy(&output.stderr).trim_end().to_owned()))
    }
}
