//! The recall stage: training passages embedded by the pinned encoder, and which of them each row sees.

use std::ops::Range;

use kolm_runtime::artifact::Member;
use kolm_runtime::kernel::Level;
use kolm_runtime::model::{Encoder, TextTokenizer};
use kolm_runtime::recall::{Hit, Passage, RecallError, RecallIndex, Vectors, limits};

use super::error::CompileError;
use crate::cli::progress::Progress;
use crate::corpus::{Row, near_duplicate};
use crate::job::RecallSection;

/// The index over the training rows.
pub(super) struct Recall {
    /// Vectors and passages, in training order.
    pub(super) index: RecallIndex,
    level: Level,
    k: usize,
}

impl Recall {
    /// Embeds the rows' prompt texts, a few hundred at a time, and builds the index as the job's section says.
    ///
    /// # Errors
    /// [`CompileError::Value`] for more lists than rows, [`CompileError::Model`] from the encoder, [`CompileError::Recall`] from the
    /// index.
    pub(super) fn build(
        level: Level,
        encoder: &Encoder,
        tokenizer: &TextTokenizer,
        rows: &[Row],
        section: &RecallSection,
        progress: &mut Progress,
    ) -> Result<Recall, CompileError> {
        let total = rows.len() as u64;
        let lists = section.lists_for(total).map(|lists| usize::try_from(lists).unwrap_or(usize::MAX));
        if let Some(found) = lists.filter(|lists| *lists > rows.len()) {
            return Err(CompileError::Value {
                what: "[recall] lists",
                found: format!("{found} for {} training rows", rows.len()),
                expected: "at most one a row, or \"auto\"",
            });
        }
        // What cannot be written is refused before a row is embedded.
        refuse_above("recall index", rows.len(), limits::PASSAGE_COUNT)?;
        let passages_len_bytes = rows.iter().map(|row| row.id.len() + row.prompt.len() + row.completion.len()).sum();
        let most = usize::try_from(Member::RecallPassages.len_max_bytes()).unwrap_or(usize::MAX);
        refuse_above(RecallIndex::PASSAGES, passages_len_bytes, most)?;
        progress.stage("recall", &format!("embedding {total} passages with {} values each", encoder.hidden_size()));
        progress.start(total);
        let mut vectors = Vectors::new(section.vectors, encoder.hidden_size());
        for (chunk, some) in rows.chunks(CHUNK_ROWS).enumerate() {
            vectors.extend(level, &embed(encoder, tokenizer, some)?)?;
            progress.advance((chunk * CHUNK_ROWS + some.len()) as u64, total, "passages");
        }
        progress.finish();
        let passages = rows
            .iter()
            .map(|row| Passage { id: row.id.clone(), text: row.prompt.clone(), answer: row.completion.clone() })
            .collect();
        let mut index = RecallIndex::of_vectors(level, vectors, passages)?;
        if let Some(lists) = lists {
            progress.stage("recall", &format!("sharing {total} passages among {lists} lists"));
            index = index.with_lists(level, lists)?;
        }
        Ok(Recall { index, level, k: usize::try_from(section.k).unwrap_or(usize::MAX) })
    }

    /// Bytes of vectors and passages.
    pub(super) fn len_bytes(&self) -> u64 {
        let texts = self.index.passages().iter();
        let texts: usize = texts.map(|passage| passage.id.len() + passage.text.len() + passage.answer.len()).sum();
        (self.index.vectors().len_bytes() + texts) as u64
    }

    /// The k nearest passages of each of some training rows, itself and its near-duplicates left out.
    ///
    /// # Errors
    /// [`CompileError::Recall`].
    pub(super) fn of_training_rows(&self, rows: Range<usize>) -> Result<Vec<Vec<Hit>>, CompileError> {
        let wanted = self.k + SPARE_HITS;
        let first = rows.start;
        let queries = self.index.queries(self.level, rows.clone());
        if self.index.lists().is_some() {
            // Whether a further list is looked into depends on how many rows count.
            let text = |row: usize| self.index.passages()[row].text.as_str();
            let exclude = |query: usize, passage: usize| {
                passage == first + query || near_duplicate(text(first + query), text(passage))
            };
            return Ok(self.index.search_batch(self.level, &queries, self.k, &exclude)?);
        }
        let found =
            self.index.search_batch(self.level, &queries, wanted, &|query, passage| passage == first + query)?;
        rows.zip(found).map(|(row, hits)| self.without_near_duplicates(row, wanted, hits)).collect()
    }

    /// Leaves out near-duplicates of training row `row`, and searches for more hits until k are left.
    fn without_near_duplicates(
        &self,
        row: usize,
        mut wanted: usize,
        mut hits: Vec<Hit>,
    ) -> Result<Vec<Hit>, CompileError> {
        let text = &self.index.passages()[row].text;
        loop {
            let exhausted = hits.len() < wanted;
            hits.retain(|hit| !near_duplicate(text, &self.index.passages()[hit.index].text));
            if hits.len() >= self.k || exhausted || wanted == limits::NEAREST {
                hits.truncate(self.k);
                return Ok(hits);
            }
            wanted = limits::NEAREST.min(2 * wanted);
            let query = self.index.queries(self.level, row..row + 1);
            hits = self.index.search(self.level, &query, wanted, &|passage| passage == row)?;
        }
    }

    /// The k nearest passages of each eval row.
    ///
    /// # Errors
    /// [`CompileError::Model`] from the encoder, [`CompileError::Recall`].
    pub(super) fn of_eval_rows(
        &self,
        encoder: &Encoder,
        tokenizer: &TextTokenizer,
        rows: &[Row],
    ) -> Result<Vec<Vec<Hit>>, CompileError> {
        let mut found = Vec::with_capacity(rows.len());
        for some in rows.chunks(CHUNK_ROWS) {
            let queries = embed(encoder, tokenizer, some)?;
            found.extend(self.index.search_batch(self.level, &queries, self.k, &|_, _| false)?);
        }
        Ok(found)
    }
}

fn refuse_above(what: &'static str, found: usize, limit: usize) -> Result<(), CompileError> {
    if found <= limit { Ok(()) } else { Err(RecallError::TooLarge { what, found, limit }.into()) }
}

fn embed(encoder: &Encoder, tokenizer: &TextTokenizer, rows: &[Row]) -> Result<Vec<f32>, CompileError> {
    let texts: Vec<&str> = rows.iter().map(|row| row.prompt.as_str()).collect();
    Ok(encoder.embed_texts(tokenizer, &texts)?.concat())
}

/// Rows embedded between two progress reports, and searched for at once.
pub(super) const CHUNK_ROWS: usize = 256;

/// Hits asked for beyond k at first, to make up for near-duplicates left out.
const SPARE_HITS: usize = 8;
