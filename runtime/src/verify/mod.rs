//! The five checks, and the verbs of the bounded side that show them.
//!
//! `checks` decides, `verb` prints, `exit` says how a process ends, `models` finds base and encoder on this machine and
//! compares every file with the plan, `replay` answers the eval pack again, `site` is what this machine's log and marks know. Nothing here opens a socket or reads clock or
//! environment: the binary hands those in.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::as_conversions)
)]

mod checks;
mod detail;
mod exit;
mod hint;
mod models;
mod render;
mod replay;
mod site;
pub mod verb;

pub use checks::{Check, Outcome, ReplayWith, Verification, check_members, refusal, verify};
pub use exit::Exit;
pub use hint::hint;
pub use models::{ModelPlaces, Role};
pub use replay::{Replayed, replay};
pub use site::{Done, Rollback, Site, Standing, check_age, parse_days};
