//! x
use super::{Exit, arguments};
use crate::pipeline::CompileError;
use super::environment::Environment;
use kolm_runtime::kernel::Level;
pub(super) fn inspect(_: &arguments::Inspect, _: &Environment) -> Result<Exit, CompileError> { Ok(Exit::Done) }
pub(super) fn verify(_: &arguments::Verify, _: Level, _: &Environment) -> Result<Exit, CompileError> { Ok(Exit::Done) }
pub(super) fn run(_: &arguments::Run, _: Level, _: &Environment) -> Result<Exit, CompileError> { Ok(Exit::Done) }
