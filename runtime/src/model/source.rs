//! A model that has been located: embedded in this binary, a local folder, or a snapshot in the Hugging Face cache.
//!
//! Holds the list of the files that this program would load, and nothing else of the folder: what is not listed decides no
//! byte. This is the only place of `model` that opens files.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rayon::prelude::*;

use super::error::ModelError;
use super::gguf::{GgufFile, GgufModel};
use super::hub::HubCache;
use super::identity::FileIdentity;
use super::limits;
use super::safetensors::TensorFile;

/// A located model: its name, its revision, and its files.
#[derive(Debug)]
pub struct ModelSource {
    repo: String,
    revision: String,
    files: BTreeMap<String, Content>,
    identities: OnceLock<Vec<FileIdentity>>,
}

#[derive(Clone, Debug)]
enum Content {
    Bytes(Cow<'static, [u8]>),
    Path(PathBuf),
}

impl ModelSource {
    /// A model inside this binary: `kolm/nano` or `kolm/nano-encoder`.
    ///
    /// # Errors
    /// [`ModelError::NotEmbedded`].
    pub fn embedded(name: &str) -> Result<Self, ModelError> {
        let files = super::embedded_files(name).ok_or_else(|| ModelError::NotEmbedded { name: name.to_owned() })?;
        let files: Vec<_> = files.iter().map(|(path, bytes)| ((*path).to_owned(), Cow::Borrowed(*bytes))).collect();
        Self::from_bytes(name, files)
    }

