//! Packing a bundle: artifacts, the files they load, and the verifier, as runtime's SPEC-bundle.md says.
//!
//! Every artifact is checked first, but for the replay, and every byte is hashed once more while it is written: a bundle holds only what
//! was proved here. What the binary carries itself is left out. index.mac is written last, so that an unfinished bundle is none.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use kolm_runtime::artifact::{ArtifactError, ArtifactFile, FileIdentity, Opened, OperatorKey, Staged, hex};
use kolm_runtime::bundle::{Bundle, BundleError, BundlePath, INDEX, INDEX_MAC, Index, PartWriter, seal};
use kolm_runtime::verify::ModelPlaces;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::imported_places;
use super::needs::{Need, Place};
use super::preflight::{self, Depth};
use super::verifier;
use crate::pipeline::CompileError;

/// What to pack, and how.
#[derive(Debug)]
pub struct Export<'a> {
    /// The artifacts.
    pub artifacts: &'a [PathBuf],
    /// Folder that receives the bundle; it holds no other.
    pub to: &'a Path,
    /// Length of every part but the last.
    pub part_size: u64,
    /// Folder of an earlier bundle; its index is enough.
    pub since: Option<&'a Path>,
    /// The static verifier.
    pub verifier: Option<&'a Path>,
    /// Where the models are looked for.
    pub places: &'a ModelPlaces,
    /// `~/.kolm`.
    pub kolm_home: &'a Path,
}

/// What was packed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// Id of the bundle.
    pub bundle: String,
    /// Id of the bundle it adds to.
    pub since: Option<String>,
    /// CIDs of its artifacts, with their file names.
    pub artifacts: Vec<(String, String)>,
    /// Files it lists.
    pub files: usize,
    /// Of those, files that the earlier bundle holds.
    pub left_out: usize,
    /// Names of its parts.
    pub parts: Vec<String>,
    /// Bytes of the parts together.
    pub size: u64,
}

/// A file to pack.
#[derive(Debug)]
struct Source {
    path: BundlePath,
    sha256: String,
    size: u64,
    place: PathBuf,
}

/// Packs a bundle; `record` is called with the CIDs and the bundle's id before the bundle counts.
///
/// # Errors
/// [`CompileError::Artifact`] for an artifact that does not hold or lacks a file, [`CompileError::Bundle`], [`CompileError::Value`] where `to`
/// holds a bundle already, [`CompileError::Io`].
pub fn export(
    export: &Export<'_>,
    key: &OperatorKey,
    record: &mut dyn FnMut(&Exported) -> Result<(), CompileError>,
) -> Result<Exported, CompileError> {
    let since = export.since.map(|folder| Bundle::open(folder, key)).transpose()?;
    let (artifacts, sources) = sources(export, key)?;
    free_folder(export.to)?;
    let files = sources.iter().map(|source| (source.path.clone(), source.sha256.clone(), source.size)).collect();
    let since = since.as_ref().map(|bundle| (bundle.id.as_str(), &bundle.index));
    let mut index = Index::plan(files, export.part_size, since)?;
    let written = write_parts(export, &mut index, &sources).and_then(|()| {
        let bytes = index.to_bytes()?;
        let exported = Exported {
            bundle: Index::id(&bytes),
            since: index.since.clone(),
            artifacts,
            files: index.files.len(),
            left_out: index.files.iter().filter(|entry| entry.offset.is_none()).count(),
            parts: index.parts.iter().map(|part| part.name.clone()).collect(),
            size: index.stream_len_bytes(),
        };
        Staged::write(&export.to.join(INDEX), &bytes)?.commit()?;
        let vouched = Staged::write(&export.to.join(INDEX_MAC), seal(&bytes, key).as_bytes())?;
        record(&exported)?;
        vouched.commit()?;
        Ok(exported)
    });
    if written.is_err() {
        // Whatever stays would keep the folder from being used again, and could be taken for a bundle.
        for place in bundle_files(export.to) {
            let _ = fs::remove_file(place);
        }
    }
    written
}

