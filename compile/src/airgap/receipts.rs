//! The install receipts of this machine: each import leaves one, sealed under the operator's key.

use std::path::{Path, PathBuf};

use kolm_runtime::artifact::OperatorKey;
use kolm_runtime::bundle::{BundleError, InstallReceipt};

/// Where they lie.
pub fn folder(kolm_home: &Path) -> PathBuf {
    kolm_home.join("receipts")
}

/// Every receipt, oldest first, each checked.
pub fn list(kolm_home: &Path, key: &OperatorKey) -> Vec<(PathBuf, Result<InstallReceipt, BundleError>)> {
    let entries = std::fs::read_dir(folder(kolm_home)).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), InstallReceipt::open(&path, key))).collect()
}
