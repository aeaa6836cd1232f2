//! Models: decoders, encoders, adapters, tokenizers, and where they lie on disk.