    /// A model whose files lie in memory; the revision is taken from their content.
    ///
    /// # Errors
    /// [`ModelError::FileMissing`] without config.json, and what the shard index may bring.
    pub fn from_bytes(repo: &str, files: Vec<(String, Cow<'static, [u8]>)>) -> Result<Self, ModelError> {
        let files = files.into_iter().map(|(path, bytes)| (path, Content::Bytes(bytes))).collect();
        Self::named_by_content(repo, files)
    }

    /// A model in a local folder: `local/FOLDERNAME`, and a revision taken from the content of its files.
    ///
    /// `path` may also be one GGUF file in a folder; then no other weights of that folder count.
    ///
    /// # Errors
    /// [`ModelError::FileMissing`], [`ModelError::ShardMissing`], [`ModelError::GgufSeveral`], [`ModelError::Unreadable`].
    pub fn folder(path: &Path) -> Result<Self, ModelError> {
        let unreadable = |source| ModelError::Unreadable { path: path.to_owned(), source };
        let canonical = fs::canonicalize(path).map_err(unreadable)?;
        let name = canonical.file_name().map_or_else(|| "root".into(), |name| name.to_string_lossy());
        let mut files = files_in(path);
        if let (true, Some(folder)) = (canonical.is_file() && is_gguf(&name), canonical.parent()) {
            files = files_in(folder);
            files.retain(|file, _| LOADED.contains(&file.as_str()) || *file == name);
        }
        Self::named_by_content(&format!("local/{name}"), files)
    }

    /// Whether a folder holds a model: config.json, or a GGUF file.
    pub fn is_model(folder: &Path) -> bool {
        files_in(folder).keys().any(|file| file == CONFIG || is_gguf(file))
    }

    /// A snapshot in the Hugging Face cache; a branch is resolved to its commit.
    ///
    /// # Errors
    /// Those of [`HubCache::resolve`] and [`ModelSource::folder`].
    pub fn cached(cache: &HubCache, repo: &str, revision: &str) -> Result<Self, ModelError> {
        let (folder, commit) = cache.snapshot(repo, revision)?;
        Self::complete(repo, commit, files_in(&folder))
    }

    /// The same files under the name that an artifact records for them: where they lie decides nothing. The caller has compared the
    /// identities.
    #[must_use]
    pub fn recorded_as(mut self, repo: &str, revision: &str) -> Self {
        self.repo = repo.to_owned();
        self.revision = revision.to_owned();
        self
    }

    fn named_by_content(repo: &str, files: BTreeMap<String, Content>) -> Result<Self, ModelError> {
        let mut source = Self::complete(repo, String::new(), files)?;
        source.revision = FileIdentity::revision_of(&source.identities()?);
        Ok(source)
    }

    // Keeps what this program loads, and sees that the shards an index names are there.
    fn complete(repo: &str, revision: String, mut files: BTreeMap<String, Content>) -> Result<Self, ModelError> {
        let shards = match files.get(SHARD_INDEX) {
            Some(_) => Some(shards_of(&Self::unchecked(repo, &files).read(SHARD_INDEX)?)?),
            None => None,
        };
        if let Some(shards) = &shards {
            for (shard, tensor) in shards {
                if !files.contains_key(shard) {
                    let (model, shard, tensor) = (repo.to_owned(), shard.clone(), tensor.clone());
                    return Err(ModelError::ShardMissing { model, shard, tensor });
                }
            }
        }
        let gguf = gguf_of(repo, &files)?;
        files.retain(|path, _| {
            LOADED.contains(&path.as_str())
                || match &shards {
                    Some(shards) => path == SHARD_INDEX || shards.contains_key(path),
                    None => path == gguf.as_deref().unwrap_or(SINGLE_FILE),
                }
        });
        let source = Self { revision, ..Self::unchecked(repo, &files) };
        if gguf.is_none() {
            source.content(CONFIG)?;
        }
        if shards.is_none() && gguf.is_none() {
            source.content(SINGLE_FILE)?;
        }
        Ok(source)
    }

    fn unchecked(repo: &str, files: &BTreeMap<String, Content>) -> Self {
        Self { repo: repo.to_owned(), revision: String::new(), files: files.clone(), identities: OnceLock::new() }
    }

    /// `ORG/NAME`, `local/FOLDERNAME`, or the embedded model's name.
    pub fn repo(&self) -> &str {
        &self.repo
    }

    /// The pinned revision, 40 hex digits.
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// Identities of the files this program loads, sorted by path. Reads and hashes every file at the first call.
    ///
    /// # Errors
    /// [`ModelError::Unreadable`].
    pub fn identities(&self) -> Result<Vec<FileIdentity>, ModelError> {
        if let Some(known) = self.identities.get() {
            return Ok(known.clone());
        }
        let files: Vec<(&String, &Content)> = self.files.iter().collect();
        let identify = |(path, content): &(&String, &Content)| match content {
            Content::Bytes(bytes) => Ok(FileIdentity::of_bytes(path, bytes)),
            Content::Path(file) => FileIdentity::of_file(path, file),
        };
        let identities: Vec<FileIdentity> = files.par_iter().map(identify).collect::<Result<_, _>>()?;
        Ok(self.identities.get_or_init(|| identities).clone())
    }

    /// Whether a repository's file of this path is one this program may load: what a fetch has to bring.
    pub fn loads(path: &str) -> bool {
        LOADED.contains(&path) || path == SHARD_INDEX || (path.ends_with(".safetensors") && !path.contains('/'))
    }

    /// Whether the model has this file.
    pub fn has(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }

    /// Paths of the files this program loads, sorted.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// Content of a small file (not weights).
    ///
    /// # Errors
    /// [`ModelError::FileMissing`], [`ModelError::FileTooLong`], [`ModelError::Unreadable`].
    pub fn read(&self, path: &str) -> Result<Cow<'_, [u8]>, ModelError> {
        let limit = match path {
            TOKENIZER => limits::TOKENIZER_LEN_BYTES,
            TOKENIZER_CONFIG => limits::TOKENIZER_CONFIG_LEN_BYTES,
            SHARD_INDEX => limits::SHARD_INDEX_LEN_BYTES,
            _ => limits::CONFIG_LEN_BYTES,
        };
        let too_long = |found| ModelError::FileTooLong { file: path.to_owned(), found, limit };
        match self.content(path)? {
            Content::Bytes(bytes) if bytes.len() as u64 > limit => Err(too_long(bytes.len() as u64)),
            Content::Bytes(bytes) => Ok(Cow::Borrowed(bytes)),
            Content::Path(file) => {
                let unreadable = |source| ModelError::Unreadable { path: file.clone(), source };
                let mut bytes = Vec::new();
                let reader = fs::File::open(file).map_err(unreadable)?;
                reader.take(limit + 1).read_to_end(&mut bytes).map_err(unreadable)?;
                if bytes.len() as u64 > limit {
                    return Err(too_long(bytes.len() as u64));
                }
                Ok(Cow::Owned(bytes))
            }
        }
    }

    /// Opens a weights file.
    ///
    /// # Errors
    /// [`ModelError::FileMissing`] and those of [`TensorFile::open`].
    pub fn open_tensors(&self, path: &str) -> Result<TensorFile, ModelError> {
        match self.content(path)? {
            Content::Bytes(bytes) => TensorFile::from_bytes(path, bytes.clone()),
            Content::Path(file) => TensorFile::open(path, file),
        }
    }

