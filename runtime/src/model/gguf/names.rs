//! The names of a decoder's tensors in GGUF files, and the order of their rows there.
//!
//! llama.cpp keeps q and k of `llama` with the two halves of each head interleaved, for its form of the rotary embedding:
//! row `2 i + s` of a head is row `s · head_dim / 2 + i` of ours. `qwen2` keeps the order.

/// The GGUF name of a tensor.
pub(super) fn gguf_name(name: &str) -> Option<String> {
    match name {
        "model.embed_tokens.weight" => return Some("token_embd.weight".to_owned()),
        "model.norm.weight" => return Some("output_norm.weight".to_owned()),
        "lm_head.weight" => return Some("output.weight".to_owned()),
        _ => {}
    }
    let (layer, path) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let (module, part) = path.rsplit_once('.')?;
    let (_, module) = MODULES.iter().find(|(ours, _)| *ours == module)?;
    Some(format!("blk.{layer}.{module}.{part}"))
}

/// Our name of a GGUF tensor.
pub(super) fn our_name(name: &str) -> Option<String> {
    match name {
        "token_embd.weight" => return Some("model.embed_tokens.weight".to_owned()),
        "output_norm.weight" => return Some("model.norm.weight".to_owned()),
        "output.weight" => return Some("lm_head.weight".to_owned()),
        _ => {}
    }
    let (layer, path) = name.strip_prefix("blk.")?.split_once('.')?;
    let (module, part) = path.rsplit_once('.')?;
    let (module, _) = MODULES.iter().find(|(_, theirs)| *theirs == module)?;
    let numbered = !layer.is_empty() && layer.bytes().all(|byte| byte.is_ascii_digit());
    (numbered && matches!(part, "weight" | "bias")).then(|| format!("model.layers.{layer}.{module}.{part}"))
}

/// Whether llama.cpp interleaves the rows of this tensor: `Some(true)` for q, `Some(false)` for k.
pub(super) fn interleaved(name: &str) -> Option<bool> {
    match name {
        _ if name.contains(".self_attn.q_proj.") => Some(true),
        _ if name.contains(".self_attn.k_proj.") => Some(false),
        _ => None,
    }
}

/// Puts `rows` of `row_len` values back into our order, whole rows of `heads` heads.
pub(super) fn straighten<T: Copy>(values: &[T], row_len: usize, heads: usize) -> Vec<T> {
    let rows = values.len() / row_len.max(1);
    let head_dim = rows / heads.max(1);
    let half = head_dim / 2;
    let mut out = Vec::with_capacity(values.len());
    for row in 0..rows {
        let (head, side, at) = (row / head_dim, row % head_dim / half, row % half);
        let from = (head * head_dim + 2 * at + side) * row_len;
        out.extend_from_slice(values.get(from..from + row_len).unwrap_or_default());
    }
    out
}

const MODULES: [(&str, &str); 9] = [
    ("input_layernorm", "attn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("post_attention_layernorm", "ffn_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];
