//! A copy of all that a job reads, at another path, in folders that list their files in another order.
//!
//! Every file is copied to its own absolute path under a new root, so that the job's relative paths hold. The order in which a folder
//! lists its files is the file system's affair: the copy is tried in each place and in both orders of creation until one listing differs.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

use kolm_compile::job::Job;
use tempfile::TempDir;

use super::error::MatrixError;
use super::machine::listing_places;

/// A job with all it reads, in a folder that is removed with this value.
#[derive(Debug)]
pub(super) struct CopiedJob {
    /// The copied job file.
    pub(super) path: PathBuf,
    _root: TempDir,
}

/// Copies the job, or gives the reason why no place lists its inputs differently.
///
/// # Errors
/// [`MatrixError::Io`] when the inputs' folders cannot be listed.
pub(super) fn elsewhere_in_another_order(job: &Job, scratch: &Path) -> Result<Result<CopiedJob, String>, MatrixError> {
    let inputs = inputs(job)?;
    let mut reason = "every file system here lists the inputs in the same order".to_owned();
    for place in listing_places(scratch) {
        for reversed in [true, false] {
            let Ok(root) = tempfile::Builder::new().prefix("another place, ").tempdir_in(&place) else { continue };
            match copy_all(&inputs, root.path(), reversed) {
                Ok(true) => return Ok(Ok(CopiedJob { path: under(root.path(), &job.path), _root: root })),
                Ok(false) => {}
                // A place that is too small for the models is no reason to give up.
                Err(error) => reason = error.to_string(),
            }
        }
    }
    Ok(Err(reason))
}

/// Copies every folder; says whether at least one copy lists its files in another order.
fn copy_all(inputs: &[InputFolder], root: &Path, reversed: bool) -> Result<bool, MatrixError> {
    let mut differs = false;
    for folder in inputs {
        differs |= folder.copy_under(root, reversed)?;
    }
    Ok(differs)
}

/// One folder, and the files in it that the job reads.
struct InputFolder {
    path: PathBuf,
    /// In the order in which the folder lists them.
    names: Vec<OsString>,
}

impl InputFolder {
    fn new(path: &Path, wanted: impl Fn(&OsString) -> bool) -> Result<InputFolder, MatrixError> {
        let names = listing(path)?.into_iter().filter(|name| path.join(name).is_file() && wanted(name)).collect();
        Ok(InputFolder { path: path.to_owned(), names })
    }

    /// Copies the files one by one; says whether the copy lists them in another order.
    fn copy_under(&self, root: &Path, reversed: bool) -> Result<bool, MatrixError> {
        let target = under(root, &self.path);
        fs::create_dir_all(&target).map_err(io("create", &target))?;
        let mut order: Vec<&OsString> = self.names.iter().collect();
        if reversed {
            order.reverse();
        }
        for name in order {
            let from = self.path.join(name);
            fs::copy(&from, target.join(name)).map_err(io("copy", &from))?;
        }
        let listed: Vec<OsString> = listing(&target)?.into_iter().filter(|name| self.names.contains(name)).collect();
        Ok(listed != self.names)
    }
}

/// The folders that hold the job, its corpora and those of its models that are folders.
fn inputs(job: &Job) -> Result<Vec<InputFolder>, MatrixError> {
    let mut files = vec![job.path.clone()];
    files.extend(job.corpus.train.iter().chain(&job.corpus.eval).map(|file| job.resolve(file)));
    let files: BTreeSet<PathBuf> = files.iter().map(|file| plain(file)).collect();
    let mut folders = Vec::new();
    for folder in files.iter().filter_map(|file| file.parent()).collect::<BTreeSet<_>>() {
        folders.push(InputFolder::new(folder, |name| files.contains(&folder.join(name)))?);
    }
    let models = [Some(&job.base.model), Some(&job.recall.encoder), job.adapter.init.as_ref()];
    for folder in models.into_iter().flatten().map(|model| plain(&job.resolve(model))).collect::<BTreeSet<_>>() {
        if folder.is_dir() {
            folders.push(InputFolder::new(&folder, |_| true)?);
        }
    }
    Ok(folders)
}

fn listing(folder: &Path) -> Result<Vec<OsString>, MatrixError> {
    let entries = fs::read_dir(folder).map_err(io("list", folder))?;
    entries.map(|entry| entry.map(|entry| entry.file_name()).map_err(io("list", folder))).collect()
}

/// Takes `..` out of an absolute path, by name alone.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}

/// An absolute path under another root.
fn under(root: &Path, path: &Path) -> PathBuf {
    let mut joined = root.to_owned();
    joined.extend(path.components().filter(|component| matches!(component, Component::Normal(_))));
    joined
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> MatrixError {
    let path = path.to_owned();
    move |source| MatrixError::Io { action, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_keep_their_places_under_the_new_root() {
        let job = plain(Path::new("/repo/corpora/micro/kolm.toml"));
        let base = plain(Path::new("/repo/corpora/micro/../../golden/./micro/base"));
        assert_eq!(under(Path::new("/new root"), &job), Path::new("/new root/repo/corpora/micro/kolm.toml"));
        assert_eq!(under(Path::new("/new root"), &base), Path::new("/new root/repo/golden/micro/base"));
    }
}
