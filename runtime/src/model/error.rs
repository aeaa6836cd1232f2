//! Everything that can be wrong with a model, an adapter, a tokenizer or a template.

use std::io;
use std::path::PathBuf;

/// Why a model, adapter, tokenizer or template cannot be used. Each variant has a stable [`code`](ModelError::code).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file that every model of this kind has is absent.
    #[error("{model} has no file {file}")]
    FileMissing {
        /// The model's name.
        model: String,
        /// The absent file.
        file: String,
    },
    /// A file is longer than any real one.
    #[error("{file} has {found} bytes, expected at most {limit}")]
    FileTooLong {
        /// The file.
        file: String,
        /// Its length.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// The binary was built without this embedded model, or none has this name.
    #[error("no embedded model is called {name} in this build")]
    NotEmbedded {
        /// The name asked for.
        name: String,
    },
    /// The repository is not in the Hugging Face cache.
    #[error("{repo} is not in the cache {}", cache.display())]
    RepoNotCached {
        /// The repository.
        repo: String,
        /// The cache folder.
        cache: PathBuf,
    },
    /// The repository is in the cache, this revision is not.
    #[error("{repo} is in the cache without revision {revision}, found: {}", listed(found))]
    RevisionNotCached {
        /// The repository.
        repo: String,
        /// The revision asked for.
        revision: String,
        /// The revisions that are there.
        found: Vec<String>,
    },
    /// A repository name, revision or shard name that could leave its folder, or is no name at all.
    #[error("{kind} {found:?} is not a name, expected {expected}")]
    BadName {
        /// What was named.
        kind: &'static str,
        /// The name found.
        found: String,
        /// The form expected.
        expected: &'static str,
    },
    /// The file ends inside the safetensors header.
    #[error("{file} ends inside its header: {found} bytes, expected at least {expected}")]
    HeaderTruncated {
        /// The file.
        file: String,
        /// Bytes there.
        found: u64,
        /// Bytes announced.
        expected: u64,
    },
    /// The safetensors header is longer than the format allows.
    #[error("{file} announces a header of {found} bytes, expected at most {limit}")]
    HeaderTooLong {
        /// The file.
        file: String,
        /// Bytes announced.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// The safetensors header is not the JSON the format asks for.
    #[error("{file} has a header that is not a table of tensors: {detail}")]
    HeaderMalformed {
        /// The file.
        file: String,
        /// What is wrong.
        detail: String,
    },
    /// The header's offsets overlap, leave a gap, or leave the file.
    #[error(
        "{file} places {tensor} at bytes {begin}..{end}, expected it to begin at {expected_begin} and to end within {len_bytes}"
    )]
    TensorOffsets {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// First byte announced.
        begin: u64,
        /// End announced.
        end: u64,
        /// Where the preceding tensor ends.
        expected_begin: u64,
        /// Bytes of the data area.
        len_bytes: u64,
    },
    /// Bytes follow the last tensor.
    #[error("{file} holds {found} bytes of tensors, expected {expected} by its header")]
    TrailingBytes {
        /// The file.
        file: String,
        /// Bytes of the data area.
        found: u64,
        /// Bytes the header accounts for.
        expected: u64,
    },
    /// A tensor's shape and its byte range disagree.
    #[error("{file} gives {tensor} {found} bytes, expected {expected} for shape {shape:?} of {dtype}")]
    TensorLength {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// Its shape.
        shape: Vec<usize>,
        /// Its element type.
        dtype: &'static str,
        /// Bytes between its offsets.
        found: u64,
        /// Bytes its shape needs; `u64::MAX` when the product does not fit.
        expected: u64,
    },
    /// The header of a GGUF file breaks the format.
    #[error("{file} is not a GGUF file that can be read: {detail}, before byte {offset_bytes}")]
    GgufHeader {
        /// The file.
        file: String,
        /// Where the reader stood.
        offset_bytes: u64,
        /// What is wrong.
        detail: String,
    },
    /// A folder holds several GGUF files and no other weights.
    #[error("{model} holds {} GGUF files ({}), expected one", found.len(), listed(found))]
    GgufSeveral {
        /// The model.
        model: String,
        /// The files.
        found: Vec<String>,
    },
    /// A GGUF file's tokenizer cannot be read from it.
    #[error(
        "{file} holds a tokenizer of kind {found}, expected gpt2 cut as qwen2, llama-bpe or gpt-2, or a tokenizer.json beside the file"
    )]
    GgufTokenizer {
        /// The file.
        file: String,
        /// The kind found.
        found: String,
    },
    /// Rows cannot be cut into whole groups or blocks.
    #[error("{tensor} has rows of {columns} elements, expected a multiple of {group} for {coding}")]
    TensorGroup {
        /// The tensor.
        tensor: String,
        /// Elements of one row.
        columns: usize,
        /// Elements of one group or block.
        group: usize,
        /// The coding.
        coding: &'static str,
    },
    /// A file holds a tensor that belongs to no layer of the architecture.
    #[error("{file} holds tensor {tensor}, expected only those of the architecture {architecture}")]
    TensorUnknown {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// The architecture.
        architecture: &'static str,
    },
    /// A tensor's element type cannot be used here.
    #[error("{tensor} has element type {found}, expected {expected}")]
    TensorDtype {
        /// The tensor.
        tensor: String,
        /// Its type.
        found: String,
        /// What can be used.
        expected: &'static str,
    },
    /// A tensor the model needs is in none of its files.
    #[error("tensor {tensor} is missing from {model}")]
    TensorMissing {
        /// The model or file.
        model: String,
        /// The tensor.
        tensor: String,
    },
    /// A tensor has another shape than config.json gives it.
    #[error("tensor {tensor} has shape {found:?}, expected {expected:?}")]
    TensorShape {
        /// The tensor.
        tensor: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape the configuration asks for.
        expected: Vec<usize>,
    },
    /// A weight is NaN or infinite.
    #[error("tensor {tensor} holds {found} at element {element}, expected finite weights")]
    WeightNotFinite {
        /// The tensor.
        tensor: String,
        /// The first such element.
        element: usize,
        /// Its value.
        found: f32,
    },
    /// The shard index names a file that is not there.
    #[error("shard {shard} is missing from {model} (its index places {tensor} there)")]
    ShardMissing {
        /// The model.
        model: String,
        /// The absent shard.
        shard: String,
        /// A tensor that should be in it.
        tensor: String,
    },
    /// The shard index is not one.
    #[error("{file} is not a shard index: {detail}")]
    ShardIndex {
        /// The file.
        file: String,
        /// What is wrong.
        detail: String,
    },
    /// A JSON file does not parse.
    #[error("{file} is not the JSON expected: {detail}")]
    NotJson {
        /// The file.
        file: String,
        /// What is wrong.
        detail: String,
    },
    /// A key of a configuration has a value that cannot be used.
    #[error("{file}: {key} is {found}, expected {expected}")]
    ConfigValue {
        /// The file.
        file: String,
        /// The key.
        key: &'static str,
        /// The value found.
        found: String,
        /// What can be used.
        expected: String,
    },
    /// The model is of a kind this program does not run.
    #[error("{file}: architecture {found}, expected {expected}")]
    Architecture {
        /// The file.
        file: String,
        /// The architecture or model type found.
        found: String,
        /// Those that run.
        expected: &'static str,
    },
    /// tokenizer.json does not parse, or a text cannot be encoded by it.
    #[error("tokenizer: {detail}")]
    Tokenizer {
        /// What is wrong.
        detail: String,
    },
    /// The tokenizer gives ids that the model has no embedding for.
    #[error(
        "tokenizer does not match the model: its largest id is {found}, expected below the vocabulary of {expected}"
    )]
    TokenizerVocabulary {
        /// Largest id of the tokenizer.
        found: u32,
        /// Rows of the model's embedding.
        expected: usize,
    },
    /// The model's end token is unknown to the tokenizer.
    #[error("tokenizer does not match the model: it has no token of id {id}, which config.json calls {role}")]
    TokenizerSpecial {
        /// The id.
        id: u32,
        /// What the configuration calls it.
        role: &'static str,
    },
    /// A token id outside the vocabulary was given to a model.
    #[error("token id {found}, expected below {vocabulary}")]
    TokenOutside {
        /// The id.
        found: u32,
        /// Rows of the embedding.
        vocabulary: usize,
    },
    /// A sequence is longer than the model or its cache holds.
    #[error("sequence of {found} tokens, expected at most {limit}")]
    SequenceTooLong {
        /// Tokens asked for.
        found: usize,
        /// Tokens that fit.
        limit: usize,
    },
    /// A sequence has no token.
    #[error("sequence of 0 tokens, expected at least 1")]
    SequenceEmpty,
    /// An adapter, a cache or saved activations belong to a model of another shape.
    #[error("{what} has {found} layers, expected {expected}")]
    LayerCount {
        /// What was given.
        what: &'static str,
        /// Its layers.
        found: usize,
        /// The model's.
        expected: usize,
    },
    /// The adapter asks for something of PEFT that this program does not do.
    #[error("adapter uses {feature} = {found}, expected {expected}")]
    AdapterFeature {
        /// The key of adapter_config.json.
        feature: String,
        /// Its value.
        found: String,
        /// What can be used.
        expected: String,
    },
    /// The adapter targets a module this architecture does not have.
    #[error("adapter targets {found}, expected some of {expected}")]
    AdapterTarget {
        /// The target.
        found: String,
        /// Modules that can be adapted.
        expected: String,
    },
    /// The adapter holds a tensor that belongs to none of its targets.
    #[error("adapter holds tensor {tensor}, expected only lora_A and lora_B of its targets")]
    AdapterTensor {
        /// The tensor.
        tensor: String,
    },
    /// A prompt template does not parse or does not render.
    #[error("template line {line}: {detail}")]
    Template {
        /// Line in the template, from 1; 0 where the engine gives none.
        line: usize,
        /// What is wrong.
        detail: String,
    },
}

