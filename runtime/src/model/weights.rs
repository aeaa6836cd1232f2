//! A model's tensors by name, over one file or several shards.
//!
//! What leaves here has the shape that was asked for and holds finite numbers only.

use std::collections::BTreeMap;

use super::error::ModelError;
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
}

impl Weights {
    /// Opens a model's weights: `model.safetensors`, or the shards of `model.safetensors.index.json`. Reads the tables only.
    ///
    /// # Errors
    /// The shard, header and tensor variants of [`ModelError`].
    pub fn open(source: &ModelSource) -> Result<Self, ModelError> {
        let model = source.repo().to_owned();
        if !source.has(SHARD_INDEX) {
            let file = source.open_tensors(SINGLE_FILE)?;
            let place = file.names().map(|name| (name.to_owned(), 0)).collect();
            return Ok(Self { model, files: vec![file], place });
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
        Ok(Self { model, files, place })
    }

    /// Names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.place.keys().map(String::as_str)
    }

    /// Shape of a tensor; none if the model lacks it.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        let file = self.place.get(name).and_then(|position| self.files.get(*position))?;
        file.describe(name).map(|(_, shape)| shape)
    }

    /// Whether the model has this tensor.
    pub fn has(&self, name: &str) -> bool {
        self.place.contains_key(name)
    }

    /// The element type that most bytes of the model are stored in.
    pub fn dtype(&self) -> Dtype {
        let mut bytes_by_dtype: BTreeMap<&str, (usize, Dtype)> = BTreeMap::new();
        for (name, position) in &self.place {
            if let Some((dtype, shape)) = self.files.get(*position).and_then(|file| file.describe(name)) {
                let len_bytes = shape.iter().product::<usize>().saturating_mul(dtype.len_bytes());
                let total = bytes_by_dtype.entry(dtype.name()).or_insert((0, dtype));
                total.0 = total.0.saturating_add(len_bytes);
            }
        }
        bytes_by_dtype.into_values().max_by_key(|(len_bytes, _)| *len_bytes).map_or(Dtype::F32, |(_, dtype)| dtype)
    }

    /// One tensor as f32 of the shape expected, every element finite.
    ///
    /// # Errors
    /// [`ModelError::TensorMissing`], [`ModelError::TensorShape`], [`ModelError::TensorDtype`],
    /// [`ModelError::WeightNotFinite`], [`ModelError::Unreadable`].
    pub fn tensor_f32(&self, name: &str, expected_shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        let missing = || ModelError::TensorMissing { model: self.model.clone(), tensor: name.to_owned() };
        let file = self.place.get(name).and_then(|position| self.files.get(*position)).ok_or_else(missing)?;
        finite_f32(file, name, expected_shape)
    }
}

/// One tensor of a file as f32 of the shape expected, every element finite.
pub(super) fn finite_f32(file: &TensorFile, name: &str, expected_shape: &[usize]) -> Result<Vec<f32>, ModelError> {
    // The shape is compared before the bytes are read: a lying table costs no memory.
    if let Some((_, shape)) = file.describe(name)
        && shape != expected_shape
    {
        let (found, expected) = (shape.to_vec(), expected_shape.to_vec());
        return Err(ModelError::TensorShape { tensor: name.to_owned(), found, expected });
    }
    let values = file.tensor(name)?.to_f32()?;
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(values),
        Some(element) => {
            let found = values.get(element).copied().unwrap_or(f32::NAN);
            Err(ModelError::WeightNotFinite { tensor: name.to_owned(), element, found })
        }
    }
}
