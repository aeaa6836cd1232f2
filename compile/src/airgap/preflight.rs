//! The pre-flight: whether every file that an artifact loads is on this machine, and is the recorded one. Reads only, offline.
//!
//! Content is compared by SHA-256 with the artifact's plan. In a Hugging Face cache the blob's name is compared too: it is the git SHA-1 or
//! the SHA-256 of the content, and a blob that is not what its name says would mislead every other reader of the cache.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use kolm_runtime::artifact::{FileIdentity, hex};
use kolm_runtime::model::ModelSource;
use kolm_runtime::verify::ModelPlaces;
use serde::Serialize;
use sha1::Digest as _;
use sha2::Sha256;

use super::needs::{Need, Place};
use crate::pipeline::CompileError;

/// How closely files are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Only that they are there, in their length.
    Sizes,
    /// Every byte.
    Content,
}

/// What was found of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// As recorded.
    Whole,
    /// Inside this binary.
    Embedded,
    /// Not there.
    Missing,
    /// There, with other content.
    Differs {
        /// What is there.
        found: String,
    },
    /// As recorded, but its blob's name is not its hash.
    Misnamed {
        /// The blob's name.
        blob: String,
    },
    /// The runtime would load it, and the artifact was made without it.
    Extra,
}

/// One file of a model, and what was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Path inside the model.
    pub path: String,
    /// Recorded length in bytes.
    pub size: u64,
    /// Recorded hash.
    pub sha256: String,
    /// What was found.
    #[serde(flatten)]
    pub state: State,
}

/// One model, file by file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Model {
    /// `base` or `encoder`.
    pub role: &'static str,
    /// Repository.
    pub repo: String,
    /// Commit.
    pub revision: String,
    /// Each recorded file, then those that should not be there.
    pub files: Vec<Checked>,
}

impl Model {
    /// Files that are not there.
    pub fn missing(&self) -> usize {
        self.files.iter().filter(|file| file.state == State::Missing).count()
    }

    /// Files with other content, and files that should not be there.
    pub fn wrong(&self) -> usize {
        let wrong =
            |file: &&Checked| matches!(file.state, State::Differs { .. } | State::Misnamed { .. } | State::Extra);
        self.files.iter().filter(wrong).count()
    }
}

/// Checks one model.
///
/// # Errors
/// [`CompileError::Model`] for a repository no cache can hold, [`CompileError::Io`] for a file that cannot be read.
pub fn check(need: &Need, places: &ModelPlaces, depth: Depth) -> Result<Model, CompileError> {
    let state = |file: &FileIdentity, state| Checked {
        path: file.path.clone(),
        size: file.size,
        sha256: file.sha256.clone(),
        state,
    };
    let mut files = Vec::new();
    match need.place(places)? {
        Place::Embedded => files.extend(need.files.iter().map(|file| state(file, State::Embedded))),
        Place::Nowhere => files.extend(need.files.iter().map(|file| state(file, State::Missing))),
        Place::Folder(folder) => {
            for file in &need.files {
                files.push(state(file, look(file, &folder.join(&file.path), depth)?));
            }
            // An incomplete model does not open, and then its missing files stand in the list already.
            let opened = match &places.cache {
                Some(cache) if folder.starts_with(cache.folder()) => {
                    ModelSource::cached(cache, &need.repo, &need.revision)
                }
                _ => ModelSource::folder(&folder),
            };
            let loaded = opened.iter().flat_map(ModelSource::paths);
            for path in loaded.filter(|path| need.files.iter().all(|file| file.path != *path)) {
                files.push(Checked { path: path.to_owned(), size: 0, sha256: String::new(), state: State::Extra });
            }
        }
    }
    Ok(Model { role: need.role, repo: need.repo.clone(), revision: need.revision.clone(), files })
}

/// Looks at one file: `place` may be a link into the cache's blobs.
fn look(file: &FileIdentity, place: &Path, depth: Depth) -> Result<State, CompileError> {
    let io = |source| CompileError::Io { action: "read", path: place.to_owned(), source };
    let size = match std::fs::metadata(place) {
        Ok(metadata) if metadata.is_file() => metadata.len(),
        Ok(_) => return Ok(State::Differs { found: "not a file".to_owned() }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(State::Missing),
        Err(error) => return Err(io(error)),
    };
    if size != file.size {
        return Ok(State::Differs { found: format!("{size} bytes") });
    }
    if depth == Depth::Sizes {
        return Ok(State::Whole);
    }
    let blob = blob_name(place);
    let (sha256, git) = hashes(&mut File::open(place).map_err(io)?, size).map_err(io)?;
    Ok(match blob {
        _ if sha256 != file.sha256 => State::Differs { found: format!("sha256:{sha256}") },
        Some(blob) if blob != sha256 && blob != git => State::Misnamed { blob },
        _ => State::Whole,
    })
}

/// The name of the blob behind a link of the cache, if it has the form of a hash.
fn blob_name(place: &Path) -> Option<String> {
    let target = std::fs::read_link(place).ok()?;
    let name = target.file_name()?.to_str()?;
    let is_hash = matches!(name.len(), 40 | 64) && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_hash && target.parent()?.file_name()? == "blobs").then(|| name.to_owned())
}

/// SHA-256, and the SHA-1 that git gives a blob of `size` bytes.
fn hashes(reader: &mut impl Read, size: u64) -> std::io::Result<(String, String)> {
    let (mut sha256, mut git) = (Sha256::default(), sha1::Sha1::default());
    git.update(format!("blob {size}\0"));
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = reader.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        sha256.update(&buffer[..count]);
        git.update(&buffer[..count]);
    }
    Ok((hex(&sha256.finalize()), hex(&git.finalize())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_gits_and_sha256() {
        let (sha256, git) = hashes(&mut &b"hello\n"[..], 6).expect("memory");
        assert_eq!(git, "ce013625030ba8dba906f756967f9e9ca394464a", "git hash-object");
        assert_eq!(sha256, "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03");
    }

    #[cfg(unix)]
    #[test]
    fn a_blob_is_what_its_name_says() {
        let root = tempfile::tempdir().expect("a folder");
        let (blobs, snapshot) = (root.path().join("blobs"), root.path().join("snapshots/x"));
        std::fs::create_dir_all(&blobs).expect("a folder");
        std::fs::create_dir_all(&snapshot).expect("a folder");
        let file = FileIdentity::of_bytes("config.json", b"hello\n");
        let look_at = |blob: &str, content: &[u8]| {
            let place = snapshot.join("config.json");
            let _ = std::fs::remove_file(&place);
            std::fs::write(blobs.join(blob), content).expect("written");
            std::os::unix::fs::symlink(format!("../../blobs/{blob}"), &place).expect("a link");
            look(&file, &place, Depth::Content).expect("readable")
        };
        assert_eq!(look_at("ce013625030ba8dba906f756967f9e9ca394464a", b"hello\n"), State::Whole);
        assert_eq!(look_at(&file.sha256, b"hello\n"), State::Whole);
        let blob = "0".repeat(40);
        assert_eq!(look_at(&blob, b"hello\n"), State::Misnamed { blob: blob.clone() });
        assert!(matches!(look_at(&file.sha256, b"hellO\n"), State::Differs { .. }));
        assert_eq!(look_at(&file.sha256, b"hell"), State::Differs { found: "4 bytes".to_owned() });
        std::fs::remove_file(blobs.join(&file.sha256)).expect("removed");
        assert_eq!(look(&file, &snapshot.join("config.json"), Depth::Content).expect("readable"), State::Missing);
    }
}
