//! The loss head: final norm, output head and cross-entropy over the learned tokens, forward and backward in one pass.
//!
//! Only rows that predict a learned token are touched, and their logits exist a few rows at a time: never `[T, V]`.

use kolm_runtime::kernel::{self, Buffer, Level};
use kolm_runtime::model::Decoder;

use super::linear::{argument_gradient, weight_gradient};
use super::norm::rms_norm_backward;
use crate::train::record::Recorder;
use crate::train::settings::Example;

/// Loss of one example and its gradients, sums over the learned tokens.
pub(crate) struct HeadGradient {
    /// Sum of the rows' losses, added in f64 in ascending order.
    pub(crate) loss: f64,
    /// Gradient of the hidden states `[T, C]`; +0 in rows that predict nothing learned.
    pub(crate) hidden: Vec<f32>,
    /// Gradients of the final norm's weight `[C]` and the head's `[V, C]`, when they learn.
    pub(crate) learned: Option<(Vec<f32>, Vec<f32>)>,
}

/// Computes loss and gradients from the last block's hidden states `[T, C]`, row t of which predicts token t + 1.
pub(crate) fn head(
    level: Level,
    decoder: &Decoder,
    hidden: &[f32],
    example: &Example,
    learns: bool,
    record: Option<&Recorder>,
) -> HeadGradient {
    let (width, vocabulary) = (decoder.config.hidden, decoder.config.vocabulary);
    let eps = decoder.config.rms_eps;
    let mut out = HeadGradient {
        loss: 0.0,
        hidden: vec![0.0; hidden.len()],
        learned: learns.then(|| (vec![0.0; width], vec![0.0; vocabulary * width])),
    };
    let first_row = example.loss_from - 1;
    let rows = example.tokens.len() - example.loss_from;
    let chunk = chunk_rows(vocabulary, rows, learns);
    let note = |operation: &str, tensor: &str, values: &[f32], width: usize| {
        if let Some(record) = record {
            record.tensor("loss", None, operation, tensor, &[values.len() / width, width], values);
        }
    };
    let mut losses = Vec::new();
    let mut held = Buffer::unwritten(rows.min(chunk) * vocabulary);
    let mut start = 0;
    while start < rows {
        let end = rows.min(start + chunk);
        let span = (first_row + start) * width..(first_row + end) * width;
        let x = &hidden[span.clone()];
        let mut normed = Buffer::unwritten(x.len());
        kernel::rms_norm(level, x, &decoder.final_norm, eps, &mut normed);
        note("model.norm", "normed", &normed, width);
        let logits = &mut held[..(end - start) * vocabulary];
        decoder.logits_into(&normed, logits);
        note("lm_head", "logits", logits, vocabulary);
        let targets = &example.tokens[example.loss_from + start..example.loss_from + end];
        for loss in kernel::cross_entropies(level, logits, vocabulary, targets).into_iter().map(f64::from) {
            out.loss += loss;
            losses.push(loss);
        }
        note("softmax(logits) - target", "gradient of logits", logits, vocabulary);
        let normed_gradient = argument_gradient(level, logits, &decoder.head);
        note("lm_head, backward", "gradient of normed", &normed_gradient, width);
        let mut norm_gradient = None;
        if let Some((norm, head)) = &mut out.learned {
            let mut part = vec![0.0; head.len()];
            weight_gradient(level, logits, &normed, vocabulary, width, &mut part);
            kernel::add(level, head, &part);
            norm_gradient = Some(norm.as_mut_slice());
        }
        let x_gradient = rms_norm_backward(level, x, &decoder.final_norm, eps, &normed_gradient, norm_gradient);
        out.hidden[span].copy_from_slice(&x_gradient);
        start = end;
    }
    note("model.norm, backward", "gradient of the last hidden states", &out.hidden, width);
    if let Some(record) = record {
        record.loss(losses);
    }
    out
}

/// Of so many rows of logits, those held at once; a learned head's gradient is a product over the rows, and its chunks are that product's
/// blocks.
pub(crate) fn chunk_rows(vocabulary: usize, rows: usize, learns: bool) -> usize {
    if learns {
        return kernel::BLOCK;
    }
    let most = (CHUNK_VALUES / vocabulary).clamp(1, kernel::BLOCK);
    let most = if most < TILE_ROWS { most } else { most - most % TILE_ROWS };
    let even = rows.div_ceil(rows.div_ceil(most).max(1));
    even.next_multiple_of(TILE_ROWS).min(most).min(rows)
}

/// A multiple of the rows that a product takes at once on every level.
const TILE_ROWS: usize = 24;

/// Logits held at once when the head is frozen: 64 MiB.
const CHUNK_VALUES: usize = 1 << 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_logits_are_few_where_the_vocabulary_is_large() {
        for (vocabulary, rows, expected) in [
            (4096, 127, 127),
            (4096, 600, 216),
            (151_936, 255, 96),
            (151_936, 30, 30),
            (1 << 20, 30, 16),
            (1 << 25, 9, 1),
        ] {
            assert_eq!(chunk_rows(vocabulary, rows, false), expected, "{rows} rows of {vocabulary}");
            assert_eq!(chunk_rows(vocabulary, rows, true), kernel::BLOCK, "a product's blocks where the head learns");
        }
    }
}
