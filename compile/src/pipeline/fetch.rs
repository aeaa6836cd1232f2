//! Fetching a base from the hub: the one place of the workspace that constructs a network client.
//!
//! Compiled only with the feature `connected`. A branch name is resolved once to a commit SHA, and every file is taken at that SHA
//! into the Hugging Face cache layout; runtime's own reader takes it from there. Refuses before any name resolution when a switch
//! forbids the network.

use std::path::Path;

use thiserror::Error;

use crate::cli::environment::Offline;

/// Why a model could not be fetched.
#[derive(Debug, Error)]
pub enum FetchError {
    /// A switch forbids leaving this machine.
    #[error("{repo} is not in the cache and {variable}=1 (from {origin}) forbids fetching it")]
    Forbidden {
        /// Model repository.
        repo: String,
        /// The variable that forbids it.
        variable: &'static str,
        /// Where its value came from.
        origin: String,
        /// Whether it is the air gap proper.
        air_gap: bool,
    },
    /// This build holds no network client.
    #[error("{repo} is not in the cache and this build of kolm has no network client")]
    NotConnected {
        /// Model repository.
        repo: String,
    },
    /// The hub did not give the file.
    #[error("{repo} revision {revision}: {what} could not be fetched: {reason}")]
    Hub {
        /// Model repository.
        repo: String,
        /// Revision asked for.
        revision: String,
        /// File, or `file list`.
        what: String,
        /// What the client said.
        reason: String,
    },
}

/// Fetches every file the runtime loads of `repo` at `revision` (a SHA or a branch) into `cache`, from `endpoint` where a mirror is named;
/// returns the commit SHA.
///
/// # Errors
/// [`FetchError::Forbidden`] when offline, [`FetchError::NotConnected`] in a build without `connected`, [`FetchError::Hub`] otherwise.
pub fn fetch(
    repo: &str,
    revision: &str,
    cache: &Path,
    endpoint: Option<&str>,
    offline: Option<&Offline>,
) -> Result<String, FetchError> {
    if let Some(switch) = offline {
        return Err(FetchError::Forbidden {
            repo: repo.to_owned(),
            variable: switch.variable,
            origin: switch.source.clone(),
            air_gap: switch.air_gap,
        });
    }
    fetch_connected(repo, revision, cache, endpoint)
}

#[cfg(not(feature = "connected"))]
fn fetch_connected(repo: &str, _revision: &str, _cache: &Path, _endpoint: Option<&str>) -> Result<String, FetchError> {
    Err(FetchError::NotConnected { repo: repo.to_owned() })
}

#[cfg(feature = "connected")]
fn fetch_connected(repo: &str, revision: &str, cache: &Path, endpoint: Option<&str>) -> Result<String, FetchError> {
    use hf_hub::api::sync::ApiBuilder;
    use hf_hub::{Cache, Repo, RepoType};
    use kolm_runtime::model::ModelSource;

    let failed = |what: &str, reason: String| FetchError::Hub {
        repo: repo.to_owned(),
        revision: revision.to_owned(),
        what: what.to_owned(),
        reason,
    };
    let mut builder = ApiBuilder::from_cache(Cache::new(cache.to_owned()))
        .with_progress(false)
        .with_user_agent("kolm", env!("CARGO_PKG_VERSION"));
    if let Some(endpoint) = endpoint {
        builder = builder.with_endpoint(endpoint.trim_end_matches('/').to_owned());
    }
    let api = builder.build().map_err(|error| failed("client", error.to_string()))?;
    let info = api
        .repo(Repo::with_revision(repo.to_owned(), RepoType::Model, revision.to_owned()))
        .info()
        .map_err(|error| failed("file list", error.to_string()))?;
    let pinned = api.repo(Repo::with_revision(repo.to_owned(), RepoType::Model, info.sha.clone()));
    for file in info.siblings.iter().map(|sibling| sibling.rfilename.as_str()).filter(|name| ModelSource::loads(name)) {
        pinned.get(file).map_err(|error| failed(file, error.to_string()))?;
    }
    // What a pinned download leaves out: the branch's commit, so that the cache answers for it without a network.
    Cache::new(cache.to_owned())
        .repo(Repo::with_revision(repo.to_owned(), RepoType::Model, revision.to_owned()))
        .create_ref(&info.sha)
        .map_err(|error| failed("reference", error.to_string()))?;
    Ok(info.sha)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offline_switch_refuses_before_anything_else() {
        let switch = Offline { variable: "KOLM_AIRGAP", source: "environment".to_owned(), air_gap: true };
        let refused = fetch("org/model", "main", Path::new("/nonexistent"), None, Some(&switch));
        assert!(matches!(refused, Err(FetchError::Forbidden { variable: "KOLM_AIRGAP", .. })));
    }
}
