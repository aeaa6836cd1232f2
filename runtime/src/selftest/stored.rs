//! Vectors over weights as they are stored.

use super::vectors::Parts;
use crate::kernel::{HalfType, IntegerBits, PackedMatrix, QuantizedRows, product, product_by_transpose};

/// Stores `w` as the vector's form says, and takes the values it means and both passes over it.
pub(super) fn products(p: &mut Parts) -> Result<(), String> {
    let (m, k, n, form) = (p.size("m")?, p.size("k")?, p.size("n")?, p.text("form")?);
    let (a, d, w) = (p.input("a")?, p.input("d")?, p.input("w")?);
    if (a.len(), d.len(), w.len()) != (m * k, m * n, n * k) {
        return Err(format!("{}, {} and {} elements, expected {m}, {k}, {n}", a.len(), d.len(), w.len()));
    }
    let matrix = if form == "f16" {
        let rows = w.chunks(k).zip(std::iter::successors(Some(1.0_f32), |down| Some(down / 2.0)));
        let round = |x: f32| HalfType::F16.value(HalfType::F16.bits(x));
        let values: Vec<f32> = rows.flat_map(|(row, down)| row.iter().map(move |x| round(x * down))).collect();
        PackedMatrix::frozen_from_columns(p.level, &values, n, k)
    } else {
        let (kind, minima) =
            form.split_once(' ').map_or((form.as_str(), false), |(kind, rest)| (kind, rest == "minima"));
        let bits = match kind {
            "int8" => IntegerBits::Eight,
            "int4" => IntegerBits::Four,
            _ => return Err(format!("unknown form {form}")),
        };
        let mut rows = QuantizedRows::quantize(&w, n, k, bits, p.size("group")?);
        if minima {
            rows.minima = p.input("minima")?;
        }
        PackedMatrix::from_quantized_columns(p.level, &rows)
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
