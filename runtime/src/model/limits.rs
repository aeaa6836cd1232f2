//! The largest counts and lengths this module accepts from outside, each with its reason.

/// Bytes of a safetensors header: the format's own reader refuses more.
pub const HEADER_LEN_BYTES: u64 = 100_000_000;
/// Tensors in one safetensors file: far above any sharded model, and bounds the header's map.
pub const TENSOR_COUNT: usize = 200_000;
/// Dimensions of one tensor: no model here has more than two.
pub const TENSOR_DIMENSION_COUNT: usize = 8;
/// Bytes of a tensor name: names are paths of modules, a hundred letters long.
pub const TENSOR_NAME_LEN_BYTES: usize = 1024;
/// Bytes of config.json, generation_config.json, a pooling config or an adapter config: real ones hold a few kilobytes.
pub const CONFIG_LEN_BYTES: u64 = 4 << 20;
/// Bytes of tokenizer_config.json: those with thousands of added tokens reach a few megabytes.
pub const TOKENIZER_CONFIG_LEN_BYTES: u64 = 32 << 20;
/// Bytes of tokenizer.json: the largest known (262 144 entries) has 33 MB.
pub const TOKENIZER_LEN_BYTES: u64 = 256 << 20;
/// Bytes of model.safetensors.index.json: one line a tensor.
pub const SHARD_INDEX_LEN_BYTES: u64 = 64 << 20;
/// Bytes of a prompt template: the longest published chat template has about 20 KB.
pub const TEMPLATE_LEN_BYTES: usize = 1 << 20;
/// Width of the hidden states.
pub const HIDDEN_SIZE: usize = 1 << 16;
/// Width of the feed-forward layer.
pub const INTERMEDIATE_SIZE: usize = 1 << 20;
/// Transformer blocks.
pub const LAYER_COUNT: usize = 1024;
/// Attention heads.
pub const HEAD_COUNT: usize = 1024;
/// Width of one head.
pub const HEAD_SIZE: usize = 1024;
/// Entries of the vocabulary: the largest known has 262 144.
pub const VOCABULARY_SIZE: usize = 1 << 21;
/// Positions of one sequence. A base that declares more is used up to here: the RoPE table of this many positions takes
/// 16 MiB at head size 128, and one product over them stays within a machine's memory.
pub const POSITION_COUNT: usize = 32_768;
/// LoRA rank: above this an adapter is no longer low-rank for any model accepted here.
pub const ADAPTER_RANK: usize = 4096;
/// Rows of one encoder pass: texts are embedded in groups of about this many tokens, which keeps a pass near the caches, bounds memory
/// and never shows in a result.
pub const ENCODER_ROW_COUNT: usize = 512;
/// Shards of one model: the largest published ones have about 200.
pub const SHARD_COUNT: usize = 4096;
/// Bytes of everything before the tensors of a GGUF file: the largest vocabularies with their merges take about 20 MB.
pub const GGUF_HEADER_LEN_BYTES: u64 = 256 << 20;
/// Metadata keys of a GGUF file: real ones have about fifty.
pub const GGUF_KEY_COUNT: usize = 4096;
/// Elements of one metadata array: tokens and merges, each about as many as the vocabulary has entries.
pub const GGUF_ARRAY_LEN: usize = 1 << 22;
/// Bytes of one token or merge of a GGUF file: the longest known tokens are runs of blanks of a few hundred bytes.
pub const GGUF_TOKEN_LEN_BYTES: usize = 1 << 16;
/// Dimensions of one GGUF tensor: the format's own limit.
pub const GGUF_DIMENSION_COUNT: u32 = 4;
/// Alignment of GGUF tensors: 32 by default; a page is the most that any writer uses.
pub const GGUF_ALIGNMENT_BYTES: u64 = 1 << 16;
