//! Writers of everything under golden/.

pub mod kernels;
