//! Recall index and exact search.
