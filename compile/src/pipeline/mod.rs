//! The stages of a compile.
