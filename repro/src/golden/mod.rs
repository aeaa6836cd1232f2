//! Writers of everything under golden/.
