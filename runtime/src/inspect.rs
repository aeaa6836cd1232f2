//! What an artifact says about itself.
