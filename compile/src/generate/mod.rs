//! Generators of this project's own text.
