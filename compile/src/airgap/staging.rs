//! What an import has read and not yet published: whole contents by hash, in folders on the file systems they are for.
//!
//! Parts that were read and hold are noted in a journal, after their bytes are on the disk, so that an import that was killed goes on with
//! the next part. Nothing here is believed in the end: every content is hashed again before anything gets its final name.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use kolm_runtime::artifact::FileIdentity;
use kolm_runtime::bundle::{Bundle, BundleError, Part, read_part};

use crate::pipeline::CompileError;

/// The file system a content is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Area {
    /// `~/.kolm`.
    Home,
    /// The Hugging Face cache.
    Cache,
}

/// A content to be read: its place in the stream, and where it is wanted.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) offset: u64,
    pub(super) size: u64,
    pub(super) areas: Vec<Area>,
    /// A path that has this content, for messages.
    pub(super) path: String,
}

/// The staging folders of one import.
#[derive(Debug)]
pub(super) struct Staging {
    home: PathBuf,
    cache: PathBuf,
    /// By hash.
    wanted: BTreeMap<String, Wanted>,
    _lock: File,
}

impl Staging {
    /// Opens the staging folders of the bundle `id`, made anew or left by an import that did not end.
    pub(super) fn open(
        kolm_home: &Path,
        cache: &Path,
        id: &str,
        wanted: BTreeMap<String, Wanted>,
    ) -> Result<Self, CompileError> {
        super::make_kolm_home(kolm_home).map_err(io("create", kolm_home))?;
        let short = &id[..16];
        let home = kolm_home.join(format!("import-{short}.part"));
        let cache = cache.join(format!(".kolm-import-{short}.part"));
        let in_cache = wanted.values().any(|wanted| wanted.areas.contains(&Area::Cache));
        for folder in [Some(&home), in_cache.then_some(&cache)].into_iter().flatten() {
            fs::create_dir_all(folder).map_err(io("create", folder))?;
        }
        let lock_path = kolm_home.join("import.lock");
        let lock = File::create(&lock_path).map_err(io("create", &lock_path))?;
        if let Err(fs::TryLockError::WouldBlock) = lock.try_lock() {
            return Err(CompileError::Value {
                what: "kolm airgap import",
                found: "another import that is running".to_owned(),
                expected: "one at a time",
            });
        }
        Ok(Self { home, cache, wanted, _lock: lock })
    }

    /// Where a content lies once it is whole.
    pub(super) fn path(&self, area: Area, sha256: &str) -> PathBuf {
        self.folder(area).join(sha256)
    }

    /// The folder of an area.
    pub(super) fn folder(&self, area: Area) -> &Path {
        match area {
            Area::Home => &self.home,
            Area::Cache => &self.cache,
        }
    }

    /// Reads the parts that are still to be read, also behind a bad one; names all that are bad or not here.
    pub(super) fn read(&self, bundle: &Bundle, say: &mut dyn FnMut(&str)) -> Result<(), CompileError> {
        let journal_path = self.home.join(JOURNAL);
        let done = fs::read_to_string(&journal_path).unwrap_or_default();
        let mut journal =
            OpenOptions::new().append(true).create(true).open(&journal_path).map_err(io("open", &journal_path))?;
        let count = bundle.index.parts.len();
        let (mut absent, mut bad) = (Vec::new(), Vec::new());
        let mut start = 0;
        for (part, number) in bundle.index.parts.iter().zip(1..) {
            let range = (start, start + part.size);
            start = range.1;
            let needed = self.wanted.values().any(|wanted| overlap(wanted, range).is_some());
            if !needed || done.lines().any(|line| line == part.name) {
                continue;
            }
            if !bundle.folder.join(&part.name).exists() {
                absent.push(part.name.clone());
                continue;
            }
            say(&format!("part {number} of {count}: {} ({} bytes)", part.name, part.size));
            match self.read_part(&bundle.folder, part, range) {
                Err(CompileError::Bundle(
                    error @ (BundleError::PartHash { .. } | BundleError::Media { .. } | BundleError::Kind { .. }),
                )) => {
                    say(&error.to_string());
                    bad.push(error);
                    continue;
                }
                read => read?,
            }
            // The line feed goes first, so that a line that a crash cut short spoils no later one.
            journal
                .write_all(format!("\n{}\n", part.name).as_bytes())
                .and_then(|()| journal.sync_all())
                .map_err(io("write", &journal_path))?;
        }
        if bad.is_empty() {
            return if absent.is_empty() {
                Ok(())
            } else {
                Err(BundleError::PartAbsent { names: absent, count }.into())
            };
        }
        bad.extend(absent.into_iter().map(|name| BundleError::PartAbsent { names: vec![name], count }));
        Err(if bad.len() == 1 { bad.remove(0) } else { BundleError::PartsBad { faults: bad, count } }.into())
    }

