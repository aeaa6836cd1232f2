//! The Hugging Face cache, read only: `models--ORG--NAME/snapshots/REVISION/…` and `refs/BRANCH`.
//!
//! Never writes, never fetches, and reads no environment: the binary hands the variables' values in.
//! Layout: <https://huggingface.co/docs/huggingface_hub/guides/manage-cache>.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::error::ModelError;
use super::identity::REVISION_LEN;

/// A Hugging Face cache folder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HubCache {
    folder: PathBuf,
}

impl HubCache {
    /// The cache in this folder, which need not exist.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// The cache where `huggingface_hub` would look: `HF_HUB_CACHE`, `HUGGINGFACE_HUB_CACHE`, `HF_HOME/hub`,
    /// `XDG_CACHE_HOME/huggingface/hub`, `HOME/.cache/huggingface/hub`. `None` where not even `HOME` is set.
    pub fn from_variables(variable: &dyn Fn(&str) -> Option<OsString>) -> Option<Self> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let folder = set("HF_HUB_CACHE")
            .or_else(|| set("HUGGINGFACE_HUB_CACHE"))
            .or_else(|| set("HF_HOME").map(|home| home.join("hub")))
            .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("huggingface").join("hub")))
            .or_else(|| set("HOME").map(|home| home.join(".cache").join("huggingface").join("hub")))?;
        Some(Self { folder })
    }

    /// The cache folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Folder of a repository, whether it exists or not.
    ///
    /// # Errors
    /// [`ModelError::BadName`].
    pub fn repo_folder(&self, repo: &str) -> Result<PathBuf, ModelError> {
        check_repo(repo)?;
        Ok(self.folder.join(format!("models--{}", repo.replace('/', "--"))))
    }

    /// The commit a revision stands for: itself if it is 40 hex digits, else what the cache last saw the branch or tag at.
    ///
    /// # Errors
    /// [`ModelError::BadName`], [`ModelError::RepoNotCached`], [`ModelError::RevisionNotCached`].
    pub fn resolve(&self, repo: &str, revision: &str) -> Result<String, ModelError> {
        let folder = self.repo_folder(repo)?;
        check_revision(revision)?;
        if !folder.is_dir() {
            return Err(ModelError::RepoNotCached { repo: repo.to_owned(), cache: self.folder.clone() });
        }
        let commit = if is_commit(revision) {
            Some(revision.to_owned())
        } else {
            let text = fs::read_to_string(folder.join("refs").join(revision)).ok();
            text.map(|text| text.trim().to_owned()).filter(|commit| is_commit(commit))
        };
        match commit {
            Some(commit) if folder.join("snapshots").join(&commit).is_dir() => Ok(commit),
            _ => Err(ModelError::RevisionNotCached {
                repo: repo.to_owned(),
                revision: revision.to_owned(),
                found: revisions_in(&folder),
            }),
        }
    }

    /// Folder of one snapshot, with the commit it holds.
    ///
    /// # Errors
    /// Those of [`HubCache::resolve`].
    pub fn snapshot(&self, repo: &str, revision: &str) -> Result<(PathBuf, String), ModelError> {
        let commit = self.resolve(repo, revision)?;
        Ok((self.repo_folder(repo)?.join("snapshots").join(&commit), commit))
    }
}

/// True for 40 lower-case hex digits.
pub fn is_commit(revision: &str) -> bool {
    revision.len() == REVISION_LEN && revision.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn revisions_in(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder.join("snapshots")) else { return Vec::new() };
    let mut found: Vec<String> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    found.sort();
    found
}

fn check_repo(repo: &str) -> Result<(), ModelError> {
    let mut parts = repo.split('/');
    let sound = |part: Option<&str>| part.is_some_and(is_name_part);
    if repo.len() <= 200 && sound(parts.next()) && parts.next().is_none_or(is_name_part) && parts.next().is_none() {
        return Ok(());
    }
    Err(ModelError::BadName {
        kind: "repository",
        found: repo.to_owned(),
        expected: "ORG/NAME of letters, digits, - _ .",
    })
}

fn check_revision(revision: &str) -> Result<(), ModelError> {
    if revision.len() <= 200 && revision.split('/').all(is_name_part) {
        return Ok(());
    }
    let expected = "a commit, branch or tag of letters, digits, - _ . /";
    Err(ModelError::BadName { kind: "revision", found: revision.to_owned(), expected })
}

// No separator, no parent folder, and not the cache's own `--`.
fn is_name_part(part: &str) -> bool {
    !part.is_empty()
        && !part.starts_with('.')
        && !part.contains("--")
        && !part.contains("..")
        && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables<'a>(set: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<OsString> + 'a {
        move |name| set.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
    }

    #[test]
    fn the_folder_is_where_huggingface_hub_looks() {
        let folder = |set: &[(&str, &str)]| HubCache::from_variables(&variables(set)).map(|cache| cache.folder);
        assert_eq!(folder(&[("HF_HUB_CACHE", "/a"), ("HF_HOME", "/b"), ("HOME", "/c")]), Some("/a".into()));
        assert_eq!(folder(&[("HF_HOME", "/b"), ("HOME", "/c")]), Some("/b/hub".into()));
        assert_eq!(folder(&[("HF_HOME", ""), ("HOME", "/c")]), Some("/c/.cache/huggingface/hub".into()));
        assert_eq!(folder(&[]), None);
    }

    #[test]
    fn a_branch_resolves_to_its_commit_and_absence_is_named() {
        let root = tempfile::tempdir().expect("temporary folder");
        let cache = HubCache::new(root.path());
        let (repo, commit) = ("kolm/tiny", "0123456789abcdef0123456789abcdef01234567");
        assert_eq!(cache.resolve(repo, "main").unwrap_err().code(), "model_repo_not_cached");
        let folder = cache.repo_folder(repo).expect("sound name");
        fs::create_dir_all(folder.join("snapshots").join(commit)).expect("folder");
        fs::create_dir_all(folder.join("refs")).expect("folder");
        fs::write(folder.join("refs/main"), commit).expect("file");
        assert_eq!(cache.resolve(repo, "main").expect("cached"), commit);
        assert_eq!(cache.resolve(repo, commit).expect("cached"), commit);
        let other = commit.replace('0', "1");
        let error = cache.resolve(repo, &other).unwrap_err();
        assert_eq!(error.code(), "model_revision_not_cached");
        assert!(error.to_string().contains(commit), "{error}");
    }

    #[test]
    fn names_that_leave_the_cache_are_refused() {
        let cache = HubCache::new("/nowhere");
        for repo in ["", "/", "../x", "a/../b", "a/b/c", "a--b/c", "/etc", "a\\b", "a/", "a/.git"] {
            assert_eq!(cache.repo_folder(repo).unwrap_err().code(), "model_bad_name", "{repo}");
        }
        for revision in ["", "../main", "/main", "a//b", "a/../b"] {
            assert_eq!(cache.resolve("a/b", revision).unwrap_err().code(), "model_bad_name", "{revision}");
        }
    }
}
