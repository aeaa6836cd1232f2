//! What an artifact loads besides itself: its base and, with recall, its encoder, file by file, and where they lie on this machine.

use std::path::{Path, PathBuf};

use kolm_runtime::artifact::{ArtifactFile, FileIdentity, Opened};
use kolm_runtime::model::{HubCache, ModelSource};
use kolm_runtime::verify::{ModelPlaces, Role};
use serde::Serialize;

use crate::pipeline::CompileError;

/// One model that an artifact needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Need {
    /// `base` or `encoder`.
    pub role: &'static str,
    /// Repository.
    pub repo: String,
    /// Commit.
    pub revision: String,
    /// Every file the runtime loads of it.
    pub files: Vec<FileIdentity>,
}

/// Where a model is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Inside this binary.
    Embedded,
    /// This folder, which need not exist.
    Folder(PathBuf),
    /// A model that no hub knows, and no folder was named for it.
    Nowhere,
}

impl Need {
    /// What the artifact in this file needs.
    ///
    /// # Errors
    /// [`CompileError::Artifact`].
    pub fn of_file(path: &Path) -> Result<Vec<Need>, CompileError> {
        Ok(Need::of(&Opened::new(ArtifactFile::open(path)?)?))
    }

    /// What an artifact needs.
    pub fn of(opened: &Opened) -> Vec<Need> {
        let need = |role: Role, repo: &str, revision: &str, files: &[FileIdentity]| Need {
            role: role.name(),
            repo: repo.to_owned(),
            revision: revision.to_owned(),
            files: files.to_vec(),
        };
        let base = &opened.plan.base;
        let mut needs = vec![need(Role::Base, &base.repo, &base.revision, &base.files)];
        if let Some(recall) = &opened.plan.recall {
            let encoder = &recall.encoder;
            needs.push(need(Role::Encoder, &encoder.repo, &encoder.revision, &encoder.files));
        }
        needs
    }

    /// Bytes of its files together.
    pub fn size(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    /// Whether the hub can give it: it is neither embedded nor a local folder.
    pub fn is_of_hub(&self) -> bool {
        !self.repo.starts_with("kolm/") && !self.repo.starts_with("local/")
    }

    /// Where the runtime will look for it.
    ///
    /// # Errors
    /// [`CompileError::Model`] for a repository that no cache can hold.
    pub fn place(&self, places: &ModelPlaces) -> Result<Place, CompileError> {
        let named = if self.role == Role::Base.name() { &places.base } else { &places.encoder };
        if let Some(folder) = named {
            return Ok(Place::Folder(folder.clone()));
        }
        if self.repo.starts_with("kolm/") {
            let embedded = ModelSource::embedded(&self.repo).is_ok_and(|source| source.revision() == self.revision);
            return Ok(if embedded { Place::Embedded } else { Place::Nowhere });
        }
        match &places.cache {
            Some(cache) if self.is_of_hub() => Ok(Place::Folder(self.snapshot(cache)?)),
            _ => Ok(Place::Nowhere),
        }
    }

    /// Its folder in a Hugging Face cache, whether it is there or not.
    ///
    /// # Errors
    /// [`CompileError::Model`].
    pub fn snapshot(&self, cache: &HubCache) -> Result<PathBuf, CompileError> {
        Ok(cache.repo_folder(&self.repo)?.join("snapshots").join(&self.revision))
    }
}
