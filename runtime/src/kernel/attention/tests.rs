use super::*;
use crate::kernel::{SplitMix, reference};

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

/// Compares one causal prefill with the reference, then the same rows in pieces, then one by one.
fn check(tokens: usize, heads: usize, kv_heads: usize, head_dim: usize) {
    let mut random = SplitMix((tokens * 31 + heads * 7 + head_dim) as u64);
    let q: Vec<f32> = random.uniforms(tokens * heads * head_dim).iter().map(|x| x * 4.0).collect();
    let k = random.uniforms(tokens * kv_heads * head_dim);
    let v = random.uniforms(tokens * kv_heads * head_dim);
    let scale = 1.0 / (head_dim as f32).sqrt();
    let (mut want, mut want_p) = (vec![0.0; q.len()], vec![0.0; heads * tokens * tokens]);
    reference::attend(&q, &k, &v, tokens, Some(0), heads, kv_heads, head_dim, scale, &mut want, &mut want_p);
    for level in Level::available() {
        let mut kv = KeyValue::new(kv_heads, head_dim, tokens + 3);
        kv.push(&k, &v);
        let (mut got, mut got_p) = (vec![f32::NAN; q.len()], vec![f32::NAN; want_p.len()]);
        attend_causal(level, &q, &kv, 0, heads, scale, &mut got, Some(&mut got_p));
        assert_eq!(bits(&got), bits(&want), "{tokens} tokens, {heads}/{kv_heads} heads of {head_dim} at {level:?}");
        assert_eq!(bits(&got_p), bits(&want_p), "probabilities at {level:?}");
        for step in [1, 7, 30] {
            let mut kv = KeyValue::new(kv_heads, head_dim, tokens);
            let mut got = vec![f32::NAN; q.len()];
            let (q_row, kv_row) = (heads * head_dim, kv_heads * head_dim);
            for first in (0..tokens).step_by(step) {
                let last = tokens.min(first + step);
                kv.push(&k[first * kv_row..last * kv_row], &v[first * kv_row..last * kv_row]);
                let rows = first * q_row..last * q_row;
                attend_causal(level, &q[rows.clone()], &kv, first, heads, scale, &mut got[rows], None);
            }
            assert_eq!(bits(&got), bits(&want), "{tokens} tokens by {step} at {level:?}");
        }
        let (q_row, kv_row) = (heads * head_dim, kv_heads * head_dim);
        for cut in [1, 5, 31, 32, 255, 256, 270].into_iter().filter(|cut| *cut < tokens) {
            let mut beginning = KeyValue::new(kv_heads, head_dim, cut + 2);
            beginning.push(&k[..cut * kv_row], &v[..cut * kv_row]);
            let mut kv = KeyValue::after(&beginning.into_beginning(), tokens - cut);
            kv.push(&k[cut * kv_row..], &v[cut * kv_row..]);
            let (mut got, mut got_p) = (vec![f32::NAN; (tokens - cut) * q_row], Vec::new());
            attend_causal(level, &q[cut * q_row..], &kv, cut, heads, scale, &mut got, None);
            assert_eq!(bits(&got), bits(&want[cut * q_row..]), "{tokens} tokens cut at {cut} at {level:?}");
            got_p.resize(heads * tokens, f32::NAN);
            let last = (tokens - 1) * q_row;
            attend_causal(level, &q[last..], &kv, tokens - 1, heads, scale, &mut got[..q_row], Some(&mut got_p));
            assert_eq!(
                bits(&got[..q_row]),
                bits(&want[last..]),
                "the last of {tokens} tokens cut at {cut} at {level:?}"
            );
            for (got, want) in got_p.chunks(tokens).zip(want_p.chunks(tokens * tokens)) {
                assert_eq!(bits(got), bits(&want[(tokens - 1) * tokens..]), "its probabilities at {level:?}");
            }
        }
    }
}

#[test]
fn prefill_and_decode_equal_the_reference_by_bits() {
    check(1, 1, 1, 2);
    check(2, 2, 1, 8);
    check(33, 4, 2, 16);
    check(61, 3, 3, 24);
    check(259, 2, 1, 64);
    check(300, 4, 2, 40);
    check(600, 2, 1, 8);
    check(40, 1, 1, 300);
}

