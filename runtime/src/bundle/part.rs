//! Parts: the stream cut into files that fit any disk. Reading tries again, and tells a wrong copy from a broken disk.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::index::part_name;
use super::limits::READ_ATTEMPTS;
use super::{BundleError, Part};
use crate::artifact::{hex, sync_folder};

/// Opens a regular file; a link, folder or device in its place is refused.
///
/// # Errors
/// `Absent`, `Kind`, `Io`.
pub fn open_plain(path: &Path) -> Result<File, BundleError> {
    let kind = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Err(BundleError::Absent { path: path.to_path_buf() });
        }
        Err(error) => return Err(BundleError::io("open", path)(error)),
    };
    let other = |found| BundleError::Kind { path: path.to_path_buf(), found };
    if kind.is_symlink() {
        return Err(other("a symbolic link"));
    }
    if kind.is_dir() {
        return Err(other("a folder"));
    }
    if !kind.is_file() {
        return Err(other("a device or pipe"));
    }
    File::open(path).map_err(BundleError::io("open", path))
}

/// Reads one part of the bundle in `folder` and hands its bytes to `take` with their offset in the part.
///
/// What was handed over counts only once this returns: a part that is read again is handed over again from its start.
///
/// # Errors
/// `PartAbsent`, `Kind`, `PartHash`, `Media`, `Io`, and what `take` returns.
pub fn read_part(
    folder: &Path,
    part: &Part,
    take: &mut dyn FnMut(u64, &[u8]) -> Result<(), BundleError>,
) -> Result<(), BundleError> {
    let path = folder.join(&part.name);
    read_with(&mut || open_plain(&path), part, take)
}

/// `read_part` over anything that can be opened again.
pub(super) fn read_with<R: Read>(
    open: &mut dyn FnMut() -> Result<R, BundleError>,
    part: &Part,
    take: &mut dyn FnMut(u64, &[u8]) -> Result<(), BundleError>,
) -> Result<(), BundleError> {
    let mut last = None;
    for _ in 0..READ_ATTEMPTS {
        match read_once(open()?, part, take) {
            Ok(()) => return Ok(()),
            Err(error @ (BundleError::Media { .. } | BundleError::PartHash { .. })) => last = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(last.unwrap_or(BundleError::PartAbsent { names: vec![part.name.clone()], count: 1 }))
}

fn read_once(
    mut reader: impl Read,
    part: &Part,
    take: &mut dyn FnMut(u64, &[u8]) -> Result<(), BundleError>,
) -> Result<(), BundleError> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut done = 0u64;
    let differs = |found: String, expected: String| BundleError::PartHash { name: part.name.clone(), found, expected };
    loop {
        let count = match reader.read(&mut buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => {
                return Err(BundleError::Media { name: part.name.clone(), attempts: READ_ATTEMPTS, source });
            }
        };
        let Some(read) = buffer.get(..count).filter(|read| !read.is_empty()) else { break };
        let end = done.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        if end > part.size {
            return Err(differs(format!("more than {} bytes", part.size), format!("{} bytes", part.size)));
        }
        hasher.update(read);
        take(done, read)?;
        done = end;
    }
    if done != part.size {
        return Err(differs(format!("{done} bytes"), format!("{} bytes", part.size)));
    }
    let found = hex(&hasher.finalize());
    if found == part.sha256 {
        Ok(())
    } else {
        Err(differs(format!("sha256:{found}"), format!("sha256:{}", part.sha256)))
    }
}

/// Writes the stream as parts; a part gets its name when it is whole and on the disk.
#[derive(Debug)]
pub struct PartWriter {
    folder: PathBuf,
    part_size: u64,
    open: Option<Open>,
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Open {
    file: File,
    hasher: Sha256,
    size: u64,
}

impl PartWriter {
    /// A writer into `folder`, which exists.
    pub fn new(folder: &Path, part_size: u64) -> Self {
        Self { folder: folder.to_path_buf(), part_size, open: None, parts: Vec::new() }
    }

    /// Appends to the stream.
    ///
    /// # Errors
    /// `Io`.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), BundleError> {
        let path = self.folder.join(UNFINISHED);
        while !bytes.is_empty() {
            let open = match &mut self.open {
                Some(open) => open,
                None => {
                    let file = File::create(&path).map_err(BundleError::io("create", &path))?;
                    self.open.insert(Open { file, hasher: Sha256::new(), size: 0 })
                }
            };
            let room = usize::try_from(self.part_size - open.size).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
            open.file.write_all(now).map_err(BundleError::io("write", &path))?;
            open.hasher.update(now);
            open.size += u64::try_from(now.len()).unwrap_or(u64::MAX);
            bytes = later;
            if open.size == self.part_size {
                self.close()?;
            }
        }
        Ok(())
    }

    /// Ends the last part and gives all of them.
    ///
    /// # Errors
    /// `Io`.
    pub fn finish(mut self) -> Result<Vec<Part>, BundleError> {
        self.close()?;
        Ok(std::mem::take(&mut self.parts))
    }

    fn close(&mut self) -> Result<(), BundleError> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let unfinished = self.folder.join(UNFINISHED);
        open.file.sync_all().map_err(BundleError::io("flush", &unfinished))?;
        let sha256 = hex(&open.hasher.finalize());
        let number = u64::try_from(self.parts.len()).unwrap_or(u64::MAX).saturating_add(1);
        let name = part_name(number, &sha256);
        let place = self.folder.join(&name);
        fs::rename(&unfinished, &place).map_err(BundleError::io("rename", &place))?;
        sync_folder(&self.folder)?;
        self.parts.push(Part { name, sha256, size: open.size });
        Ok(())
    }
}

/// Name of a part that is being written.
const UNFINISHED: &str = "unfinished.tmp";
