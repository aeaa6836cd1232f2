//! Where the operator's key is looked for, and which key of the ring a receipt asks for.

use std::path::PathBuf;

use super::{ArtifactError, Keyring, OperatorKey};

/// Where the operator's key is looked for; an argument goes before the environment, both before the default place.
#[derive(Clone, Debug, Default)]
pub struct KeySource {
    /// `--key-file`.
    pub file: Option<PathBuf>,
    /// `--key-fd`.
    pub descriptor: Option<u32>,
    /// `KOLM_KEY_FILE`.
    pub environment: Option<PathBuf>,
    /// `CREDENTIALS_DIRECTORY`: the folder in which systemd passes a service its secrets.
    pub credentials: Option<PathBuf>,
    /// The user's home folder.
    pub home: Option<PathBuf>,
}

impl KeySource {
    /// The file that would be read; none when the key comes from a descriptor or there is no home folder.
    pub fn path(&self) -> Option<PathBuf> {
        if let Some(file) = &self.file {
            return Some(file.clone());
        }
        if self.descriptor.is_some() {
            return None;
        }
        let default = || self.home.as_ref().map(|home| home.join(DEFAULT_PATH));
        self.environment.clone().or_else(|| self.credential()).or_else(default)
    }

    /// Loads the key.
    ///
    /// # Errors
    /// `KeyMissing`, `KeyKind`, `KeyMode`, `KeyFormat`, `KeyChecksum`, `KeyPublished`, `Io`.
    pub fn load(&self) -> Result<OperatorKey, ArtifactError> {
        if let (None, Some(descriptor)) = (&self.file, self.descriptor) {
            return OperatorKey::load_descriptor(descriptor);
        }
        if let (None, None, Some(path)) = (&self.file, &self.environment, self.credential()) {
            return OperatorKey::load_credential(&path);
        }
        match self.path() {
            Some(path) => OperatorKey::load(&path),
            None => Err(ArtifactError::KeyMissing { path: PathBuf::from("~").join(DEFAULT_PATH) }),
        }
    }

    /// Loads the key that made a receipt: the one looked for if `key_id` is its id, else the one of that id in the keyring, else the one
    /// looked for. A key that was named on the command line is the only one asked.
    ///
    /// # Errors
    /// As `load`.
    pub fn load_for(&self, key_id: &str) -> Result<OperatorKey, ArtifactError> {
        let looked_for = self.load();
        if self.file.is_some() || self.descriptor.is_some() || looked_for.as_ref().is_ok_and(|key| key.id() == key_id) {
            return looked_for;
        }
        let ring = self.home.as_ref().map(|home| Keyring::of(&home.join(".kolm")));
        match ring.map(|ring| ring.find(key_id)) {
            Some(Ok(Some(key))) => Ok(key),
            Some(Err(error)) => Err(error),
            _ => looked_for,
        }
    }

    /// Loads the key; makes it first if it is the default one and is not there. The flag says whether it was made.
    ///
    /// # Errors
    /// As `load`; a file that was named is never made.
    pub fn load_or_create(&self) -> Result<(OperatorKey, bool), ArtifactError> {
        match (self.load(), self.path()) {
            (Err(ArtifactError::KeyMissing { .. }), Some(path)) if !self.is_named() => {
                Ok((OperatorKey::create(&path)?, true))
            }
            (result, _) => Ok((result?, false)),
        }
    }

    /// Whether anything but the default place is looked at.
    pub fn is_named(&self) -> bool {
        self.file.is_some() || self.descriptor.is_some() || self.environment.is_some() || self.credential().is_some()
    }

    fn credential(&self) -> Option<PathBuf> {
        self.credentials.as_ref().map(|folder| folder.join(CREDENTIAL)).filter(|path| path.exists())
    }
}

const DEFAULT_PATH: &str = ".kolm/keys/operator.key";
const CREDENTIAL: &str = "kolm.key";
