//! When two texts say the same: equal or nearly equal after normalisation.
//!
//! Normalised means lower case, runs of letters and digits joined by one space. Nearly means a Jaccard index of the two token sets of
//! at least 9/10, found exactly (no sampling): an inverted index over each text's rarest tokens proposes every possible pair, and each
//! proposal is counted out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

/// The normalised form of `text`; the trimmed text itself when it has no letter or digit.
pub(crate) fn normalised(text: &str) -> String {
    let words = if text.is_ascii() { ascii_words(text) } else { words(&text.to_lowercase()) };
    if words.is_empty() { text.trim().to_owned() } else { words }
}

fn words(lower: &str) -> String {
    let mut words = String::with_capacity(lower.len());
    let mut apart = false;
    for letter in lower.chars() {
        if letter.is_alphanumeric() {
            if apart && !words.is_empty() {
                words.push(' ');
            }
            words.push(letter);
            apart = false;
        } else {
            apart = true;
        }
    }
    words
}

/// The same of ASCII text, without a branch a byte: a space is written over until a letter follows.
fn ascii_words(text: &str) -> String {
    let mut words = vec![0; text.len()];
    let (mut len, mut after_letter) = (0, false);
    for byte in text.bytes() {
        let letter = LETTERS[usize::from(byte)];
        words[len] = letter;
        let is_letter = letter != b' ';
        len += usize::from(is_letter | after_letter);
        after_letter = is_letter;
    }
    words.truncate(if after_letter { len } else { len.saturating_sub(1) });
    String::from_utf8(words).expect("ASCII letters, digits and spaces are text")
}

/// What becomes of each byte of ASCII text: itself in lower case, or a space.
const LETTERS: [u8; 256] = {
    let mut letters = [b' '; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        if byte.is_ascii_alphanumeric() {
            letters[byte as usize] = byte.to_ascii_lowercase();
        }
        byte += 1;
    }
    letters
};

/// Whether two texts are equal or nearly equal.
pub(crate) fn near_duplicate(text: &str, other: &str) -> bool {
    let (text, other) = (normalised(text), normalised(other));
    let words = |text: &'_ str| text.split(' ').map(str::to_owned).collect::<BTreeSet<String>>();
    let (left, right) = (words(&text), words(&other));
    let common = left.intersection(&right).count();
    common * 10 >= (left.len() + right.len() - common) * NEAR_TENTHS
}

/// Texts to compare others with, and for each token the texts that have it among their rarest.
pub(super) struct Index<'a> {
    equal: HashMap<&'a str, usize, BuildHasherDefault<Folded>>,
    rank: HashMap<&'a str, u32, BuildHasherDefault<Folded>>,
    /// Each text's tokens, from rare to frequent.
    sets: Vec<Vec<u32>>,
    /// By rank.
    rare: Vec<Vec<usize>>,
}

