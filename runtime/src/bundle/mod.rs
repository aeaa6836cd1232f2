//! The bundle: what carries artifacts, their models and a verifier across an air gap, in parts that fit any disk.
//!
//! `path` is what may be in it, `index` lists it, `seal` vouches for the index under the operator's key, `part` reads and writes the pieces,
//! `receipt` says what was taken in. SPEC-bundle.md states every byte. Guarantees: one set of inputs has one bundle; nothing is
//! believed before its MAC or hash holds; no path leaves its root. Never touches the network, the clock or the environment.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::as_conversions)
)]

mod error;
mod index;
mod limits;
mod part;
mod path;
mod receipt;
mod seal;

pub use error::BundleError;
pub use index::{Entry, Index, Part};
pub use limits::{PART_SIZE_LEAST_BYTES, PART_SIZE_MOST_BYTES};
pub use part::{PartWriter, open_plain, read_part};
pub use path::BundlePath;
pub use receipt::{InstallReceipt, Installed};
pub use seal::{Bundle, INDEX, INDEX_MAC, seal};

#[cfg(test)]
mod tests;
