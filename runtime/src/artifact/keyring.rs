//! The keyring `~/.kolm/keys`: the current key, and every earlier one under its id, so that old receipts and log lines stay verifiable.
//!
//! Rotation writes before it moves: broken off anywhere, every key is in at least one file and `operator.key` is whole. It
//! never deletes a key. A folder that cannot be written, or a log that refuses the entry, leaves the key as it was.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use super::{ArtifactError, AuditLog, Event, OperatorKey, Timestamp, file, key, rules};

/// The folder of keys.
#[derive(Clone, Debug)]
pub struct Keyring {
    kolm_home: PathBuf,
    folder: PathBuf,
}

/// What a key of the ring is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// It signs.
    Current,
    /// It only verifies.
    Retired,
    /// A rotation was broken off before it became current.
    Next,
}

impl KeyState {
    /// The word in listings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Retired => "retired",
            Self::Next => "next",
        }
    }
}

/// One file of the ring.
#[derive(Debug)]
pub struct KeyEntry {
    /// Where it is.
    pub path: PathBuf,
    /// What it is for.
    pub state: KeyState,
    /// Its id, or why it is not a key.
    pub id: Result<String, ArtifactError>,
}

/// A finished rotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotated {
    /// Id of the key before.
    pub from: String,
    /// Id of the key now.
    pub to: String,
    /// Where the key before is kept.
    pub retired: PathBuf,
}

impl Keyring {
    /// The ring below `kolm_home` (`~/.kolm`); touches nothing.
    pub fn of(kolm_home: &Path) -> Self {
        Self { kolm_home: kolm_home.to_path_buf(), folder: kolm_home.join("keys") }
    }

    /// Where the current key is.
    pub fn current(&self) -> PathBuf {
        self.folder.join("operator.key")
    }

