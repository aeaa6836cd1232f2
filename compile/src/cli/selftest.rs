//! `kolm selftest`, mounted from runtime: broken artifacts and golden bits, all of them inside the binary.

use super::bounded::ended;
use super::{Exit, arguments};
use crate::pipeline::CompileError;

/// Runs `kolm selftest`.
pub(super) fn selftest(arguments: &arguments::Selftest) -> Result<Exit, CompileError> {
    let tool = concat!("kolm ", env!("CARGO_PKG_VERSION"));
    ended(kolm_runtime::selftest::verb(tool, arguments.json, &mut std::io::stdout().lock()))
}
