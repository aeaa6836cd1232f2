//! Which rules can match a text at all, told by one pass over it.
//!
//! All expressions run side by side as one automaton, so that a text without identifiers costs one pass and not one a rule. The
//! filter never hides a match: over ASCII it decides exactly what the rules decide, over other text it leaves the word boundaries
//! out, which lets more texts through and none less. What is found is still decided by the rule alone.

use std::sync::LazyLock;

use regex::{RegexSet, RegexSetBuilder, SetMatches};

use super::pattern::COMPILED;

/// Gives the rules, by their place in [`COMPILED`], of which `text` may hold a match; nothing if there is none.
pub(super) fn candidates(text: &str) -> Option<SetMatches> {
    let rules: &RegexSet = if text.is_ascii() { &ASCII } else { &ANY };
    // Whether any matches is told faster than which ones, and most texts have none.
    rules.is_match(text).then(|| rules.matches(text))
}

/// Over ASCII text a word boundary in Unicode and one in ASCII are the same place, and the automaton knows only the second.
static ASCII: LazyLock<RegexSet> = LazyLock::new(|| set(r"(?-u:\b)"));
static ANY: LazyLock<RegexSet> = LazyLock::new(|| set(""));

fn set(boundary: &str) -> RegexSet {
    let patterns = COMPILED.iter().map(|rule| rule.pattern.as_str().replace(r"\b", boundary));
    RegexSetBuilder::new(patterns)
        .size_limit(PROGRAM_LEN_BYTES)
        .dfa_size_limit(CACHE_LEN_BYTES)
        .build()
        .expect("the rules' expressions are fixed and tested")
}

/// Room for the expressions of all rules together, and for the automaton's states, which are made as texts ask for them.
const PROGRAM_LEN_BYTES: usize = 64 << 20;
const CACHE_LEN_BYTES: usize = 32 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_boundary_in_a_rule_is_the_one_that_is_replaced() {
        for rule in COMPILED.iter() {
            let pattern = rule.pattern.as_str();
            for other in [r"\B", r"\\b", r"[\b", r"\b{", r"\<", r"\>", "(?-u"] {
                assert!(!pattern.contains(other), "{other} in {pattern}");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn a_rule_that_matches_is_a_candidate(text in "(?i)[a-z0-9 ./:@#()+\u{17f}\u{212a}é٣-]{0,40}", cue in "(call |order |dr. |ſsn |fax |born on march |é|)", number in "[0-9 ()./:-]{0,16}", tail in "( fax| street|@x.org|th of may|é|)") {
            let text = format!("{text} {cue}{number}{tail}");
            let candidates = candidates(&text);
            let candidate = |place| candidates.as_ref().is_some_and(|found| found.matched(place));
            for (place, rule) in COMPILED.iter().enumerate() {
                let matches = rule.pattern.is_match(&text);
                proptest::prop_assert!(!matches || candidate(place), "{} in {text:?}", rule.pattern);
                proptest::prop_assert!(matches || !text.is_ascii() || !candidate(place));
            }
        }
    }
}
