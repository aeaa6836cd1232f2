//! Independent f64 models for the gradient checks: plain loops written from the papers, sharing nothing with the kernels.
//!
//! A gradient is checked against the central difference of these losses, whose error at step 1e-5 is far below f32's.

use std::collections::BTreeMap;

/// Tensors by name, as flat values.
pub(crate) type Tensors = BTreeMap<String, Vec<f64>>;

/// Shape of a tiny decoder.
#[derive(Clone, Copy)]
pub(crate) struct DecoderShape {
    pub(crate) hidden: usize,
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) vocabulary: usize,
    pub(crate) eps: f64,
    pub(crate) theta: f64,
    pub(crate) scaling: f64,
}

/// Sum of the losses of `tokens[loss_from..]`.
pub(crate) fn decoder_loss(shape: &DecoderShape, tensors: &Tensors, tokens: &[u32], loss_from: usize) -> f64 {
    let embedding = &tensors["model.embed_tokens.weight"];
    let mut x: Vec<Vec<f64>> = tokens.iter().map(|&id| row(embedding, id as usize, shape.hidden)).collect();
    for layer in 0..shape.layers {
        let name = |part: &str| format!("model.layers.{layer}.{part}");
        let linear = |module: &str, x: &[f64]| adapted(tensors, &name(module), shape.scaling, x);
        let n: Vec<_> = x.iter().map(|x| rms_norm(x, &tensors[&name("input_layernorm.weight")], shape.eps)).collect();
        let rotate = |module: &str| -> Vec<Vec<f64>> {
            n.iter().enumerate().map(|(at, n)| rope(shape, &linear(module, n), at)).collect()
        };
        let (q, k) = (rotate("self_attn.q_proj"), rotate("self_attn.k_proj"));
        let v: Vec<_> = n.iter().map(|n| linear("self_attn.v_proj", n)).collect();
        for at in 0..x.len() {
            let mut mixed = Vec::new();
            for head in 0..shape.heads {
                let from = head / (shape.heads / shape.kv_heads) * shape.head_dim;
                let query = &q[at][head * shape.head_dim..][..shape.head_dim];
                mixed.extend(attend(query, &k[..=at], &v[..=at], from));
            }
            add(&mut x[at], &linear("self_attn.o_proj", &mixed));
        }
        for x in &mut x {
            let n = rms_norm(x, &tensors[&name("post_attention_layernorm.weight")], shape.eps);
            let (gate, up) = (linear("mlp.gate_proj", &n), linear("mlp.up_proj", &n));
            let product: Vec<f64> = gate.iter().zip(&up).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect();
            add(x, &linear("mlp.down_proj", &product));
        }
    }
    let head = tensors.get("lm_head.weight").unwrap_or(embedding);
    (loss_from..tokens.len())
        .map(|target| {
            let n = rms_norm(&x[target - 1], &tensors["model.norm.weight"], shape.eps);
            let logits: Vec<f64> = (0..shape.vocabulary).map(|id| dot(&row(head, id, shape.hidden), &n)).collect();
            cross_entropy(&logits, tokens[target] as usize)
        })
        .sum()
}

/// Shape of a tiny encoder.
#[derive(Clone, Copy)]
pub(crate) struct EncoderShape {
    pub(crate) hidden: usize,
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    pub(crate) eps: f64,
    pub(crate) scale: f64,
    pub(crate) classes: usize,
}

/// Loss of a text's class: cross-entropy of `scale` times the dots of its normalised CLS row with the class proxies.
pub(crate) fn encoder_loss(shape: &EncoderShape, tensors: &Tensors, tokens: &[u32], class: usize) -> f64 {
    let at = |name: &str, index: usize| row(&tensors[name], index, shape.hidden);
    let norm = |prefix: &str, x: &[f64]| {
        layer_norm(x, &tensors[&format!("{prefix}.weight")], &tensors[&format!("{prefix}.bias")], shape.eps)
    };
    let mut x: Vec<Vec<f64>> = tokens
        .iter()
        .enumerate()
        .map(|(position, &id)| {
            let mut sum = at("embeddings.word_embeddings.weight", id as usize);
            add(&mut sum, &at("embeddings.position_embeddings.weight", position));
            add(&mut sum, &at("embeddings.token_type_embeddings.weight", 0));
            norm("embeddings.LayerNorm", &sum)
        })
        .collect();
    let head_dim = shape.hidden / shape.heads;
    for layer in 0..shape.layers {
        let name = |part: &str| format!("encoder.layer.{layer}.{part}");
        let linear = |module: &str, x: &[f64]| adapted(tensors, &name(module), 0.0, x);
        let all = |module: &str| -> Vec<Vec<f64>> { x.iter().map(|x| linear(module, x)).collect() };
        let (q, k, v) = (all("attention.self.query"), all("attention.self.key"), all("attention.self.value"));
        for at in 0..x.len() {
            let mixed: Vec<f64> = (0..shape.heads)
                .flat_map(|head| attend(&q[at][head * head_dim..][..head_dim], &k, &v, head * head_dim))
                .collect();
            add(&mut x[at], &linear("attention.output.dense", &mixed));
            let middle = norm(&name("attention.output.LayerNorm"), &x[at]);
            let wide: Vec<f64> = linear("intermediate.dense", &middle).iter().map(|&x| gelu(x)).collect();
            let mut out = middle;
            add(&mut out, &linear("output.dense", &wide));
            x[at] = norm(&name("output.LayerNorm"), &out);
        }
    }
    let length = dot(&x[0], &x[0]).sqrt();
    let logits: Vec<f64> =
        (0..shape.classes).map(|class| shape.scale * dot(&at("proxies", class), &x[0]) / length).collect();
    cross_entropy(&logits, class)
}

