//! Small sound GGUF files: a Qwen2 of one block in each of the types that are read, with a tokenizer.

/// Block types: number in the file, values of a block, its bytes.
const TYPES: [(u32, usize, usize); 9] = [
    (0, 1, 4),
    (1, 1, 2),
    (30, 1, 2),
    (8, 32, 34),
    (2, 32, 18),
    (6, 32, 22),
    (12, 256, 144),
    (13, 256, 176),
    (14, 256, 210),
];
const VOCABULARY: u64 = 8;

/// One file for each type of its greater tensors.
pub(crate) fn files() -> Vec<Vec<u8>> {
    TYPES.map(file).into()
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

fn texts(texts: &[&str]) -> Vec<u8> {
    let mut value = [8_u32.to_le_bytes().as_slice(), &(texts.len() as u64).to_le_bytes()].concat();
    texts.iter().for_each(|one| value.extend(text(one)));
    value
}

fn keys(hidden: u64) -> Vec<(&'static str, u32, Vec<u8>)> {
    let count = |value: u64| (value as u32).to_le_bytes().to_vec();
    let kinds: Vec<u8> = [1_i32, 1, 1, 1, 1, 1, 3, 3].iter().flat_map(|kind| kind.to_le_bytes()).collect();
    vec![
        ("general.architecture", 8, text("qwen2")),
        ("qwen2.embedding_length", 4, count(hidden)),
        ("qwen2.block_count", 4, count(1)),
        ("qwen2.attention.head_count", 4, count(2)),
        ("qwen2.attention.head_count_kv", 4, count(1)),
        ("qwen2.feed_forward_length", 4, count(hidden)),
        ("qwen2.context_length", 4, count(32)),
        ("qwen2.attention.layer_norm_rms_epsilon", 6, 1e-6_f32.to_le_bytes().to_vec()),
        ("qwen2.rope.freq_base", 6, 10_000_f32.to_le_bytes().to_vec()),
        ("tokenizer.ggml.model", 8, text("gpt2")),
        ("tokenizer.ggml.pre", 8, text("qwen2")),
        ("tokenizer.ggml.tokens", 9, texts(&["a", "b", "c", "ab", "abc", "Ġ", "<end>", "<begin>"])),
        ("tokenizer.ggml.merges", 9, texts(&["a b", "ab c"])),
        ("tokenizer.ggml.token_type", 9, [&5_u32.to_le_bytes()[..], &VOCABULARY.to_le_bytes(), &kinds].concat()),
        ("tokenizer.ggml.eos_token_id", 4, count(6)),
        ("tokenizer.ggml.bos_token_id", 4, count(7)),
        ("tokenizer.ggml.add_bos_token", 7, vec![0]),
    ]
}

fn file(kind: (u32, usize, usize)) -> Vec<u8> {
    let hidden = kind.1.max(32) as u64;
    let half = hidden / 2;
    let matrices = [
        ("token_embd.weight", VOCABULARY),
        ("blk.0.attn_q.weight", hidden),
        ("blk.0.attn_k.weight", half),
        ("blk.0.attn_v.weight", half),
        ("blk.0.attn_output.weight", hidden),
        ("blk.0.ffn_gate.weight", hidden),
        ("blk.0.ffn_up.weight", hidden),
        ("blk.0.ffn_down.weight", hidden),
    ];
    let vectors = [
        ("output_norm.weight", hidden),
        ("blk.0.attn_norm.weight", hidden),
        ("blk.0.ffn_norm.weight", hidden),
        ("blk.0.attn_q.bias", hidden),
        ("blk.0.attn_k.bias", half),
        ("blk.0.attn_v.bias", half),
    ];
    let matrices = matrices.map(|(name, rows)| (name, vec![hidden, rows], kind));
    let vectors = vectors.map(|(name, len)| (name, vec![len], TYPES[0]));
    let tensors = || matrices.iter().chain(&vectors);
    let mut out = b"GGUF\x03\0\0\0".to_vec();
    out.extend((tensors().count() as u64).to_le_bytes());
    out.extend((keys(hidden).len() as u64).to_le_bytes());
    for (key, kind, value) in keys(hidden) {
        out.extend([text(key), kind.to_le_bytes().to_vec(), value].concat());
    }
    let mut data: Vec<u8> = Vec::new();
    for (name, dimensions, (id, values, len)) in tensors() {
        out.extend(text(name));
        out.extend((dimensions.len() as u32).to_le_bytes());
        dimensions.iter().for_each(|size| out.extend(size.to_le_bytes()));
        out.extend(id.to_le_bytes());
        out.extend((data.len() as u64).to_le_bytes());
        let blocks = dimensions.iter().product::<u64>() as usize / values;
        data.extend((0..blocks * len).map(|at| (at % 32) as u8));
        data.resize(data.len().next_multiple_of(32), 0);
    }
    out.resize(out.len().next_multiple_of(32), 0);
    [out, data].concat()
}
