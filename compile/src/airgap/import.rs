//! Taking a bundle in: read, staged, checked as a whole, recorded, published.
//!
//! Until everything that the bundle brings is whole on this machine, nothing of it has its final name; what fails before that leaves
//! the old state, and the same command goes on where it stopped.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kolm_runtime::artifact::{ArtifactFile, AuditLog, Event, FileIdentity, Opened, OperatorKey, Staged, Timestamp};
use kolm_runtime::bundle::{Bundle, BundleError, BundlePath, Entry, InstallReceipt, Installed};
use serde::Serialize;

use super::needs::Need;
pub use super::publish::Targets;
use super::publish::publish;
use super::staging::{Area, Staging, Wanted, io};
use crate::cli::Exit;
use crate::pipeline::CompileError;

/// What an import did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// Id of the bundle.
    pub bundle: String,
    /// Files of the bundle.
    pub files: u64,
    /// Bytes of those files together.
    pub size: u64,
    /// Files that were here already.
    pub here_already: usize,
    /// The artifacts, each with its place.
    pub artifacts: Vec<(PathBuf, Installed)>,
    /// The install receipt.
    pub receipt: PathBuf,
}

/// Takes in the bundle in `folder`; what fails is entered in the audit log too.
///
/// # Errors
/// [`CompileError::Bundle`] for what is wrong with the bundle, [`CompileError::Artifact`] for an artifact in it or the audit log,
/// [`CompileError::Installed`] where another artifact has the name, [`CompileError::Io`].
pub fn import(
    folder: &Path,
    key: &OperatorKey,
    targets: &Targets,
    now: Timestamp,
    say: &mut dyn FnMut(&str),
) -> Result<Imported, CompileError> {
    take_in(folder, key, targets, now, say).inspect_err(|error| {
        let outcome = match Exit::of(error) {
            Exit::MissingInput => "incomplete",
            Exit::Io => "failed",
            _ => "refused",
        };
        let entered = AuditLog::open(&targets.kolm_home, key).and_then(|log| {
            log.append(&Event {
                time: now,
                action: "import".to_owned(),
                cid: None,
                outcome: outcome.to_owned(),
                detail: error.to_string().chars().take(1000).collect(),
            })
        });
        if let Err(error) = entered {
            say(&format!("warning: the refusal could not be entered in the audit log: {error}"));
        }
    })
}

fn take_in(
    folder: &Path,
    key: &OperatorKey,
    targets: &Targets,
    now: Timestamp,
    say: &mut dyn FnMut(&str),
) -> Result<Imported, CompileError> {
    let bundle = Bundle::open(folder, key)?;
    let mut entries = Vec::new();
    for entry in &bundle.index.files {
        entries.push((BundlePath::parse(&entry.path)?, entry));
    }
    let (absent, here): (Vec<_>, Vec<_>) = {
        let mut absent = Vec::new();
        let mut here = Vec::new();
        for (path, entry) in &entries {
            let list = if in_place(targets, path, entry)? { &mut here } else { &mut absent };
            list.push((path.clone(), *entry));
        }
        (absent, here)
    };
    let wanted = wanted(&bundle, targets, &absent)?;
    let staging = Staging::open(&targets.kolm_home, &targets.cache, &bundle.id, wanted)?;
    staging.read(&bundle, say)?;
    say("checking what was read");
    staging.check()?;
    let artifacts = artifacts(&staging, targets, &entries, key)?;

    let log = AuditLog::open(&targets.kolm_home, key)?;
    record(&log, &bundle, &artifacts, now, "started")?;
    publish(&staging, targets, &absent)?;
    let size = entries.iter().map(|(_, entry)| entry.size).sum();
    let files = entries.len() as u64;
    let installed = artifacts.iter().map(|(_, installed)| installed.clone()).collect();
    let receipt = InstallReceipt::new(&bundle.id, (files, size), installed, now, key);
    let place = receipt_place(&targets.kolm_home, &receipt);
    let parent = place.parent().unwrap_or(&place);
    std::fs::create_dir_all(parent).map_err(io("create", parent))?;
    Staged::write(&place, &receipt.to_bytes(key)?)?.commit()?;
    record(&log, &bundle, &artifacts, now, "done")?;
    staging.remove()?;
    Ok(Imported { bundle: bundle.id, files, size, here_already: here.len(), artifacts, receipt: place })
}