/// Checks `found` against central differences of `loss`, tensor by tensor, relative to the tensor's largest gradient.
pub(crate) fn check_gradients(
    tensors: &mut Tensors,
    found: &BTreeMap<String, Vec<f32>>,
    loss: impl Fn(&Tensors) -> f64,
) {
    for (name, found) in found {
        assert_eq!(tensors[name].len(), found.len(), "{name}");
        let expected: Vec<f64> = (0..found.len())
            .map(|index| {
                let value = tensors[name][index];
                let mut at = |offset: f64| {
                    tensors.get_mut(name).expect("is there")[index] = value + offset;
                    loss(tensors)
                };
                let difference = (at(1e-5) - at(-1e-5)) / 2e-5;
                at(0.0);
                difference
            })
            .collect();
        let largest = expected.iter().fold(0.0_f64, |largest, g| largest.max(g.abs()));
        assert!(largest > 0.0, "{name} has no gradient to check");
        for (index, (expected, &found)) in expected.iter().zip(found).enumerate() {
            let error = (f64::from(found) - expected).abs();
            assert!(error <= 2e-5 * largest + 1e-7, "{name}[{index}]: found {found}, expected {expected}");
        }
    }
}

fn row(rows: &[f64], index: usize, width: usize) -> Vec<f64> {
    rows[index * width..][..width].to_vec()
}

fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

fn add(x: &mut [f64], y: &[f64]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

fn times(weight: &[f64], x: &[f64]) -> Vec<f64> {
    weight.chunks(x.len()).map(|row| dot(row, x)).collect()
}

/// A linear layer with its bias and its LoRA pair, where they are.
fn adapted(tensors: &Tensors, module: &str, scaling: f64, x: &[f64]) -> Vec<f64> {
    let mut y = times(&tensors[&format!("{module}.weight")], x);
    if let Some(bias) = tensors.get(&format!("{module}.bias")) {
        add(&mut y, bias);
    }
    if let Some(a) = tensors.get(&format!("base_model.model.{module}.lora_A.weight")) {
        let b = &tensors[&format!("base_model.model.{module}.lora_B.weight")];
        add(&mut y, &times(b, &times(a, x)).iter().map(|y| scaling * y).collect::<Vec<_>>());
    }
    y
}

fn rms_norm(x: &[f64], weight: &[f64], eps: f64) -> Vec<f64> {
    let r = 1.0 / (dot(x, x) / x.len() as f64 + eps).sqrt();
    x.iter().zip(weight).map(|(x, w)| x * r * w).collect()
}

fn layer_norm(x: &[f64], weight: &[f64], bias: &[f64], eps: f64) -> Vec<f64> {
    let size = x.len() as f64;
    let mean = x.iter().sum::<f64>() / size;
    let variance = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / size;
    x.iter().zip(weight).zip(bias).map(|((x, w), b)| (x - mean) / (variance + eps).sqrt() * w + b).collect()
}

fn rope(shape: &DecoderShape, x: &[f64], position: usize) -> Vec<f64> {
    let half = shape.head_dim / 2;
    x.chunks(shape.head_dim)
        .flat_map(|head| {
            (0..shape.head_dim).map(move |i| {
                let angle = position as f64 * shape.theta.powf(-2.0 * (i % half) as f64 / shape.head_dim as f64);
                let other = if i < half { -head[i + half] } else { head[i - half] };
                head[i] * angle.cos() + other * angle.sin()
            })
        })
        .collect()
}

/// One query over the keys and values of the head whose columns start at `from`.
fn attend(query: &[f64], keys: &[Vec<f64>], values: &[Vec<f64>], from: usize) -> Vec<f64> {
    let size = query.len();
    let weights: Vec<f64> =
        keys.iter().map(|key| (dot(query, &key[from..from + size]) / (size as f64).sqrt()).exp()).collect();
    let total: f64 = weights.iter().sum();
    let mut out = vec![0.0; size];
    for (weight, value) in weights.iter().zip(values) {
        add(&mut out, &value[from..from + size].iter().map(|v| v * weight / total).collect::<Vec<_>>());
    }
    out
}

/// GELU with erf by its Taylor series, exact to f64 for the small arguments of the checks.
fn gelu(x: f64) -> f64 {
    let z = x / 2.0_f64.sqrt();
    let mut term = z;
    let mut sum = z;
    for n in 1..60 {
        let n = f64::from(n);
        term *= -z * z / n;
        sum += term / (2.0 * n + 1.0);
    }
    0.5 * x * (1.0 + 2.0 / std::f64::consts::PI.sqrt() * sum)
}

fn cross_entropy(logits: &[f64], target: usize) -> f64 {
    logits.iter().map(|logit| logit.exp()).sum::<f64>().ln() - logits[target]
}