impl<'a> Index<'a> {
    /// Builds the index of normalised texts.
    pub(super) fn build(texts: &'a [String]) -> Index<'a> {
        let mut equal = HashMap::default();
        for (place, text) in texts.iter().enumerate() {
            equal.entry(text.as_str()).or_insert(place);
        }
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        let sets: Vec<BTreeSet<&str>> = texts.iter().map(|text| text.split(' ').collect()).collect();
        sets.iter().flatten().for_each(|token| *counts.entry(token).or_default() += 1);
        let mut by_count: Vec<(u64, &str)> = counts.into_iter().map(|(token, count)| (count, token)).collect();
        by_count.sort_unstable();
        let rank: HashMap<&str, u32, _> = by_count.into_iter().map(|(_, token)| token).zip(0..).collect();
        let mut ranked: Vec<Vec<u32>> = Vec::with_capacity(sets.len());
        let mut rare: Vec<Vec<usize>> = vec![Vec::new(); rank.len()];
        for (place, set) in sets.iter().enumerate() {
            let mut tokens: Vec<u32> = set.iter().map(|token| rank[token]).collect();
            tokens.sort_unstable();
            tokens[..prefix_len(tokens.len())].iter().for_each(|token| rare[*token as usize].push(place));
            ranked.push(tokens);
        }
        Index { equal, rank, sets: ranked, rare }
    }

    /// The first of the texts that is equal or nearly equal to `text`, and whether it is equal.
    pub(super) fn find(&self, text: &str) -> Option<(usize, bool)> {
        let equal = self.equal.get(text).map(|&place| (place, true));
        equal.or_else(|| self.nearest(text).map(|place| (place, false)))
    }

    fn nearest(&self, text: &str) -> Option<usize> {
        let (mut tokens, mut unknown_words) = (Vec::new(), Vec::new());
        // Tokens that no indexed text has are the rarest of all and come first: as many as a prefix holds leave nothing to propose.
        let word_count = text.bytes().filter(|byte| *byte == b' ').count() + 1;
        let enough = prefix_len(word_count);
        let mut room = enough;
        for word in text.split(' ') {
            match self.rank.get(word) {
                Some(rank) => tokens.push(*rank),
                None => unknown_words.push(word),
            }
            if unknown_words.len() >= room {
                distinct(&mut unknown_words);
                if unknown_words.len() >= enough {
                    return None;
                }
                room = enough.max(2 * unknown_words.len());
            }
        }
        distinct(&mut tokens);
        distinct(&mut unknown_words);
        let unknown = unknown_words.len();
        let prefix = prefix_len(tokens.len() + unknown).saturating_sub(unknown).min(tokens.len());
        if prefix == 0 {
            return None;
        }
        let proposed: BTreeSet<usize> =
            tokens[..prefix].iter().filter_map(|token| self.rare.get(*token as usize)).flatten().copied().collect();
        proposed.into_iter().find(|&place| is_near(&tokens, unknown, &self.sets[place]))
    }
}

fn distinct<T: Ord>(values: &mut Vec<T>) {
    values.sort_unstable();
    values.dedup();
}

/// Tokens of a set of `len` that must hold one in common with any near set, both sorted by the same order.
fn prefix_len(len: usize) -> usize {
    len - (len * NEAR_TENTHS).div_ceil(10) + 1
}

/// Whether the Jaccard index reaches the threshold; both slices are sorted, `unknown` tokens of the first are in no slice.
fn is_near(left: &[u32], unknown: usize, right: &[u32]) -> bool {
    let shared = left.iter().filter(|token| right.binary_search(token).is_ok()).count();
    let union = left.len() + unknown + right.len() - shared;
    shared * 10 >= union * NEAR_TENTHS
}

/// Hashes words, the same way on every run, eight bytes a multiplication. Equality decides what a table finds, and nothing iterates
/// over one, so the hash cannot show; words made to collide would slow down the check of the corpus they stand in and no more.
#[derive(Default)]
struct Folded(u64);

impl Hasher for Folded {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        let last = rest.iter().fold(rest.len() as u64 + 1, |last, byte| last << 8 | u64::from(*byte));
        for word in words.iter().map(|word| u64::from_le_bytes(*word)).chain([last]) {
            let product = u128::from(self.0 ^ word ^ 0x9e37_79b9_7f4a_7c15) * 0xd6e8_feb8_6659_fd93;
            self.0 = (product >> 64) as u64 ^ product as u64;
        }
    }

    /// The mark behind a text; the texts' ends are in their hashes already.
    fn write_u8(&mut self, _: u8) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Threshold of the Jaccard index in tenths.
const NEAR_TENTHS: usize = 9;

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(texts: &[String], others: &[String]) -> Vec<Option<(usize, bool)>> {
        let index = Index::build(others);
        texts.iter().map(|text| index.find(text)).collect()
    }

    fn normal(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| normalised(text)).collect()
    }

    #[test]
    fn case_space_and_punctuation_do_not_count() {
        assert_eq!(normalised("  Hello,\tWORLD!! 42 "), "hello world 42");
        assert_eq!(normalised(" ?! "), "?!");
    }

    proptest::proptest! {
        #[test]
        fn normalised_is_lower_case_words_joined_by_one_space(text in "[\\PC\\n]{0,20}[ A-Za-z0-9_.,İẞΣσ]{0,30}") {
            let lower = text.to_lowercase();
            let words: Vec<&str> = lower.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
            let expected = if words.is_empty() { text.trim().to_owned() } else { words.join(" ") };
            proptest::prop_assert_eq!(normalised(&text), expected);
        }
    }

    #[test]
    fn equal_comes_before_near_and_one_word_of_eleven_is_near() {
        let others =
            normal(&["one two three four five six seven eight nine ten eleven", "something else", "Something, else!"]);
        let texts = normal(&[
            "something ELSE",
            "ten eleven one two three four five six seven eight nine twelve",
            "one two",
            "nothing",
        ]);
        assert_eq!(matches(&texts, &others), [Some((1, true)), Some((0, false)), None, None]);
    }

    #[test]
    fn the_index_finds_what_counting_every_pair_finds() {
        let texts: Vec<String> =
            crate::generate::texts(5, 400).into_iter().map(|document| normalised(&document.text)).collect();
        let varied: Vec<String> = texts
            .iter()
            .enumerate()
            .map(
                |(place, text)| {
                    if place % 3 == 0 { format!("{text} again") } else { text.replacen(' ', " x ", place % 2) }
                },
            )
            .collect();
        let set = |text: &str| text.split(' ').map(str::to_owned).collect::<BTreeSet<_>>();
        let sets: Vec<BTreeSet<String>> = texts.iter().map(|text| set(text)).collect();
        for (found, text) in matches(&varied, &texts).iter().zip(&varied) {
            let own = set(text);
            let near = |other: &BTreeSet<String>| own.intersection(other).count() * 10 >= own.union(other).count() * 9;
            let expected = texts.iter().position(|other| other == text).or_else(|| sets.iter().position(near));
            assert_eq!(found.map(|(place, _)| place), expected, "{text}");
        }
    }
}
