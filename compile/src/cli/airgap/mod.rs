//! `kolm airgap`: one function per verb. What they do is in [`crate::airgap`]; here stands what is typed and what is said.

pub(in crate::cli) mod arguments;
mod entry;
mod models;
mod switches;
mod transfer;

use kolm_runtime::kernel::Level;

use super::environment::Environment;
use super::{Exit, bounded};
use crate::network::Lock;
use crate::pipeline::CompileError;
use arguments::AirgapVerb;

/// Runs one verb; `lock` is what the kernel does about sockets since start-up.
pub(super) fn run(
    verb: &AirgapVerb,
    level: Level,
    environment: &Environment,
    lock: &Lock,
) -> Result<Exit, CompileError> {
    match verb {
        AirgapVerb::Verify(arguments) => bounded::verify(arguments, level, environment),
        AirgapVerb::Enable(arguments) => switches::enable(arguments, environment),
        AirgapVerb::Disable(arguments) => switches::disable(arguments, environment),
        AirgapVerb::Status(arguments) => switches::status(arguments, environment, lock),
        AirgapVerb::Preflight(arguments) => models::preflight(arguments, environment),
        AirgapVerb::Prime(arguments) => models::prime(arguments, environment),
        AirgapVerb::Export(arguments) => transfer::export(arguments, environment),
        AirgapVerb::Import(arguments) => transfer::import(arguments, environment),
        AirgapVerb::Receipts(arguments) => transfer::receipts(arguments, environment),
    }
}
