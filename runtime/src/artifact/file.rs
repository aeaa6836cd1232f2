//! Files that appear whole or not at all: written beside their place, flushed, then renamed.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::ArtifactError;

/// A file written to disk under a temporary name. `commit` gives it its name; dropped, it is removed.
#[derive(Debug)]
pub struct Staged {
    temporary: PathBuf,
    place: PathBuf,
    committed: bool,
}

impl Staged {
    /// Writes `bytes` beside `place` and flushes them to the disk.
    ///
    /// # Errors
    /// `Io`; nothing is left behind.
    pub fn write(place: &Path, bytes: &[u8]) -> Result<Self, ArtifactError> {
        let mut name = place.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.part", std::process::id()));
        let temporary = place.with_file_name(name);
        let staged = Self { temporary, place: place.to_path_buf(), committed: false };
        let path = &staged.temporary;
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)
            .map_err(ArtifactError::io("create", path))?;
        file.write_all(bytes).map_err(ArtifactError::io("write", path))?;
        file.sync_all().map_err(ArtifactError::io("flush", path))?;
        Ok(staged)
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
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.committed {
            let _ = fs::remove_file(&self.temporary);
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
}
