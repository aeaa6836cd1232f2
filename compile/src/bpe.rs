//! Byte-level BPE training for the embedded tokenizers.
//!
//! Text is cut with Qwen2's pre-tokenizer, then the most frequent pair of neighbouring tokens is merged until the vocabulary is
//! full. Ties go to the pair with the lowest ids, counts live in ordered maps, and `tokenizer.json` is written in one fixed layout:
//! the same texts give the same bytes everywhere. Ids: 256 bytes in GPT-2's order, merges in the order learned, special tokens last.

use std::collections::BTreeMap;

use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{
    OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, PreTokenizerWrapper, SplitDelimiterBehavior,
};

/// Why a tokenizer could not be trained.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BpeError {
    /// The vocabulary asked for cannot even hold the 256 bytes and the special tokens.
    #[error("vocabulary size {wanted} is below {least}, the bytes and special tokens alone")]
    VocabularyTooSmall {
        /// Size asked for.
        wanted: usize,
        /// Least possible size.
        least: usize,
    },
    /// The texts repeat too little to fill the vocabulary.
    #[error("the texts give {found} tokens, expected {wanted}")]
    TooLittleText {
        /// Tokens found.
        found: usize,
        /// Tokens asked for.
        wanted: usize,
    },
    /// The pre-tokenizer failed on a text.
    #[error("pre-tokenizer failed: {reason}")]
    PreTokenizer {
        /// The tokenizer library's own words.
        reason: String,
    },
}

impl BpeError {
    /// Stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            BpeError::VocabularyTooSmall { .. } => "bpe_vocabulary_too_small",
            BpeError::TooLittleText { .. } => "bpe_too_little_text",
            BpeError::PreTokenizer { .. } => "bpe_pre_tokenizer",
        }
    }
}

/// Special tokens of the decoder's tokenizer, in id order.
pub const DECODER_SPECIALS: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
/// Special tokens of the encoder's tokenizer, in id order; each text is wrapped in them.
pub const ENCODER_SPECIALS: [&str; 2] = ["<|cls|>", "<|sep|>"];

/// Trains on `texts` and returns the bytes of a `tokenizer.json` with `vocabulary_size` tokens, `special_tokens` last.
///
/// Occurrences of special tokens inside the texts are cut out first.
///
/// # Errors
/// [`BpeError`] if the vocabulary is too small, or the texts too few to fill it.
pub fn train<'a>(
    texts: impl IntoIterator<Item = &'a str>,
    vocabulary_size: usize,
    special_tokens: &[&str],
) -> Result<Vec<u8>, BpeError> {
    Ok(learn(texts, vocabulary_size, special_tokens)?.to_json(special_tokens, "null"))
}

/// Trains like [`train`] with [`ENCODER_SPECIALS`]; encoding with special tokens gives `<|cls|> text <|sep|>`.
///
/// # Errors
/// As [`train`].
pub fn train_encoder<'a>(
    texts: impl IntoIterator<Item = &'a str>,
    vocabulary_size: usize,
) -> Result<Vec<u8>, BpeError> {
    let learned = learn(texts, vocabulary_size, &ENCODER_SPECIALS)?;
    let first = learned.tokens.len();
    let special = |name: &str, id: usize| {
        let name = quoted(name);
        format!("{name}:{{\"id\":{name},\"ids\":[{id}],\"tokens\":[{name}]}}")
    };
    let [cls, sep] = ENCODER_SPECIALS;
    let piece = |name: &str| format!("{{\"SpecialToken\":{{\"id\":{},\"type_id\":0}}}}", quoted(name));
    let sequence = |name: &str| format!("{{\"Sequence\":{{\"id\":\"{name}\",\"type_id\":0}}}}");
    let processor = format!(
        "{{\"type\":\"TemplateProcessing\",\"single\":[{},{},{}],\"pair\":[{},{},{},{},{}],\"special_tokens\":{{{},{}}}}}",
        piece(cls),
        sequence("A"),
        piece(sep),
        piece(cls),
        sequence("A"),
        piece(sep),
        sequence("B"),
        piece(sep),
        special(cls, first),
        special(sep, first + 1),
    );
    Ok(learned.to_json(&ENCODER_SPECIALS, &processor))
}

/// Tokens by id (in byte-level characters) and merges in the order learned.
struct Learned {
    tokens: Vec<String>,
    merges: Vec<(u32, u32)>,
}

