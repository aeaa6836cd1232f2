//! Vectors over weights as they are stored.

use super::vectors::Parts;
use crate::kernel::{
    BLOCK, HalfType, IntegerBits, PackedMatrix, QuantizedRows, f16_bits, product, product_by_transpose,
};

/// Stores `w` as the vector's form says, and takes the values it means and both passes over it.
pub(super) fn products(p: &mut Parts) -> Result<(), String> {
    let (m, k, n, form) = (p.size("m")?, p.size("k")?, p.size("n")?, p.text("form")?);
    let (a, d, w) = (p.input("a")?, p.input("d")?, p.input("w")?);
    if (a.len(), d.len(), w.len()) != (m * k, m * n, n * k) {
        return Err(format!("{}, {} and {} elements, expected {m}, {k}, {n}", a.len(), d.len(), w.len()));
    }
    let (bits, minima) = match form.as_str() {
        "f16" => (None, false),
        "int8" => (Some(IntegerBits::Eight), false),
        "int4" => (Some(IntegerBits::Four), false),
        "int8 minima" => (Some(IntegerBits::Eight), true),
        "int4 minima" => (Some(IntegerBits::Four), true),
        _ => return Err(format!("unknown form {form}")),
    };
    let matrix = match bits {
        None => PackedMatrix::frozen_from_columns(p.level, &falling_f16(&w, k), n, k),
        Some(bits) => {
            let group = p.size("group")?;
            if !(4..=BLOCK).contains(&group) || !group.is_power_of_two() || !k.is_multiple_of(group) {
                return Err(format!("groups of {group} in {k}"));
            }
            let mut rows = QuantizedRows::quantize(&w, n, k, bits, group);
            if minima {
                rows.minima = p.input("minima")?;
                if rows.minima.len() != rows.scales.len() {
                    return Err(format!("{} minima, expected {}", rows.minima.len(), rows.scales.len()));
                }
            }
            PackedMatrix::from_quantized_columns(p.level, &rows)
        }
    };
    if !form.starts_with(matrix.storage()) {
        return Err(format!("stored as {}", matrix.storage()));
    }
    let (mut y, mut gradient) = (vec![f32::NAN; m * n], vec![f32::NAN; m * k]);
    product(p.level, &a, m, &matrix, &mut y);
    product_by_transpose(p.level, &d, m, &matrix, &mut gradient);
    p.output("values", (0..n).flat_map(|column| matrix.column(column)).collect());
    p.output("y", y);
    p.output("gradient", gradient);
    Ok(())
}

/// Row i times 2^-i, rounded to f16.
fn falling_f16(w: &[f32], k: usize) -> Vec<f32> {
    let downs = std::iter::successors(Some(1.0_f32), |down| Some(down / 2.0));
    let rows = w.chunks(k.max(1)).zip(downs);
    rows.flat_map(|(row, down)| row.iter().map(move |x| HalfType::F16.value(f16_bits(x * down)))).collect()
}
