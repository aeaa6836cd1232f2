//! Bounded side.
