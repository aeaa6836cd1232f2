//! Where base and encoder come from: inside the binary, a local folder, the Hugging Face cache, or the hub.

use std::path::Path;

use kolm_runtime::model::{HubCache, ModelError, ModelSource};

use super::error::CompileError;
use super::fetch;
use crate::cli::environment::Offline;

/// What a job says about a model, and where this machine may look for it.
#[derive(Debug, Clone, Copy)]
pub struct Lookup<'a> {
    /// Repository, embedded name, or folder.
    pub model: &'a str,
    /// Commit SHA or branch; `None` means `main`.
    pub revision: Option<&'a str>,
    /// Folder that relative folders are relative to: the job file's.
    pub folder: &'a Path,
    /// Root of the Hugging Face cache.
    pub cache: &'a Path,
    /// A mirror of the hub, if one is named.
    pub endpoint: Option<&'a str>,
    /// The switch that forbids fetching, if one is set.
    pub offline: Option<&'a Offline>,
}

/// Finds the model and opens its source; fetches it first when it is absent and that is allowed.
///
/// # Errors
/// [`CompileError::Model`] when it is there but unusable, [`CompileError::Fetch`] when it is absent and could not be fetched.
pub fn locate(lookup: Lookup<'_>) -> Result<ModelSource, CompileError> {
    let Lookup { model, revision, folder, cache, endpoint, offline } = lookup;
    if model.starts_with("kolm/") {
        return Ok(ModelSource::embedded(model)?);
    }
    if is_folder(model, folder) {
        return Ok(ModelSource::folder(&folder.join(model))?);
    }
    let revision = revision.unwrap_or("main");
    let hub = HubCache::new(cache);
    match ModelSource::cached(&hub, model, revision) {
        Ok(source) => Ok(source),
        Err(
            ModelError::RepoNotCached { .. }
            | ModelError::RevisionNotCached { .. }
            | ModelError::FileMissing { .. }
            | ModelError::ShardMissing { .. },
        ) => {
            let commit = fetch::fetch(model, revision, cache, endpoint, offline)?;
            Ok(ModelSource::cached(&hub, model, &commit)?)
        }
        Err(error) => Err(error.into()),
    }
}

/// A name that can only be a path, or that names a folder beside the job.
fn is_folder(model: &str, folder: &Path) -> bool {
    let path = Path::new(model);
    path.is_absolute()
        || model.starts_with("./")
        || model.starts_with("../")
        || model.ends_with(".gguf")
        || ModelSource::is_model(&folder.join(path))
}
