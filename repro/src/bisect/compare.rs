//! Two recorded steps: the first tensor that differs, and in it the first element.
//!
//! Both are walked side by side in the order in which they were computed, so what is found first is where they part; whatever follows
//! is a consequence. Elements are compared by bits.

use kolm_compile::diff::ulp;
use kolm_compile::train::Place;
use serde::Serialize;

use super::error::BisectError;
use super::step::{Element, StepReader, StepTensor};

/// Where two recorded steps part.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Parting {
    /// The tensor, as `a` has it.
    pub place: Place,
    /// What differs in it.
    pub what: What,
}

/// What differs in the first tensor that does.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// One side computed something else there, or a tensor of another shape.
    Place {
        /// What `b` has in its place; none if it ends there.
        b: Option<Place>,
    },
    /// Values.
    Values(Differing),
}

/// Values that differ.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Differing {
    /// Elements of the tensor.
    pub elements: usize,
    /// How many differ.
    pub differing: usize,
    /// Place of the first, an index for each dimension, from 0.
    pub index: Vec<usize>,
    /// Its value in `a`.
    pub a: Value,
    /// Its value in `b`.
    pub b: Value,
    /// Distance of the two in units in the last place; none for integers and NaN.
    pub ulp: Option<u64>,
    /// Greatest distance in the tensor.
    pub max_ulp: Option<u64>,
}

/// One element.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Value {
    /// Its bits.
    pub hex: String,
    /// The number, in the shortest decimal that gives these bits.
    pub decimal: String,
}

/// Finds where two recorded steps part; none if nowhere.
///
/// # Errors
/// [`BisectError::Step`], [`BisectError::Artifact`].
pub fn compare(a: &mut StepReader, b: &mut StepReader) -> Result<Option<Parting>, BisectError> {
    while let Some(left) = a.next_tensor()? {
        let right = b.next_tensor()?;
        if let Some(what) = differs(&left, right.as_ref()) {
            return Ok(Some(Parting { place: left.place, what }));
        }
    }
    Ok(b.next_tensor()?.map(|extra| Parting { place: extra.place.clone(), what: What::Place { b: Some(extra.place) } }))
}

fn differs(a: &StepTensor, b: Option<&StepTensor>) -> Option<What> {
    let Some(b) = b else { return Some(What::Place { b: None }) };
    if a.place != b.place || a.element != b.element {
        return Some(What::Place { b: Some(b.place.clone()) });
    }
    if a.bytes == b.bytes {
        return None;
    }
    let width = a.element.len_bytes();
    let elements = a.bytes.len() / width;
    let pairs = a.bytes.chunks_exact(width).zip(b.bytes.chunks_exact(width)).enumerate();
    let (mut differing, mut first, mut max_ulp) = (0, None, None);
    for (row, (x, y)) in pairs.filter(|(_, (x, y))| x != y) {
        differing += 1;
        let distance = distance(a.element, x, y);
        first.get_or_insert((row, x, y, distance));
        max_ulp = max_ulp.max(distance);
    }
    first.map(|(row, x, y, ulp)| {
        What::Values(Differing {
            elements,
            differing,
            index: index(row, &a.place.shape),
            a: value(a.element, x),
            b: value(a.element, y),
            ulp,
            max_ulp,
        })
    })
}

/// Row-major place as one index for each dimension.
fn index(mut row: usize, shape: &[usize]) -> Vec<usize> {
    let mut index: Vec<usize> = shape
        .iter()
        .rev()
        .map(|&size| {
            let place = row % size.max(1);
            row /= size.max(1);
            place
        })
        .collect();
    index.reverse();
    index
}

fn word(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
}

fn value(element: Element, bytes: &[u8]) -> Value {
    let word = word(bytes);
    match element {
        Element::F32 => Value { hex: format!("0x{word:08x}"), decimal: f32::from_bits(word as u32).to_string() },
        Element::F64 => Value { hex: format!("0x{word:016x}"), decimal: f64::from_bits(word).to_string() },
        Element::U32 => Value { hex: format!("0x{word:08x}"), decimal: word.to_string() },
    }
}

fn distance(element: Element, a: &[u8], b: &[u8]) -> Option<u64> {
    let (a, b) = (word(a), word(b));
    match element {
        Element::F32 => ulp::distance(a as u32, b as u32).map(u64::from),
        Element::F64 => ulp::distance_f64(a, b),
        Element::U32 => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(tensor: &str, shape: &[usize], values: &[f32]) -> StepTensor {
        StepTensor {
            place: Place { tensor: tensor.to_owned(), shape: shape.to_vec(), ..Place::default() },
            element: Element::F32,
            bytes: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        }
    }

    #[test]
    fn the_first_element_its_bits_and_its_distance() {
        let a = tensor("x", &[2, 3], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        let b = tensor("x", &[2, 3], &[0.0, 1.0, 2.0, 3.0, f32::from_bits(4.0_f32.to_bits() + 2), 6.0]);
        assert_eq!(differs(&a, Some(&a)), None);
        let Some(What::Values(found)) = differs(&a, Some(&b)) else { panic!("values differ") };
        assert_eq!((found.elements, found.differing, found.index.as_slice()), (6, 2, [1, 1].as_slice()));
        assert_eq!((found.a.hex.as_str(), found.b.hex.as_str(), found.ulp), ("0x40800000", "0x40800002", Some(2)));
        assert_eq!(found.max_ulp, Some(1 << 21));
    }

    #[test]
    fn another_tensor_or_shape_is_a_difference_of_place() {
        let a = tensor("x", &[2], &[0.0, 1.0]);
        let other = tensor("y", &[2], &[0.0, 1.0]);
        assert_eq!(differs(&a, Some(&other)), Some(What::Place { b: Some(other.place.clone()) }));
        let longer = tensor("x", &[3], &[0.0, 1.0, 2.0]);
        assert!(matches!(differs(&a, Some(&longer)), Some(What::Place { .. })));
        assert_eq!(differs(&a, None), Some(What::Place { b: None }));
    }
}
