//! Eval pack, metrics, K-score, replay.
