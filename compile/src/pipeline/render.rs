//! Which rows are left, as the model sees them: template and recalled passages applied, overlong rows dealt with.

use kolm_runtime::recall::Hit;
use rayon::prelude::*;

use super::CompileError;
use super::prompt::{Prompter, Rendered};
use super::recall::{CHUNK_ROWS, Recall};
use crate::corpus::{Corpus, Row};
use crate::job::RecallUse;
use crate::train::Example;

/// The rows that are left, as the model sees them.
pub(super) struct Rows<'a> {
    pub(super) train: Vec<Example>,
    pub(super) eval: Vec<(&'a Row, Rendered)>,
    pub(super) dropped: u64,
}

/// Corpus, template and the way recall is used: what rendering needs.
pub(super) struct Grounded<'a> {
    pub(super) corpus: &'a Corpus,
    pub(super) prompter: &'a Prompter<'a>,
    pub(super) usage: RecallUse,
}

impl<'a> Grounded<'a> {
    /// Renders every row of both splits.
    ///
    /// # Errors
    /// Those of [`Prompter::render`], [`CompileError::NothingLeft`].
    pub(super) fn render(&self, recalled: Option<&(Recall, Vec<Vec<Hit>>)>) -> Result<Rows<'a>, CompileError> {
        let recalled = recalled.filter(|_| self.usage == RecallUse::Context);
        let mut rows = Rows { train: Vec::new(), eval: Vec::new(), dropped: 0 };
        for (chunk, some) in self.corpus.train.chunks(CHUNK_ROWS).enumerate() {
            let first = chunk * CHUNK_ROWS;
            let contexts: Vec<Vec<String>> = match recalled {
                Some((recall, _)) => {
                    let found = recall.of_training_rows(first..first + some.len())?;
                    found.iter().map(|hits| recall.index.context(hits)).collect()
                }
                None => vec![Vec::new(); some.len()],
            };
            // Threads tokenise; of several errors that of the first row is told.
            let rendered: Vec<_> =
                some.par_iter().zip(contexts).map(|(row, context)| self.render_row(row, &context)).collect();
            for rendered in rendered {
                match rendered? {
                    Some(rendered) => rows.train.push(rendered.into_example()),
                    None => rows.dropped += 1,
                }
            }
        }
        let of_eval = self.corpus.eval.par_iter().enumerate().map(|(index, row)| {
            let context = match recalled {
                Some((recall, hits)) => recall.index.context(&hits[index]),
                None => Vec::new(),
            };
            self.render_row(row, &context)
        });
        for (row, rendered) in self.corpus.eval.iter().zip(of_eval.collect::<Vec<_>>()) {
            match rendered? {
                Some(rendered) => rows.eval.push((row, rendered)),
                None => rows.dropped += 1,
            }
        }
        for (split, empty) in [("training", rows.train.is_empty()), ("eval", rows.eval.is_empty())] {
            if empty {
                return Err(CompileError::NothingLeft { split, dropped: rows.dropped });
            }
        }
        Ok(rows)
    }

    fn render_row(&self, row: &Row, context: &[String]) -> Result<Option<Rendered>, CompileError> {
        let context: Vec<&str> = context.iter().map(String::as_str).collect();
        self.prompter.render(row, &context)
    }
}
