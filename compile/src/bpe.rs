//! Byte-level BPE training for the embedded tokenizers.