/// Everything to pack, each path once, and the artifacts' CIDs with their file names.
fn sources(export: &Export<'_>, key: &OperatorKey) -> Result<(Vec<(String, String)>, Vec<Source>), CompileError> {
    let mut artifacts = Vec::new();
    let mut sources: BTreeMap<String, Source> = BTreeMap::new();
    let mut add = |source: Source| match sources.get(&source.path.to_string()) {
        Some(other) if other.sha256 != source.sha256 => {
            let found = source.path.to_string();
            Err(BundleError::Path { found, reason: "two different files would have this path" })
        }
        _ => {
            sources.insert(source.path.to_string(), source);
            Ok(())
        }
    };
    for path in export.artifacts {
        let opened = Opened::new(ArtifactFile::open(path)?)?;
        let digests = opened.digests()?;
        opened.check_content(&digests)?;
        opened.receipt.check(key, &opened.lineage(&digests))?;
        let manifest = &opened.manifest;
        let file = format!("{}-{}.kolm", manifest.name, manifest.version);
        artifacts.push((manifest.cid.clone(), file.clone()));
        add(hashed(BundlePath::Artifact { file }, path)?)?;
        for need in Need::of(&opened) {
            let places = imported_places(&need, export.places, export.kolm_home);
            for file in here(&need, &places)? {
                let FileIdentity { path, size, sha256 } = file.0;
                let (repo, revision) = (need.repo.clone(), need.revision.clone());
                add(Source { path: BundlePath::Model { repo, revision, file: path }, sha256, size, place: file.1 })?;
            }
        }
    }
    if let Some(verifier) = export.verifier {
        verifier::check(verifier)?;
        add(hashed(BundlePath::Verifier, verifier)?)?;
    }
    artifacts.sort();
    artifacts.dedup();
    Ok((artifacts, sources.into_values().collect()))
}

/// Where each file of a model lies; nothing for a model inside the binary.
fn here(need: &Need, places: &ModelPlaces) -> Result<Vec<(FileIdentity, PathBuf)>, CompileError> {
    let absent = |file: Option<&str>| {
        let (role, repo, revision) = (need.role, need.repo.clone(), need.revision.clone());
        match file {
            None => ArtifactError::ModelAbsent { role, repo, revision },
            Some(file) => ArtifactError::ModelFileAbsent { role, repo, revision, file: file.to_owned() },
        }
    };
    let folder = match need.place(places)? {
        Place::Embedded => return Ok(Vec::new()),
        Place::Nowhere => return Err(absent(None).into()),
        Place::Folder(folder) => folder,
    };
    let model = preflight::check(need, places, Depth::Sizes)?;
    if let Some(file) = model.files.iter().find(|file| file.state == preflight::State::Missing) {
        let whole = model.missing() == need.files.len();
        return Err(absent((!whole).then_some(&file.path)).into());
    }
    Ok(need.files.iter().map(|file| (file.clone(), folder.join(&file.path))).collect())
}

fn hashed(path: BundlePath, place: &Path) -> Result<Source, CompileError> {
    let file = FileIdentity::of_file(&path.to_string(), place)?;
    Ok(Source { path, sha256: file.sha256, size: file.size, place: place.to_owned() })
}

fn write_parts(export: &Export<'_>, index: &mut Index, sources: &[Source]) -> Result<(), CompileError> {
    let places: BTreeMap<&str, &Path> =
        sources.iter().map(|source| (source.sha256.as_str(), source.place.as_path())).collect();
    let mut writer = PartWriter::new(export.to, index.part_size);
    let mut buffer = vec![0; 1 << 20];
    for entry in index.contents() {
        let place = places[entry.sha256.as_str()];
        let io = |source| CompileError::Io { action: "read", path: place.to_owned(), source };
        let mut file = File::open(place).map_err(io)?;
        let (mut hasher, mut size) = (Sha256::new(), 0);
        loop {
            let count = file.read(&mut buffer).map_err(io)?;
            if count == 0 {
                break;
            }
            hasher.update(&buffer[..count]);
            size += count as u64;
            writer.write(&buffer[..count])?;
        }
        let found = hex(&hasher.finalize());
        if found != entry.sha256 || size != entry.size {
            let (path, expected) = (place.display().to_string(), entry.sha256.clone());
            return Err(BundleError::FileHash { path, found, expected }.into());
        }
    }
    index.parts = writer.finish()?;
    Ok(())
}

/// Makes the folder; refuses one that holds a bundle or what is left of one.
fn free_folder(folder: &Path) -> Result<(), CompileError> {
    fs::create_dir_all(folder).map_err(|source| CompileError::Io {
        action: "create",
        path: folder.to_owned(),
        source,
    })?;
    match bundle_files(folder).first() {
        None => Ok(()),
        Some(file) => Err(CompileError::Value {
            what: "--to",
            found: format!("a folder with {}", file.display()),
            expected: "a folder without a bundle, or without what an interrupted export left",
        }),
    }
}

fn bundle_files(folder: &Path) -> Vec<PathBuf> {
    let of_bundle = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name == INDEX || name == INDEX_MAC || name == "unfinished.tmp" || name.ends_with(".part")
    };
    let mut found: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).filter(of_bundle).collect();
    found.sort();
    found
}
