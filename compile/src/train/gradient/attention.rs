//! Backward of attention, from the probabilities the forward saved.
//!
//! For one head, with `P` `[T, T]` the probabilities (+0 where masked) and `d` `[T, D]` the gradient of its result:
//! `d V = Pᵀ d`, `G = d Vᵀ`, `s_i` = rule-3 dot of `P_i` and `G_i` over the keys the query sees, `S = (P · (G − s)) · scale` there
//! and +0 elsewhere, `d Q = S K`, `d K = Sᵀ Q`. Products follow rule 2 over all T tokens. Query heads that share a key-value head
//! are added in ascending order.
//!
//! Where the mask leaves a triangle, `G`'s other half is not computed, and neither are the +0 that the chains of `d V` and `d K` begin with:
//! with finite values they leave +0 (any other ends the run at this step). Those of `d Q` end with them, and there they count: a sum that
//! underflow has made −0 becomes +0.

use kolm_runtime::kernel::{self, Buffer, Level, PackedMatrix};

/// Shape of one attention.
#[derive(Clone, Copy)]
pub(crate) struct AttentionShape {
    /// Query heads.
    pub(crate) heads: usize,
    /// Key-value heads; `heads` is a multiple.
    pub(crate) kv_heads: usize,
    /// Size of a head.
    pub(crate) head_dim: usize,
    /// What scores were multiplied with.
    pub(crate) scale: f32,
    /// Whether query i sees keys 0..=i only.
    pub(crate) causal: bool,
}

/// Gradients of queries `[T, H·D]`, keys and values `[T, KV·D]`, all after RoPE.
pub(crate) struct AttentionGradient {
    /// Of the queries.
    pub(crate) q: Buffer,
    /// Of the keys.
    pub(crate) k: Buffer,
    /// Of the values.
    pub(crate) v: Buffer,
}

/// Takes the gradient `[T, H·D]` of the attended values back to queries, keys and values.
pub(crate) fn attention_backward(
    level: Level,
    shape: AttentionShape,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    probabilities: &[f32],
    gradient: &[f32],
) -> AttentionGradient {
    let AttentionShape { heads, kv_heads, head_dim, .. } = shape;
    let tokens = q.len() / (heads * head_dim);
    let group = heads / kv_heads;
    let room = |heads: usize| {
        let [q, k, v] = [heads * group, heads, heads].map(|heads| Buffer::unwritten(heads * tokens * head_dim));
        AttentionGradient { q, k, v }
    };
    let mut out = room(kv_heads);
    // Memory comes from the thread to which it goes back.
    let rooms = (0..kv_heads).map(|kv_head| (kv_head, room(1))).collect();
    let parts = kernel::side_by_side(rooms, |(kv_head, mut out)| {
        let keys = columns(k, kv_heads, kv_head, head_dim);
        let values = columns(v, kv_heads, kv_head, head_dim);
        let side = KeyValueHead {
            level,
            shape,
            keys: PackedMatrix::from_rows(level, &keys, tokens, head_dim),
            values: PackedMatrix::from_columns(level, &values, tokens, head_dim),
        };
        let heads_of = (kv_head * group..(kv_head + 1) * group).map(|head| {
            let p = &probabilities[head * tokens * tokens..][..tokens * tokens];
            (p, columns(gradient, heads, head, head_dim), columns(q, heads, head, head_dim))
        });
        side.backward(heads_of, &mut out);
        out
    });
    for (kv_head, AttentionGradient { q, k, v }) in parts.into_iter().enumerate() {
        for (head, part) in q.chunks_exact(tokens * head_dim).enumerate() {
            set_columns(&mut out.q, heads, kv_head * group + head, head_dim, part);
        }
        set_columns(&mut out.k, kv_heads, kv_head, head_dim, &k);
        set_columns(&mut out.v, kv_heads, kv_head, head_dim, &v);
    }
    out
}

/// Keys and values of one head, `[T, D]`.
struct KeyValueHead {
    level: Level,
    shape: AttentionShape,
    keys: PackedMatrix,
    values: PackedMatrix,
}

impl KeyValueHead {
    /// Takes the gradients of the query heads that share it, each with its probabilities `[T, T]`, gradient and queries `[T, D]`, back to
    /// queries, head after head `[T, D]`, key and value.
    fn backward<'a>(&self, heads: impl Iterator<Item = (&'a [f32], Buffer, Buffer)>, out: &mut AttentionGradient) {
        let Self { level, shape, .. } = *self;
        let (tokens, len) = (self.keys.k(), self.keys.k() * shape.head_dim);
        let mut scores = Buffer::unwritten(tokens * tokens);
        let mut part = Buffer::unwritten(len);
        for (head, (p, d, queries)) in heads.enumerate() {
            if shape.causal {
                kernel::product_lower(level, &d, &self.values, &mut scores);
            } else {
                kernel::product(level, &d, tokens, &self.values, &mut scores);
            }
            kernel::softmax_backward(level, p, &mut scores, tokens, shape.scale, shape.causal);
            kernel::product(level, &scores, tokens, &self.keys, &mut out.q[head * len..][..len]);
            for (scores, values, sum) in [(&*scores, &queries, &mut out.k), (p, &d, &mut out.v)] {
                if head == 0 {
                    self.by_transpose(scores, values, sum);
                } else {
                    self.by_transpose(scores, values, &mut part);
                    kernel::add(level, sum, &part);
                }
            }
        }
    }

    /// `aᵀ b` of scores or probabilities `[T, T]` and what a head has of each token.
    fn by_transpose(&self, a: &[f32], b: &[f32], c: &mut [f32]) {
        let (tokens, head_dim) = (self.keys.k(), self.shape.head_dim);
        if self.shape.causal {
            kernel::product_transposed_lower(self.level, a, b, tokens, head_dim, c);
        } else {
            kernel::product_transposed(self.level, a, b, tokens, tokens, head_dim, c);
        }
    }
}

