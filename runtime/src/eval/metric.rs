//! The six metrics: an answer beside what was expected gives an integer in parts per million.
//!
//! Integer arithmetic throughout; rules and rounding stand in SPEC, "Metrics".

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{EvalError, Ppm, json, text};

/// How an answer is scored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// All or nothing: the answer equals the expected text but for white space at both ends.
    Exact,
    /// All or nothing: the most likely label of a closed set is the expected one.
    Label,
    /// All or nothing: the expected text stands in the answer, whatever the case and the white space.
    Contains,
    /// All or nothing: both texts are JSON and their values are equal.
    Json,
    /// Harmonic mean of precision and recall over words as a bag.
    TokenF1,
    /// Harmonic mean of precision and recall over the longest common subsequence of words.
    RougeL,
}

impl Metric {
    /// Every metric.
    pub const ALL: [Metric; 6] =
        [Metric::Exact, Metric::Label, Metric::Contains, Metric::Json, Metric::TokenF1, Metric::RougeL];

    /// The name in packs, plans and job files.
    pub const fn name(self) -> &'static str {
        match self {
            Metric::Exact => "exact",
            Metric::Label => "label",
            Metric::Contains => "contains",
            Metric::Json => "json",
            Metric::TokenF1 => "token_f1",
            Metric::RougeL => "rouge_l",
        }
    }

    /// Scores an answer. An expected text that [`Metric::accepts`] refuses scores zero.
    pub fn score(self, expected: &str, answer: &str) -> Ppm {
        let whole = |equal: bool| if equal { Ppm::ONE } else { Ppm::ZERO };
        if !self.accepts(expected) {
            return Ppm::ZERO;
        }
        match self {
            Metric::Exact => whole(text::trim(expected) == text::trim(answer)),
            Metric::Label => whole(expected == answer),
            Metric::Contains => whole(text::collapse(answer).contains(&text::collapse(expected))),
            Metric::Json => {
                whole(json::parse(expected).zip(json::parse(answer)).is_some_and(|(left, right)| left == right))
            }
            Metric::TokenF1 => overlap(expected, answer, shared),
            Metric::RougeL => overlap(expected, answer, longest_common),
        }
    }

    /// Tells whether an expected text can be matched at all: it is not blank, is JSON for `json`, has a word for
    /// `token_f1` and `rouge_l`.
    pub fn accepts(self, expected: &str) -> bool {
        match self {
            Metric::Exact | Metric::Label | Metric::Contains => !text::trim(expected).is_empty(),
            Metric::Json => json::parse(expected).is_some(),
            Metric::TokenF1 | Metric::RougeL => !text::words(expected).is_empty(),
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Metric {
    type Err = EvalError;

    fn from_str(name: &str) -> Result<Metric, EvalError> {
        let known = Metric::ALL.into_iter().find(|metric| metric.name() == name);
        known.ok_or_else(|| EvalError::UnknownMetric { found: name.chars().take(32).collect() })
    }
}

/// `floor(1 000 000 · 2c / (|expected| + |answer|))`, which is 2PR/(P+R) for P = c/|answer| and R = c/|expected|.
fn overlap(expected: &str, answer: &str, common: fn(&[usize], &[usize]) -> u64) -> Ppm {
    let (expected, answer) = (text::words(expected), text::words(answer));
    let mut names = BTreeMap::new();
    let mut number = |words: &[String]| -> Vec<usize> {
        let numbered = words.iter().map(|word| {
            let next = names.len();
            *names.entry(word.clone()).or_insert(next)
        });
        numbered.collect()
    };
    let (expected, answer) = (number(&expected), number(&answer));
    let total = u128::try_from(expected.len() + answer.len()).unwrap_or(0);
    Ppm::ratio(2 * u128::from(common(&expected, &answer)), total)
}

fn shared(left: &[usize], right: &[usize]) -> u64 {
    let mut counts = BTreeMap::new();
    for word in left {
        *counts.entry(word).or_insert(0_u64) += 1;
    }
    let mut shared = 0;
    for word in right {
        if let Some(count) = counts.get_mut(word).filter(|count| **count > 0) {
            *count -= 1;
            shared += 1;
        }
    }
    shared
}

/// Length of the longest common subsequence; one row of the table is kept.
fn longest_common(left: &[usize], right: &[usize]) -> u64 {
    let mut row = vec![0_u64; right.len()];
    for word in left {
        let (mut diagonal, mut previous) = (0, 0);
        for (cell, other) in row.iter_mut().zip(right) {
            let above = *cell;
            *cell = if word == other { diagonal + 1 } else { above.max(previous) };
            (diagonal, previous) = (above, *cell);
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(metric: Metric, expected: &str, answer: &str, millionths: u32) {
        assert_eq!(metric.score(expected, answer).millionths(), millionths, "{metric} {expected:?} {answer:?}");
    }

    #[test]
    fn all_or_nothing() {
        check(Metric::Exact, "yes", " yes\n", 1_000_000);
        check(Metric::Exact, "yes", "Yes", 0);
        check(Metric::Exact, "a b", "a  b", 0);
        check(Metric::Label, "billing", "billing", 1_000_000);
        check(Metric::Label, "billing", "billing ", 0);
        check(Metric::Contains, "Paris", "It is  PARIS, of course", 1_000_000);
        check(Metric::Contains, "new york", "in New\nYork", 1_000_000);
        check(Metric::Contains, "Paris", "par is", 0);
        check(Metric::Json, r#"{"a":1,"b":2}"#, "{\"b\":2.0,\n\"a\":1}", 1_000_000);
        check(Metric::Json, r#"{"a":1}"#, r#"{"a":1} trailing"#, 0);
        check(Metric::Json, "not json", "not json", 0);
    }

    #[test]
    fn token_f1_by_hand() {
        check(Metric::TokenF1, "the cat sat", "the cat sat", 1_000_000);
        check(Metric::TokenF1, "the cat sat", "sat the cat!", 1_000_000);
        check(Metric::TokenF1, "the cat sat", "a dog ran", 0);
        check(Metric::TokenF1, "the cat sat", "the cat", 800_000); // P 1, R 2/3
        check(Metric::TokenF1, "a a b", "a b b", 666_666); // shares a, b: 2·2/6
        check(Metric::TokenF1, "the the the", "the", 500_000);
        check(Metric::TokenF1, "one", "", 0);
    }

    #[test]
    fn rouge_l_by_hand() {
        // rouge_score 0.1.2, rougeL without stemming: 0.8 and 2/3.
        check(Metric::RougeL, "the cat sat", "the cat", 800_000);
        check(Metric::RougeL, "police killed the gunman", "police kill the gunman", 750_000);
        check(Metric::RougeL, "police killed the gunman", "the gunman kill police", 500_000);
        check(Metric::RougeL, "the cat sat", "sat the cat", 666_666);
        check(Metric::RougeL, "a b c d e f g", "a x c y e z g", 571_428); // 2·4/14
        check(Metric::RougeL, "one", "!", 0);
    }

    #[test]
    fn names_round_trip() {
        for metric in Metric::ALL {
            assert_eq!(metric.name().parse::<Metric>().unwrap(), metric);
            assert_eq!(serde_json::to_string(&metric).unwrap(), format!("{:?}", metric.name()));
        }
        assert_eq!("bleu".parse::<Metric>().unwrap_err().code(), "unknown_metric");
    }

    fn short_text() -> impl Strategy<Value = String> {
        prop_oneof!["[ab ]{0,12}", "\\PC{0,12}", "[\\[\\]{}:,\"0-9a ]{0,10}"]
    }

    proptest! {
        #[test]
        fn in_range_reflexive_and_symmetric(left in short_text(), right in short_text()) {
            for metric in Metric::ALL {
                prop_assert!(metric.score(&left, &right) <= Ppm::ONE);
                if metric.accepts(&left) {
                    prop_assert_eq!(metric.score(&left, &left), Ppm::ONE);
                }
                if metric != Metric::Contains && metric.accepts(&left) && metric.accepts(&right) {
                    prop_assert_eq!(metric.score(&left, &right), metric.score(&right, &left));
                }
            }
            prop_assert!(Metric::RougeL.score(&left, &right) <= Metric::TokenF1.score(&left, &right));
        }
    }
}
