//! A model's tensors by name, over one file or several shards, or a GGUF file.
//!
//! What leaves here has the shape that was asked for and holds finite numbers only.

use std::collections::BTreeMap;

use super::coding::Coding;
use super::error::ModelError;
use super::gguf::GgufModel;
use super::safetensors::{Dtype, TensorFile};
use super::source::{ModelSource, SHARD_INDEX, SINGLE_FILE, shards_of, weight_map_of};

/// Whatever gives tensors by name and expected shape, row-major: a model's files, or a trainer's own parameters.
pub type TensorSource<'a> = dyn FnMut(&str, &[usize]) -> Result<Vec<f32>, ModelError> + 'a;

/// Tensors of one model.
#[derive(Debug)]
pub struct Weights {
    model: String,
    files: Vec<TensorFile>,
    place: BTreeMap<String, usize>,
    gguf: Option<GgufModel>,
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
            return Ok(Self { model, files: Vec::new(), place, gguf: Some(gguf) });
        }
        if !source.has(SHARD_INDEX) {
            let file = source.open_tensors(SINGLE_FILE)?;
            let place = file.names().map(|name| (name.to_owned(), 0)).collect();
            return Ok(Self { model, files: vec![file], place, gguf: None });
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
        Ok(Self { model, files, place, gguf: None })
    }

    /// Names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.place.keys().map(String::as_str)
    }

    /// Shape of a tensor; none if the model lacks it.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        if let Some(gguf) = &self.gguf {
            return gguf.describe(name).map(|(_, shape, _)| shape);
        }
        let file = self.place.get(name).and_then(|position| self.files.get(*position))?;
        file.describe(name).map(|(_, shape)| shape)
    }

    /// Whether the model has this tensor.
    pub fn has(&self, name: &str) -> bool {
        self.place.contains_key(name)
    }

    /// The coding that most bytes of the model are stored in.
    pub fn coding(&self) -> Coding {
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
        let file = self.place.get(name).and_then(|position| self.files.get(*position)).ok_or_else(missing)?;
        finite_f32(file, name, expected_shape)
    }
}

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
