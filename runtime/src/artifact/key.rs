//! The operator's key: 32 random bytes in a file that nobody else reads.
//!
//! The key itself never signs anything; each use has a key of its own, derived with HMAC-SHA256 under a label. It is wiped on
//! drop, never printed, and never taken from the command line.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::hash::{from_hex, hex, hmac_sha256};
use super::{ArtifactError, limits};

/// The operator's key.
pub struct OperatorKey(Zeroizing<[u8; 32]>);

/// Where the operator's key is looked for; an argument goes before the environment, both before the
/// default place.
#[derive(Clone, Debug, Default)]
pub struct KeySource {
    /// `--key-file`.
    pub file: Option<PathBuf>,
    /// `--key-fd`.
    pub descriptor: Option<u32>,
    /// `KOLM_KEY_FILE`.
    pub environment: Option<PathBuf>,
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
        self.environment.clone().or_else(default)
    }

    /// Loads the key.
    ///
    /// # Errors
    /// `KeyMissing`, `KeyKind`, `KeyMode`, `KeyFormat`, `KeyPublished`, `Io`.
    pub fn load(&self) -> Result<OperatorKey, ArtifactError> {
        match (&self.file, self.descriptor) {
            (None, Some(descriptor)) => OperatorKey::load_descriptor(descriptor),
            _ => match self.path() {
                Some(path) => OperatorKey::load(&path),
                None => Err(ArtifactError::KeyMissing { path: PathBuf::from("~").join(DEFAULT_PATH) }),
            },
        }
    }

    /// Loads the key; makes it first if it is the default one and is not there. The flag says whether it was made.
    ///
    /// # Errors
    /// As `load`; a file that was named is never made.
    pub fn load_or_create(&self) -> Result<(OperatorKey, bool), ArtifactError> {
        let named = self.file.is_some() || self.descriptor.is_some() || self.environment.is_some();
        match (self.load(), self.path()) {
            (Err(ArtifactError::KeyMissing { .. }), Some(path)) if !named => Ok((OperatorKey::create(&path)?, true)),
            (result, _) => Ok((result?, false)),
        }
    }
}

