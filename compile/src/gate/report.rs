//! What the gate found, as every format shows it.

use std::path::Path;

use kolm_runtime::artifact::Opened;
use kolm_runtime::eval::{Outcome, Pack, Ppm};
use serde::Serialize;

use super::{Condition, GateError, Verdict};
use crate::diff::answers::Answers;

/// The whole result.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Path of the artifact, as typed.
    pub artifact: String,
    /// Task, version and CID, if it could be read.
    pub identity: Option<Identity>,
    /// The replay of this machine, if there was one.
    pub measured: Option<Measured>,
    /// The comparison, if one was asked for.
    pub baseline: Option<Baseline>,
    /// Every condition asked for.
    pub conditions: Vec<Condition>,
    /// Why there is nothing to judge.
    pub error: Option<Failure>,
    /// The verdict.
    pub verdict: Verdict,
    /// The exit code that follows from it.
    pub exit: u8,
}

/// Which artifact.
#[derive(Clone, Debug, Serialize)]
pub struct Identity {
    /// Task.
    pub name: String,
    /// Version.
    pub version: String,
    /// CID.
    pub cid: String,
}

/// A replay.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// K of the replay.
    pub k: Ppm,
    /// Its Wilson 95 % interval.
    pub wilson: [Ppm; 2],
    /// K in the manifest; shown, never used.
    pub recorded_k: String,
    /// Every case.
    pub cases: Vec<CaseLine>,
}

/// One case.
#[derive(Clone, Debug, Serialize)]
pub struct CaseLine {
    /// Its id.
    pub id: String,
    /// What it expects.
    pub expected: String,
    /// What was answered.
    pub answer: String,
    /// What that scored.
    pub score: Ppm,
}

/// The artifact compared with.
#[derive(Clone, Debug, Serialize)]
pub struct Baseline {
    /// Its path, as typed.
    pub path: String,
    /// Its version.
    pub version: String,
    /// Its CID.
    pub cid: String,
    /// Wilson 95 % interval of its K.
    pub wilson: [Ppm; 2],
    /// Why its recorded answers stand in for a replay; none if it was replayed.
    pub not_replayed: Option<String>,
    /// The comparison; `a` is the baseline.
    pub answers: Answers,
}

/// A failure as data.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    /// Stable name.
    pub code: &'static str,
    /// In words.
    pub message: String,
    /// Advice, if there is one.
    #[serde(skip)]
    pub hint: Option<String>,
}

impl Report {
    pub(super) fn new(artifact: &Path) -> Report {
        Report {
            artifact: artifact.display().to_string(),
            identity: None,
            measured: None,
            baseline: None,
            conditions: Vec::new(),
            error: None,
            verdict: Verdict::Refused,
            exit: Verdict::Refused.exit_code(),
        }
    }

    pub(super) fn identify(&mut self, opened: &Opened) {
        let (name, version) = (opened.task.name.clone(), opened.task.version.clone());
        self.identity = Some(Identity { name, version, cid: opened.manifest.cid.clone() });
    }

    pub(super) fn decide(&mut self, failure: Option<GateError>) {
        self.verdict = Verdict::of(failure.as_ref(), &self.conditions);
        self.exit = self.verdict.exit_code();
        self.error = failure.map(|error| Failure {
            code: error.code(),
            message: error.to_string(),
            hint: error.artifact().and_then(kolm_runtime::verify::hint),
        });
    }
}

impl Measured {
    pub(super) fn new(pack: &Pack, outcome: &Outcome, recorded_k: &str) -> Measured {
        let cases = pack.cases().iter().zip(&outcome.results).map(|(case, result)| CaseLine {
            id: case.id.clone(),
            expected: case.expected.clone(),
            answer: result.answer.clone(),
            score: result.score,
        });
        let wilson = [outcome.wilson.0, outcome.wilson.1];
        Measured { k: outcome.k, wilson, recorded_k: recorded_k.to_owned(), cases: cases.collect() }
    }
}
