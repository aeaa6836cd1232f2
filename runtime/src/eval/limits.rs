//! Limits on what an eval pack and a replay file may claim; everything read from outside is compared with one of these.

/// Largest `eval/pack.jsonl` or `eval/replay.jsonl`: a pack is read whole, and this keeps that below a phone's memory.
pub const MEMBER_LEN_BYTES: usize = 256 << 20;
/// Longest line: a rendered prompt of some 250 000 words, far past any context this runtime serves.
pub const LINE_LEN_BYTES: usize = 2 << 20;
/// Most cases: 65 536 at one second each replay in 18 hours, which is already more than a gate can wait for.
pub const CASE_COUNT: usize = 1 << 16;
/// Longest case id.
pub const ID_LEN_BYTES: usize = 256;
/// Longest expected answer: keeps the quadratic `rouge_l` below 10^9 cells for an answer of 4 096 tokens.
pub const EXPECTED_LEN_BYTES: usize = 256 << 10;
/// Most labels: label scoring costs one short forward pass each.
pub const LABEL_COUNT: usize = 4096;
/// Longest label.
pub const LABEL_LEN_BYTES: usize = 1024;
/// Heaviest case: with [`CASE_COUNT`] it keeps every sum of the K-score exact in 128 bits.
pub const WEIGHT: u64 = 1_000_000;
/// Most tokens generated for one answer.
pub const NEW_TOKEN_COUNT: u32 = 4096;

/// Key and value bytes that all threads together may hold; each has an equal share, and no more of it than the limits of one group below.
pub const CACHES_LEN_BYTES: usize = 512 << 20;
/// Key and value bytes that the labels of one group of cases may hold on each level of their tree; one label may need more by itself.
pub const LABEL_CACHE_LEN_BYTES: usize = 32 << 20;
/// Most places in label trees computed at once: what a pass over the weights costs is then spread thin; twice as many gain no time.
pub const LABEL_NODES: usize = 64;
/// Key and value bytes that the prompts of one group of label cases may hold.
pub const PROMPT_CACHE_LEN_BYTES: usize = 128 << 20;
/// Label cases answered together.
pub const LABEL_GROUP: usize = 16;
/// Key and value bytes one group of generated answers may hold.
pub const GENERATION_CACHE_LEN_BYTES: usize = 256 << 20;
/// Answers decoded in lockstep: one pass over the weights serves all of them.
pub const GENERATION_GROUP: usize = 8;
/// Tokens of prompts that go through the model in one pass, where a prompt has not more by itself: bounds memory.
pub const PREFILL_TOKENS: usize = 256;
/// Fewest tokens that several prompts have to begin with to be computed once for all of them: a pass of its own costs more below.
pub const SHARED_TOKENS: usize = 8;
/// Bytes of logits alive at once while a group of cases is answered.
pub const LOGITS_LEN_BYTES: usize = 16 << 20;