    /// The key of this id, if the ring has it.
    ///
    /// # Errors
    /// As `OperatorKey::load`, for a file that claims to be it.
    pub fn find(&self, key_id: &str) -> Result<Option<OperatorKey>, ArtifactError> {
        // The id comes from outside and becomes part of a path.
        if !rules::is_hex(key_id, 8) {
            return Ok(None);
        }
        for path in [self.current(), self.retired(key_id)] {
            match OperatorKey::load(&path) {
                Ok(key) if key.id() == key_id => return Ok(Some(key)),
                Ok(_) | Err(ArtifactError::KeyMissing { .. }) => {}
                // Another key's trouble is not this one's.
                Err(_) if path == self.current() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Every key of the ring: the current one, then the retired ones by id, then a next one.
    ///
    /// # Errors
    /// `Io` when a folder cannot be read.
    pub fn list(&self) -> Result<Vec<KeyEntry>, ArtifactError> {
        let mut paths = vec![(self.current(), KeyState::Current)];
        let folder = self.folder.join("retired");
        match fs::read_dir(&folder) {
            Ok(entries) => {
                let mut retired = Vec::new();
                for entry in entries {
                    let path = entry.map_err(ArtifactError::io("read", &folder))?.path();
                    if path.extension().is_some_and(|extension| extension == "key") {
                        retired.push((path, KeyState::Retired));
                    }
                }
                retired.sort_by(|a, b| a.0.cmp(&b.0));
                paths.append(&mut retired);
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(ArtifactError::io("read", &folder)(error)),
        }
        paths.push((self.next(), KeyState::Next));
        let entries = paths.into_iter().map(|(path, state)| {
            let id = OperatorKey::load(&path).map(|key| key.id());
            KeyEntry { path, state, id }
        });
        Ok(entries.filter(|entry| !matches!(entry.id, Err(ArtifactError::KeyMissing { .. }))).collect())
    }

    /// Makes the current key, which must not be there, and records it.
    ///
    /// # Errors
    /// `Io`, also when there is a key; any refusal of the log.
    pub fn generate(&self, now: Timestamp) -> Result<OperatorKey, ArtifactError> {
        let _lock = self.lock()?;
        let path = self.current();
        if fs::symlink_metadata(&path).is_ok() {
            return Err(ArtifactError::io("create", &path)(std::io::ErrorKind::AlreadyExists.into()));
        }
        let key = OperatorKey::random()?;
        let staged = key.stage(&path)?;
        let detail = format!("key {} was made", key.id());
        AuditLog::open(&self.kolm_home, &key)?.append(&event(now, "generate", detail))?;
        staged.commit_new()?;
        Ok(key)
    }

    /// Replaces the current key by a new one and keeps the old one under its id.
    ///
    /// # Errors
    /// `KeyMissing` when there is no current key; `Io`; any refusal of the log.
    pub fn rotate(&self, now: Timestamp) -> Result<Rotated, ArtifactError> {
        let _lock = self.lock()?;
        let old = OperatorKey::load(&self.current())?;
        let new = match OperatorKey::load(&self.next()) {
            Ok(key) => key,
            Err(ArtifactError::KeyMissing { .. }) => {
                let key = OperatorKey::random()?;
                key.stage(&self.next())?.commit()?;
                key
            }
            Err(error) => return Err(error),
        };
        let (from, to) = (old.id(), new.id());
        let retired = self.retired(&from);
        old.stage(&retired)?.commit()?;
        file::sync_folder(&self.folder)?;
        let detail = format!("key {from} is replaced by key {to}");
        AuditLog::open(&self.kolm_home, &old)?.append(&event(now, "rotate", detail))?;
        let current = self.current();
        fs::rename(self.next(), &current).map_err(ArtifactError::io("rename", &current))?;
        file::sync_folder(&self.folder)?;
        Ok(Rotated { from, to, retired })
    }

    fn retired(&self, key_id: &str) -> PathBuf {
        self.folder.join("retired").join(format!("{key_id}.key"))
    }

    fn next(&self) -> PathBuf {
        self.folder.join("next.key")
    }

    fn lock(&self) -> Result<File, ArtifactError> {
        key::private_folder(&self.folder).map_err(ArtifactError::io("make folder", &self.folder))?;
        let path = self.folder.join("lock");
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(ArtifactError::io("open", &path))?;
        file.lock().map_err(ArtifactError::io("lock", &path))?;
        Ok(file)
    }
}

fn event(time: Timestamp, action: &str, detail: String) -> Event {
    Event { time, action: action.to_owned(), cid: None, outcome: "done".to_owned(), detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_unix(1_795_424_700).unwrap()
    }

    #[test]
    fn rotation_keeps_every_key_and_the_log_goes_on() {
        let home = tempfile::tempdir().unwrap();
        let ring = Keyring::of(home.path());
        assert_eq!(ring.rotate(now()).unwrap_err().code(), "key_missing");
        let first = ring.generate(now()).unwrap();
        assert_eq!(ring.generate(now()).unwrap_err().code(), "io");
        let one = ring.rotate(now()).unwrap();
        let two = ring.rotate(now()).unwrap();
        assert_eq!((&one.from, &one.to), (&first.id(), &two.from));
        let states: Vec<_> = ring.list().unwrap().into_iter().map(|entry| entry.state.name()).collect();
        assert_eq!(states, ["current", "retired", "retired"]);
        for id in [&one.from, &one.to, &two.to] {
            assert_eq!(&ring.find(id).unwrap().unwrap().id(), id);
        }
        assert!(ring.find("../../../x").unwrap().is_none() && ring.find("00000000").unwrap().is_none());
        let key = OperatorKey::load(&ring.current()).unwrap();
        let report = AuditLog::open(home.path(), &key).unwrap().verify().unwrap();
        assert_eq!((report.entries, report.keys), (3, 2));

        // Without the first key its lines prove nothing any more.
        fs::remove_file(&one.retired).unwrap();
        let error = AuditLog::open(home.path(), &key).unwrap().verify().unwrap_err();
        assert!(error.to_string().contains(&one.from), "{error}");
    }

    #[test]
    fn a_rotation_that_was_broken_off_is_finished_by_the_next() {
        let home = tempfile::tempdir().unwrap();
        let ring = Keyring::of(home.path());
        let first = ring.generate(now()).unwrap();
        let next = OperatorKey::random().unwrap();
        next.stage(&ring.next()).unwrap().commit().unwrap();
        let rotated = ring.rotate(now()).unwrap();
        assert_eq!((rotated.from, rotated.to), (first.id(), next.id()));
        assert!(!ring.next().exists());
    }

    #[test]
    fn a_log_that_refuses_leaves_the_key() {
        let home = tempfile::tempdir().unwrap();
        let ring = Keyring::of(home.path());
        let first = ring.generate(now()).unwrap();
        fs::write(home.path().join("audit.log"), b"").unwrap();
        assert_eq!(ring.rotate(now()).unwrap_err().code(), "audit_truncated");
        assert_eq!(OperatorKey::load(&ring.current()).unwrap().id(), first.id());
    }
}
