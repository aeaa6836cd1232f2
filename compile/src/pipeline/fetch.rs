//! Fetching a model from the hub, pinned, into the Hugging Face cache layout; runtime's own reader takes it from there.
//!
//! Whether that is allowed, and the client, come from [`crate::network`]. A branch name is resolved once to a commit SHA and every file is
//! taken at that SHA. An interrupted download goes on where it stopped.

use std::path::Path;

use kolm_runtime::model::FileIdentity;
use thiserror::Error;

use crate::cli::environment::Offline;
use crate::network::{Forbidden, Permit, may_leave};

/// Why a model could not be fetched.
#[derive(Debug, Error)]
pub enum FetchError {
    /// A switch forbids leaving this machine.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
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
        /// File, or [`FILE_LIST`].
        what: String,
        /// What the client said.
        reason: String,
    },
}

/// What is asked for first, in [`FetchError::Hub`].
pub const FILE_LIST: &str = "file list";

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
    let permit = may_leave(&format!("{repo} is not in the cache; fetching it"), offline)?;
    connected::model(&permit, repo, revision, cache, endpoint)
}

/// Fetches one file of `repo` at the commit `revision` into `cache`, over what lies there; goes on where a download of it was broken off, and
/// begins anew where what was left is not its beginning. Content that differs all the same is left for the caller to find.
///
/// # Errors
/// [`FetchError::NotConnected`] in a build without `connected`, [`FetchError::Hub`] otherwise.
pub fn fetch_file(
    permit: &Permit,
    repo: &str,
    revision: &str,
    file: &FileIdentity,
    cache: &Path,
    endpoint: Option<&str>,
) -> Result<(), FetchError> {
    connected::file(permit, repo, revision, file, cache, endpoint)
}

#[cfg(not(feature = "connected"))]
mod connected {
    use std::path::Path;

    use super::{FetchError, FileIdentity, Permit};

    pub(super) fn model(_: &Permit, repo: &str, _: &str, _: &Path, _: Option<&str>) -> Result<String, FetchError> {
        Err(FetchError::NotConnected { repo: repo.to_owned() })
    }

    pub(super) fn file(
        _: &Permit,
        repo: &str,
        _: &str,
        _: &FileIdentity,
        _: &Path,
        _: Option<&str>,
    ) -> Result<(), FetchError> {
        Err(FetchError::NotConnected { repo: repo.to_owned() })
    }
}

#[cfg(feature = "connected")]
mod connected {
    use std::fmt::Display;
    use std::path::Path;

    use hf_hub::{Cache, Repo, RepoType};
    use kolm_runtime::model::{FileIdentity, ModelSource};

    use super::{FILE_LIST, FetchError, Permit};

    fn failed<'a, E: Display>(repo: &'a str, revision: &'a str, what: &'a str) -> impl FnOnce(E) -> FetchError + 'a {
        move |reason| FetchError::Hub {
            repo: repo.to_owned(),
            revision: revision.to_owned(),
            what: what.to_owned(),
            reason: reason.to_string(),
        }
    }

    fn pinned(repo: &str, revision: &str) -> Repo {
        Repo::with_revision(repo.to_owned(), RepoType::Model, revision.to_owned())
    }

    pub(super) fn model(
        permit: &Permit,
        repo: &str,
        revision: &str,
        cache: &Path,
        endpoint: Option<&str>,
    ) -> Result<String, FetchError> {
        let hub = permit.hub(cache, endpoint).map_err(failed(repo, revision, "client"))?;
        let info = hub.repo(pinned(repo, revision)).info().map_err(failed(repo, revision, FILE_LIST))?;
        let commit = hub.repo(pinned(repo, &info.sha));
        for file in
            info.siblings.iter().map(|sibling| sibling.rfilename.as_str()).filter(|name| ModelSource::loads(name))
        {
            commit.get(file).map_err(failed(repo, revision, file))?;
        }
        // What a pinned download leaves out: the branch's commit, so that the cache answers for it without a network.
        Cache::new(cache.to_owned()).repo(pinned(repo, revision)).create_ref(&info.sha).map_err(failed(
            repo,
            revision,
            "reference",
        ))?;
        Ok(info.sha)
    }

    pub(super) fn file(
        permit: &Permit,
        repo: &str,
        revision: &str,
        file: &FileIdentity,
        cache: &Path,
        endpoint: Option<&str>,
    ) -> Result<(), FetchError> {
        let hub = permit.hub(cache, endpoint).map_err(failed(repo, revision, "client"))?;
        let download =
            || hub.repo(pinned(repo, revision)).download(&file.path).map_err(failed(repo, revision, &file.path));
        let resumed = leftover(&Cache::new(cache.to_owned()).repo(pinned(repo, revision)), file);
        let place = download()?;
        let whole = FileIdentity::of_file(&file.path, &place).is_ok_and(|found| found.sha256 == file.sha256);
        if resumed && !whole {
            download()?;
        }
        Ok(())
    }

    /// Whether a download of the file was broken off and can go on. The client would ask for the bytes behind a leftover's end, so that one as
    /// long as the file, or longer, is taken away first; it is checked by nobody.
    fn leftover(repo: &hf_hub::CacheRepo, file: &FileIdentity) -> bool {
        // Large files go by their SHA-256, as the client's blobs do.
        let left = repo.blob_path(&file.sha256).with_extension("part");
        match std::fs::metadata(&left) {
            Ok(found) if found.len() < file.size => true,
            Ok(_) => {
                let _ = std::fs::remove_file(&left);
                false
            }
            Err(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offline_switch_refuses_before_anything_else() {
        let switch = Offline { variable: "KOLM_AIRGAP", source: "environment".to_owned(), air_gap: true };
        let refused = fetch("org/model", "main", Path::new("/nonexistent"), None, Some(&switch));
        assert!(matches!(refused, Err(FetchError::Forbidden(Forbidden { variable: "KOLM_AIRGAP", .. }))));
    }
}
