//! What a step does outside of its examples, as records: state before it, sum, clipping, update.

use super::engine::ExampleGradient;
use super::optimizer::Moments;
use super::parameters::Parameters;
use super::record::{Place, Recorded, Values};

/// Parameters and moments before the step, and which examples it takes.
pub(super) fn start(parameters: &Parameters, moments: &Moments, batch: &[usize]) -> Vec<Recorded> {
    let mut found = Vec::new();
    tensors("start", "state before the step", "", parameters, &parameters.values, &mut found);
    tensors("start", "state before the step", "first moment of ", parameters, &moments.first, &mut found);
    tensors("start", "state before the step", "second moment of ", parameters, &moments.second, &mut found);
    let rows = batch.iter().map(|&row| u32::try_from(row).unwrap_or(u32::MAX)).collect();
    found.push(scalar("batch", "train.order stream", "training rows of the batch", Values::U32(rows)));
    found
}

/// The tree's sum over the examples.
pub(super) fn sum(sum: &ExampleGradient, parameters: &Parameters) -> Vec<Recorded> {
    let mut found = vec![
        scalar("sum", "sum over the batch", "loss", Values::F64(vec![sum.loss])),
        scalar("sum", "sum over the batch", "learned tokens", Values::F64(vec![sum.learned as f64])),
    ];
    tensors("sum", "tree over the batch", "gradient of ", parameters, &sum.groups, &mut found);
    found
}

/// Clipping, schedule, and what AdamW made of moments and parameters.
pub(super) fn update(scalars: &[(&str, f64)], parameters: &Parameters, moments: &Moments) -> Vec<Recorded> {
    let mut found: Vec<Recorded> = scalars
        .iter()
        .map(|(name, value)| scalar("clip", "clipping and schedule", name, Values::F64(vec![*value])))
        .collect();
    tensors("optimiser", "AdamW, m", "first moment of ", parameters, &moments.first, &mut found);
    tensors("optimiser", "AdamW, v", "second moment of ", parameters, &moments.second, &mut found);
    tensors("optimiser", "AdamW, p", "", parameters, &parameters.values, &mut found);
    found
}

/// One record a tensor, in name order.
fn tensors(
    stage: &str,
    operation: &str,
    prefix: &str,
    parameters: &Parameters,
    values: &[Vec<f32>],
    found: &mut Vec<Recorded>,
) {
    found.extend(parameters.in_name_order().map(|(group, slot)| Recorded {
        place: Place {
            stage: stage.to_owned(),
            operation: operation.to_owned(),
            tensor: format!("{prefix}{}", slot.name),
            shape: slot.shape.clone(),
            ..Place::default()
        },
        values: Values::F32(values[group][slot.range.clone()].to_vec()),
    }));
}

fn scalar(stage: &str, operation: &str, tensor: &str, values: Values) -> Recorded {
    let len = match &values {
        Values::F32(values) => values.len(),
        Values::F64(values) => values.len(),
        Values::U32(values) => values.len(),
        Values::Sha256(digest) => digest.len(),
    };
    Recorded {
        place: Place {
            stage: stage.to_owned(),
            operation: operation.to_owned(),
            tensor: tensor.to_owned(),
            shape: vec![len],
            ..Place::default()
        },
        values,
    }
}
