//! Files that appear whole or not at all: written beside their place, flushed, then renamed.
//!
//! Whoever writes holds a lock on the temporary file, so one that can be locked was left by a process that was killed; the next writer to
//! the same place removes it.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::ArtifactError;

/// A file written to disk under a temporary name. `commit` gives it its name; dropped, it is removed.
#[derive(Debug)]
pub struct Staged {
    temporary: PathBuf,
    place: PathBuf,
    /// Open, and locked, until the file has its name.
    _locked: File,
    committed: bool,
}

impl Staged {
    /// Writes `bytes` beside `place` and flushes them to the disk.
    ///
    /// # Errors
    /// `Io`; nothing is left behind.
    pub fn write(place: &Path, bytes: &[u8]) -> Result<Self, ArtifactError> {
        Self::write_with(&mut OpenOptions::new(), place, bytes)
    }

    /// As `write`, readable by nobody else.
    pub(crate) fn write_private(place: &Path, bytes: &[u8]) -> Result<Self, ArtifactError> {
        let mut options = OpenOptions::new();
        private(&mut options);
        Self::write_with(&mut options, place, bytes)
    }

    fn write_with(options: &mut OpenOptions, place: &Path, bytes: &[u8]) -> Result<Self, ArtifactError> {
        remove_abandoned(place);
        let mut name = place.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.part", std::process::id()));
        let path = place.with_file_name(name);
        let file = options.write(true).create(true).truncate(true).open(&path);
        let mut file = file.map_err(ArtifactError::io("create", &path))?;
        // A file system without locks leaves the file for somebody to remove by hand; nothing else depends on the lock.
        let _ = file.try_lock();
        let written = file
            .write_all(bytes)
            .map_err(ArtifactError::io("write", &path))
            .and_then(|()| file.sync_all().map_err(ArtifactError::io("flush", &path)));
        // From here on, dropping it removes the file.
        let staged = Self { temporary: path, place: place.to_path_buf(), _locked: file, committed: false };
        written.map(|()| staged)
    }

    /// Puts the file in its place, over what was there, and flushes the folder.
    ///
    /// # Errors
    /// `Io`; the temporary file is removed.
    pub fn commit(mut self) -> Result<(), ArtifactError> {
        fs::rename(&self.temporary, &self.place).map_err(ArtifactError::io("rename", &self.place))?;
        self.committed = true;
        sync_folder(self.place.parent().unwrap_or(Path::new(".")))
    }

    /// Gives the file its name only where there is none, and flushes the folder.
    ///
    /// # Errors
    /// `Io`; the temporary file is removed.
    pub(crate) fn commit_new(self) -> Result<(), ArtifactError> {
        // A second name, and the first one goes when `self` does: unlike a rename, this never replaces.
        match fs::hard_link(&self.temporary, &self.place) {
            Ok(()) => sync_folder(self.place.parent().unwrap_or(Path::new("."))),
            // A file system without hard links.
            Err(error) if error.kind() != ErrorKind::AlreadyExists && fs::symlink_metadata(&self.place).is_err() => {
                self.commit()
            }
            Err(error) => Err(ArtifactError::io("create", &self.place)(error)),
        }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.committed {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

#[cfg(unix)]
pub(crate) fn private(options: &mut OpenOptions) {
    use std::os::unix::fs::OpenOptionsExt;
    options.mode(0o600);
}

#[cfg(not(unix))]
pub(crate) fn private(_: &mut OpenOptions) {}

/// Removes what killed processes left beside `place`: `NAME.PID.part` that nobody holds locked. Failing to loses nothing.
fn remove_abandoned(place: &Path) {
    let (Some(folder), Some(name)) = (place.parent(), place.file_name().and_then(|name| name.to_str())) else { return };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let found = entry.file_name();
        let process = found
            .to_str()
            .and_then(|found| found.strip_prefix(name)?.strip_prefix('.')?.strip_suffix(".part"))
            .is_some_and(|process| !process.is_empty() && process.bytes().all(|byte| byte.is_ascii_digit()));
        if process && File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Makes a rename or creation in `folder` durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), ArtifactError> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    // Only Unix opens folders; elsewhere the rename is as durable as the system makes it.
    if cfg!(unix) {
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(ArtifactError::io("flush", folder))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("a.kolm");
        drop(Staged::write(&place, b"one").unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        Staged::write(&place, b"two").unwrap().commit().unwrap();
        Staged::write(&place, b"three").unwrap().commit().unwrap();
        assert_eq!(fs::read(&place).unwrap(), b"three");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let absent = folder.path().join("absent/a.kolm");
        assert_eq!(Staged::write(&absent, b"x").unwrap_err().code(), "io");
    }
    #[test]
    fn the_next_writer_removes_what_a_killed_one_left() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("a.kolm");
        let others = ["a.kolm.1.part", "a.kolm.x.part", "b.kolm.1.part"].map(|name| folder.path().join(name));
        for other in &others {
            fs::write(other, b"left").unwrap();
        }
        let held = Staged::write(&place, b"one").unwrap();
        assert_eq!(others.each_ref().map(|other| other.exists()), [false, true, true]);
        remove_abandoned(&place);
        held.commit().unwrap();
        assert_eq!(fs::read(&place).unwrap(), b"one");
    }
}
