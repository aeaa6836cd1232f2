//! The operator's key: 32 random bytes in a file that nobody else reads.
//!
//! The key itself never signs anything; each use has a key of its own, derived with HMAC-SHA256 under a label. It is wiped on
//! drop, never printed, and never taken from the command line.

use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use zeroize::Zeroizing;

use super::hash::{hex, hmac_sha256};
use super::{ArtifactError, Staged, key_file, limits};

/// The operator's key. Each copy is wiped on drop.
#[derive(Clone)]
pub struct OperatorKey(Zeroizing<[u8; 32]>);

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
        Self::load_without(path, 0o077)
    }

    /// Reads a credential that systemd passed: as `load`, and the group bits may show the mask of an access list.
    ///
    /// # Errors
    /// As `load`.
    pub(super) fn load_credential(path: &Path) -> Result<Self, ArtifactError> {
        Self::load_without(path, 0o037)
    }

    fn load_without(path: &Path, forbidden_mode: u32) -> Result<Self, ArtifactError> {
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
        if let Some(mode) = loose_mode(&opened, forbidden_mode) {
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

    /// A new random key.
    ///
    /// # Errors
    /// `Io`.
    pub fn random() -> Result<Self, ArtifactError> {
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(bytes.as_mut_slice())
            .map_err(|error| ArtifactError::io("draw random bytes for", Path::new("a key"))(error.into()))?;
        Ok(Self(bytes))
    }

    /// Makes a random key and writes it to `path`, which must not exist; folders are made with mode 0700.
    ///
    /// # Errors
    /// `Io`.
    pub fn create(path: &Path) -> Result<Self, ArtifactError> {
        let key = Self::random()?;
        key.stage(path)?.commit_new()?;
        Ok(key)
    }

    /// Writes the key's file beside `path`; folders are made with mode 0700.
    pub(crate) fn stage(&self, path: &Path) -> Result<Staged, ArtifactError> {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        private_folder(folder).map_err(ArtifactError::io("make folder", folder))?;
        Staged::write_private(path, &key_file::encode(self))
    }

    /// The first four bytes of an HMAC over a fixed label, in hex: names the key and gives nothing away.
    pub fn id(&self) -> String {
        let tag = self.derive(b"kolm key id 1");
        hex(tag.get(..4).unwrap_or_default())
    }

    /// The bytes themselves, for the key file.
    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// First four bytes of an HMAC over another label, in hex: what the second line of the key file holds.
    pub(super) fn checksum(&self) -> String {
        let tag = self.derive(b"kolm key checksum 1");
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

    /// Key of the audit log's index.
    pub(crate) fn audit_index_key(&self) -> Zeroizing<[u8; 32]> {
        self.derive(b"kolm audit index key 1")
    }

    /// Key of the marks of highest versions.
    pub(crate) fn mark_key(&self) -> Zeroizing<[u8; 32]> {
        self.derive(b"kolm mark key 1")
    }

    /// Key of the pseudonyms that `kolm corpus deidentify` writes.
    pub fn pseudonym_key(&self) -> Zeroizing<[u8; 32]> {
        self.derive(b"kolm deidentify key 1")
    }

    fn derive(&self, label: &[u8]) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(hmac_sha256(&self.0, &[label]))
    }

    fn read(file: &mut File, source_name: String, path: &Path) -> Result<Self, ArtifactError> {
        let mut text = Zeroizing::new(Vec::with_capacity(128));
        file.take(limits::KEY_FILE_LEN_MAX_BYTES).read_to_end(&mut text).map_err(ArtifactError::io("read", path))?;
        let key = key_file::decode(&text, &source_name)?;
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
fn loose_mode(metadata: &fs::Metadata, forbidden: u32) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    let mode = metadata.mode() & 0o7777;
    (mode & forbidden != 0).then_some(mode)
}

#[cfg(unix)]
pub(super) fn private_folder(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(not(unix))]
fn same_file(_: &fs::Metadata, _: &fs::Metadata) -> bool {
    true
}

#[cfg(not(unix))]
fn loose_mode(_: &fs::Metadata, _: u32) -> Option<u32> {
    None
}

#[cfg(not(unix))]
pub(super) fn private_folder(folder: &Path) -> std::io::Result<()> {
    fs::create_dir_all(folder)
}

/// Id of bytes 00 01 … 1f, the key of SPEC.md's worked example and of `golden/refused`.
const EXAMPLE_KEY_ID: &str = "3306e919";

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::KeySource;
    use super::*;

    fn load(content: &[u8], mode: u32) -> Result<String, &'static str> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("operator.key");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        OperatorKey::load(&path).map(|key| key.id()).map_err(|error| error.code())
    }

    const GOOD: &[u8] = b"5be2a1f0c39d478e6b1245f7a8093cde5be2a1f0c39d478e6b1245f7a8093cdf\n";

    const CHECKSUM: &[u8] = b"checksum ddb81d22\n";

    #[test]
    fn files() {
        assert!(load(GOOD, 0o600).is_ok());
        assert!(load(GOOD, 0o400).is_ok());
        assert_eq!(load(&[GOOD, CHECKSUM].concat(), 0o600), load(GOOD, 0o600));
        for mode in [0o640, 0o604, 0o644, 0o610, 0o601, 0o660] {
            assert_eq!(load(GOOD, mode), Err("key_mode"), "{mode:o}");
        }
        for bad in [
            &b""[..],
            b"\n",
            &GOOD.to_ascii_uppercase(),
            &[GOOD, b"\n"].concat(),
            &[&GOOD[..64], b"\r\n"].concat(),
            &[0x5b; 32],
        ] {
            assert_eq!(load(bad, 0o600), Err("key_format"), "{}", bad.escape_ascii());
        }
        let (whole, mut mistyped) = ([GOOD, CHECKSUM].concat(), [GOOD, CHECKSUM].concat());
        mistyped[3] = b'0';
        for bad in [
            &mistyped[..],
            &GOOD[..64],
            &GOOD[..40],
            &GOOD[1..],
            &whole[1..],
            &whole[..whole.len() - 1],
            &whole[..66],
            &whole[..70],
            &[GOOD, b"checksum 00000000\n"].concat(),
            &[&whole[..], b"\n"].concat(),
        ] {
            assert_eq!(load(bad, 0o600), Err("key_checksum"), "{}", bad.escape_ascii());
        }
        for bad in [[GOOD, GOOD].concat(), [GOOD, b"crc 1\n"].concat()] {
            assert_eq!(load(&bad, 0o600), Err("key_format"), "{}", bad.escape_ascii());
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

    /// The kernel's own EIO: the first page of a process is not mapped.
    #[test]
    #[cfg(target_os = "linux")]
    fn a_medium_that_cannot_be_read_is_told_apart() {
        assert_eq!(OperatorKey::load(Path::new("/proc/self/mem")).unwrap_err().code(), "media");
    }

    #[test]
    fn a_credential_may_show_the_mask_of_an_access_list() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kolm.key");
        let home = folder.path().join("home");
        let credentials = Some(folder.path().to_path_buf());
        let source = KeySource { credentials, home: Some(home), ..KeySource::default() };
        assert_eq!(source.load().unwrap_err().code(), "key_missing");
        fs::write(&path, GOOD).unwrap();
        for (mode, expected) in [(0o400, "ok"), (0o440, "ok"), (0o444, "key_mode"), (0o460, "key_mode")] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(source.load().map_or_else(|error| error.code(), |_| "ok"), expected, "{mode:o}");
        }
        // The environment's own variable goes before it.
        let named = KeySource { environment: Some(folder.path().join("absent")), ..source };
        assert_eq!(named.load().unwrap_err().code(), "key_missing");
    }

    #[test]
    fn the_key_of_a_receipt_is_found_in_the_ring() {
        let home = tempfile::tempdir().unwrap();
        let ring = super::super::Keyring::of(&home.path().join(".kolm"));
        let now = super::super::Timestamp::from_unix(0).unwrap();
        let first = ring.generate(now).unwrap();
        let to = ring.rotate(now).unwrap().to;
        let source = KeySource { home: Some(home.path().to_path_buf()), ..KeySource::default() };
        let found = |source: &KeySource, id: &str| source.load_for(id).unwrap().id();
        assert_eq!(found(&source, &first.id()), first.id());
        assert_eq!(found(&source, "00000000"), to);
        let named = KeySource { file: Some(ring.current()), ..source.clone() };
        assert_eq!(found(&named, &first.id()), to);
        fs::remove_file(ring.current()).unwrap();
        assert_eq!(found(&source, &first.id()), first.id());
        assert_eq!(source.load_for("00000000").unwrap_err().code(), "key_missing");
    }

    #[test]
    fn the_key_is_not_printed() {
        let key = OperatorKey::from_bytes([0xab; 32]);
        assert!(!format!("{key:?}").contains("abab"));
    }
}
