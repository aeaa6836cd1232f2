//! A BERT encoder: texts to unit vectors.
//!
//! A text's vector depends on its own tokens alone: no padding, no order, no batch shows in it.

use super::encoder_block::{EncoderBlock, Norm};
use super::encoder_config::{EncoderConfig, Pooling};
use super::error::ModelError;
use super::limits;
use super::source::ModelSource;
use super::tokenizer::TextTokenizer;
use super::weights::{TensorSource, Weights};
use crate::kernel::{self, Buffer, Level};

/// An encoder, its weights packed for one SIMD level.
#[derive(Debug)]
pub struct Encoder {
    /// Shape and constants.
    pub config: EncoderConfig,
    /// `[V, C]`.
    pub words: Vec<f32>,
    /// `[P, C]`.
    pub positions: Vec<f32>,
    /// Row 0 of the token-type embedding, `[C]`.
    pub token_type: Vec<f32>,
    /// After the embeddings' sum.
    pub embedding_norm: Norm,
    /// Blocks.
    pub blocks: Vec<EncoderBlock>,
    /// SIMD level of every kernel call.
    pub level: Level,
}

impl Encoder {
    /// Loads and packs an encoder.
    ///
    /// # Errors
    /// The configuration, shard, header, tensor and weight variants of [`ModelError`].
    pub fn load(level: Level, source: &ModelSource) -> Result<Self, ModelError> {
        let config = EncoderConfig::load(source)?;
        let weights = Weights::open(source)?;
        // A bare BertModel has no prefix, one saved with a head has.
        let prefix = if weights.has("bert.embeddings.word_embeddings.weight") { "bert." } else { "" };
        Self::from_tensors(level, config, &mut |name, shape| weights.tensor_f32(&format!("{prefix}{name}"), shape))
    }

    /// Builds an encoder from its tensors: `get(name, shape)` gives each by its name in a bare BertModel, row-major.
    ///
    /// # Errors
    /// Whatever `get` returns.
    pub fn from_tensors(level: Level, config: EncoderConfig, get: &mut TensorSource<'_>) -> Result<Self, ModelError> {
        let hidden = config.hidden;
        let words = get("embeddings.word_embeddings.weight", &[config.vocabulary, hidden])?;
        let positions = get("embeddings.position_embeddings.weight", &[config.max_positions, hidden])?;
        let mut token_type = get("embeddings.token_type_embeddings.weight", &[config.token_types, hidden])?;
        token_type.truncate(hidden);
        let embedding_norm = Norm::from_tensors("embeddings.LayerNorm", hidden, get)?;
        let mut blocks = Vec::with_capacity(config.layers);
        for layer in 0..config.layers {
            let mut inner = |name: &str, shape: &[usize]| get(&format!("encoder.layer.{layer}.{name}"), shape);
            blocks.push(EncoderBlock::from_tensors(level, &config, &mut inner)?);
        }
        Ok(Self { config, words, positions, token_type, embedding_norm, blocks, level })
    }

    /// Width of a text's vector.
    pub fn hidden_size(&self) -> usize {
        self.config.hidden
    }

    /// Unit vectors of texts, tokenised with special tokens and cut to the encoder's length.
    ///
    /// # Errors
    /// Those of [`Encoder::embed`] and [`TextTokenizer::encode_truncated`].
    pub fn embed_texts(&self, tokenizer: &TextTokenizer, texts: &[&str]) -> Result<Vec<Vec<f32>>, ModelError> {
        let encode = |text: &&str| tokenizer.encode_truncated(text, self.config.max_tokens);
        self.embed(&texts.iter().map(encode).collect::<Result<Vec<_>, _>>()?)
    }

    /// Unit vectors `[C]` of tokenised texts, special tokens included.
    ///
    /// # Errors
    /// [`ModelError::SequenceEmpty`], [`ModelError::SequenceTooLong`], [`ModelError::TokenOutside`].
    pub fn embed(&self, texts: &[Vec<u32>]) -> Result<Vec<Vec<f32>>, ModelError> {
        let mut groups = Vec::new();
        let mut rest = texts;
        while !rest.is_empty() {
            let mut rows = 0;
            let fits = |text: &&Vec<u32>| {
                rows += text.len();
                rows <= limits::ENCODER_ROW_COUNT
            };
            let count = rest.iter().take_while(fits).count().max(1);
            let (group, others) = rest.split_at(count.min(rest.len()));
            groups.push(group);
            rest = others;
        }
        let embedded = kernel::side_by_side(groups, |group| self.embed_group(group));
        let mut vectors = Vec::with_capacity(texts.len());
        for some in embedded {
            vectors.extend(some?);
        }
        Ok(vectors)
    }