/// One head's columns of `[T, heads · D]` as `[T, D]`.
fn columns(rows: &[f32], heads: usize, head: usize, head_dim: usize) -> Buffer {
    let mut out = Buffer::unwritten(rows.len() / heads);
    for (row, out) in rows.chunks_exact(heads * head_dim).zip(out.chunks_exact_mut(head_dim)) {
        out.copy_from_slice(&row[head * head_dim..(head + 1) * head_dim]);
    }
    out
}

fn set_columns(rows: &mut [f32], heads: usize, head: usize, head_dim: usize, part: &[f32]) {
    for (row, part) in rows.chunks_exact_mut(heads * head_dim).zip(part.chunks_exact(head_dim)) {
        row[head * head_dim..(head + 1) * head_dim].copy_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use kolm_runtime::kernel::{KeyValue, SplitMix};

    use super::*;

    fn merge(level: Level, sum: &mut Option<Buffer>, part: &[f32]) {
        match sum {
            Some(sum) => kernel::add(level, sum, part),
            None => *sum = Some(Buffer::copy_of(part)),
        }
    }

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|x| x.to_bits()).collect()
    }

    /// What the module's formulas say, by whole products.
    fn by_whole_products(
        level: Level,
        shape: AttentionShape,
        (q, k, v): (&[f32], &[f32], &[f32]),
        probabilities: &[f32],
        gradient: &[f32],
    ) -> [Vec<f32>; 3] {
        let AttentionShape { heads, kv_heads, head_dim, scale, .. } = shape;
        let tokens = q.len() / (heads * head_dim);
        let mut out = [vec![0.0; q.len()], vec![0.0; k.len()], vec![0.0; v.len()]];
        let mut sums: Vec<[Option<Buffer>; 2]> = vec![[None, None]; kv_heads];
        for head in 0..heads {
            let kv_head = head / (heads / kv_heads);
            let p = &probabilities[head * tokens * tokens..][..tokens * tokens];
            let (d, queries) = (columns(gradient, heads, head, head_dim), columns(q, heads, head, head_dim));
            let (keys, values) = (columns(k, kv_heads, kv_head, head_dim), columns(v, kv_heads, kv_head, head_dim));
            let mut s = vec![0.0; tokens * tokens];
            kernel::product(level, &d, tokens, &PackedMatrix::from_columns(level, &values, tokens, head_dim), &mut s);
            for (row, (s, p)) in s.chunks_exact_mut(tokens).zip(p.chunks_exact(tokens)).enumerate() {
                let dot = kernel::dot(level, &p[..=row], &s[..=row]);
                for (at, (s, p)) in s.iter_mut().zip(p).enumerate() {
                    *s = if at <= row { p * (*s - dot) * scale } else { 0.0 };
                }
            }
            let mut part = vec![0.0; tokens * head_dim];
            kernel::product(level, &s, tokens, &PackedMatrix::from_rows(level, &keys, tokens, head_dim), &mut part);
            set_columns(&mut out[0], heads, head, head_dim, &part);
            kernel::product_transposed(level, &s, &queries, tokens, tokens, head_dim, &mut part);
            merge(level, &mut sums[kv_head][0], &part);
            kernel::product_transposed(level, p, &d, tokens, tokens, head_dim, &mut part);
            merge(level, &mut sums[kv_head][1], &part);
        }
        for (kv_head, [key_sum, value_sum]) in sums.iter().enumerate() {
            set_columns(&mut out[1], kv_heads, kv_head, head_dim, key_sum.as_ref().expect("a head"));
            set_columns(&mut out[2], kv_heads, kv_head, head_dim, value_sum.as_ref().expect("a head"));
        }
        out
    }

    #[test]
    fn what_the_mask_makes_zero_is_left_out_without_a_trace() {
        for (tokens, heads, kv_heads, head_dim) in [(1, 1, 1, 2), (70, 4, 2, 16), (300, 3, 1, 24)] {
            let mut random = SplitMix(tokens as u64);
            let (queries, keys) = (tokens * heads * head_dim, tokens * kv_heads * head_dim);
            let (q, k, v) = (random.uniforms(queries), random.uniforms(keys), random.uniforms(keys));
            let gradient: Vec<f32> =
                random.uniforms(queries).iter().map(|x| if x.abs() < 0.2 { x * 1e-42 } else { *x }).collect();
            let shape = AttentionShape { heads, kv_heads, head_dim, scale: 0.25, causal: true };
            for level in Level::available() {
                let mut kv = KeyValue::new(kv_heads, head_dim, tokens);
                kv.push(&k, &v);
                let (mut attended, mut p) = (vec![0.0; queries], vec![0.0; heads * tokens * tokens]);
                kernel::attend_causal(level, &q, &kv, 0, heads, shape.scale, &mut attended, Some(&mut p));
                let found = attention_backward(level, shape, &q, &k, &v, &p, &gradient);
                let wanted = by_whole_products(level, shape, (&q, &k, &v), &p, &gradient);
                for (found, wanted) in [&found.q, &found.k, &found.v].into_iter().zip(&wanted) {
                    assert_eq!(bits(found), bits(wanted), "{tokens} tokens at {level:?}");
                }
            }
        }
    }
}
