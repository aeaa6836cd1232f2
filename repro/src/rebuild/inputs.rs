//! Are the inputs the recorded ones? Every file by its SHA-256, and every difference named, not only the first.
//!
//! Corpus files are known by their digests, so their names and their order on the command line do not matter.

use std::path::{Path, PathBuf};

use kolm_runtime::artifact::{CorpusRole, FileIdentity, Plan};
use kolm_runtime::model::{ADAPTER_MODEL, HubCache, ModelError, ModelSource};

use super::Request;
use super::error::{Input, RebuildError};

/// Where base and encoder are looked for: the named place, then this binary, then the cache.
#[derive(Debug, Clone)]
pub struct Models {
    /// Folder, or embedded name, of the base.
    pub base: Option<PathBuf>,
    /// Folder, or embedded name, of the encoder.
    pub encoder: Option<PathBuf>,
    /// Root of the Hugging Face cache.
    pub cache: PathBuf,
}

/// Inputs that are the recorded ones.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) base: ModelSource,
    pub(super) encoder: Option<ModelSource>,
    pub(super) train: Vec<PathBuf>,
    pub(super) eval: Vec<PathBuf>,
}

/// Compares every input with the plan.
///
/// # Errors
/// [`RebuildError::Inputs`] with every difference; [`RebuildError::Model`] when a model or file is not there at all.
pub(super) fn check(request: &Request, plan: &Plan) -> Result<Found, RebuildError> {
    let mut wrong = Vec::new();
    let recorded = &plan.base;
    let base =
        locate("base", request.models.base.as_deref(), &request.models.cache, &recorded.repo, &recorded.revision)?;
    files("base", &base.identities()?, &recorded.files, &mut wrong);
    let encoder = match &plan.recall {
        None => None,
        Some(recall) => {
            let recorded = &recall.encoder;
            let named = request.models.encoder.as_deref();
            let encoder = locate("encoder", named, &request.models.cache, &recorded.repo, &recorded.revision)?;
            files("encoder", &encoder.identities()?, &recorded.files, &mut wrong);
            Some(encoder.recorded_as(&recorded.repo, &recorded.revision))
        }
    };
    init_adapter(request, plan, &mut wrong)?;
    let (train, eval) = corpus(&request.corpus, plan, &mut wrong)?;
    if !wrong.is_empty() {
        return Err(RebuildError::Inputs(wrong));
    }
    Ok(Found { base: base.recorded_as(&recorded.repo, &recorded.revision), encoder, train, eval })
}

fn locate(
    role: &'static str,
    named: Option<&Path>,
    cache: &Path,
    repo: &str,
    revision: &str,
) -> Result<ModelSource, RebuildError> {
    if let Some(folder) = named {
        return Ok(match folder.to_str().filter(|name| name.starts_with("kolm/") && !folder.exists()) {
            Some(name) => ModelSource::embedded(name)?,
            None => ModelSource::folder(folder)?,
        });
    }
    match ModelSource::embedded(repo) {
        Err(ModelError::NotEmbedded { .. }) if repo.starts_with("local/") => {
            Err(RebuildError::FolderNotNamed { role, repo: repo.to_owned() })
        }
        Err(ModelError::NotEmbedded { .. }) => Ok(ModelSource::cached(&HubCache::new(cache), repo, revision)?),
        embedded => Ok(embedded?),
    }
}

/// Compares the files of a model; both lists are sorted by path.
fn files(role: &'static str, found: &[FileIdentity], recorded: &[FileIdentity], wrong: &mut Vec<Input>) {
    let of =
        |list: &[FileIdentity], path: &str| list.iter().find(|file| file.path == path).map(|file| file.sha256.clone());
    let codes = match role {
        "base" => ["base_file_missing", "base_file_extra", "base_file_differs"],
        _ => ["encoder_file_missing", "encoder_file_extra", "encoder_file_differs"],
    };
    let mut paths: Vec<&str> = found.iter().chain(recorded).map(|file| file.path.as_str()).collect();
    paths.sort_unstable();
    paths.dedup();
    for path in paths {
        let (found, recorded) = (of(found, path), of(recorded, path));
        if found == recorded {
            continue;
        }
        let code = match (&found, &recorded) {
            (None, _) => codes[0],
            (_, None) => codes[1],
            _ => codes[2],
        };
        wrong.push(Input { code, input: format!("{role} {path}"), found, recorded });
    }
}

