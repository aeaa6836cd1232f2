//! Base and encoder on this machine: where they are looked for, and whether they are the recorded ones.

use std::path::PathBuf;

use crate::artifact::{ArtifactError, FileIdentity};
use crate::model::{HubCache, ModelError, ModelSource};

/// Where models are looked for. A named folder goes first, then what this binary carries, then the cache.
#[derive(Clone, Debug, Default)]
pub struct ModelPlaces {
    /// `--base`.
    pub base: Option<PathBuf>,
    /// `--encoder`.
    pub encoder: Option<PathBuf>,
    /// `--cache`, or the Hugging Face cache.
    pub cache: Option<HubCache>,
}

/// What a model is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The decoder under the adapter.
    Base,
    /// The recall index's encoder.
    Encoder,
}

impl Role {
    /// The name in messages and flags.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Encoder => "encoder",
        }
    }
}

impl ModelPlaces {
    /// Finds a model and compares every file that the runtime would load with `files`.
    ///
    /// # Errors
    /// `ModelAbsent`, `ModelFileAbsent`, `ModelSubstituted`, `ModelUnreadable`.
    pub fn find(
        &self,
        role: Role,
        repo: &str,
        revision: &str,
        files: &[FileIdentity],
    ) -> Result<ModelSource, ArtifactError> {
        let source = self.locate(role, repo, revision).map_err(|error| refusal(role, repo, revision, error))?;
        let found = source.identities().map_err(|error| refusal(role, repo, revision, error))?;
        compare(role, repo, revision, &found, files)?;
        Ok(source)
    }

    fn locate(&self, role: Role, repo: &str, revision: &str) -> Result<ModelSource, ModelError> {
        let folder = match role {
            Role::Base => &self.base,
            Role::Encoder => &self.encoder,
        };
        if let Some(folder) = folder {
            return ModelSource::folder(folder);
        }
        let absent = || ModelError::NotEmbedded { name: repo.to_owned() };
        if repo.starts_with("kolm/") {
            let source = ModelSource::embedded(repo)?;
            // Another build's model of the same name: the recorded one is not here.
            return if source.revision() == revision { Ok(source) } else { Err(absent()) };
        }
        match &self.cache {
            Some(cache) if !repo.starts_with("local/") => ModelSource::cached(cache, repo, revision),
            _ => Err(absent()),
        }
    }
}

fn compare(
    role: Role,
    repo: &str,
    revision: &str,
    found: &[FileIdentity],
    expected: &[FileIdentity],
) -> Result<(), ArtifactError> {
    let role = role.name();
    let substituted = |file: &str, found: String, expected: String| {
        let (repo, file) = (repo.to_owned(), file.to_owned());
        ArtifactError::ModelSubstituted { role, repo, file, found, expected }
    };
    for wanted in expected {
        let Some(there) = found.iter().find(|file| file.path == wanted.path) else {
            let (repo, revision, file) = (repo.to_owned(), revision.to_owned(), wanted.path.clone());
            return Err(ArtifactError::ModelFileAbsent { role, repo, revision, file });
        };
        if there != wanted {
            return Err(substituted(&wanted.path, identity(there), identity(wanted)));
        }
    }
    match found.iter().find(|file| !expected.iter().any(|wanted| wanted.path == file.path)) {
        // The runtime would load it, and the artifact was made without it.
        Some(extra) => Err(substituted(&extra.path, identity(extra), "without this file".to_owned())),
        None => Ok(()),
    }
}

fn identity(file: &FileIdentity) -> String {
    format!("{} ({} bytes)", file.sha256, file.size)
}

/// A model that did not load, as a refusal.
pub(super) fn refusal(role: Role, repo: &str, revision: &str, error: ModelError) -> ArtifactError {
    let (role, repo, revision) = (role.name(), repo.to_owned(), revision.to_owned());
    match error {
        ModelError::NotEmbedded { .. } | ModelError::RepoNotCached { .. } | ModelError::RevisionNotCached { .. } => {
            ArtifactError::ModelAbsent { role, repo, revision }
        }
        ModelError::FileMissing { file, .. } | ModelError::ShardMissing { shard: file, .. } => {
            ArtifactError::ModelFileAbsent { role, repo, revision, file }
        }
        ModelError::Unreadable { path, source } => match ArtifactError::io("read", &path)(source) {
            media @ ArtifactError::Media { .. } => media,
            ArtifactError::Io { source, .. } => {
                let detail = ModelError::Unreadable { path, source }.to_string();
                ArtifactError::ModelUnreadable { role, repo, detail }
            }
            other => other,
        },
        other => ArtifactError::ModelUnreadable { role, repo, detail: other.to_string() },
    }
}
