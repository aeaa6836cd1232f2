//! The one encoding of a set of tensors.

use super::dtype::Dtype;
use super::{METADATA, check_length};
use crate::model::error::ModelError;

/// Encodes tensors: names sorted, `__metadata__` first, header padded with spaces to a multiple of 8.
///
/// Each tensor is (name, type, shape, little-endian bytes); at most one metadata key, so that nothing is left to a map's order.
///
/// # Errors
/// [`ModelError::TensorLength`] when bytes and shape disagree, [`ModelError::HeaderMalformed`] for a name given twice.
pub fn write(
    tensors: &[(&str, Dtype, &[usize], &[u8])],
    metadata: Option<(&str, &str)>,
) -> Result<Vec<u8>, ModelError> {
    let mut sorted: Vec<_> = tensors.to_vec();
    sorted.sort_by(|left, right| left.0.cmp(right.0));
    for (name, dtype, shape, bytes) in &sorted {
        check_length(WRITTEN, name, *dtype, shape, 0, bytes.len() as u64)?;
    }
    let table: Vec<_> = sorted.iter().map(|(name, dtype, shape, _)| (*name, *dtype, *shape)).collect();
    let mut out = header(&table, metadata)?;
    out.reserve(sorted.iter().map(|tensor| tensor.3.len()).sum::<usize>());
    for (_, _, _, bytes) in &sorted {
        out.extend_from_slice(bytes);
    }
    Ok(out)
}

/// What stands before the tensors in [`write()`]'s encoding; `tensors` are sorted by name, and their bytes follow in that order.
///
/// # Errors
/// [`ModelError::HeaderMalformed`] for a name given twice or out of order, [`ModelError::TensorLength`] for a shape that no file holds.
pub fn header(tensors: &[(&str, Dtype, &[usize])], metadata: Option<(&str, &str)>) -> Result<Vec<u8>, ModelError> {
    let mut header = String::from("{");
    if let Some((key, value)) = metadata {
        header.push_str(&format!("\"__metadata__\":{{{}:{}}}", quoted(key), quoted(value)));
    }
    let (mut begin, mut previous) = (0_u64, None);
    for (name, dtype, shape) in tensors {
        if previous >= Some(*name) || *name == METADATA {
            return Err(ModelError::HeaderMalformed {
                file: WRITTEN.to_owned(),
                detail: format!("{name} given twice"),
            });
        }
        previous = Some(*name);
        let len = shape.iter().try_fold(dtype.len_bytes() as u64, |product, size| product.checked_mul(*size as u64));
        let Some(end) = len.and_then(|len| begin.checked_add(len)) else {
            check_length(WRITTEN, name, *dtype, shape, 0, 0)?;
            continue;
        };
        if header.len() > 1 {
            header.push(',');
        }
        let shape: Vec<String> = shape.iter().map(usize::to_string).collect();
        header.push_str(&format!(
            "{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{begin},{end}]}}",
            quoted(name),
            dtype.name(),
            shape.join(",")
        ));
        begin = end;
    }
    header.push('}');
    while !header.len().is_multiple_of(8) {
        header.push(' ');
    }
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend_from_slice(header.as_bytes());
    Ok(out)
}

/// f32 elements as the little-endian bytes of an F32 tensor.
pub fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// f32 elements as the little-endian bytes of a BF16 tensor, rounded to nearest even; NaN stays NaN.
pub fn bf16_bytes(values: &[f32]) -> Vec<u8> {
    let round = |value: &f32| {
        let bits = value.to_bits();
        let rounded = if value.is_nan() { bits | 0x0040_0000 } else { bits + (0x7fff + ((bits >> 16) & 1)) };
        ((rounded >> 16) as u16).to_le_bytes()
    };
    values.iter().flat_map(round).collect()
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

const WRITTEN: &str = "tensor file being written";