impl ModelError {
    /// The stable name of this error.
    pub fn code(&self) -> &'static str {
        match self {
            ModelError::Unreadable { .. } => "model_unreadable",
            ModelError::FileMissing { .. } => "model_file_missing",
            ModelError::FileTooLong { .. } => "model_file_too_long",
            ModelError::NotEmbedded { .. } => "model_not_embedded",
            ModelError::RepoNotCached { .. } => "model_repo_not_cached",
            ModelError::RevisionNotCached { .. } => "model_revision_not_cached",
            ModelError::BadName { .. } => "model_bad_name",
            ModelError::HeaderTruncated { .. } => "model_header_truncated",
            ModelError::HeaderTooLong { .. } => "model_header_too_long",
            ModelError::HeaderMalformed { .. } => "model_header_malformed",
            ModelError::TensorOffsets { .. } => "model_tensor_offsets",
            ModelError::TrailingBytes { .. } => "model_trailing_bytes",
            ModelError::TensorLength { .. } => "model_tensor_length",
            ModelError::GgufHeader { .. } => "model_gguf_header",
            ModelError::GgufSeveral { .. } => "model_gguf_several",
            ModelError::GgufTokenizer { .. } => "model_gguf_tokenizer",
            ModelError::TensorGroup { .. } => "model_tensor_group",
            ModelError::TensorUnknown { .. } => "model_tensor_unknown",
            ModelError::TensorDtype { .. } => "model_tensor_dtype",
            ModelError::TensorMissing { .. } => "model_tensor_missing",
            ModelError::TensorShape { .. } => "model_tensor_shape",
            ModelError::WeightNotFinite { .. } => "model_weight_not_finite",
            ModelError::ShardMissing { .. } => "model_shard_missing",
            ModelError::ShardIndex { .. } => "model_shard_index",
            ModelError::NotJson { .. } => "model_not_json",
            ModelError::ConfigValue { .. } => "model_config_value",
            ModelError::Architecture { .. } => "model_architecture",
            ModelError::Tokenizer { .. } => "model_tokenizer",
            ModelError::TokenizerVocabulary { .. } => "model_tokenizer_vocabulary",
            ModelError::TokenizerSpecial { .. } => "model_tokenizer_special",
            ModelError::TokenOutside { .. } => "model_token_outside",
            ModelError::SequenceTooLong { .. } => "model_sequence_too_long",
            ModelError::SequenceEmpty => "model_sequence_empty",
            ModelError::LayerCount { .. } => "model_layer_count",
            ModelError::AdapterFeature { .. } => "model_adapter_feature",
            ModelError::AdapterTarget { .. } => "model_adapter_target",
            ModelError::AdapterTensor { .. } => "model_adapter_tensor",
            ModelError::Template { .. } => "model_template",
        }
    }

    /// True where the model, or a part of it, is simply not there (exit code 4 of the binaries).
    pub fn is_missing_input(&self) -> bool {
        matches!(
            self,
            ModelError::FileMissing { .. }
                | ModelError::NotEmbedded { .. }
                | ModelError::RepoNotCached { .. }
                | ModelError::RevisionNotCached { .. }
                | ModelError::ShardMissing { .. }
                | ModelError::GgufTokenizer { .. }
        )
    }
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