fn learn<'a>(
    texts: impl IntoIterator<Item = &'a str>,
    vocabulary_size: usize,
    special_tokens: &[&str],
) -> Result<Learned, BpeError> {
    let least = 256 + special_tokens.len();
    let Some(merge_room) = vocabulary_size.checked_sub(least) else {
        return Err(BpeError::VocabularyTooSmall { wanted: vocabulary_size, least });
    };
    let alphabet = alphabet();
    let mut words = words(texts, special_tokens, &alphabet)?;
    let mut learned = Learned { tokens: alphabet.iter().map(char::to_string).collect(), merges: Vec::new() };
    let mut ids: BTreeMap<String, u32> = learned.tokens.iter().cloned().zip(0..).collect();
    let mut pairs: BTreeMap<(u32, u32), u64> = BTreeMap::new();
    for (tokens, count) in &words {
        tokens.windows(2).for_each(|pair| *pairs.entry((pair[0], pair[1])).or_default() += count);
    }
    while learned.tokens.len() < 256 + merge_room {
        // Ascending order of pairs: the first of the largest counts is the pair with the lowest ids.
        let mut best: Option<((u32, u32), u64)> = None;
        for (&pair, &count) in &pairs {
            if count > best.map_or(1, |(_, most)| most) {
                best = Some((pair, count));
            }
        }
        let Some((pair, _)) = best else {
            return Err(BpeError::TooLittleText {
                found: learned.tokens.len() + special_tokens.len(),
                wanted: vocabulary_size,
            });
        };
        let token = format!("{}{}", learned.tokens[pair.0 as usize], learned.tokens[pair.1 as usize]);
        // Two different merges can spell the same token; it keeps its first id.
        let id = *ids.entry(token.clone()).or_insert(learned.tokens.len() as u32);
        if id as usize == learned.tokens.len() {
            learned.tokens.push(token);
        }
        learned.merges.push(pair);
        for (tokens, count) in &mut words {
            if tokens.windows(2).any(|window| (window[0], window[1]) == pair) {
                merge(tokens, *count, pair, id, &mut pairs);
            }
        }
    }
    Ok(learned)
}

/// Replaces `pair` by `id` in one word and keeps `pairs` equal to what a fresh count would give.
fn merge(tokens: &mut Vec<u32>, count: u64, pair: (u32, u32), id: u32, pairs: &mut BTreeMap<(u32, u32), u64>) {
    for window in tokens.windows(2) {
        let key = (window[0], window[1]);
        let left = pairs.get(&key).map_or(0, |total| total - count);
        if left == 0 {
            pairs.remove(&key);
        } else {
            pairs.insert(key, left);
        }
    }
    let mut merged = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        if at + 1 < tokens.len() && (tokens[at], tokens[at + 1]) == pair {
            merged.push(id);
            at += 2;
        } else {
            merged.push(tokens[at]);
            at += 1;
        }
    }
    *tokens = merged;
    tokens.windows(2).for_each(|window| *pairs.entry((window[0], window[1])).or_default() += count);
}

/// Counts the pre-tokenizer's pieces over all texts: (byte ids, count), in the pieces' order.
fn words<'a>(
    texts: impl IntoIterator<Item = &'a str>,
    special_tokens: &[&str],
    alphabet: &[char; 256],
) -> Result<Vec<(Vec<u32>, u64)>, BpeError> {
    let failed = |error: tokenizers::Error| BpeError::PreTokenizer { reason: error.to_string() };
    let pre_tokenizer = Sequence::new(vec![
        PreTokenizerWrapper::Split(
            Split::new(SplitPattern::Regex(QWEN2_PATTERN.to_owned()), SplitDelimiterBehavior::Isolated, false)
                .map_err(failed)?,
        ),
        PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, false, false)),
    ]);
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for text in texts {
        let mut parts = vec![text];
        for special in special_tokens {
            parts = parts.into_iter().flat_map(|part| part.split(special)).collect();
        }
        for part in parts.into_iter().filter(|part| !part.is_empty()) {
            let mut pieces = PreTokenizedString::from(part);
            pre_tokenizer.pre_tokenize(&mut pieces).map_err(failed)?;
            for (piece, _, _) in pieces.get_splits(OffsetReferential::Original, OffsetType::Byte) {
                match counts.get_mut(piece) {
                    Some(count) => *count += 1,
                    None => drop(counts.insert(piece.to_owned(), 1)),
                }
            }
        }
    }
    let ids: BTreeMap<char, u32> = alphabet.iter().copied().zip(0..).collect();
    Ok(counts
        .into_iter()
        .map(|(word, count)| (word.chars().filter_map(|letter| ids.get(&letter).copied()).collect(), count))
        .collect())
}

