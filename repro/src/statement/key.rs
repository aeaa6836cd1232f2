//! Ed25519 keys of a rebuilder: a seed of 32 bytes in hex that nobody else reads, and the public key beside it.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use ed25519_dalek::{Signature, Signer, VerifyingKey};
use kolm_runtime::artifact::{from_hex, hex, sha256_hex};
use zeroize::Zeroizing;

use super::StatementError;

/// A private key. Wiped on drop.
pub struct SigningKey(ed25519_dalek::SigningKey);

/// A public key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl SigningKey {
    /// Makes a random key, writes its seed to `path` with mode 0600 and its public key to `path` + `.pub`; neither may exist.
    ///
    /// # Errors
    /// [`StatementError::KeyExists`], [`StatementError::Io`].
    pub fn create(path: &Path) -> Result<SigningKey, StatementError> {
        let public = public_path(path);
        if public.exists() {
            return Err(StatementError::KeyExists { path: public });
        }
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut_slice()).map_err(|error| StatementError::Io {
            action: "draw random bytes for",
            path: path.to_owned(),
            source: error.into(),
        })?;
        let key = SigningKey(ed25519_dalek::SigningKey::from_bytes(&seed));
        let text = Zeroizing::new(format!("{}\n", Zeroizing::new(hex(seed.as_slice())).as_str()));
        write_new(path, text.as_bytes(), true)?;
        write_new(&public, format!("{}\n", key.public().to_hex()).as_bytes(), false)?;
        Ok(key)
    }

    /// Reads a private key.
    ///
    /// # Errors
    /// [`StatementError::KeyMode`] when others may read it, [`StatementError::KeyFormat`], [`StatementError::Io`].
    pub fn read(path: &Path) -> Result<SigningKey, StatementError> {
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let found = fs::metadata(path).map_err(io("read", path))?.permissions().mode() & 0o7777;
            if found & 0o077 != 0 {
                return Err(StatementError::KeyMode { path: path.to_owned(), found });
            }
        }
        let seed = Zeroizing::new(read_hex(path, "signing key")?);
        Ok(SigningKey(ed25519_dalek::SigningKey::from_bytes(&seed)))
    }

    /// The key from its seed.
    pub fn from_seed(seed: &[u8; 32]) -> SigningKey {
        SigningKey(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    pub(super) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SigningKey({})", self.public().id())
    }
}

impl PublicKey {
    /// Reads a `.pub` file.
    ///
    /// # Errors
    /// [`StatementError::KeyFormat`], [`StatementError::Io`].
    pub fn read(path: &Path) -> Result<PublicKey, StatementError> {
        let bytes = read_hex(path, "public key")?;
        PublicKey::from_hex(&hex(&bytes))
            .ok_or_else(|| StatementError::KeyFormat { path: path.to_owned(), what: "public key" })
    }

    /// The key that 64 lower-case hex digits spell, if they spell one.
    pub fn from_hex(text: &str) -> Option<PublicKey> {
        let bytes: [u8; 32] = from_hex(text)?.try_into().ok()?;
        VerifyingKey::from_bytes(&bytes).ok().filter(|key| !key.is_weak()).map(PublicKey)
    }

    /// The key in hex.
    pub fn to_hex(self) -> String {
        hex(self.0.as_bytes())
    }

    /// The first 8 hex digits of the key's SHA-256: a name for people. Keys are compared whole.
    pub fn id(self) -> String {
        sha256_hex(self.0.as_bytes()).chars().take(8).collect()
    }

    pub(super) fn verifies(self, message: &[u8], signature: &[u8]) -> bool {
        Signature::from_slice(signature).is_ok_and(|signature| self.0.verify_strict(message, &signature).is_ok())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PublicKey({})", self.id())
    }
}

/// Where the public key of the private key at `path` lies.
fn public_path(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".pub");
    path.with_file_name(name)
}

fn write_new(
    path: &Path,
    bytes: &[u8],
    #[cfg_attr(not(unix), expect(unused_variables, reason = "only Unix has modes"))] private: bool,
) -> Result<(), StatementError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(if private { 0o600 } else { 0o644 });
    }
    let mut file = options.open(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::AlreadyExists => StatementError::KeyExists { path: path.to_owned() },
        _ => StatementError::Io { action: "create", path: path.to_owned(), source },
    })?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(io("write", path))
}

/// 32 bytes from exactly 64 lower-case hex digits and a line feed.
fn read_hex(path: &Path, what: &'static str) -> Result<[u8; 32], StatementError> {
    let mut text = Zeroizing::new(Vec::with_capacity(KEY_LEN_BYTES + 1));
    let limit = KEY_LEN_BYTES as u64 + 1;
    fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut text)).map_err(io("read", path))?;
    let digits = text.strip_suffix(b"\n").and_then(|digits| std::str::from_utf8(digits).ok());
    let bytes = digits.and_then(from_hex).map(Zeroizing::new);
    bytes
        .and_then(|bytes| <[u8; 32]>::try_from(bytes.as_slice()).ok())
        .ok_or_else(|| StatementError::KeyFormat { path: path.to_owned(), what })
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> StatementError {
    let path = path.to_owned();
    move |source| StatementError::Io { action, path, source }
}

/// 64 hex digits and a line feed.
const KEY_LEN_BYTES: usize = 65;
