//! The K-score and what stands beside it, in integers only.

use std::collections::BTreeMap;

use super::{Pack, Ppm};

/// Computes `K = floor(Σ weight·score / Σ weight)`, in 128-bit integers.
///
/// `scores` stand in pack order; a missing one counts as zero.
pub fn k_score(pack: &Pack, scores: impl IntoIterator<Item = Ppm>) -> Ppm {
    let mut scores = scores.into_iter();
    let (mut weighted, mut total) = (0_u128, 0_u128);
    for case in pack.cases() {
        let weight = u128::from(case.weight);
        let score = scores.next().unwrap_or(Ppm::ZERO);
        weighted += weight * u128::from(score.millionths());
        total += weight;
    }
    Ppm::ratio(weighted, total * u128::from(Ppm::ONE.millionths()))
}

/// The pack's effective number of cases, `floor((Σ weight)² / Σ weight²)`; the number of cases when all weigh the same.
pub fn effective_cases(pack: &Pack) -> u64 {
    let weights = || pack.cases().iter().map(|case| u128::from(case.weight));
    let total: u128 = weights().sum();
    let squares: u128 = weights().map(|weight| weight * weight).sum();
    let effective = (total * total).checked_div(squares).unwrap_or(0);
    u64::try_from(effective).unwrap_or(u64::MAX)
}

/// Computes the Wilson score interval at 95 % for a share `k` seen on `cases` cases, low end rounded down, high end up.
///
/// With `z = 1.959964`, `Z = 10⁶·z`, `M = 10⁶` and `s = k·M` it is `M·(2snM + Z² ∓ √(Z²(4s(M−s)n + Z²))) / 2(nM² + Z²)`,
/// all in integers, the root rounded up, so that both ends err outwards by less than 2 ppm. `cases` is capped at 2³².
/// Source: E. B. Wilson, Probable inference, JASA 22 (1927).
pub fn wilson(k: Ppm, cases: u64) -> (Ppm, Ppm) {
    const M: u128 = 1_000_000;
    const Z_SQUARED: u128 = 1_959_964 * 1_959_964;
    let n = u128::from(cases.min(1 << 32));
    let s = u128::from(k.millionths());
    let under_root = Z_SQUARED * (4 * s * (M - s) * n + Z_SQUARED);
    let floor = under_root.isqrt();
    let root = if floor * floor == under_root { floor } else { floor + 1 };
    let centre = 2 * s * n * M + Z_SQUARED;
    let denominator = 2 * (n * M * M + Z_SQUARED);
    let low = Ppm::ratio(centre.saturating_sub(root), denominator);
    let high = (M * (centre + root)).div_ceil(denominator).min(M);
    (low, u32::try_from(high).ok().and_then(Ppm::new).unwrap_or(Ppm::ONE))
}

/// The most frequent completion, ties to the one whose bytes sort first; `None` when there is none.
pub fn majority<'a>(completions: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let mut counts = BTreeMap::new();
    for completion in completions {
        *counts.entry(completion).or_insert(0_u64) += 1;
    }
    let most = counts.values().copied().max()?;
    counts.into_iter().find(|(_, count)| *count == most).map(|(completion, _)| completion)
}