impl Learned {
    fn to_json(&self, special_tokens: &[&str], post_processor: &str) -> Vec<u8> {
        let first = self.tokens.len();
        let added: Vec<String> = special_tokens
            .iter()
            .enumerate()
            .map(|(place, name)| {
                format!(
                    "{{\"id\":{},\"content\":{},\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,\"special\":true}}",
                    first + place,
                    quoted(name)
                )
            })
            .collect();
        let vocabulary: Vec<String> =
            self.tokens.iter().enumerate().map(|(id, token)| format!("{}:{id}", quoted(token))).collect();
        let token = |id: u32| quoted(&self.tokens[id as usize]);
        let merges: Vec<String> =
            self.merges.iter().map(|&(left, right)| format!("[{},{}]", token(left), token(right))).collect();
        let byte_level =
            "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":false,\"use_regex\":false}";
        format!(
            "{{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":[{}],\"normalizer\":{{\"type\":\"NFC\"}},\
             \"pre_tokenizer\":{{\"type\":\"Sequence\",\"pretokenizers\":[{{\"type\":\"Split\",\"pattern\":{{\"Regex\":{}}},\
             \"behavior\":\"Isolated\",\"invert\":false}},{byte_level}]}},\"post_processor\":{post_processor},\"decoder\":{byte_level},\
             \"model\":{{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":null,\"continuing_subword_prefix\":null,\
             \"end_of_word_suffix\":null,\"fuse_unk\":false,\"byte_fallback\":false,\"ignore_merges\":false,\
             \"vocab\":{{{}}},\"merges\":[{}]}}}}\n",
            added.join(","),
            quoted(QWEN2_PATTERN),
            vocabulary.join(","),
            merges.join(","),
        )
        .into_bytes()
    }
}

/// A JSON string.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// GPT-2's characters for the 256 bytes, in id order: printable bytes stand for themselves, the rest begin at U+0100.
fn alphabet() -> [char; 256] {
    let printable = |byte: &u32| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let own = (0..256).filter(printable);
    let moved = 256..256 + (0..256u32).filter(|byte| !printable(byte)).count() as u32;
    let mut letters = own.chain(moved).filter_map(char::from_u32);
    std::array::from_fn(|_| letters.next().expect("188 printable and 68 moved bytes are 256"))
}

/// The pre-tokenizer of Qwen2 (its tokenizer.json).
const QWEN2_PATTERN: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

#[cfg(test)]
mod tests {
    use tokenizers::Tokenizer;

    use super::*;
    use crate::generate;

    fn sample(count: usize) -> Vec<String> {
        generate::documents(3, count).into_iter().map(|document| document.text).collect()
    }

    #[test]
    fn a_trained_tokenizer_loads_repeats_and_round_trips() {
        let texts = sample(4000);
        let bytes = train(texts.iter().map(String::as_str), 1024, &DECODER_SPECIALS).unwrap();
        assert_eq!(bytes, train(texts.iter().map(String::as_str), 1024, &DECODER_SPECIALS).unwrap());
        let tokenizer = Tokenizer::from_bytes(&bytes).unwrap();
        assert_eq!(tokenizer.get_vocab_size(true), 1024);
        for (id, name) in (1021..).zip(DECODER_SPECIALS) {
            assert_eq!(tokenizer.token_to_id(name), Some(id));
        }
        let held = ["Ünïcode 日本 😀\n\n  two  spaces\t'S don't 12 345", "plain words of a ticket"];
        for text in texts.iter().take(200).map(String::as_str).chain(held) {
            let encoding = tokenizer.encode(text, true).unwrap();
            assert_eq!(tokenizer.decode(encoding.get_ids(), false).unwrap(), text);
        }
    }

    #[test]
    fn the_first_merges_are_the_textbook_ones() {
        let bytes = train(["aab aab aab aac"], 256 + 3, &["<s>"]).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        // "aab" once without and twice with a leading space: (a,a) 4 times, then (a a, b) 3 times.
        assert_eq!(value["model"]["merges"], serde_json::json!([["a", "a"], ["\u{120}", "aa"]]));
    }

    #[test]
    fn the_encoder_variant_wraps_each_text() {
        let texts = sample(1500);
        let bytes = train_encoder(texts.iter().map(String::as_str), 512).unwrap();
        let tokenizer = Tokenizer::from_bytes(&bytes).unwrap();
        let ids = tokenizer.encode("the parcel is late", true).unwrap().get_ids().to_vec();
        assert_eq!((ids.first(), ids.last()), (Some(&510), Some(&511)));
        let bare = tokenizer.encode("the parcel is late", false).unwrap().get_ids().to_vec();
        assert_eq!(bare, ids[1..ids.len() - 1]);
        assert_eq!(tokenizer.get_vocab_size(true), 512);
    }

    #[test]
    fn too_small_and_too_little_are_said() {
        assert_eq!(train(["abc"], 100, &["<s>"]).unwrap_err().code(), "bpe_vocabulary_too_small");
        assert_eq!(train(["abc"], 400, &["<s>"]).unwrap_err().code(), "bpe_too_little_text");
    }
}
