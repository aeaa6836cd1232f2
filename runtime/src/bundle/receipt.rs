//! The install receipt: what an import put on this machine, and when, under the operator's key.

use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::limits::RECEIPT_LEN_MAX_BYTES;
use super::{BundleError, open_plain};
use crate::artifact::{OperatorKey, Timestamp, canonical, from_hex, hex, hmac_matches, hmac_sha256, parse_canonical};

/// What an import did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstallReceipt {
    /// The artifacts that it brought.
    pub artifacts: Vec<Installed>,
    /// Id of the bundle.
    pub bundle: String,
    /// Files of the bundle.
    pub files: u64,
    format: String,
    /// The operator's key id.
    pub key_id: String,
    /// Bytes of those files together.
    pub size: u64,
    /// When.
    pub time: Timestamp,
}

/// One artifact that an import brought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Installed {
    /// Its content identifier.
    pub cid: String,
    /// Its name.
    pub name: String,
    /// Hash of the whole file.
    pub sha256: String,
    /// Its version.
    pub version: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    mac: String,
    receipt: InstallReceipt,
}

impl InstallReceipt {
    /// A receipt under `key`.
    pub fn new(
        bundle: &str,
        (files, size): (u64, u64),
        artifacts: Vec<Installed>,
        time: Timestamp,
        key: &OperatorKey,
    ) -> Self {
        let (bundle, key_id) = (bundle.to_owned(), key.id());
        Self { artifacts, bundle, files, format: FORMAT.to_owned(), key_id, size, time }
    }

    /// The bytes of its file.
    ///
    /// # Errors
    /// None that a receipt of [`InstallReceipt::new`] gives.
    pub fn to_bytes(&self, key: &OperatorKey) -> Result<Vec<u8>, BundleError> {
        let mac = hex(&hmac_sha256(&receipt_key(key), &[&canonical(self)?]));
        Ok(canonical(&Sealed { mac, receipt: self.clone() })?)
    }

    /// Reads a receipt and checks it.
    ///
    /// # Errors
    /// `Absent`, `Kind`, `WrongKey`, `Receipt` for one that was altered or is none, `Io`.
    pub fn open(path: &Path, key: &OperatorKey) -> Result<Self, BundleError> {
        let mut bytes = Vec::new();
        open_plain(path)?.take(RECEIPT_LEN_MAX_BYTES).read_to_end(&mut bytes).map_err(BundleError::io("read", path))?;
        Self::parse(path, &bytes, key)
    }

    /// Reads a receipt's bytes and checks them; `path` stands in errors.
    ///
    /// # Errors
    /// `WrongKey`, `Receipt` for one that was altered or is none, and JSON errors.
    pub fn parse(path: &Path, bytes: &[u8], key: &OperatorKey) -> Result<Self, BundleError> {
        let Sealed { mac, receipt } = parse_canonical("install receipt", bytes)?;
        if receipt.format != FORMAT {
            let found = format!("{:?}", receipt.format);
            return Err(BundleError::Receipt { path: path.to_path_buf(), found });
        }
        if receipt.key_id != key.id() {
            return Err(BundleError::WrongKey { found: receipt.key_id, expected: key.id() });
        }
        let mac = from_hex(&mac).unwrap_or_default();
        if hmac_matches(&receipt_key(key), &[&canonical(&receipt)?], &mac) {
            return Ok(receipt);
        }
        Err(BundleError::Receipt { path: path.to_path_buf(), found: "altered: its MAC does not match".to_owned() })
    }
}

fn receipt_key(key: &OperatorKey) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(hmac_sha256(&key.receipt_key(), &[b"kolm install receipt key 1"]))
}

const FORMAT: &str = "kolm-install-1";
