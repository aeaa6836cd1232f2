//! What training an adapter holds in memory, from shapes and lengths alone.
//!
//! The sums follow the code in `tape`, `gradient` and `engine`: what a block keeps for its backward pass, what that pass holds besides, and
//! how many copies of the adapter a step needs. They leave out what does not grow with the work. `T` tokens of one example, `C` hidden
//! size, `Q` and `KV` widths of queries and keys, `I` feed-forward width, `H` heads, `V` vocabulary. Nothing here decides a bit.

use kolm_runtime::model::{Adapter, Decoder, DecoderConfig, Target};

use super::gradient::head;
use super::settings::Example;

/// Bytes by the type they are kept in, types in alphabetical order.
pub type ByStorage = std::collections::BTreeMap<&'static str, u64>;

/// Copies of the adapter's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdapterMemory {
    /// The adapter that training starts from, as it stands in memory before.
    pub initial: u64,
    /// Parameters, moments and this step's packed factors, besides the initial adapter.
    pub state: u64,
    /// Gradient of one example, or of a sum of examples.
    pub gradient: u64,
}

/// Measures a loaded decoder: weights, which both passes read, embedding, norms, biases and rotary table.
pub fn base_len_bytes(decoder: &Decoder) -> ByStorage {
    let mut memory = ByStorage::new();
    let mut add = |storage, len: usize| *memory.entry(storage).or_insert(0) += len as u64;
    let linears = decoder.blocks.iter().flat_map(|block| Target::ALL.map(|target| block.linear(target)));
    for matrix in linears.clone().map(|linear| &linear.weight).chain([&decoder.head]) {
        add(matrix.storage(), matrix.len_bytes());
    }
    if let Some((storage, len)) = decoder.embedding.storage() {
        add(storage, len);
    }
    let biases: usize = linears.filter_map(|linear| linear.bias.as_ref()).map(Vec::len).sum();
    let norms = (2 * decoder.config.layers + 1) * decoder.config.hidden;
    let tables = decoder.rope.cos.len() + decoder.rope.sin.len();
    add("f32", 4 * (biases + norms + tables));
    memory
}

impl AdapterMemory {
    /// Measures the adapter that training starts from.
    pub fn of(initial: &Adapter) -> Self {
        let pairs = || initial.layers.iter().flat_map(|block| Target::ALL.into_iter().filter_map(|t| block.get(t)));
        let values: usize = pairs().map(|pair| 4 * (pair.raw_a.len() + pair.raw_b.len())).sum();
        let packed: usize = pairs().map(|pair| pair.a.len_bytes() + pair.b.len_bytes()).sum();
        // Parameters, two moments and the tape's leaves; the step's factors as they come and packed.
        let state = 4 * values + values + packed;
        Self { initial: (values + packed) as u64, state: state as u64, gradient: values as u64 }
    }
}

/// Bytes that one example holds in flight: activations of every block, or of one where blocks are computed again, what the backward pass
/// of a block adds, and the loss head's chunk.
pub fn example_len_bytes(config: &DecoderConfig, initial: &Adapter, example: &Example, recompute: bool) -> u64 {
    let tokens = example.tokens.len() - 1;
    let (hidden, queries, keys) = (config.hidden, config.query_width(), config.kv_width());
    let low = initial.config.rank * initial.config.targets.len();
    let kept = kept_per_token(config, low, tokens);
    let blocks = if recompute { 1 } else { config.layers };
    // Blocks that are computed again keep what came in; hidden states and their gradient are on their way between two.
    let between = if recompute { config.layers * hidden } else { 0 } + 3 * hidden;
    // Gradients of a block's inner values, those of the heads by themselves, each key-value head's scores, and an adapted layer's scaled
    // copy of its own.
    let backward = 4 * config.intermediate + 6 * hidden + 3 * queries + 4 * keys + config.kv_heads * tokens;
    let (_, head) = loss_head_len_bytes(config, std::slice::from_ref(example));
    let inside = (tokens * backward).max(head as usize / 4);
    4 * (tokens * (blocks * kept + between) + inside) as u64
}

/// Values of `BlockActivations` for each of `tokens` tokens, with `low` values of the adapted layers' factors.
fn kept_per_token(config: &DecoderConfig, low: usize, tokens: usize) -> usize {
    let (queries, keys) = (config.query_width(), config.kv_width());
    4 * config.hidden + 2 * queries + 2 * keys + 3 * config.intermediate + config.heads * tokens + low
}

