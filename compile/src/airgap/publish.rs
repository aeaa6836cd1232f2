//! Giving what an import staged its place: the Hugging Face cache layout, `~/.kolm/artifacts`, `~/.kolm/bin`.
//!
//! Each step is one rename, and their order leaves no half: blobs, then a whole snapshot folder at once, then the branch, and artifacts
//! last, so that an artifact is never there before its models. Run again after a crash, it ends what was begun.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use kolm_runtime::bundle::{BundlePath, Entry};
use kolm_runtime::model::HubCache;

use super::needs::Need;
use super::prime::write_ref;
use super::staging::{Area, Staging, io};
use crate::pipeline::CompileError;

/// Where imports go on this machine.
#[derive(Debug, Clone)]
pub struct Targets {
    /// `~/.kolm`.
    pub kolm_home: PathBuf,
    /// The Hugging Face cache.
    pub cache: PathBuf,
}

impl Targets {
    /// The area and the final place of a file.
    pub(super) fn place(&self, path: &BundlePath) -> Result<(Area, PathBuf), CompileError> {
        Ok(match path {
            BundlePath::Artifact { file } => (Area::Home, self.kolm_home.join("artifacts").join(file)),
            BundlePath::Verifier => (Area::Home, self.kolm_home.join("bin").join("kolm-verify")),
            BundlePath::Model { repo, revision, file } => {
                let (area, folder) = self.model_folder(repo, revision)?;
                (area, folder.join(file))
            }
        })
    }

    fn model_folder(&self, repo: &str, revision: &str) -> Result<(Area, PathBuf), CompileError> {
        if repo.starts_with("local/") {
            return Ok((Area::Home, super::local_folder(&self.kolm_home, repo, revision)));
        }
        let folder = HubCache::new(&self.cache).repo_folder(repo)?;
        Ok((Area::Cache, folder.join("snapshots").join(revision)))
    }
}

/// Puts every file of `entries` in its place.
pub(super) fn publish(
    staging: &Staging,
    targets: &Targets,
    entries: &[(BundlePath, &Entry)],
) -> Result<(), CompileError> {
    let mut models: BTreeMap<(&str, &str), Vec<(&str, &Entry)>> = BTreeMap::new();
    let mut others = Vec::new();
    for (path, entry) in entries {
        match path {
            BundlePath::Model { repo, revision, file } => {
                models.entry((repo, revision)).or_default().push((file, entry));
            }
            other => others.push((other, *entry)),
        }
    }
    for ((repo, revision), files) in models {
        publish_model(staging, targets, repo, revision, &files)?;
    }
    // The verifier first: artifacts last.
    others.sort_by_key(|(path, _)| matches!(path, BundlePath::Artifact { .. }));
    for (path, entry) in others {
        let (area, place) = targets.place(path)?;
        put(&staging.path(area, &entry.sha256), &place)?;
        if *path == BundlePath::Verifier {
            executable(&place)?;
        }
    }
    Ok(())
}

fn publish_model(
    staging: &Staging,
    targets: &Targets,
    repo: &str,
    revision: &str,
    files: &[(&str, &Entry)],
) -> Result<(), CompileError> {
    let (area, folder) = targets.model_folder(repo, revision)?;
    let blobs = match area {
        Area::Cache => Some(HubCache::new(&targets.cache).repo_folder(repo)?.join("blobs")),
        Area::Home => None,
    };
    if let Some(blobs) = &blobs {
        for (_, entry) in files {
            put(&staging.path(area, &entry.sha256), &blobs.join(&entry.sha256))?;
        }
    }
    // A snapshot that is there already is completed file by file; a new one appears whole.
    let new = !folder.exists();
    let fresh = staging.folder(area).join("snapshot");
    if new && fresh.exists() {
        fs::remove_dir_all(&fresh).map_err(io("remove", &fresh))?;
    }
    let into = if new { &fresh } else { &folder };
    for (file, entry) in files {
        let place = into.join(file);
        let linked = blobs.is_some() && link(&place, file, &entry.sha256)?;
        if !linked {
            put(&staging.path(area, &entry.sha256), &place)?;
        }
    }
    if new {
        let parent = folder.parent().unwrap_or(&folder);
        fs::create_dir_all(parent).map_err(io("create", parent))?;
        fs::rename(&fresh, &folder).map_err(io("rename", &folder))?;
        flush(parent)?;
    }
    if area == Area::Cache {
        let (repo, revision) = (repo.to_owned(), revision.to_owned());
        write_ref(&Need { role: "base", repo, revision, files: Vec::new() }, &HubCache::new(&targets.cache))?;
    }
    Ok(())
}

/// Puts a staged content at `place`, over what is there, in one step; the staged file stays.
fn put(staged: &Path, place: &Path) -> Result<(), CompileError> {
    let folder = place.parent().unwrap_or(place);
    fs::create_dir_all(folder).map_err(io("create", folder))?;
    let beside = beside(place);
    let _ = fs::remove_file(&beside);
    if fs::hard_link(staged, &beside).is_err() {
        // A file system without hard links.
        fs::copy(staged, &beside).map_err(io("write", &beside))?;
        File::open(&beside).and_then(|file| file.sync_all()).map_err(io("flush", &beside))?;
    }
    fs::rename(&beside, place).map_err(io("rename", place))?;
    flush(folder)
}

/// Links a file of a snapshot to its blob, relative as the cache does it; false where the file system has no links.
#[cfg(unix)]
fn link(place: &Path, file: &str, sha256: &str) -> Result<bool, CompileError> {
    let folder = place.parent().unwrap_or(place);
    fs::create_dir_all(folder).map_err(io("create", folder))?;
    let up = "../".repeat(file.split('/').count() - 1);
    let beside = beside(place);
    let _ = fs::remove_file(&beside);
    if std::os::unix::fs::symlink(format!("{up}../../blobs/{sha256}"), &beside).is_err() {
        return Ok(false);
    }
    fs::rename(&beside, place).map_err(io("rename", place))?;
    flush(folder)?;
    Ok(true)
}

#[cfg(not(unix))]
fn link(_: &Path, _: &str, _: &str) -> Result<bool, CompileError> {
    Ok(false)
}

/// A name beside `place` that no reader takes for a file of its own.
fn beside(place: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(place.file_name().unwrap_or_default());
    name.push(".import");
    place.with_file_name(name)
}

#[cfg(unix)]
fn executable(place: &Path) -> Result<(), CompileError> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(place, fs::Permissions::from_mode(0o755)).map_err(io("make executable", place))
}

#[cfg(not(unix))]
fn executable(_: &Path) -> Result<(), CompileError> {
    Ok(())
}

fn flush(folder: &Path) -> Result<(), CompileError> {
    if cfg!(unix) {
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(io("flush", folder))?;
    }
    Ok(())
}