/// The K of answering every case with the most frequent completion of the training rows; zero without rows.
pub fn majority_k<'a>(pack: &Pack, completions: impl IntoIterator<Item = &'a str>) -> Ppm {
    let Some(answer) = majority(completions) else { return Ppm::ZERO };
    k_score(pack, pack.cases().iter().map(|case| case.metric.score(&case.expected, answer)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::eval::{Case, Metric};

    fn pack(weights: &[u64]) -> Pack {
        let cases = weights.iter().enumerate().map(|(index, weight)| Case {
            id: format!("c{index}"),
            prompt: "p".to_owned(),
            expected: if index == 0 { "a".to_owned() } else { "b".to_owned() },
            weight: *weight,
            metric: Metric::Exact,
        });
        Pack::new(None, 8, cases.collect()).unwrap()
    }

    fn ppm(millionths: u32) -> Ppm {
        Ppm::new(millionths).unwrap()
    }

    #[test]
    fn k_is_a_weighted_floor() {
        assert_eq!(k_score(&pack(&[1, 1, 1]), [Ppm::ONE, Ppm::ZERO, Ppm::ONE]).millionths(), 666_666);
        assert_eq!(k_score(&pack(&[3, 1]), [Ppm::ONE, Ppm::ZERO]).millionths(), 750_000);
        assert_eq!(k_score(&pack(&[1_000_000, 1]), [Ppm::ONE, Ppm::ZERO]).millionths(), 999_999);
        assert_eq!(k_score(&pack(&[1, 1]), [ppm(333_333), ppm(333_334)]).millionths(), 333_333);
        assert_eq!(k_score(&pack(&[7, 7]), [Ppm::ONE, Ppm::ONE]), Ppm::ONE);
    }

    #[test]
    fn wilson_known_values() {
        // statsmodels.stats.proportion.proportion_confint(method="wilson"), to six digits.
        let check = |hits: u128, cases: u64, low: f64, high: f64| {
            let (found_low, found_high) = wilson(Ppm::ratio(hits, u128::from(cases)), cases);
            let near = |found: Ppm, wanted: f64| (f64::from(found.millionths()) / 1e6 - wanted).abs() < 3e-6;
            assert!(near(found_low, low) && near(found_high, high), "{hits}/{cases}: {found_low} {found_high}");
        };
        check(0, 10, 0.0, 0.277_533);
        check(10, 10, 0.722_467, 1.0);
        check(5, 10, 0.236_593, 0.763_407);
        check(81, 263, 0.255_289, 0.366_210); // Newcombe 1998: 0.2553, 0.3662
        check(15, 148, 0.062_386, 0.160_487); // Newcombe 1998: 0.0624, 0.1605
        check(0, 20, 0.0, 0.161_125); // Newcombe 1998: 0.0000, 0.1611
        check(1, 29, 0.006_113, 0.171_755); // Newcombe 1998: 0.0061, 0.1718
    }

    #[test]
    fn effective_cases_of_equal_weights_is_their_number() {
        assert_eq!(effective_cases(&pack(&[5, 5, 5])), 3);
        assert_eq!(effective_cases(&pack(&[1_000_000, 1])), 1);
        assert_eq!(effective_cases(&pack(&[3, 1])), 1);
        assert_eq!(effective_cases(&pack(&[2, 1])), 1);
        assert_eq!(effective_cases(&pack(&[2, 1, 1])), 2);
    }

    #[test]
    fn majority_takes_the_first_by_bytes() {
        assert_eq!(majority(["b", "a", "b", "a"]), Some("a"));
        assert_eq!(majority(["b", "a", "b"]), Some("b"));
        assert_eq!(majority_k(&pack(&[1, 1, 1]), ["b", "a", "b"]).millionths(), 666_666);
        assert_eq!(majority_k(&pack(&[1]), []), Ppm::ZERO);
    }

    proptest! {
        #[test]
        fn wilson_holds_the_share_and_narrows(millionths in 0..=1_000_000_u32, cases in 1..100_000_u64) {
            let k = ppm(millionths);
            let (low, high) = wilson(k, cases);
            prop_assert!(low <= k && k <= high);
            let (closer_low, closer_high) = wilson(k, cases * 4);
            prop_assert!(low <= closer_low && closer_high <= high);
            let (mirror_low, mirror_high) = wilson(ppm(1_000_000 - millionths), cases);
            prop_assert!(mirror_low.millionths().abs_diff(1_000_000 - high.millionths()) <= 1);
            prop_assert!(mirror_high.millionths().abs_diff(1_000_000 - low.millionths()) <= 1);
        }

        #[test]
        fn k_stays_between_the_extremes(scores in proptest::collection::vec((0..=1_000_000_u32, 1..=1_000_000_u64), 1..40)) {
            let weights: Vec<u64> = scores.iter().map(|(_, weight)| *weight).collect();
            let values: Vec<Ppm> = scores.iter().map(|(score, _)| ppm(*score)).collect();
            let k = k_score(&pack(&weights), values.iter().copied());
            prop_assert!(*values.iter().min().unwrap() <= k && k <= *values.iter().max().unwrap());
        }
    }
}
