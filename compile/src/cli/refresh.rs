//! `kolm refresh`: a compile that replaces an artifact, and what moved between the two.

use kolm_runtime::artifact::{ArtifactFile, Opened};
use kolm_runtime::kernel::Level;

use super::arguments;
use super::environment::Environment;
use super::progress::Progress;
use crate::diff::Diff;
use crate::pipeline::{self, CompileError, Previous};
use crate::refresh::Refreshed;

/// Runs `kolm refresh`.
pub(super) fn refresh(
    arguments: &arguments::Refresh,
    level: Level,
    environment: &Environment,
) -> Result<(), CompileError> {
    let opened = Opened::new(ArtifactFile::open(&arguments.previous)?)?;
    let digests = opened.digests()?;
    opened.check_content(&digests)?;
    let previous = Previous::of(&opened, &digests);
    let mut request = super::compile::request(&arguments.compile, environment)?;
    request.previous = Some(previous.clone());
    if arguments.compile.plan {
        return super::compile::plan(&request, &arguments.compile, level, environment);
    }
    let compiled = pipeline::compile(&request, level, environment, &mut Progress::new(arguments.compile.quiet))?;
    let diff = Diff::of(&arguments.previous, &compiled.path)?;
    let eval = &opened.manifest.eval;
    let wilson = [eval.wilson_low.clone(), eval.wilson_high.clone()];
    let refreshed = Refreshed::new(&previous, eval.k.clone(), wilson, diff, compiled);
    if arguments.compile.json { super::print_json(&refreshed) } else { super::print(&refreshed.text()) }
}
