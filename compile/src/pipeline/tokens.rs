//! How many tokens a corpus has: each row is rendered and encoded as a compile would, and none is kept.

use std::path::PathBuf;

use serde::Serialize;

use super::content::load_text_side;
use super::prepare::template;
use super::prompt::{Prompter, Rendered};
use super::{CompileError, Models};
use crate::cli::environment::Environment;
use crate::cli::progress::Progress;
use crate::corpus::{self, Checked, Role};
use crate::job::{Job, RecallUse};

/// The rows of a split in tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SplitTokens {
    /// Rows that fit.
    pub rows: u64,
    /// Rows left out as too long: beyond the limit, or without room for the longest label.
    pub left_out: u64,
    /// Rows that fit because their prompt was cut.
    pub shortened: u64,
    /// Tokens of the rows that fit: prompt, completion, end token.
    pub tokens: u64,
    /// Those that are learned: completion, end token.
    pub learned: u64,
    /// Tokens of the longest row that fits.
    pub longest: u64,
}

/// A corpus in tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tokens {
    /// Most tokens that a row may have.
    pub limit: u64,
    /// Whether a compile puts recalled passages into the prompts, which are not counted.
    pub without_recalled_passages: bool,
    /// The training rows.
    pub train: SplitTokens,
    /// The eval rows.
    pub eval: SplitTokens,
}

impl SplitTokens {
    fn add(&mut self, rendered: Option<Size>) {
        let Some(Size { tokens, learned, shortened }) = rendered else {
            self.left_out += 1;
            return;
        };
        self.rows += 1;
        self.shortened += u64::from(shortened);
        self.tokens += tokens;
        self.learned += learned;
        self.longest = self.longest.max(tokens);
    }
}

/// What is counted of a row.
struct Size {
    tokens: u64,
    learned: u64,
    shortened: bool,
}

impl Size {
    fn of(rendered: &Rendered) -> Size {
        let tokens = rendered.tokens.len();
        let learned = (tokens - rendered.loss_from) as u64;
        Size { tokens: tokens as u64, learned, shortened: rendered.shortened }
    }
}

/// Checks the corpus of a job and counts its tokens as the job's base reads them.
///
/// # Errors
/// [`CompileError`], as a compile stops for job, corpus and tokens; what the base's text side and template have wrong is told before the
/// corpus is read. Weights, recall encoder and starting adapter are not looked at.
pub fn count_tokens(
    job: &Job,
    files: &[PathBuf],
    environment: &Environment,
    progress: &mut Progress,
) -> Result<(Checked, Tokens), CompileError> {
    let models = Models::of(job, environment);
    let base = models.locate(&job.base.model, job.base.revision.as_deref(), &models.folder)?;
    let (config, tokenizer, end_token) = load_text_side(&base)?;
    let (template, _) = template(job, &base)?;
    let mut tokens = Tokens { without_recalled_passages: job.recall.usage == RecallUse::Context, ..Tokens::default() };
    let (mut limit, mut counted) = (0, 0_u64);
    let checked = corpus::check_rows(
        &corpus::Request::from_job(job, files),
        |labels| {
            let prompter = Prompter::new(job, &config, &template, (&tokenizer, end_token), labels)?;
            limit = prompter.max_length as u64;
            Ok::<_, CompileError>(prompter)
        },
        |prompter, row| Ok(prompter.render(&row.to_row(), &[])?.as_ref().map(Size::of)),
        |role, size| {
            counted += 1;
            if counted.is_multiple_of(SHOWN_ROWS) {
                progress.stage("tokens", &format!("{counted} rows counted"));
            }
            match role {
                Role::Train => tokens.train.add(size),
                Role::Eval => tokens.eval.add(size),
            }
        },
    )?;
    for (split, counted) in [("training", &tokens.train), ("eval", &tokens.eval)] {
        if counted.rows == 0 {
            let dropped = tokens.train.left_out + tokens.eval.left_out;
            return Err(CompileError::NothingLeft { split, dropped });
        }
    }
    Ok((checked, Tokens { limit, ..tokens }))
}

/// Rows counted between two lines of progress: a few seconds.
const SHOWN_ROWS: u64 = 250_000;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::job::Overlong;

    #[test]
    fn tokens_counted_on_any_number_of_threads_are_those_of_the_rows_one_by_one() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpora/micro/kolm.toml");
        let mut job = Job::read(&path).expect("the job");
        let environment = Environment::read();
        let source = Models::of(&job, &environment).locate(&job.base.model, None, path.parent().expect("a folder"));
        let source = source.expect("a base");
        let (config, tokenizer, end_token) = load_text_side(&source).expect("what reads text");
        let (template, _) = template(&job, &source).expect("a template");
        let rows = corpus::load(&corpus::Request::from_job(&job, &[])).expect("a corpus");
        // The longest training row has 35 tokens, the longest eval row 32.
        for (limit, overlong) in [(64, Overlong::Error), (28, Overlong::Drop), (28, Overlong::Truncate)] {
            (job.train.max_length, job.corpus.overlong) = (limit, overlong);
            let prompter =
                Prompter::new(&job, &config, &template, (&tokenizer, end_token), rows.labels.as_deref()).expect("one");
            let of = |rows: &[corpus::Row]| {
                let mut split = SplitTokens::default();
                for row in rows {
                    let rendered = prompter.render(row, &[]).expect("rendered");
                    split.add(rendered.as_ref().map(Size::of));
                }
                split
            };
            let expected =
                Tokens { limit, without_recalled_passages: false, train: of(&rows.train), eval: of(&rows.eval) };
            let (beyond, kept) = (expected.train.left_out + expected.train.shortened, expected.train.rows);
            assert_eq!((beyond > 0, kept > 0), (limit < 35, true), "{expected:?}");
            for threads in [1, 3] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
                let (checked, found) = pool
                    .install(|| count_tokens(&job, &[], &environment, &mut Progress::new(true)))
                    .expect("a corpus that can be counted");
                assert_eq!((found, checked.train), (expected, rows.train.len() as u64), "{threads} threads");
            }
        }
        (job.train.max_length, job.corpus.overlong) = (28, Overlong::Error);
        let refused = count_tokens(&job, &[], &environment, &mut Progress::new(true))
            .map(|_| ())
            .expect_err("a row that is too long");
        assert!(matches!(refused, CompileError::Overlong { limit: 28, .. }), "{refused}");
    }
}
