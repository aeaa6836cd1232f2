//! A model's tensors by name, over one file or several shards, or a GGUF file.
//!
//! What leaves here has the shape that was asked for and holds finite numbers only.

use std::collections::BTreeMap;

use super::coding::Coding;
use super::error::ModelError;
use super::gguf::GgufModel;
use super::keys::Keys;
use super::matrix::Matrix;
use super::quantization::Quantization;
use super::safetensors::{Dtype, TensorFile};
use super::source::{CONFIG, ModelSource, SHARD_INDEX, SINGLE_FILE, shards_of, weight_map_of};
use crate::kernel::{IntegerBits, QuantizedRows};

/// Whatever gives tensors by name and expected shape, row-major: a model's files, or a trainer's own parameters.
pub type TensorSource<'a> = dyn FnMut(&str, &[usize]) -> Result<Vec<f32>, ModelError> + 'a;

/// Whatever gives tensors by name and expected shape as they are stored.
pub type MatrixSource<'a> = dyn FnMut(&str, &[usize]) -> Result<Matrix, ModelError> + 'a;

/// Tensors of one model.
#[derive(Debug)]
pub struct Weights {
    model: String,
    files: Vec<TensorFile>,
    place: BTreeMap<String, usize>,
    gguf: Option<GgufModel>,
    quantization: Option<Quantization>,
}

impl Weights {
    /// Opens a model's weights: `model.safetensors`, or the shards of `model.safetensors.index.json`. Reads the tables only.
    ///
    /// # Errors
    /// The shard, header and tensor variants of [`ModelError`].
    pub fn open(source: &ModelSource) -> Result<Self, ModelError> {
        let model = source.repo().to_owned();
        if let Some(gguf) = source.gguf()? {
            let place = gguf.names().map(|name| (name, 0)).collect();
            return Ok(Self { model, files: Vec::new(), place, gguf: Some(gguf), quantization: None });
        }
        let quantization = Quantization::of(&Keys::parse(CONFIG, &source.read(CONFIG)?)?)?;
        if !source.has(SHARD_INDEX) {
            let file = source.open_tensors(SINGLE_FILE)?;
            let place = file.names().map(|name| (name.to_owned(), 0)).collect();
            return Ok(Self { model, files: vec![file], place, gguf: None, quantization });
        }
        let index = source.read(SHARD_INDEX)?;
        let shards: Vec<String> = shards_of(&index)?.into_keys().collect();
        let files = shards.iter().map(|shard| source.open_tensors(shard)).collect::<Result<Vec<_>, _>>()?;
        let mut place = BTreeMap::new();
        for (tensor, shard) in weight_map_of(&index)? {
            let position = shards.binary_search(&shard).ok();
            let holder = position.and_then(|position| files.get(position).map(|file| (position, file)));
            match holder {
                Some((position, file)) if file.describe(&tensor).is_some() => place.insert(tensor, position),
                _ => return Err(ModelError::TensorMissing { model: shard, tensor }),
            };
        }
        Ok(Self { model, files, place, gguf: None, quantization })
    }

