//! What a replay gives: one line a case, one digest over all, and the difference between two replays.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{EvalError, Pack, Ppm, lines, statistics};

/// How one case was answered.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseResult {
    /// The answer: the chosen label, or the generated text.
    pub answer: String,
    /// Id of the case.
    pub id: String,
    /// SHA-256 over the bits of the final logits, 64 lower-case hex digits.
    pub logits_sha256: String,
    /// What the answer scored.
    pub score: Ppm,
    /// Token ids of the answer, end token included where there is one.
    pub tokens: Vec<u32>,
}

/// A whole replay: every case's result, and what is computed from them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// One result a case, in pack order.
    pub results: Vec<CaseResult>,
    /// The K-score.
    pub k: Ppm,
    /// The 95 % Wilson interval around it.
    pub wilson: (Ppm, Ppm),
    /// SHA-256 over all results, 64 lower-case hex digits.
    pub replay_digest: String,
}

impl Outcome {
    /// Path of the member that holds the results.
    pub const MEMBER: &'static str = "eval/replay.jsonl";

    /// Computes K, interval and digest of results that stand in pack order.
    pub fn new(pack: &Pack, results: Vec<CaseResult>) -> Outcome {
        let k = statistics::k_score(pack, results.iter().map(|result| result.score));
        let wilson = statistics::wilson(k, statistics::effective_cases(pack));
        let replay_digest = replay_digest(&results);
        Outcome { results, k, wilson, replay_digest }
    }

    /// Reads `eval/replay.jsonl` beside its pack.
    ///
    /// # Errors
    /// [`EvalError::ReplayOrder`] and [`EvalError::ReplayCount`] when it answers other cases, [`EvalError::Malformed`],
    /// [`EvalError::NotCanonical`], [`EvalError::TornLine`], [`EvalError::TooLarge`] when its bytes are wrong. Whether an
    /// answer deserves its score is not asked: the replay answers anew.
    pub fn parse(pack: &Pack, bytes: &[u8]) -> Result<Outcome, EvalError> {
        let mut cases = pack.cases().iter();
        let mut results = Vec::with_capacity(pack.cases().len());
        for (line, bytes) in lines::split(Outcome::MEMBER, bytes)? {
            let result: CaseResult = lines::read(Outcome::MEMBER, line, bytes)?;
            let case = cases.next().ok_or(EvalError::ReplayCount { found: line, expected: pack.cases().len() })?;
            if result.id != case.id {
                return Err(EvalError::ReplayOrder { line, found: result.id, expected: case.id.clone() });
            }
            if digest_bytes(&result.logits_sha256).is_none() {
                let detail = "logits_sha256 is not 64 lower-case hex digits".to_owned();
                return Err(EvalError::Malformed { member: Outcome::MEMBER, line, detail });
            }
            results.push(result);
        }
        if results.len() != pack.cases().len() {
            return Err(EvalError::ReplayCount { found: results.len(), expected: pack.cases().len() });
        }
        Ok(Outcome::new(pack, results))
    }

    /// The bytes of `eval/replay.jsonl`.
    ///
    /// # Errors
    /// [`EvalError::Encode`] when a line cannot be written.
    pub fn bytes(&self) -> Result<Vec<u8>, EvalError> {
        let mut bytes = Vec::new();
        for result in &self.results {
            lines::write(&mut bytes, result)?;
        }
        Ok(bytes)
    }
}

/// Computes the replay digest: SHA-256 over `"kolm-replay-1\n"`, the number of cases, and for each case the length of its
/// id, its id, the number of its tokens, its tokens, and the 32 bytes of its logits' digest; numbers are 32-bit
/// little-endian.
pub fn replay_digest(results: &[CaseResult]) -> String {
    let mut hasher = Sha256::new();
    hasher.update(b"kolm-replay-1\n");
    hasher.update(count(results.len()));
    for result in results {
        hasher.update(count(result.id.len()));
        hasher.update(result.id.as_bytes());
        hasher.update(count(result.tokens.len()));
        for token in &result.tokens {
            hasher.update(token.to_le_bytes());
        }
        hasher.update(digest_bytes(&result.logits_sha256).unwrap_or_default());
    }
    hex(&hasher.finalize())
}

