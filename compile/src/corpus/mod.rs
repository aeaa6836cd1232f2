//! Corpus: reading, checks, identifier scan, split.