    /// The GGUF file that holds the weights; none where they are safetensors.
    ///
    /// # Errors
    /// The GGUF, header and tensor variants of [`ModelError`].
    pub(super) fn gguf(&self) -> Result<Option<GgufModel>, ModelError> {
        let Some((name, content)) = self.files.iter().find(|(name, _)| is_gguf(name)) else { return Ok(None) };
        let file = match content {
            Content::Bytes(bytes) => GgufFile::from_bytes(name, bytes.clone())?,
            Content::Path(path) => GgufFile::open(name, path)?,
        };
        GgufModel::new(file, self.has(CONFIG)).map(Some)
    }

    fn content(&self, path: &str) -> Result<&Content, ModelError> {
        let missing = || ModelError::FileMissing { model: self.repo.clone(), file: path.to_owned() };
        self.files.get(path).ok_or_else(missing)
    }
}

/// Shard files of an index, each with one tensor that should be in it.
pub(super) fn shards_of(index: &[u8]) -> Result<BTreeMap<String, String>, ModelError> {
    let mut shards = BTreeMap::new();
    for (tensor, shard) in weight_map_of(index)? {
        shards.entry(shard).or_insert(tensor);
    }
    if shards.len() > limits::SHARD_COUNT {
        let detail = format!("{} shards, expected at most {}", shards.len(), limits::SHARD_COUNT);
        return Err(ModelError::ShardIndex { file: SHARD_INDEX.to_owned(), detail });
    }
    Ok(shards)
}

/// Tensor to shard file, as an index gives it.
pub(super) fn weight_map_of(index: &[u8]) -> Result<BTreeMap<String, String>, ModelError> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let wrong = |detail: String| ModelError::ShardIndex { file: SHARD_INDEX.to_owned(), detail };
    let index: Index = serde_json::from_slice(index).map_err(|error| wrong(error.to_string()))?;
    if index.weight_map.is_empty() {
        return Err(wrong("it lists no tensor".to_owned()));
    }
    for shard in index.weight_map.values().collect::<BTreeSet<_>>() {
        let sound = shard.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
        if !sound || shard.starts_with('.') || !shard.ends_with(".safetensors") {
            let expected = "FILE.safetensors in the same folder";
            return Err(ModelError::BadName { kind: "shard", found: shard.clone(), expected });
        }
    }
    Ok(index.weight_map)
}

fn is_gguf(file: &str) -> bool {
    file.ends_with(".gguf") && !file.contains('/')
}

// Safetensors come first: a folder that has them is what it always was.
fn gguf_of(repo: &str, files: &BTreeMap<String, Content>) -> Result<Option<String>, ModelError> {
    if files.contains_key(SINGLE_FILE) || files.contains_key(SHARD_INDEX) {
        return Ok(None);
    }
    let mut found: Vec<String> = files.keys().filter(|file| is_gguf(file)).cloned().collect();
    match found.len() {
        0 | 1 => Ok(found.pop()),
        _ => Err(ModelError::GgufSeveral { model: repo.to_owned(), found }),
    }
}

fn files_in(folder: &Path) -> BTreeMap<String, Content> {
    let mut files = BTreeMap::new();
    let mut add = |name: String, path: PathBuf| {
        // Follows the cache's links to its blobs; a dangling link is an absent file.
        if path.is_file() {
            files.insert(name, Content::Path(path));
        }
    };
    for name in LOADED {
        add((*name).to_owned(), folder.join(name));
    }
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if let Ok(name) = entry.file_name().into_string()
            && (name.ends_with(".safetensors") || name == SHARD_INDEX || is_gguf(&name))
        {
            add(name, entry.path());
        }
    }
    files
}

pub(super) const CONFIG: &str = "config.json";
pub(super) const TOKENIZER: &str = "tokenizer.json";
pub(super) const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
pub(super) const GENERATION_CONFIG: &str = "generation_config.json";
pub(super) const CHAT_TEMPLATE: &str = "chat_template.jinja";
pub(super) const POOLING: &str = "1_Pooling/config.json";
pub(super) const SENTENCE_CONFIG: &str = "sentence_bert_config.json";
pub(super) const SINGLE_FILE: &str = "model.safetensors";
pub(super) const SHARD_INDEX: &str = "model.safetensors.index.json";

// Besides the weights.
const LOADED: &[&str] =
    &[CONFIG, TOKENIZER, TOKENIZER_CONFIG, GENERATION_CONFIG, CHAT_TEMPLATE, POOLING, SENTENCE_CONFIG];