impl OperatorKey {
    /// A key from its bytes, for programs that make vectors.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Reads a key file: a regular file, no link, mode 0600 or stricter.
    ///
    /// # Errors
    /// `KeyMissing`, `KeyKind`, `KeyMode`, `KeyFormat`, `KeyPublished`, `Io`.
    pub fn load(path: &Path) -> Result<Self, ArtifactError> {
        let named = match fs::symlink_metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(ArtifactError::KeyMissing { path: path.to_path_buf() });
            }
            Err(error) => return Err(ArtifactError::io("read", path)(error)),
        };
        let kind = |found| ArtifactError::KeyKind { path: path.to_path_buf(), found };
        if named.is_symlink() {
            return Err(kind("a symbolic link"));
        }
        if !named.is_file() {
            return Err(kind("not a file"));
        }
        let mut file = File::open(path).map_err(ArtifactError::io("open", path))?;
        let opened = file.metadata().map_err(ArtifactError::io("read", path))?;
        // The path may have been exchanged for a link since it was looked at.
        if !same_file(&named, &opened) {
            return Err(kind("another file than a moment ago"));
        }
        if let Some(mode) = loose_mode(&opened) {
            return Err(ArtifactError::KeyMode { path: path.to_path_buf(), mode });
        }
        let name = path.display().to_string();
        Self::read(&mut file, name, path)
    }

    /// Reads a key from an open file descriptor.
    ///
    /// # Errors
    /// `KeyFormat`, `KeyPublished`, `Io`.
    pub fn load_descriptor(descriptor: u32) -> Result<Self, ArtifactError> {
        let path = ["/proc/self/fd", "/dev/fd"]
            .into_iter()
            .map(|folder| Path::new(folder).join(descriptor.to_string()))
            .find(|path| path.exists())
            .unwrap_or_else(|| Path::new("/dev/fd").join(descriptor.to_string()));
        let mut file = File::open(&path).map_err(ArtifactError::io("open", &path))?;
        Self::read(&mut file, format!("on descriptor {descriptor}"), &path)
    }

    /// Makes a random key and writes it to `path`, which must not exist; folders are made with mode 0700.
    ///
    /// # Errors
    /// `Io`.
    pub fn create(path: &Path) -> Result<Self, ArtifactError> {
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(bytes.as_mut_slice())
            .map_err(|error| ArtifactError::io("draw random bytes for", path)(error.into()))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        private_folder(folder).map_err(ArtifactError::io("make folder", folder))?;
        let mut file = private_file(path).map_err(ArtifactError::io("create", path))?;
        let text = Zeroizing::new(format!("{}\n", Zeroizing::new(hex(bytes.as_slice())).as_str()));
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
        if let Err(error) = written {
            // A key file cut short would be refused at every later start; better none at all.
            let _ = fs::remove_file(path);
            return Err(ArtifactError::io("write", path)(error));
        }
        super::file::sync_folder(folder)?;
        Ok(Self(bytes))
    }

    /// The first four bytes of an HMAC over a fixed label, in hex: names the key and gives nothing away.
    pub fn id(&self) -> String {
        let tag = self.derive(b"kolm key id 1");
        hex(tag.get(..4).unwrap_or_default())
    }

    /// K of the receipt chain.
    pub(crate) fn receipt_key(&self) -> Zeroizing<[u8; 32]> {
        self.derive(b"kolm receipt key 1")
    }

    /// Key of the audit log's lines.
    pub(crate) fn audit_key(&self) -> Zeroizing<[u8; 32]> {
        self.derive(b"kolm audit key 1")
    }

    /// Key of the audit log's sealed head.
    pub(crate) fn audit_head_key(&self) -> Zeroizing<[u8; 32]> {
        self.derive(b"kolm audit head key 1")
    }

    fn derive(&self, label: &[u8]) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(hmac_sha256(&self.0, &[label]))
    }

    fn read(file: &mut File, source_name: String, path: &Path) -> Result<Self, ArtifactError> {
        let mut text = Zeroizing::new(Vec::with_capacity(128));
        file.take(limits::KEY_FILE_LEN_MAX_BYTES).read_to_end(&mut text).map_err(ArtifactError::io("read", path))?;
        let refuse =
            |source_name: &str, found: String| ArtifactError::KeyFormat { source_name: source_name.to_owned(), found };
        let Some(digits) = text.strip_suffix(b"\n") else {
            return Err(refuse(&source_name, format!("{} bytes without a line feed at the end", text.len())));
        };
        if digits.len() != 64 {
            return Err(refuse(&source_name, format!("{} bytes before the line feed", digits.len())));
        }
        let bytes = std::str::from_utf8(digits).ok().and_then(from_hex).map(Zeroizing::new);
        let bytes: Option<[u8; 32]> = bytes.and_then(|bytes| bytes.as_slice().try_into().ok());
        let Some(bytes) = bytes else {
            return Err(refuse(&source_name, "something else than lower-case hex digits".to_owned()));
        };
        let key = Self::from_bytes(bytes);
        if let [first, rest @ ..] = key.0.as_slice()
            && rest.iter().all(|byte| byte == first)
        {
            let found = "one byte repeated";
            return Err(ArtifactError::KeyPublished { source_name, found });
        }
        if key.id() == EXAMPLE_KEY_ID {
            let found = "the example key of the specification";
            return Err(ArtifactError::KeyPublished { source_name, found });
        }
        Ok(key)
    }
}

impl fmt::Debug for OperatorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OperatorKey({})", self.id())
    }
}

#[cfg(unix)]
fn same_file(named: &fs::Metadata, opened: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (named.dev(), named.ino()) == (opened.dev(), opened.ino())
}

