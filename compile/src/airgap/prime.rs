//! Priming the cache: fetches exactly the files that an artifact records, at their commit, and checks each by hash.
//!
//! A file that is here and whole is left alone; one that differs is fetched again, and refused if the hub gives the same again. At the end
//! the branch `main` is written where the cache has none, for tools that ask for a branch; a branch that is there is never moved.

use std::path::Path;

use kolm_runtime::model::HubCache;
use kolm_runtime::verify::ModelPlaces;

use super::needs::Need;
use super::preflight::{self, Depth, Model, State};
use crate::network::Permit;
use crate::pipeline::CompileError;
use crate::pipeline::fetch::fetch_file;

/// What priming did for one model.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Primed {
    /// The model as it is now.
    #[serde(flatten)]
    pub model: Model,
    /// Files fetched.
    pub fetched: Vec<String>,
    /// Whether `refs/main` was written.
    pub wrote_ref: bool,
}

/// Brings what is missing of `need` into the cache, and looks at all of it.
///
/// # Errors
/// [`CompileError::Fetch`], [`CompileError::Model`], [`CompileError::Io`].
pub fn prime(
    permit: &Permit,
    need: &Need,
    cache: &Path,
    endpoint: Option<&str>,
    say: &mut dyn FnMut(&str),
) -> Result<Primed, CompileError> {
    let hub = HubCache::new(cache);
    let places = ModelPlaces { cache: Some(hub.clone()), ..ModelPlaces::default() };
    let before = preflight::check(need, &places, Depth::Content)?;
    let mut fetched = Vec::new();
    for (file, state) in need.files.iter().zip(before.files.iter().map(|file| &file.state)) {
        if need.is_of_hub() && matches!(state, State::Missing | State::Differs { .. }) {
            say(&format!("{} {}: {} ({} bytes)", need.role, need.repo, file.path, file.size));
            fetch_file(permit, &need.repo, &need.revision, file, cache, endpoint)?;
            fetched.push(file.path.clone());
        }
    }
    let model = if fetched.is_empty() { before } else { preflight::check(need, &places, Depth::Content)? };
    let complete = need.is_of_hub() && model.missing() == 0 && model.wrong() == 0;
    let wrote_ref = complete && write_ref(need, &hub)?;
    Ok(Primed { model, fetched, wrote_ref })
}

/// Writes `refs/main` for a model whose cache has none; says whether it did.
///
/// # Errors
/// [`CompileError::Model`], [`CompileError::Io`].
pub fn write_ref(need: &Need, cache: &HubCache) -> Result<bool, CompileError> {
    let folder = cache.repo_folder(&need.repo)?.join("refs");
    let place = folder.join("main");
    if place.exists() {
        return Ok(false);
    }

    std::fs::create_dir_all(&folder).map_err(|source| CompileError::Io { action: "create", path: folder, source })?;
    kolm_runtime::artifact::Staged::write(&place, need.revision.as_bytes())?.commit()?;
    Ok(true)
}