    /// Reads one part, `range` of the stream, into the contents it holds.
    fn read_part(&self, folder: &Path, part: &Part, range: (u64, u64)) -> Result<(), CompileError> {
        struct Target {
            path: PathBuf,
            file: File,
            from: u64,
            end: u64,
            offset: u64,
        }
        let mut targets = Vec::new();
        for (sha256, wanted) in &self.wanted {
            let Some((from, end)) = overlap(wanted, range) else { continue };
            for area in &wanted.areas {
                let path = self.path(*area, sha256);
                let file = OpenOptions::new()
                    .write(true)
                    .create(true)
                    .truncate(false)
                    .open(&path)
                    .map_err(io("create", &path))?;
                targets.push(Target { path, file, from, end, offset: wanted.offset });
            }
        }
        read_part(folder, part, &mut |at, bytes| {
            let at = range.0 + at;
            let end = at + bytes.len() as u64;
            for target in &mut targets {
                let (from, until) = (target.from.max(at), target.end.min(end));
                if from < until {
                    let slice = &bytes[(from - at) as usize..(until - at) as usize];
                    target
                        .file
                        .seek(SeekFrom::Start(from - target.offset))
                        .and_then(|_| target.file.write_all(slice))
                        .map_err(BundleError::io("write", &target.path))?;
                }
            }
            Ok(())
        })?;
        for target in &targets {
            target.file.sync_all().map_err(io("flush", &target.path))?;
        }
        Ok(())
    }

    /// Hashes every content. One that does not hold was changed on this machine: all is thrown away, so that the next import reads it again.
    pub(super) fn check(&self) -> Result<(), CompileError> {
        for (sha256, wanted) in &self.wanted {
            for area in &wanted.areas {
                let path = self.path(*area, sha256);
                if wanted.size == 0 {
                    File::create(&path).map_err(io("create", &path))?;
                }
                let found = FileIdentity::of_file(&wanted.path, &path).map(|file| file.sha256);
                let found = found.unwrap_or_else(|error| error.to_string());
                if found != *sha256 {
                    let _ = self.remove();
                    let (path, expected) = (wanted.path.clone(), sha256.clone());
                    return Err(BundleError::FileHash { path, found, expected }.into());
                }
            }
        }
        Ok(())
    }

    /// Removes the staging folders.
    pub(super) fn remove(&self) -> Result<(), CompileError> {
        for folder in [&self.home, &self.cache] {
            match fs::remove_dir_all(folder) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io("remove", folder)(error)),
                _ => {}
            }
        }
        Ok(())
    }
}

/// The piece of a content that a range of the stream holds.
fn overlap(wanted: &Wanted, range: (u64, u64)) -> Option<(u64, u64)> {
    let (from, end) = (wanted.offset.max(range.0), (wanted.offset + wanted.size).min(range.1));
    (from < end).then_some((from, end))
}

pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> CompileError {
    let path = path.to_owned();
    move |source| CompileError::Io { action, path, source }
}

const JOURNAL: &str = "parts.done";