#[cfg(unix)]
fn loose_mode(metadata: &fs::Metadata) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    let mode = metadata.mode() & 0o7777;
    (mode & 0o077 != 0).then_some(mode)
}

#[cfg(unix)]
pub(super) fn private_folder(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(unix)]
fn private_file(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

#[cfg(not(unix))]
fn same_file(_: &fs::Metadata, _: &fs::Metadata) -> bool {
    true
}

#[cfg(not(unix))]
fn loose_mode(_: &fs::Metadata) -> Option<u32> {
    None
}

#[cfg(not(unix))]
pub(super) fn private_folder(folder: &Path) -> std::io::Result<()> {
    fs::create_dir_all(folder)
}

#[cfg(not(unix))]
fn private_file(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

const DEFAULT_PATH: &str = ".kolm/keys/operator.key";
/// Id of bytes 00 01 … 1f, the key of SPEC.md's worked example and of `golden/refused`.
const EXAMPLE_KEY_ID: &str = "3306e919";

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn load(content: &[u8], mode: u32) -> Result<String, &'static str> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("operator.key");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        OperatorKey::load(&path).map(|key| key.id()).map_err(|error| error.code())
    }

    const GOOD: &[u8] = b"5be2a1f0c39d478e6b1245f7a8093cde5be2a1f0c39d478e6b1245f7a8093cdf\n";

    #[test]
    fn files() {
        assert!(load(GOOD, 0o600).is_ok());
        assert!(load(GOOD, 0o400).is_ok());
        for mode in [0o640, 0o604, 0o644, 0o610, 0o601, 0o660] {
            assert_eq!(load(GOOD, mode), Err("key_mode"), "{mode:o}");
        }
        for bad in [
            &b""[..],
            b"\n",
            &GOOD[..64],
            &GOOD[1..],
            &GOOD.to_ascii_uppercase(),
            &[GOOD, b"\n"].concat(),
            &[&GOOD[..64], b"\r\n"].concat(),
            &[0x5b; 32],
        ] {
            assert_eq!(load(bad, 0o600), Err("key_format"), "{}", bad.escape_ascii());
        }
        let zeros = format!("{}\n", "0".repeat(64));
        assert_eq!(load(zeros.as_bytes(), 0o600), Err("key_published"));
        let example: Vec<u8> = (0..32).collect();
        assert_eq!(load(format!("{}\n", hex(&example)).as_bytes(), 0o600), Err("key_published"));
    }

    #[test]
    fn links_folders_and_absence() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("real"), GOOD).unwrap();
        fs::set_permissions(path("real"), fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::symlink(path("real"), path("link")).unwrap();
        let code = |name: &str| OperatorKey::load(&path(name)).map(|_| "ok").unwrap_or_else(|error| error.code());
        assert_eq!(code("real"), "ok");
        assert_eq!(code("link"), "key_kind");
        assert_eq!(code("."), "key_kind");
        assert_eq!(code("absent"), "key_missing");
    }

    #[test]
    fn creation_once_and_private() {
        let home = tempfile::tempdir().unwrap();
        let source = KeySource { home: Some(home.path().to_path_buf()), ..KeySource::default() };
        assert_eq!(source.load().unwrap_err().code(), "key_missing");
        let (key, created) = source.load_or_create().unwrap();
        assert!(created);
        let (again, created) = source.load_or_create().unwrap();
        assert!(!created);
        assert_eq!(key.id(), again.id());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&source.path().unwrap()), 0o600);
        assert_eq!(mode(&home.path().join(".kolm")), 0o700);
        assert_eq!(OperatorKey::create(&source.path().unwrap()).unwrap_err().code(), "io");

        let named = KeySource { file: Some(home.path().join("absent")), ..source };
        assert_eq!(named.load_or_create().unwrap_err().code(), "key_missing");
    }

    #[test]
    fn the_key_is_not_printed() {
        let key = OperatorKey::from_bytes([0xab; 32]);
        assert!(!format!("{key:?}").contains("abab"));
    }
}
