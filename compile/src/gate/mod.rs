//! The gate: an artifact is verified and replayed, compared with a baseline, and one verdict comes out.
//!
//! Nothing recorded is trusted for the artifact: its K is the K of the replay made here, and a replay that differs from the
//! record refuses it. A baseline's hashes are verified; it is replayed too where its base is on this machine, and the report
//! says so when it is not. The exit code is derived from the verdict and from nothing else.

mod error;
mod format;
mod junit;
mod report;
mod sarif;
mod verdict;

use std::path::{Path, PathBuf};

use kolm_runtime::artifact::{ArtifactError, ArtifactFile, KeySource, Member, Opened};
use kolm_runtime::eval::{Outcome, Pack, Ppm};
use kolm_runtime::kernel::Level;
use kolm_runtime::verify::{self, ModelPlaces, ReplayWith, Role};

use crate::diff::answers;
pub use error::GateError;
pub use format::{Format, show};
pub use report::{Baseline, CaseLine, Failure, Identity, Measured, Report};
pub use verdict::{Condition, Limits, Verdict};

/// What is asked.
#[derive(Clone, Debug)]
pub struct Options {
    /// The artifact.
    pub artifact: PathBuf,
    /// The artifact to compare with.
    pub baseline: Option<PathBuf>,
    /// What must hold.
    pub limits: Limits,
    /// Where the operator's key is.
    pub key: KeySource,
    /// Where base and encoder are looked for.
    pub places: ModelPlaces,
}

type Progress<'a> = &'a mut (dyn FnMut(usize, usize) + Send);

/// Verifies, replays, compares and decides.
pub fn run(options: &Options, level: Level, progress: Progress<'_>) -> Report {
    let mut report = Report::new(&options.artifact);
    let failure = measure(options, level, progress, &mut report).err();
    report.decide(failure);
    report
}

fn measure(options: &Options, level: Level, progress: Progress<'_>, report: &mut Report) -> Result<(), GateError> {
    let with = ReplayWith { level, progress: &mut *progress };
    let file = ArtifactFile::open(&options.artifact);
    let mut verification =
        verify::verify(file, |id| options.key.load_for(id), &options.places, Some(with), &mut |_| Ok(true));
    let (opened, replayed) = (verification.opened.take(), verification.replayed.take());
    if let Some(opened) = &opened {
        report.identify(opened);
    }
    let graded = opened.as_ref().zip(replayed);
    if let Some((opened, outcome)) = &graded {
        report.measured = Some(Measured::new(&pack(opened)?, outcome, &opened.manifest.eval.k));
    }
    if let Some(error) = verification.into_failure() {
        return Err(GateError::Artifact(Box::new(error)));
    }
    // All five checks hold, so there is an artifact and a replay of it.
    let Some((opened, outcome)) = graded else { return Ok(()) };
    let pack = pack(opened)?;
    if let Some(path) = &options.baseline {
        report.baseline = Some(baseline(path, options, opened, (&pack, &outcome), level, progress)?);
    }
    let gate = opened.plan.eval.gate.parse().unwrap_or(Ppm::ONE);
    report.conditions = verdict::conditions(&options.limits, gate, outcome.k, report.baseline.as_ref());
    Ok(())
}

fn baseline(
    path: &Path,
    options: &Options,
    new: &Opened,
    graded: (&Pack, &Outcome),
    level: Level,
    progress: Progress<'_>,
) -> Result<Baseline, GateError> {
    let wrong = |source| GateError::Baseline { path: path.to_owned(), source };
    let refused = |source: ArtifactError| wrong(Box::new(source));
    let open = || {
        let opened = Opened::new(ArtifactFile::open(path)?)?;
        opened.check_content(&opened.digests()?)?;
        verify::check_members(&opened)?;
        Ok(opened)
    };
    let old = open().map_err(refused)?;
    if old.task.name != new.task.name {
        return Err(GateError::OtherTask { found: old.task.name.clone(), expected: new.task.name.clone() });
    }
    let old_pack = pack(&old).map_err(|error| match error {
        GateError::Artifact(source) => wrong(source),
        other => other,
    })?;
    let plan = &old.plan.base;
    let (outcome, not_replayed) = match options.places.find(Role::Base, &plan.repo, &plan.revision, &plan.files) {
        Ok(base) => {
            let replayed = verify::replay(&old, &base, level, progress).map_err(refused)?;
            if let Some(difference) = replayed.difference {
                return Err(refused(difference));
            }
            (replayed.outcome, None)
        }
        Err(error) => {
            let read = || {
                let bytes = old.read(Member::EvalReplay)?;
                Outcome::parse(&old_pack, &bytes).map_err(|error| ArtifactError::Eval { detail: error.to_string() })
            };
            (read().map_err(refused)?, Some(error.to_string()))
        }
    };
    Ok(Baseline {
        path: path.display().to_string(),
        version: old.task.version.clone(),
        cid: old.manifest.cid.clone(),
        wilson: [outcome.wilson.0, outcome.wilson.1],
        not_replayed,
        answers: answers::compare((&old_pack, &outcome), graded),
    })
}

fn pack(opened: &Opened) -> Result<Pack, GateError> {
    let refused = |source: ArtifactError| GateError::Artifact(Box::new(source));
    let bytes = opened.read(Member::EvalPack).map_err(refused)?;
    Pack::parse(&bytes).map_err(|error| refused(ArtifactError::Eval { detail: error.to_string() }))
}
