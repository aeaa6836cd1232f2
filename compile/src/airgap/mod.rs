//! The air gap as a workflow: what an artifact needs, whether it is here, bringing it, packing it, and taking it in.
//!
//! `needs` lists what an artifact loads besides itself, `preflight` proves that it is here, `prime` fetches it. `export` packs a bundle
//! (runtime's SPEC-bundle.md), `import` takes one in: `staging` holds what was read until all of it is whole, `publish` gives it its place,
//! `receipts` lists what was done. Only `prime` goes out, and only with a permit from [`crate::network`].

pub mod export;
pub mod import;
pub mod needs;
pub mod preflight;
pub mod prime;
mod publish;
pub mod receipts;
mod staging;
mod verifier;

use std::path::{Path, PathBuf};

use kolm_runtime::verify::ModelPlaces;

use needs::Need;

/// Where an import puts a model that was a local folder: no cache has a place for one.
pub fn local_folder(kolm_home: &Path, repo: &str, revision: &str) -> PathBuf {
    kolm_home.join("models").join(repo.replace('/', "--")).join(revision)
}

/// The places with the folder that an import left for this model, where nothing else was named.
pub fn imported_places(need: &Need, places: &ModelPlaces, kolm_home: &Path) -> ModelPlaces {
    let mut places = places.clone();
    let folder = local_folder(kolm_home, &need.repo, &need.revision);
    let named = if need.role == "base" { &mut places.base } else { &mut places.encoder };
    if named.is_none() && need.repo.starts_with("local/") && folder.is_dir() {
        *named = Some(folder);
    }
    places
}

/// Makes `~/.kolm` if it is not there, for nobody else to read.
///
/// # Errors
/// What the system said.
pub fn make_kolm_home(folder: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}
