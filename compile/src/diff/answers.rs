//! Eval cases and recorded answers of two artifacts.
//!
//! Answers are compared where both packs ask the same: same id, prompt and expected answer. Right means the full score; a case
//! flips when it is right on one side only. K over the common cases takes the weights of `b`, so that a pack that grew does not
//! pass for a model that changed.

use std::collections::BTreeMap;

use kolm_runtime::eval::{Case, CaseResult, Outcome, Pack, Ppm};
use serde::Serialize;
use serde_json::Value;

use super::keyed::{self, Keyed};
use super::tree::{self, Change};

/// What differs between two packs.
#[derive(Clone, Debug, Serialize)]
pub struct Cases {
    /// Metric-independent header: label set and answer length.
    pub header: Vec<Change>,
    /// Cases by id.
    #[serde(flatten)]
    pub cases: Keyed,
}

/// A case that is right on one side only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Flip {
    /// Its id.
    pub id: String,
    /// What it expects.
    pub expected: String,
    /// Answer of `a`.
    pub a: String,
    /// Answer of `b`.
    pub b: String,
}

/// Two replays over the cases they share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answers {
    /// Cases both packs ask alike.
    pub common: usize,
    /// K of `a` and of `b` over their whole packs.
    pub k: [Ppm; 2],
    /// K of `a` and of `b` over the common cases; none if there is none.
    pub k_common: Option<[Ppm; 2]>,
    /// K of `b` less K of `a` over the common cases, in ppm.
    pub delta_ppm: Option<i64>,
    /// Answered differently, flips included.
    pub answers_changed: usize,
    /// Same answer from other logits.
    pub logits_changed: usize,
    /// Right in `a`, wrong in `b`.
    pub lost: Vec<Flip>,
    /// Wrong in `a`, right in `b`.
    pub won: Vec<Flip>,
}

/// Compares two packs.
pub fn cases(a: &Pack, b: &Pack) -> Cases {
    let header = |pack: &Pack| serde_json::json!({ "labels": pack.labels(), "max_new_tokens": pack.max_new_tokens() });
    let rows = |pack: &Pack| -> Vec<Value> { pack.cases().iter().map(super::value).collect() };
    Cases { header: tree::changes(&header(a), &header(b)), cases: keyed::compare(&rows(a), &rows(b)) }
}

/// Compares two replays.
pub fn compare(a: (&Pack, &Outcome), b: (&Pack, &Outcome)) -> Answers {
    let before: BTreeMap<&str, (&Case, &CaseResult)> =
        a.0.cases().iter().zip(&a.1.results).map(|(case, result)| (case.id.as_str(), (case, result))).collect();
    let mut found = Answers {
        common: 0,
        k: [a.1.k, b.1.k],
        k_common: None,
        delta_ppm: None,
        answers_changed: 0,
        logits_changed: 0,
        lost: Vec::new(),
        won: Vec::new(),
    };
    let (mut weights, mut scores) = (0_u128, [0_u128; 2]);
    for (case, new) in b.0.cases().iter().zip(&b.1.results) {
        let Some((_, old)) = before.get(case.id.as_str()).filter(|(old, _)| asks_alike(old, case)) else { continue };
        found.common += 1;
        weights += u128::from(case.weight);
        for (sum, result) in scores.iter_mut().zip([*old, new]) {
            *sum += u128::from(case.weight) * u128::from(result.score.millionths());
        }
        if old.answer != new.answer {
            found.answers_changed += 1;
        } else if old.logits_sha256 != new.logits_sha256 {
            found.logits_changed += 1;
        }
        let flip = || Flip {
            id: case.id.clone(),
            expected: case.expected.clone(),
            a: old.answer.clone(),
            b: new.answer.clone(),
        };
        match (old.score == Ppm::ONE, new.score == Ppm::ONE) {
            (true, false) => found.lost.push(flip()),
            (false, true) => found.won.push(flip()),
            _ => {}
        }
    }
    if found.common > 0 {
        let k = scores.map(|sum| Ppm::ratio(sum, weights * u128::from(Ppm::ONE.millionths())));
        found.k_common = Some(k);
        found.delta_ppm = Some(i64::from(k[1].millionths()) - i64::from(k[0].millionths()));
    }
    found
}

/// A difference of K as people read it: `+0.012500`.
pub fn signed(ppm: i64) -> String {
    let sign = if ppm < 0 { '-' } else { '+' };
    let size = ppm.unsigned_abs();
    format!("{sign}{}.{:06}", size / 1_000_000, size % 1_000_000)
}

fn asks_alike(a: &Case, b: &Case) -> bool {
    a.prompt == b.prompt && a.expected == b.expected
}

#[cfg(test)]
mod tests {
    use kolm_runtime::eval::Metric;

    use super::*;

    fn replay(rows: &[(&str, &str, &str, bool)]) -> (Pack, Outcome) {
        let case = |row: &(&str, &str, &str, bool)| Case {
            id: row.0.into(),
            prompt: row.1.into(),
            expected: "yes".into(),
            weight: 1,
            metric: Metric::Exact,
        };
        let pack = Pack::new(None, 8, rows.iter().map(case).collect()).unwrap();
        let result = |row: &(&str, &str, &str, bool)| CaseResult {
            answer: row.2.into(),
            id: row.0.into(),
            logits_sha256: "0".repeat(64),
            score: if row.3 { Ppm::ONE } else { Ppm::ZERO },
            tokens: vec![1],
        };
        let outcome = Outcome::new(&pack, rows.iter().map(result).collect());
        (pack, outcome)
    }

    #[test]
    fn flips_over_common_cases_only() {
        let a = replay(&[
            ("1", "p", "yes", true),
            ("2", "p", "no", false),
            ("3", "p", "yes", true),
            ("4", "p", "yes", true),
        ]);
        let b = replay(&[
            ("1", "p", "no", false),
            ("2", "p", "yes", true),
            ("3", "other", "no", false),
            ("5", "p", "no", false),
        ]);
        let found = compare((&a.0, &a.1), (&b.0, &b.1));
        assert_eq!(found.common, 2);
        assert_eq!(found.lost.iter().map(|flip| flip.id.as_str()).collect::<Vec<_>>(), ["1"]);
        assert_eq!(found.won.iter().map(|flip| flip.id.as_str()).collect::<Vec<_>>(), ["2"]);
        assert_eq!(found.delta_ppm, Some(0));
        assert_eq!(found.k.map(|k| k.to_string()), ["0.750000", "0.250000"]);
        assert_eq!(cases(&a.0, &b.0).cases.changed, ["3"]);
    }

    #[test]
    fn signed_differences() {
        assert_eq!(signed(12_500), "+0.012500");
        assert_eq!(signed(-1_000_000), "-1.000000");
        assert_eq!(signed(0), "+0.000000");
    }
}