    fn embed_group(&self, texts: &[Vec<u32>]) -> Result<Vec<Vec<f32>>, ModelError> {
        let mut hidden = Vec::new();
        for text in texts {
            hidden.extend_from_slice(&self.embed_tokens(text)?);
        }
        let mut hidden = Buffer::from(hidden);
        let mut rows_of_text: Vec<usize> = texts.iter().map(Vec::len).collect();
        for (layer, block) in self.blocks.iter().enumerate() {
            if self.config.pooling == Pooling::Cls && layer + 1 == self.blocks.len() {
                hidden = block.forward_first(self.level, &self.config, &hidden, &rows_of_text);
                rows_of_text.fill(1);
            } else {
                block.forward(self.level, &self.config, &mut hidden, &rows_of_text, None);
            }
        }
        let mut vectors = Vec::with_capacity(texts.len());
        let mut rest = &*hidden;
        for count in rows_of_text {
            let (rows, others) = rest.split_at(count * self.config.hidden);
            vectors.push(self.pool(rows));
            rest = others;
        }
        Ok(vectors)
    }

    /// Normed embedding rows of one text, `[T, C]`: word, then position, then token type, added in this order.
    ///
    /// # Errors
    /// [`ModelError::SequenceEmpty`], [`ModelError::SequenceTooLong`], [`ModelError::TokenOutside`].
    pub fn embed_tokens(&self, tokens: &[u32]) -> Result<Buffer, ModelError> {
        let sum = self.embedding_sum(tokens)?;
        Ok(self.embedding_norm.forward(self.level, &sum, self.config.norm_eps))
    }

    /// The embeddings' sum before its norm, `[T, C]`.
    ///
    /// # Errors
    /// Those of [`Encoder::embed_tokens`].
    pub fn embedding_sum(&self, tokens: &[u32]) -> Result<Vec<f32>, ModelError> {
        let hidden = self.config.hidden;
        if tokens.is_empty() {
            return Err(ModelError::SequenceEmpty);
        }
        if tokens.len() > self.config.max_positions {
            let (found, limit) = (tokens.len(), self.config.max_positions);
            return Err(ModelError::SequenceTooLong { found, limit });
        }
        let mut rows = Vec::with_capacity(tokens.len() * hidden);
        for (token, position) in tokens.iter().zip(self.positions.chunks_exact(hidden)) {
            let begin = (*token as usize).saturating_mul(hidden);
            let outside = ModelError::TokenOutside { found: *token, vocabulary: self.config.vocabulary };
            let word = self.words.get(begin..begin.saturating_add(hidden)).ok_or(outside)?;
            let parts = word.iter().zip(position).zip(&self.token_type);
            rows.extend(parts.map(|((word, position), token_type)| (word + position) + token_type));
        }
        Ok(rows)
    }

    /// Pools the last hidden states `[T, C]` of one text into a unit vector `[C]`.
    ///
    /// Mean: each column's chain of additions over ascending tokens in blocks of 256 (the product contract with coefficients 1),
    /// divided by T. Then divided by the root of the sum of squares, or by 1e-12 if that is smaller.
    pub fn pool(&self, rows: &[f32]) -> Vec<f32> {
        let hidden = self.config.hidden;
        let mut vector = match self.config.pooling {
            Pooling::Cls => rows.get(..hidden).unwrap_or_default().to_vec(),
            Pooling::Mean => {
                let tokens = rows.len() / hidden;
                let mut mean = vec![0.0; hidden];
                kernel::weighted_rows(self.level, &vec![1.0; tokens], 1, rows, hidden, &mut mean);
                // a token count is far below 2^24, so this is exact
                let count = tokens as f32;
                mean.iter_mut().for_each(|value| *value /= count);
                mean
            }
        };
        let norm = kernel::sum_squares(self.level, &vector).sqrt();
        let divisor = if norm > 1e-12 { norm } else { 1e-12 };
        vector.iter_mut().for_each(|value| *value /= divisor);
        vector
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ModelSource;

    #[test]
    fn a_vector_is_that_of_every_row_through_every_block() {
        let source = ModelSource::embedded("kolm/nano-encoder").expect("embedded");
        for level in Level::available() {
            let mut encoder = Encoder::load(level, &source).expect("an encoder");
            let vocabulary = encoder.config.vocabulary as u32;
            let text = |len: u32| (0..len).map(|at| (at * 7919 + len) % vocabulary).collect::<Vec<u32>>();
            let texts: Vec<Vec<u32>> = [1, 2, 30, 64, 25, 1].map(text).into();
            for pooling in [Pooling::Cls, Pooling::Mean] {
                encoder.config.pooling = pooling;
                for some in [&texts[..], &texts[2..3], &texts[..1]] {
                    let found = encoder.embed(some).expect("vectors");
                    for (text, found) in some.iter().zip(&found) {
                        let mut hidden = encoder.embed_tokens(text).expect("rows");
                        for block in &encoder.blocks {
                            block.forward(level, &encoder.config, &mut hidden, &[text.len()], None);
                        }
                        let bits = |vector: &[f32]| vector.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                        let (found, expected) = (bits(found), bits(&encoder.pool(&hidden)));
                        assert_eq!(found, expected, "{pooling:?} of {} tokens at {level:?}", text.len());
                    }
                }
            }
        }
    }
}
