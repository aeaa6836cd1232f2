//! Corpus: parquet files become checked rows in a training and an eval split.
//!
//! Rows stream in file order, a batch a thread, several times over: nothing is kept of a row but a few bytes until it is known what
//! becomes of it. What [`load()`] returns has no null, empty or doubled row, no id twice, no training row that is also an
//! eval row, enough eval rows, and no label outside the set; unless the job allows them, no residual identifier. The split, the
//! digests and the scan report depend on the rows alone: not on how a file is encoded, where it lies, or the machine.

mod error;
pub mod identifiers;
mod load;
mod ordered;
mod row;
mod seen;
mod similarity;
mod split;
mod survey;
mod table;

pub use error::CorpusError;
pub(crate) use load::check_rows;
pub use load::{Checked, Corpus, CorpusFile, Dropped, Leakage, Request, Role, SplitMethod, check, load};
pub use row::{Columns, Row, Rows, digest_rows, read_file};
pub(crate) use similarity::{near_duplicate, normalised};

#[cfg(test)]
mod tests;