/// The greatest number of rows of logits that the loss head holds at a time, and the bytes of those rows.
pub fn loss_head_len_bytes(config: &DecoderConfig, examples: &[Example]) -> (usize, u64) {
    // Chunks of one example are even, so the longest example need not hold the most.
    let learned = examples.iter().map(|example| example.tokens.len() - example.loss_from);
    let rows = learned.map(|rows| head::chunk_rows(config.vocabulary, rows, false)).max().unwrap_or(0);
    (rows, 4 * (rows * (config.vocabulary + 4 * config.hidden)) as u64)
}

/// How many examples of a micro-batch are in flight at once on `threads` threads.
///
/// Each thread keeps to one example while every thread has one; the rest of a micro-batch is spread over all of them, and a thread that
/// waits inside one of the rest may begin another.
pub fn in_flight(micro_batch: usize, threads: usize) -> usize {
    let (threads, rest) = (threads.max(1), micro_batch % threads.max(1));
    if micro_batch <= threads || rest == 0 { micro_batch.min(threads) } else { micro_batch.min(threads - 1 + rest) }
}

/// Gradients held at once: those of a micro-batch, and the partial sums of the tree over the batch.
pub fn gradients_held(micro_batch: usize, batch: usize) -> usize {
    let before = batch.div_ceil(micro_batch.max(1)).max(1);
    micro_batch.min(batch) + before.ilog2() as usize
}

#[cfg(test)]
mod tests {
    use kolm_runtime::kernel::{KeyValue, Level};
    use kolm_runtime::model::{AdapterConfig, BlockActivations, ModelSource, SegmentKv};

    use super::*;
    use crate::train::initial_adapter;

    #[test]
    fn what_a_block_keeps_is_counted_to_the_value() {
        let level = Level::detect();
        let decoder = Decoder::load(level, &ModelSource::embedded("kolm/nano").expect("embedded")).expect("a decoder");
        let config = &decoder.config;
        let targets = ["q_proj", "down_proj"].map(str::to_owned);
        let initial = initial_adapter(level, config, &AdapterConfig::new(3, 6, &targets).expect("known targets"), 0)
            .expect("made");
        for tokens in [1, 7, 64] {
            let hidden = vec![0.5; tokens * config.hidden].into();
            let mut kv = KeyValue::new(config.kv_heads, config.head_dim, tokens);
            let mut saved = BlockActivations::default();
            let mut segments = [SegmentKv { tokens, kv: &mut kv }];
            let (block, lora) = (&decoder.blocks[0], initial.layers.first());
            block.forward(level, config, &decoder.rope, lora, hidden, &mut segments, Some(&mut saved));
            let BlockActivations {
                input,
                normed,
                q,
                k,
                v,
                probabilities,
                attended,
                middle,
                normed2,
                gate,
                up,
                product,
                low,
            } = &saved;
            let parts = [input, normed, q, k, v, probabilities, attended, middle, normed2, gate, up, product];
            let found: usize = parts.into_iter().chain(low).map(|part| part.len()).sum();
            assert_eq!(tokens * kept_per_token(config, 6, tokens), found, "{tokens} tokens");
        }
        let example = Example { tokens: vec![1; 65], loss_from: 60 };
        let (kept, again) =
            (example_len_bytes(config, &initial, &example, false), example_len_bytes(config, &initial, &example, true));
        let (more, less) = (kept_per_token(config, 6, 64) * (config.layers - 1), config.layers * config.hidden);
        assert_eq!(kept - again, (4 * 64 * (more - less)) as u64);
    }

    #[test]
    fn threads_and_the_rest_decide_how_many_are_in_flight() {
        for (micro_batch, threads, expected) in
            [(1, 2, 1), (2, 2, 2), (3, 2, 2), (8, 2, 2), (5, 4, 4), (7, 4, 6), (8, 4, 4), (3, 8, 3), (5, 1, 1)]
        {
            assert_eq!(in_flight(micro_batch, threads), expected, "{micro_batch} on {threads}");
        }
        for (micro_batch, batch, expected) in [(8, 8, 8), (2, 8, 4), (1, 8, 4), (3, 2, 2)] {
            assert_eq!(gradients_held(micro_batch, batch), expected, "{micro_batch} of {batch}");
        }
    }
}