    /// Names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let scale = |name: &&str| name.strip_suffix(SCALE).is_some_and(|of| self.quantized(of).is_some());
        self.place.keys().map(String::as_str).filter(move |name| !scale(name))
    }

    /// Shape of a tensor; none if the model lacks it.
    pub fn shape(&self, name: &str) -> Option<Vec<usize>> {
        if let Some(gguf) = &self.gguf {
            return gguf.describe(name).map(|(_, shape, _)| shape.to_vec());
        }
        let (_, shape) = self.file(name)?.describe(name)?;
        match (self.quantized(name), shape) {
            (Some((IntegerBits::Four, _)), [rows, bytes]) => Some(vec![*rows, bytes.saturating_mul(2)]),
            _ => Some(shape.to_vec()),
        }
    }

    fn file(&self, name: &str) -> Option<&TensorFile> {
        self.place.get(name).and_then(|position| self.files.get(*position))
    }

    // How a tensor is quantised: by its element type, in a base that says it is.
    fn quantized(&self, name: &str) -> Option<(IntegerBits, usize)> {
        let group = self.quantization.as_ref()?.group;
        match self.file(name)?.describe(name)?.0 {
            Dtype::Other("I8", _) => Some((IntegerBits::Eight, group)),
            Dtype::Other("U8", _) => Some((IntegerBits::Four, group)),
            _ => None,
        }
    }

    /// The integers, scales and minima of a weight of `kolm base quantize` or of a GGUF file; none where it is stored otherwise.
    ///
    /// # Errors
    /// As [`Weights::tensor_f32`].
    pub fn quantized_rows(&self, name: &str, expected_shape: &[usize]) -> Result<Option<QuantizedRows>, ModelError> {
        if let (Some(gguf), [rows, columns]) = (&self.gguf, expected_shape) {
            let Some((_, shape, _)) = gguf.describe(name) else { return Ok(None) };
            check_shape(name, shape, expected_shape)?;
            let Some(matrix) = gguf.quantized_rows(name, *rows, *columns)? else { return Ok(None) };
            return finite_quantized(name, matrix).map(Some);
        }
        let (Some((bits, group)), Some(file), [rows, columns]) =
            (self.quantized(name), self.file(name), expected_shape)
        else {
            return Ok(None);
        };
        check_shape(name, &self.shape(name).unwrap_or_default(), expected_shape)?;
        if !columns.is_multiple_of(group) {
            let coding = if bits == IntegerBits::Four { Coding::Int4 } else { Coding::Int8 }.name();
            return Err(ModelError::TensorGroup { tensor: name.to_owned(), columns: *columns, group, coding });
        }
        let scales = format!("{name}{SCALE}");
        let missing = || ModelError::TensorMissing { model: self.model.clone(), tensor: scales.clone() };
        let scales = finite_f32(self.file(&scales).ok_or_else(missing)?, &scales, &[*rows, columns / group])?;
        let integers = file.tensor(name)?.bytes.into_owned();
        let minima = Vec::new();
        let matrix = QuantizedRows { bits, group, rows: *rows, columns: *columns, integers, scales, minima };
        finite_quantized(name, matrix).map(Some)
    }

    /// Element type and shape that a tensor of a safetensors file is stored in.
    pub fn stored(&self, name: &str) -> Option<(Dtype, &[usize])> {
        self.file(name)?.describe(name)
    }

    /// The stored bytes of a tensor of a safetensors file.
    ///
    /// # Errors
    /// [`ModelError::TensorMissing`], [`ModelError::Unreadable`].
    pub fn stored_bytes(&self, name: &str) -> Result<Vec<u8>, ModelError> {
        let missing = || ModelError::TensorMissing { model: self.model.clone(), tensor: name.to_owned() };
        Ok(self.file(name).ok_or_else(missing)?.tensor(name)?.bytes.into_owned())
    }

    /// What `kolm base quantize` recorded.
    pub fn quantization(&self) -> Option<&Quantization> {
        self.quantization.as_ref()
    }

    /// Whether the model has this tensor.
    pub fn has(&self, name: &str) -> bool {
        self.place.contains_key(name)
    }

    /// The coding that most bytes of the model are stored in.
    pub fn coding(&self) -> Coding {
        if let Some(quantization) = &self.quantization {
            return quantization.coding();
        }
        let mut bytes_by_coding: BTreeMap<Coding, u64> = BTreeMap::new();
        for (name, position) in &self.place {
            let found = match &self.gguf {
                Some(gguf) => gguf.describe(name).map(|(block, _, len_bytes)| (block.coding(), len_bytes)),
                None => self.files.get(*position).and_then(|file| file.describe(name)).map(|(dtype, shape)| {
                    let len_bytes = shape.iter().product::<usize>().saturating_mul(dtype.len_bytes());
                    (coding_of(dtype), len_bytes as u64)
                }),
            };
            if let Some((coding, len_bytes)) = found {
                let total = bytes_by_coding.entry(coding).or_insert(0);
                *total = total.saturating_add(len_bytes);
            }
        }
        bytes_by_coding.into_iter().max_by_key(|(_, len_bytes)| *len_bytes).map_or(Coding::F32, |(coding, _)| coding)
    }

    /// One tensor of the shape expected, quantised where it is stored so, else as f32.
    ///
    /// # Errors
    /// As [`Weights::tensor_f32`].
    pub fn matrix(&self, name: &str, expected_shape: &[usize]) -> Result<Matrix, ModelError> {
        match self.quantized_rows(name, expected_shape)? {
            Some(rows) => Ok(Matrix::Quantized(rows)),
            None => Ok(Matrix::Values(self.tensor_f32(name, expected_shape)?)),
        }
    }

    /// One tensor as f32 of the shape expected, every element finite.
    ///
    /// # Errors
    /// [`ModelError::TensorMissing`], [`ModelError::TensorShape`], [`ModelError::TensorDtype`],
    /// [`ModelError::WeightNotFinite`], [`ModelError::Unreadable`].
    pub fn tensor_f32(&self, name: &str, expected_shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        let missing = || ModelError::TensorMissing { model: self.model.clone(), tensor: name.to_owned() };
        if let Some(gguf) = &self.gguf {
            let (_, shape, _) = gguf.describe(name).ok_or_else(missing)?;
            check_shape(name, shape, expected_shape)?;
            return finite(name, gguf.blocks(name)?.to_f32());
        }
        if let Some(rows) = self.quantized_rows(name, expected_shape)? {
            return finite(name, rows.to_f32());
        }
        let file = self.file(name).ok_or_else(missing)?;
        finite_f32(file, name, expected_shape)
    }
}

