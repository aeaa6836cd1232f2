//! Kernels of numeric profile num-1.