/// SHA-256 over the bits of numbers, each 32-bit little-endian.
pub(super) fn bits_digest<'a>(numbers: impl IntoIterator<Item = &'a f32>) -> String {
    let mut hasher = Sha256::new();
    for number in numbers {
        hasher.update(number.to_bits().to_le_bytes());
    }
    hex(&hasher.finalize())
}

/// One case that a replay answered otherwise than recorded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Drift {
    /// Id of the case.
    pub id: String,
    /// The first difference.
    pub difference: Difference,
}

/// The first difference of a drifted case, in the order in which they are looked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Difference {
    /// The answers part at a token.
    Token {
        /// Position in the answer, from 0.
        position: usize,
        /// Recorded token id; `None` where the recorded answer had ended.
        recorded: Option<u32>,
        /// Replayed token id; `None` where the replayed answer has ended.
        replayed: Option<u32>,
    },
    /// Same tokens, another text: the tokenizer differs.
    Answer,
    /// Same tokens from other logits: a bit differs somewhere.
    Logits,
    /// Same answer, another score.
    Score {
        /// Recorded score.
        recorded: Ppm,
        /// Replayed score.
        replayed: Ppm,
    },
    /// One replay has no such case at this place.
    Case,
}

impl fmt::Display for Drift {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "case {:?}: ", self.id)?;
        match self.difference {
            Difference::Token { position, recorded, replayed } => {
                let name =
                    |token: Option<u32>| token.map_or("end of answer".to_owned(), |token| format!("token {token}"));
                write!(
                    formatter,
                    "differs from answer token {position} on: recorded {}, replayed {}",
                    name(recorded),
                    name(replayed)
                )
            }
            Difference::Answer => formatter.write_str("same tokens, different text"),
            Difference::Logits => formatter.write_str("same tokens, different logits"),
            Difference::Score { recorded, replayed } => {
                write!(formatter, "same answer, recorded score {recorded}, replayed {replayed}")
            }
            Difference::Case => formatter.write_str("stands in one replay only"),
        }
    }
}

/// Compares two replays case by case; no drift means equal digests and equal K.
pub fn compare(recorded: &[CaseResult], replayed: &[CaseResult]) -> Vec<Drift> {
    let longest = recorded.len().max(replayed.len());
    let pairs = (0..longest).map(|row| (recorded.get(row), replayed.get(row)));
    let drifts = pairs.filter_map(|pair| match pair {
        (Some(recorded), Some(replayed)) => difference(recorded, replayed).map(|difference| (recorded, difference)),
        (Some(alone), None) | (None, Some(alone)) => Some((alone, Difference::Case)),
        (None, None) => None,
    });
    drifts.map(|(result, difference)| Drift { id: result.id.clone(), difference }).collect()
}

fn difference(recorded: &CaseResult, replayed: &CaseResult) -> Option<Difference> {
    if recorded.id != replayed.id {
        return Some(Difference::Case);
    }
    let longest = recorded.tokens.len().max(replayed.tokens.len());
    for position in 0..longest {
        let (left, right) = (recorded.tokens.get(position).copied(), replayed.tokens.get(position).copied());
        if left != right {
            return Some(Difference::Token { position, recorded: left, replayed: right });
        }
    }
    if recorded.answer != replayed.answer {
        Some(Difference::Answer)
    } else if recorded.logits_sha256 != replayed.logits_sha256 {
        Some(Difference::Logits)
    } else if recorded.score != replayed.score {
        Some(Difference::Score { recorded: recorded.score, replayed: replayed.score })
    } else {
        None
    }
}

/// A length as the digest holds it; packs are limited far below 2³².
fn count(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The 32 bytes that 64 lower-case hex digits name.
fn digest_bytes(hex: &str) -> Option<[u8; 32]> {
    if hex.len() != 64 || !hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let mut bytes = [0; 32];
    for (row, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(2 * row..2 * row + 2)?, 16).ok()?;
    }
    Some(bytes)
}
