//! Writers of everything under golden/.

pub mod refused;