fn init_adapter(request: &Request, plan: &Plan, wrong: &mut Vec<Input>) -> Result<(), RebuildError> {
    let found = match &request.init_adapter {
        None => None,
        Some(folder) => Some(FileIdentity::of_file(ADAPTER_MODEL, &folder.join(ADAPTER_MODEL))?.sha256),
    };
    let recorded = plan.adapter.init_sha256.clone();
    let code = match (&found, &recorded) {
        _ if found == recorded => return Ok(()),
        (None, _) => "init_adapter_missing",
        (_, None) => "init_adapter_extra",
        _ => "init_adapter_differs",
    };
    wrong.push(Input { code, input: format!("starting adapter {ADAPTER_MODEL}"), found, recorded });
    Ok(())
}

/// Puts the given files in the recorded order; what is left over on either side is named, pair by pair.
fn corpus(
    given: &[PathBuf],
    plan: &Plan,
    wrong: &mut Vec<Input>,
) -> Result<(Vec<PathBuf>, Vec<PathBuf>), RebuildError> {
    let mut left: Vec<(&PathBuf, FileIdentity)> = given
        .iter()
        .map(|path| Ok((path, FileIdentity::of_file(&path.display().to_string(), path)?)))
        .collect::<Result<_, ModelError>>()?;
    let (mut train, mut eval, mut missing) = (Vec::new(), Vec::new(), Vec::new());
    for recorded in &plan.corpus.files {
        let place = left.iter().position(|(_, found)| found.sha256 == recorded.sha256 && found.size == recorded.size);
        match place {
            None => missing.push(recorded),
            Some(place) => {
                let path = left.remove(place).0.clone();
                match recorded.role {
                    CorpusRole::Train => train.push(path),
                    CorpusRole::Eval => eval.push(path),
                }
            }
        }
    }
    let mut left = left.into_iter();
    for recorded in missing {
        let role = match recorded.role {
            CorpusRole::Train => "train",
            CorpusRole::Eval => "eval",
        };
        let found = left.next().map(|(_, found)| found);
        let (code, input) = match &found {
            Some(found) => ("corpus_file_differs", format!("{} for the {role} file", found.path)),
            None => ("corpus_file_missing", format!("{role} file of {} rows", recorded.rows)),
        };
        let found = found.map(|found| found.sha256);
        wrong.push(Input { code, input, found, recorded: Some(recorded.sha256.clone()) });
    }
    for (_, found) in left {
        wrong.push(Input { code: "corpus_file_extra", input: found.path, found: Some(found.sha256), recorded: None });
    }
    Ok((train, eval))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, content: &[u8]) -> FileIdentity {
        FileIdentity::of_bytes(path, content)
    }

    #[test]
    fn every_difference_of_a_model_is_named() {
        let recorded = [file("a", b"1"), file("b", b"2"), file("c", b"3")];
        let mut wrong = Vec::new();
        files("base", &recorded, &recorded, &mut wrong);
        assert_eq!(wrong, []);
        files("base", &[file("a", b"x"), file("c", b"3"), file("d", b"4")], &recorded, &mut wrong);
        let named: Vec<(&str, &str)> = wrong.iter().map(|input| (input.code, input.input.as_str())).collect();
        let expected =
            [("base_file_differs", "base a"), ("base_file_missing", "base b"), ("base_file_extra", "base d")];
        assert_eq!(named, expected);
        assert_eq!(wrong[0].found.as_deref(), Some(file("a", b"x").sha256.as_str()));
        assert_eq!(wrong[0].recorded.as_deref(), Some(file("a", b"1").sha256.as_str()));
    }
}
