//! The search for residual identifiers, and their replacement.
//!
//! Finds what patterns, checksums and cue words can find of the HIPAA Safe Harbor kinds ([`Kind`]), deterministically and without a
//! model. It cannot find what only understanding finds: a name without a cue, a place, a story that fits one person. A clean scan is
//! a floor, not a proof. No report, excerpt or message shows an identifier.

mod checksum;
mod deidentify;
mod filter;
mod kind;
mod pattern;
mod scan;

pub use deidentify::{Replacement, deidentify_file, deidentify_text};
pub use kind::Kind;
pub(super) use scan::{Found, Identified};
pub use scan::{Located, Scan, ScanReport, scan_files};

use pattern::{COMPILED, Match};

/// An identifier in a text; `start..end` are byte offsets on character boundaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it looks like.
    pub kind: Kind,
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// Finds the identifiers in `text`, in order, none overlapping. Replacement tags such as `[PHONE-3f9a1c20]` are no identifiers.
pub fn scan_text(text: &str) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    let Some(candidates) = filter::candidates(text) else { return findings };
    let tags = tags(text);
    for rule in candidates.iter().filter_map(|place| COMPILED.get(place)) {
        let mut from = 0;
        // A match that fails its check must not hide one that begins inside it.
        while let Some(groups) = rule.pattern.captures_at(text, from) {
            let whole = groups.get(0).expect("group 0 is the match");
            let value = groups.name("v").unwrap_or(whole);
            let (start, end) = (value.start(), value.end());
            let found = Match { before: &text[..start], value: value.as_str(), after: &text[end..] };
            let free = |taken: &(usize, usize)| end <= taken.0 || taken.1 <= start;
            let accepted = start < end
                && tags.iter().all(free)
                && findings.iter().all(|finding| free(&(finding.start, finding.end)))
                && (rule.check)(found);
            from = if accepted { end } else { next_boundary(text, whole.start().max(from)) };
            if accepted {
                findings.push(Finding { kind: rule.kind, start, end });
            }
            if from > text.len() {
                break;
            }
        }
    }
    findings.sort_by_key(|finding| finding.start);
    findings
}

/// Replaces every identifier in `text` by a tag without a pseudonym.
pub fn mask_text(text: &str) -> String {
    deidentify_text(text, &Replacement::mask())
}

fn next_boundary(text: &str, at: usize) -> usize {
    let mut next = at + 1;
    while next < text.len() && !text.is_char_boundary(next) {
        next += 1;
    }
    next
}

/// Stretches of `text` that are replacement tags.
fn tags(text: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(open) = text[from..].find('[').map(|at| from + at) {
        let close = text[open..].find(']').map(|at| open + at);
        if let Some(close) = close.filter(|&close| is_tag(&text[open + 1..close])) {
            found.push((open, close + 1));
        }
        from = open + 1;
    }
    found
}

fn is_tag(inside: &str) -> bool {
    let (word, pseudonym) = inside.split_once('-').map_or((inside, None), |(word, pseudonym)| (word, Some(pseudonym)));
    let hex =
        |text: &str| text.len() == PSEUDONYM_LEN && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    Kind::ALL.iter().any(|kind| kind.tag() == word) && pseudonym.is_none_or(hex)
}

/// Hex digits of a pseudonym: 32 bits, so that a corpus of ten thousand distinct values has about 1 % chance of one collision.
const PSEUDONYM_LEN: usize = 8;

#[cfg(test)]
mod tests;
