//! The install receipts of this machine: each import leaves one, sealed under the operator's key.

use std::path::{Path, PathBuf};

use kolm_runtime::artifact::{ArtifactError, KeySource};
use kolm_runtime::bundle::{BundleError, InstallReceipt};

/// A receipt's place, and what it says or what is wrong with it.
pub type Checked = (PathBuf, Result<InstallReceipt, BundleError>);

/// Where they lie.
pub fn folder(kolm_home: &Path) -> PathBuf {
    kolm_home.join("receipts")
}

/// Every receipt, oldest first, each checked with the key that sealed it if the keyring has that one.
///
/// # Errors
/// [`ArtifactError`] where no key is at hand, or the keyring cannot be read.
pub fn list(kolm_home: &Path, source: &KeySource) -> Result<Vec<Checked>, ArtifactError> {
    let key = source.load()?;
    let entries = std::fs::read_dir(folder(kolm_home)).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    paths.sort();
    let check = |path: PathBuf| {
        let receipt = match InstallReceipt::open(&path, &key) {
            Err(BundleError::WrongKey { found, .. }) => InstallReceipt::open(&path, &source.load_for(&found)?),
            checked => checked,
        };
        Ok((path, receipt))
    };
    paths.into_iter().map(check).collect()
}