/// Whether a file lies in its place with the content of the index. Another artifact of that name is refused.
fn in_place(targets: &Targets, path: &BundlePath, entry: &Entry) -> Result<bool, CompileError> {
    let (_, place) = targets.place(path)?;
    let Ok(metadata) = std::fs::metadata(&place) else { return Ok(false) };
    let artifact = matches!(path, BundlePath::Artifact { .. });
    if metadata.len() != entry.size && !artifact {
        return Ok(false);
    }
    let found = FileIdentity::of_file(&entry.path, &place)?.sha256;
    match found == entry.sha256 {
        false if artifact => Err(CompileError::Installed { path: place, found, expected: entry.sha256.clone() }),
        same => Ok(same),
    }
}

/// The contents to be read, by hash.
fn wanted(
    bundle: &Bundle,
    targets: &Targets,
    absent: &[(BundlePath, &Entry)],
) -> Result<BTreeMap<String, Wanted>, CompileError> {
    let mut wanted: BTreeMap<String, Wanted> = BTreeMap::new();
    for (path, entry) in absent {
        let Some(offset) = entry.offset else {
            let since = bundle.index.since.clone().unwrap_or_default();
            return Err(BundleError::SinceAbsent { path: entry.path.clone(), since }.into());
        };
        let (area, _) = targets.place(path)?;
        let new = || Wanted { offset, size: entry.size, areas: Vec::new(), path: entry.path.clone() };
        let row = wanted.entry(entry.sha256.clone()).or_insert_with(new);
        if !row.areas.contains(&area) {
            row.areas.push(area);
        }
    }
    Ok(wanted)
}

/// Opens and checks every artifact, staged or in place, but for the replay; and that the bundle lists all that it loads.
fn artifacts(
    staging: &Staging,
    targets: &Targets,
    entries: &[(BundlePath, &Entry)],
    key: &OperatorKey,
) -> Result<Vec<(PathBuf, Installed)>, CompileError> {
    let mut artifacts = Vec::new();
    for (path, entry) in entries.iter().filter(|(path, _)| matches!(path, BundlePath::Artifact { .. })) {
        let (_, place) = targets.place(path)?;
        let staged = staging.path(Area::Home, &entry.sha256);
        let opened = Opened::new(ArtifactFile::open(if staged.exists() { &staged } else { &place })?)?;
        let digests = opened.digests()?;
        opened.check_content(&digests)?;
        opened.receipt.check(key, &opened.lineage(&digests))?;
        for need in Need::of(&opened).into_iter().filter(|need| !need.repo.starts_with("kolm/")) {
            for file in &need.files {
                let (repo, revision) = (need.repo.clone(), need.revision.clone());
                let wanted = BundlePath::Model { repo, revision, file: file.path.clone() };
                let listed = |(path, entry): &(BundlePath, &Entry)| *path == wanted && entry.sha256 == file.sha256;
                if !entries.iter().any(listed) {
                    let (field, found) = ("files", format!("without {wanted} (sha256:{})", file.sha256));
                    let expected = "every file that its artifacts load";
                    return Err(BundleError::Index { field, found, expected }.into());
                }
            }
        }
        let manifest = &opened.manifest;
        let installed = Installed {
            cid: manifest.cid.clone(),
            name: manifest.name.clone(),
            sha256: entry.sha256.clone(),
            version: manifest.version.clone(),
        };
        artifacts.push((place, installed));
    }
    Ok(artifacts)
}

/// One audit entry for each artifact; one for a bundle without any.
fn record(
    log: &AuditLog<'_>,
    bundle: &Bundle,
    artifacts: &[(PathBuf, Installed)],
    time: Timestamp,
    outcome: &str,
) -> Result<(), CompileError> {
    let event = |cid: Option<String>, what: &str| Event {
        time,
        action: "import".to_owned(),
        cid,
        outcome: outcome.to_owned(),
        detail: format!("{what}bundle {}", bundle.id),
    };
    if artifacts.is_empty() {
        log.append(&event(None, ""))?;
    }
    for (_, artifact) in artifacts {
        log.append(&event(Some(artifact.cid.clone()), &format!("{}-{} ", artifact.name, artifact.version)))?;
    }
    Ok(())
}

fn receipt_place(kolm_home: &Path, receipt: &InstallReceipt) -> PathBuf {
    let time = receipt.time.to_string().replace([':', '-'], "");
    super::receipts::folder(kolm_home).join(format!("{time}-{}.json", &receipt.bundle[..16]))
}