#[test]
fn full_attention_equals_the_reference_by_bits() {
    for (tokens, heads, head_dim) in [(1, 1, 4), (7, 2, 32), (70, 3, 20), (300, 2, 64)] {
        let mut random = SplitMix(tokens as u64);
        let size = tokens * heads * head_dim;
        let (q, k, v) = (random.uniforms(size), random.uniforms(size), random.uniforms(size));
        let (mut want, mut want_p) = (vec![0.0; size], vec![0.0; heads * tokens * tokens]);
        reference::attend(&q, &k, &v, tokens, None, heads, heads, head_dim, 0.25, &mut want, &mut want_p);
        for level in Level::available() {
            let (mut got, mut got_p) = (vec![f32::NAN; size], vec![f32::NAN; want_p.len()]);
            attend_full(level, &q, &k, &v, tokens, heads, head_dim, 0.25, &mut got, Some(&mut got_p));
            assert_eq!(bits(&got), bits(&want), "{tokens} tokens at {level:?}");
            assert_eq!(bits(&got_p), bits(&want_p), "probabilities at {level:?}");
            // Some of the queries, by themselves.
            for rows in [1, 6, 25, 40].into_iter().filter(|rows| *rows < tokens) {
                let len = rows * heads * head_dim;
                let (mut got, mut got_p) = (vec![f32::NAN; len], vec![f32::NAN; heads * rows * tokens]);
                attend_full(level, &q[..len], &k, &v, tokens, heads, head_dim, 0.25, &mut got, Some(&mut got_p));
                assert_eq!(bits(&got), bits(&want[..len]), "{rows} of {tokens} tokens at {level:?}");
                for (got, want) in got_p.chunks(rows * tokens).zip(want_p.chunks(tokens * tokens)) {
                    assert_eq!(bits(got), bits(&want[..rows * tokens]), "their probabilities at {level:?}");
                }
            }
        }
    }
}

#[test]
fn a_truncated_cache_continues_as_if_never_longer() {
    let (heads, head_dim) = (2, 16);
    let mut random = SplitMix(5);
    let (k, v) = (random.uniforms(40 * 32), random.uniforms(40 * 32));
    let q = random.uniforms(32);
    for level in Level::available() {
        let mut short = KeyValue::new(heads, head_dim, 40);
        short.push(&k[..20 * 32], &v[..20 * 32]);
        let mut long = KeyValue::new(heads, head_dim, 40);
        long.push(&k, &v);
        long.truncate(20);
        let (mut one, mut two) = (vec![0.0; 32], vec![0.0; 32]);
        attend_causal(level, &q, &short, 19, heads, 0.25, &mut one, None);
        attend_causal(level, &q, &long, 19, heads, 0.25, &mut two, None);
        assert_eq!(bits(&one), bits(&two));
        assert_eq!(short.key_rows(1), long.key_rows(1));
        assert_eq!(short.value_rows(0), long.value_rows(0));
    }
}

#[test]
fn a_sequence_on_a_shared_beginning_holds_what_a_whole_one_holds() {
    let (heads, head_dim, width) = (2, 16, 32);
    let mut random = SplitMix(6);
    let (k, v) = (random.uniforms(40 * width), random.uniforms(40 * width));
    let mut whole = KeyValue::new(heads, head_dim, 40);
    whole.push(&k, &v);
    let same = |kv: &KeyValue, len: usize, what: &str| {
        assert_eq!(kv.len(), len, "{what}");
        for head in 0..heads {
            assert_eq!(kv.key_rows(head), whole.key_rows(head)[..len * head_dim], "keys {what}");
            assert_eq!(kv.value_rows(head), whole.value_rows(head)[..len * head_dim], "values {what}");
        }
    };
    let mut beginning = KeyValue::new(heads, head_dim, 40);
    beginning.push(&k[..20 * width], &v[..20 * width]);
    let mut kv = KeyValue::after(&beginning.into_beginning(), 9);
    assert!(kv.capacity() == 29 && !kv.is_empty());
    kv.push(&k[20 * width..27 * width], &v[20 * width..27 * width]);
    kv.push(&[], &[]);
    same(&kv, 27, "on a beginning");

    let mut longer = kv.with_capacity(40);
    longer.push(&k[27 * width..], &v[27 * width..]);
    same(&longer, 40, "copied with more room");
    assert_eq!(longer.capacity(), 40);

    let mut further = KeyValue::after(&kv.clone().into_beginning(), 13);
    further.push(&k[27 * width..], &v[27 * width..]);
    same(&further, 40, "on a beginning that has one itself");

    kv.truncate(23);
    same(&kv, 23, "cut behind the beginning");
    kv.truncate(11);
    same(&kv, 11, "cut inside the beginning");
    kv.push(&k[11 * width..29 * width], &v[11 * width..29 * width]);
    same(&kv, 29, "filled again");
    assert_eq!(kv.capacity(), 29);
}
