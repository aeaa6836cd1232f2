//! Connected side.
