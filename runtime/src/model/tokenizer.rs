//! Text to token ids and back, by the model's own `tokenizer.json`.
//!
//! Padding and truncation that a tokenizer.json may carry are switched off: a text's ids depend on the text alone.

use std::fmt;

use tokenizers::tokenizer::{Tokenizer, TruncationDirection};
use tokenizers::{ModelWrapper, PostProcessor};

use super::error::ModelError;
use super::source::{ModelSource, TOKENIZER};

/// A tokenizer.
pub struct TextTokenizer {
    inner: Tokenizer,
}

impl TextTokenizer {
    /// Reads a tokenizer.json. One that samples (BPE dropout and kin) is refused: it gives a text different ids each time.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ModelError> {
        let mut inner = Tokenizer::from_bytes(bytes).map_err(failed)?;
        let sampled = match inner.get_model() {
            ModelWrapper::BPE(model) => model.dropout.is_some_and(|dropout| dropout > 0.0),
            ModelWrapper::Unigram(model) => model.alpha.is_some_and(|alpha| alpha != 0.0) || model.nbest_size.is_some(),
            ModelWrapper::WordPiece(_) | ModelWrapper::WordLevel(_) => false,
        };
        if sampled {
            let detail = "it samples its segmentation (dropout, alpha or nbest_size), expected one answer for one text";
            return Err(ModelError::Tokenizer { detail: detail.to_owned() });
        }
        inner.with_padding(None);
        inner.with_truncation(None).map_err(failed)?;
        Ok(Self { inner })
    }

    /// Reads a located model's tokenizer and checks it against the model.
    ///
    /// # Errors
    /// Those of [`TextTokenizer::from_bytes`] and [`TextTokenizer::check`], and of reading the file.
    pub fn load(source: &ModelSource, vocabulary: usize, end_tokens: &[u32]) -> Result<Self, ModelError> {
        let tokenizer = match source.gguf()? {
            Some(gguf) if !source.has(TOKENIZER) => Self::from_bytes(&gguf.tokenizer()?)?,
            _ => Self::from_bytes(&source.read(TOKENIZER)?)?,
        };
        tokenizer.check(vocabulary, end_tokens)?;
        Ok(tokenizer)
    }

    /// Checks that each id it can give has an embedding row, and that it knows the model's end tokens.
    ///
    /// # Errors
    /// [`ModelError::TokenizerVocabulary`], [`ModelError::TokenizerSpecial`].
    pub fn check(&self, vocabulary: usize, end_tokens: &[u32]) -> Result<(), ModelError> {
        let largest = self.inner.get_vocab(true).into_values().max().unwrap_or(0);
        if largest as usize >= vocabulary {
            return Err(ModelError::TokenizerVocabulary { found: largest, expected: vocabulary });
        }
        match end_tokens.iter().find(|id| self.inner.id_to_token(**id).is_none()) {
            Some(id) => Err(ModelError::TokenizerSpecial { id: *id, role: "eos_token_id" }),
            None => Ok(()),
        }
    }

    /// Ids of a text; with `add_special`, framed by the special tokens the tokenizer puts around a text.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`].
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>, ModelError> {
        // encode_fast leaves the offsets out, not the ids
        Ok(self.inner.encode_fast(text, add_special).map_err(failed)?.get_ids().to_vec())
    }

    /// Ids of a prompt: begun by the special tokens the tokenizer puts before a text, unless the text brings them itself
    /// (chat templates often print the first one); nothing is put behind, since an answer follows.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`].
    pub fn encode_prompt(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        let encoding = self.inner.encode_fast(text, false).map_err(failed)?;
        let plain = encoding.get_ids().to_vec();
        let framed = self.inner.post_process(encoding, None, true).map_err(failed)?.get_ids().to_vec();
        if plain.is_empty() {
            return Ok(framed);
        }
        let added = framed.len().saturating_sub(plain.len());
        let begin = (0..=added).find(|begin| framed.get(*begin..).is_some_and(|rest| rest.starts_with(&plain)));
        let prefix = framed.get(..begin.unwrap_or(0)).unwrap_or_default();
        if plain.starts_with(prefix) {
            return Ok(plain);
        }
        Ok([prefix, &plain].concat())
    }

    /// Ids of a text with special tokens, its end cut so that there are at most `max_tokens`.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`].
    pub fn encode_truncated(&self, text: &str, max_tokens: usize) -> Result<Vec<u32>, ModelError> {
        let mut encoding = self.inner.encode_fast(text, false).map_err(failed)?;
        let special = self.inner.get_post_processor().map_or(0, |processor| processor.added_tokens(false));
        encoding.truncate(max_tokens.saturating_sub(special), 0, TruncationDirection::Right);
        Ok(self.inner.post_process(encoding, None, true).map_err(failed)?.get_ids().to_vec())
    }

    /// Text of ids, special tokens left out.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`].
    pub fn decode(&self, ids: &[u32]) -> Result<String, ModelError> {
        self.inner.decode(ids, true).map_err(failed)
    }

    /// Entries, added tokens included.
    pub fn vocabulary_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Id of a token.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Token of an id.
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }
}

impl fmt::Debug for TextTokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextTokenizer").field("vocabulary_size", &self.vocabulary_size()).finish_non_exhaustive()
    }
}

fn failed(error: tokenizers::Error) -> ModelError {
    ModelError::Tokenizer { detail: error.to_string() }
}
