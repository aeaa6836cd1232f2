//! The bytes of one model file, in memory or on disk, read range by range.
//!
//! A range outside the file is an error, never a panic; nothing is read before it is asked for.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::error::ModelError;

/// Where a file's bytes are.
pub(super) enum Storage {
    Bytes(Cow<'static, [u8]>),
    Path(PathBuf, Mutex<File>),
}

impl Storage {
    /// Opens a file on disk.
    ///
    /// # Errors
    /// [`ModelError::Unreadable`].
    pub(super) fn open(path: &Path) -> Result<Self, ModelError> {
        let unreadable = |source| ModelError::Unreadable { path: path.to_owned(), source };
        Ok(Self::Path(path.to_owned(), Mutex::new(File::open(path).map_err(unreadable)?)))
    }

    /// Length of the file.
    ///
    /// # Errors
    /// [`ModelError::Unreadable`].
    pub(super) fn len_bytes(&self) -> Result<u64, ModelError> {
        match self {
            Storage::Bytes(bytes) => Ok(bytes.len() as u64),
            Storage::Path(path, file) => {
                let file = file.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                let unreadable = |source| ModelError::Unreadable { path: path.clone(), source };
                Ok(file.metadata().map_err(unreadable)?.len())
            }
        }
    }

    /// Hands a reader at the start of the file to `read`.
    pub(super) fn read_start<T>(
        &self,
        read: impl FnOnce(&mut dyn Read) -> Result<T, ModelError>,
    ) -> Result<T, ModelError> {
        match self {
            Storage::Bytes(bytes) => read(&mut &bytes[..]),
            Storage::Path(path, file) => {
                let mut file = file.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                let unreadable = |source| ModelError::Unreadable { path: path.clone(), source };
                file.seek(SeekFrom::Start(0)).map_err(unreadable)?;
                read(&mut BufReader::new(&mut *file))
            }
        }
    }

    /// Reads `len` bytes from `begin`; `label` names the file.
    ///
    /// # Errors
    /// [`ModelError::HeaderTruncated`] where the range leaves the file, [`ModelError::Unreadable`].
    pub(super) fn read(&self, label: &str, begin: u64, len: u64) -> Result<Cow<'_, [u8]>, ModelError> {
        let expected = begin.saturating_add(len);
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        match self {
            Storage::Bytes(bytes) => {
                let begin = usize::try_from(begin).unwrap_or(usize::MAX);
                let range = bytes.get(begin..).and_then(|rest| rest.get(..len));
                range.map(Cow::Borrowed).ok_or_else(|| ModelError::HeaderTruncated {
                    file: label.to_owned(),
                    found: bytes.len() as u64,
                    expected,
                })
            }
            Storage::Path(path, file) => {
                let unreadable = |source| ModelError::Unreadable { path: path.clone(), source };
                let mut file = file.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                file.seek(SeekFrom::Start(begin)).map_err(unreadable)?;
                let mut bytes = vec![0; len];
                file.read_exact(&mut bytes).map_err(unreadable)?;
                Ok(Cow::Owned(bytes))
            }
        }
    }
}
