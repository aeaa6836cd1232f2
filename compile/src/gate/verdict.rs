//! From measurements to one verdict, and from the verdict to the exit code.

use kolm_runtime::eval::Ppm;
use kolm_runtime::verify;
use serde::Serialize;

use super::{Baseline, GateError};
use crate::diff::answers::signed;

/// What must hold. A limit that is none is not asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Least K; the gate of the artifact's plan if none.
    pub min_k: Option<Ppm>,
    /// Most cases right in the baseline and wrong now.
    pub max_regressions: Option<usize>,
    /// Most that K over the common cases may fall.
    pub max_drop: Option<Ppm>,
}

/// One condition and what was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Condition {
    /// Its name, the flag's: `min-k`, `max-regressions`, `max-drop`.
    pub name: &'static str,
    /// Whether it holds.
    pub met: bool,
    /// What was found.
    pub found: String,
    /// What was wanted.
    pub expected: String,
}

/// How it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Replayed as recorded, every condition met.
    Passed,
    /// Checked and refused.
    Refused,
    /// A condition is not met.
    GateNotMet,
    /// Base, key or baseline is not there.
    MissingInput,
    /// Input or output failed.
    Io,
}

impl Verdict {
    /// Decides: a failure first, then the conditions; without conditions nothing was measured, which is no pass.
    pub fn of(failure: Option<&GateError>, conditions: &[Condition]) -> Verdict {
        match failure {
            Some(GateError::OtherTask { .. }) => Verdict::Refused,
            Some(GateError::Artifact(source) | GateError::Baseline { source, .. }) => match verify::Exit::of(source) {
                verify::Exit::Missing => Verdict::MissingInput,
                verify::Exit::Io => Verdict::Io,
                _ => Verdict::Refused,
            },
            None if conditions.is_empty() => Verdict::Refused,
            None if conditions.iter().all(|condition| condition.met) => Verdict::Passed,
            None => Verdict::GateNotMet,
        }
    }

    /// The exit code.
    pub fn exit_code(self) -> u8 {
        match self {
            Verdict::Passed => 0,
            Verdict::Refused => 1,
            Verdict::GateNotMet => 3,
            Verdict::MissingInput => 4,
            Verdict::Io => 6,
        }
    }

    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Verdict::Passed => "passed",
            Verdict::Refused => "refused",
            Verdict::GateNotMet => "gate not met",
            Verdict::MissingInput => "missing input",
            Verdict::Io => "input or output failed",
        }
    }
}

/// Every condition asked for. `k` is the K of the replay, `gate` that of the plan.
pub(super) fn conditions(limits: &Limits, gate: Ppm, k: Ppm, baseline: Option<&Baseline>) -> Vec<Condition> {
    let least = limits.min_k.unwrap_or(gate);
    let mut found =
        vec![Condition { name: "min-k", met: k >= least, found: k.to_string(), expected: format!("at least {least}") }];
    let Some(answers) = baseline.map(|baseline| &baseline.answers) else { return found };
    if let Some(most) = limits.max_regressions {
        let lost = answers.lost.len();
        // Without a common case nothing can be said, and the condition is not met.
        let common = answers.common > 0;
        let count = if common { lost.to_string() } else { "no common case".to_owned() };
        let expected = format!("at most {most}");
        found.push(Condition { name: "max-regressions", met: common && lost <= most, found: count, expected });
    }
    if let Some(most) = limits.max_drop {
        let met = answers.delta_ppm.is_some_and(|delta| -delta <= i64::from(most.millionths()));
        let shown = answers.delta_ppm.map_or_else(|| "no common case".to_owned(), signed);
        let expected = format!("at least {}", signed(-i64::from(most.millionths())));
        found.push(Condition { name: "max-drop", met, found: shown, expected });
    }
    found
}

#[cfg(test)]
mod tests {
    use kolm_runtime::artifact::ArtifactError;

    use super::*;
    use crate::diff::answers::{Answers, Flip};

    fn ppm(millionths: u32) -> Ppm {
        Ppm::new(millionths).unwrap()
    }

    fn baseline(common: usize, lost: usize, delta: i64) -> Baseline {
        let flip = Flip { id: "c".into(), expected: "e".into(), a: "e".into(), b: "x".into() };
        Baseline {
            path: "old.kolm".into(),
            version: "1".into(),
            cid: "c".into(),
            wilson: [Ppm::ZERO, Ppm::ONE],
            not_replayed: None,
            answers: Answers {
                common,
                k: [Ppm::ONE; 2],
                k_common: None,
                delta_ppm: (common > 0).then_some(delta),
                answers_changed: lost,
                logits_changed: 0,
                lost: vec![flip; lost],
                won: Vec::new(),
            },
        }
    }

    #[test]
    fn verdict_table() {
        let limits = Limits { min_k: Some(ppm(850_000)), max_regressions: Some(1), max_drop: Some(ppm(10_000)) };
        let check = |k: u32, baseline: Baseline, expected: Verdict, unmet: &[&str]| {
            let found = conditions(&limits, Ppm::ONE, ppm(k), Some(&baseline));
            assert_eq!(found.len(), 3);
            assert_eq!(Verdict::of(None, &found), expected);
            let names: Vec<_> =
                found.iter().filter(|condition| !condition.met).map(|condition| condition.name).collect();
            assert_eq!(names, unmet);
        };
        check(850_000, baseline(9, 1, -10_000), Verdict::Passed, &[]);
        check(849_999, baseline(9, 0, 0), Verdict::GateNotMet, &["min-k"]);
        check(900_000, baseline(9, 2, 0), Verdict::GateNotMet, &["max-regressions"]);
        check(900_000, baseline(9, 0, -10_001), Verdict::GateNotMet, &["max-drop"]);
        check(900_000, baseline(9, 0, 50_000), Verdict::Passed, &[]);
        check(900_000, baseline(0, 0, 0), Verdict::GateNotMet, &["max-regressions", "max-drop"]);
    }

    #[test]
    fn plan_gate_is_the_default() {
        assert!(!conditions(&Limits::default(), ppm(900_000), ppm(899_999), None)[0].met);
        assert!(conditions(&Limits::default(), ppm(900_000), ppm(900_000), None)[0].met);
    }

    #[test]
    fn failures_win_over_conditions() {
        let met = conditions(&Limits::default(), Ppm::ZERO, Ppm::ONE, None);
        let check = |error: GateError, code: u8| assert_eq!(Verdict::of(Some(&error), &met).exit_code(), code);
        check(GateError::OtherTask { found: "a".into(), expected: "b".into() }, 1);
        check(GateError::Artifact(Box::new(ArtifactError::NotAnArtifact)), 1);
        let absent = || ArtifactError::ModelAbsent { role: "base", repo: "r".into(), revision: "v".into() };
        check(GateError::Artifact(Box::new(absent())), 4);
        assert_eq!(Verdict::of(None, &[]), Verdict::Refused);
    }
}
