//! `index.mac`: who vouches for an index; and opening a bundle, which believes nothing before the MAC holds.

use std::io::Read;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::limits::{INDEX_LEN_MAX_BYTES, MAC_LEN_MAX_BYTES};
use super::{BundleError, Index, open_plain};
use crate::artifact::{OperatorKey, from_hex, hex, hmac_matches, hmac_sha256};

/// A bundle whose index is vouched for.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// Its folder.
    pub folder: PathBuf,
    /// Its id.
    pub id: String,
    /// What it holds.
    pub index: Index,
}

impl Bundle {
    /// Opens the bundle in `folder`; reads no part.
    ///
    /// # Errors
    /// `Absent`, `Kind`, `WrongKey`, `Mac`, `MacForm`, and those of [`Index::parse`].
    pub fn open(folder: &Path, key: &OperatorKey) -> Result<Self, BundleError> {
        let index = read(&folder.join(INDEX), INDEX_LEN_MAX_BYTES)?;
        limited(&index)?;
        let mac = read(&folder.join(INDEX_MAC), MAC_LEN_MAX_BYTES)?;
        Self::parse(folder, &index, &mac, key)
    }

    /// Reads the two files of a bundle that say what it is.
    ///
    /// # Errors
    /// `WrongKey`, `Mac`, `MacForm`, and those of [`Index::parse`].
    pub fn parse(folder: &Path, index: &[u8], mac: &[u8], key: &OperatorKey) -> Result<Self, BundleError> {
        limited(index)?;
        check(index, mac, key)?;
        Ok(Self { folder: folder.to_path_buf(), id: Index::id(index), index: Index::parse(index)? })
    }
}

/// The line that vouches for the bytes of an index.
pub fn seal(index: &[u8], key: &OperatorKey) -> String {
    format!("{FORMAT} {} {}\n", key.id(), hex(&hmac_sha256(&bundle_key(key), &[index])))
}

fn limited(index: &[u8]) -> Result<(), BundleError> {
    let (found, limit) = (u64::try_from(index.len()).unwrap_or(u64::MAX), INDEX_LEN_MAX_BYTES);
    if found > limit { Err(BundleError::IndexLarge { found, limit }) } else { Ok(()) }
}

fn check(index: &[u8], mac: &[u8], key: &OperatorKey) -> Result<(), BundleError> {
    let form = || BundleError::MacForm { found: format!("{:?}", String::from_utf8_lossy(mac)) };
    let line = std::str::from_utf8(mac).ok().and_then(|text| text.strip_suffix('\n')).ok_or_else(form)?;
    let [FORMAT, id, mac] = line.split(' ').collect::<Vec<_>>()[..] else { return Err(form()) };
    let mac = from_hex(mac).filter(|mac| mac.len() == 32).ok_or_else(form)?;
    if id.len() != 8 || from_hex(id).is_none() {
        return Err(form());
    }
    if id != key.id() {
        return Err(BundleError::WrongKey { found: id.to_owned(), expected: key.id() });
    }
    if hmac_matches(&bundle_key(key), &[index], &mac) { Ok(()) } else { Err(BundleError::Mac) }
}

fn bundle_key(key: &OperatorKey) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(hmac_sha256(&key.receipt_key(), &[b"kolm bundle key 1"]))
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>, BundleError> {
    let mut bytes = Vec::new();
    open_plain(path)?.take(limit + 1).read_to_end(&mut bytes).map_err(BundleError::io("read", path))?;
    Ok(bytes)
}

/// Name of the index.
pub const INDEX: &str = "index.json";
/// Name of its seal.
pub const INDEX_MAC: &str = "index.mac";
const FORMAT: &str = "kolm-bundle-mac-1";
