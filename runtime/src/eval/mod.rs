//! Grading: an embedded pack of cases, the answers a model gives to it, and the K-score over them.
//!
//! [`Pack`] is what an artifact is graded on, [`run()`] answers it, [`Outcome`] holds the answers with K and the replay
//! digest, [`compare`] names what a replay answered otherwise than recorded. Scores are integers in parts per million
//! ([`Ppm`]) from integer arithmetic, and every logit comes from the numeric contract, so the same artifact gives the same
//! outcome on every machine, with any number of threads. No clock, size or cost is ever part of a score. SPEC-eval.md
//! states every byte.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::as_conversions)
)]

mod answer;
mod engine;
mod error;
#[cfg(test)]
mod fixture;
mod generate;
mod groups;
mod json;
mod labels;
pub mod limits;
mod lines;
mod metric;
mod pack;
#[cfg(test)]
mod pack_tests;
mod ppm;
mod replay;
mod respond;
mod run;
#[cfg(test)]
mod run_tests;
#[cfg(test)]
mod sealed_tests;
mod statistics;
mod text;

pub use answer::{Answer, AnswerForm, Answerer};
pub use engine::end_token;
pub use error::EvalError;
pub use metric::Metric;
pub use pack::{Case, Pack};
pub use ppm::Ppm;
pub use replay::{CaseResult, Difference, Drift, Outcome, compare, replay_digest};
pub use respond::{Citation, Responder, Response, ServeError, Served};
pub use run::run;
pub use statistics::{effective_cases, k_score, majority, majority_k, wilson};
