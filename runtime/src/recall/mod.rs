//! Recall: the training passages as unit vectors, and a search for the nearest.
//!
//! [`RecallIndex`] holds passages and their vectors (as f32, f16 or int8), reads and writes the three `recall/` members, and finds
//! the k nearest by cosine: the 32-lane dot product with a unit vector, ties to the lowest row. No order of threads shows. A search
//! looks at every passage, or, where a large index is sorted into [`Lists`], into the nearest ones only.
//! How the vectors come to be is the encoder's affair, how passages enter a prompt the caller's.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::as_conversions)
)]

mod error;
mod index;
pub mod limits;
mod lists;
mod members;
mod search;
mod vectors;

pub use error::RecallError;
pub use index::{Passage, RecallIndex};
pub use lists::Lists;
pub use members::{ListsSummary, RecallMembers};
pub use search::{Hit, recall_at_k};
pub use vectors::{VectorType, Vectors};