/// What follows a weight's name in that of its scales.
pub const SCALE: &str = "_scale";

/// One tensor of a file as f32 of the shape expected, every element finite.
pub(super) fn finite_f32(file: &TensorFile, name: &str, expected_shape: &[usize]) -> Result<Vec<f32>, ModelError> {
    // The shape is compared before the bytes are read: a lying table costs no memory.
    if let Some((_, shape)) = file.describe(name) {
        check_shape(name, shape, expected_shape)?;
    }
    finite(name, file.tensor(name)?.to_f32()?)
}

fn coding_of(dtype: Dtype) -> Coding {
    match dtype {
        Dtype::Bf16 => Coding::Bf16,
        Dtype::F16 => Coding::F16,
        Dtype::F32 | Dtype::Other(..) => Coding::F32,
    }
}

fn check_shape(name: &str, found: &[usize], expected: &[usize]) -> Result<(), ModelError> {
    if found == expected {
        return Ok(());
    }
    Err(ModelError::TensorShape { tensor: name.to_owned(), found: found.to_vec(), expected: expected.to_vec() })
}

fn finite(name: &str, values: Vec<f32>) -> Result<Vec<f32>, ModelError> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(values),
        Some(element) => {
            let found = values.get(element).copied().unwrap_or(f32::NAN);
            Err(ModelError::WeightNotFinite { tensor: name.to_owned(), element, found })
        }
    }
}

/// Refuses scales and minima that make an integer infinite or no number, whether or not that integer occurs.
fn finite_quantized(name: &str, matrix: QuantizedRows) -> Result<QuantizedRows, ModelError> {
    let minimum = |group| matrix.minima.get(group).copied().unwrap_or(0.0);
    let extremes = matrix.scales.iter().enumerate();
    let extremes = extremes.map(|(group, scale)| scale.abs() * GREATEST_INTEGER + minimum(group).abs());
    match extremes.enumerate().find(|(_, extreme)| !extreme.is_finite()) {
        None => Ok(matrix),
        Some((group, found)) => {
            Err(ModelError::WeightNotFinite { tensor: name.to_owned(), element: group * matrix.group, found })
        }
    }
}

/// The greatest magnitude of a stored integer.
const GREATEST_INTEGER: f32 = 128.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_whose_values_overflow_is_refused() {
        let matrix = |scale| {
            let scales = vec![1.0, scale];
            let (bits, minima) = (IntegerBits::Eight, Vec::new());
            QuantizedRows { bits, group: 2, rows: 2, columns: 2, integers: vec![0; 4], scales, minima }
        };
        assert!(finite_quantized("w", matrix(f32::MAX / 256.0)).is_ok());
        for scale in [f32::MAX / 64.0, f32::INFINITY, f32::NAN] {
            let refused = finite_quantized("w", matrix(scale));
            assert!(matches!(refused, Err(ModelError::WeightNotFinite { element: 2, .. })), "{scale}");
        }
        for (minimum, scale) in [(f32::NAN, 1.0), (f32::INFINITY, 1.0), (f32::MAX, f32::MAX / 128.0)] {
            let minima = vec![0.0, minimum];
            let refused = finite_quantized("w", QuantizedRows { minima, ..matrix(scale) });
            assert!(matches!(refused, Err(ModelError::WeightNotFinite { element: 2, .. })), "{minimum} {scale}");
        }
    }
}
