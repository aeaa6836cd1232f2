//! The five checks.
