//! A GGUF file whose header has been checked: metadata, and a table of tensors that accounts for every byte.
//!
//! Every tensor begins where the one before it ends, rounded up to the alignment, none leaves the file, and each is as long as
//! its shape needs. Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, versions 2 and 3, little-endian.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use super::block::BlockType;
use super::reader::{Cursor, Value};
use crate::model::error::ModelError;
use crate::model::limits;
use crate::model::storage::Storage;

/// A GGUF file; tensors are read when asked for.
pub(in crate::model) struct GgufFile {
    pub(super) label: String,
    pub(super) metadata: BTreeMap<String, Value>,
    pub(super) tensors: BTreeMap<String, Entry>,
    storage: Storage,
    data_offset_bytes: u64,
}

/// One tensor of the table.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) coding: BlockType,
    /// Row-major: the format's own order turned around.
    pub(super) shape: Vec<usize>,
    begin: u64,
    pub(super) len_bytes: u64,
}

impl GgufFile {
    /// Reads the header of a file that lies in memory. `label` names it in errors.
    ///
    /// # Errors
    /// The GGUF, header and tensor variants of [`ModelError`].
    pub(in crate::model) fn from_bytes(label: &str, bytes: Cow<'static, [u8]>) -> Result<Self, ModelError> {
        Self::of_storage(label, Storage::Bytes(bytes))
    }

    /// Reads the header of a file on disk.
    ///
    /// # Errors
    /// As [`GgufFile::from_bytes`], and [`ModelError::Unreadable`].
    pub(in crate::model) fn open(label: &str, path: &Path) -> Result<Self, ModelError> {
        Self::of_storage(label, Storage::open(path)?)
    }

    fn of_storage(label: &str, storage: Storage) -> Result<Self, ModelError> {
        let len_bytes = storage.len_bytes()?;
        let header = storage.read_start(|reader| read_header(&mut Cursor::new(label, reader, len_bytes)))?;
        let alignment = alignment_of(label, &header.metadata)?;
        let data_offset_bytes = header.len_bytes.next_multiple_of(alignment);
        check_places(label, &header.tensors, alignment, len_bytes.saturating_sub(data_offset_bytes))?;
        let Header { metadata, tensors, .. } = header;
        Ok(Self { label: label.to_owned(), metadata, tensors, storage, data_offset_bytes })
    }

    /// The blocks of a tensor.
    pub(super) fn read(&self, entry: &Entry) -> Result<Cow<'_, [u8]>, ModelError> {
        self.storage.read(&self.label, self.data_offset_bytes + entry.begin, entry.len_bytes)
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        match self.metadata.get(key) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    pub(super) fn texts(&self, key: &str) -> Option<&[String]> {
        match self.metadata.get(key) {
            Some(Value::Texts(texts)) => Some(texts),
            _ => None,
        }
    }
}

impl fmt::Debug for GgufFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GgufFile")
            .field("label", &self.label)
            .field("tensors", &self.tensors.len())
            .finish_non_exhaustive()
    }
}

struct Header {
    metadata: BTreeMap<String, Value>,
    tensors: BTreeMap<String, Entry>,
    len_bytes: u64,
}

fn read_header(cursor: &mut Cursor<'_>) -> Result<Header, ModelError> {
    let magic = cursor.magic()?;
    if &magic != b"GGUF" {
        return Err(cursor.wrong(format!("it begins with {:?}, expected \"GGUF\"", String::from_utf8_lossy(&magic))));
    }
    let version = cursor.u32()?;
    if !matches!(version, 2 | 3) {
        return Err(cursor.wrong(format!("version {version}, expected 2 or 3, little-endian")));
    }
    // A tensor takes at least a name's length, a dimension count, a dimension, a type and an offset; a key a length and a type.
    let tensor_count = cursor.count("tensors", 32, limits::TENSOR_COUNT)?;
    let key_count = cursor.count("metadata keys", 12, limits::GGUF_KEY_COUNT)?;
    let mut metadata = BTreeMap::new();
    for _ in 0..key_count {
        let key = cursor.text("a key", limits::GGUF_TOKEN_LEN_BYTES)?;
        let value = cursor.value(&key)?;
        if metadata.contains_key(&key) {
            return Err(cursor.wrong(format!("{key} given twice")));
        }
        metadata.insert(key, value);
    }
    let mut tensors = BTreeMap::new();
    for _ in 0..tensor_count {
        let name = cursor.text("a tensor's name", limits::TENSOR_NAME_LEN_BYTES)?;
        let entry = read_entry(cursor, &name)?;
        if tensors.contains_key(&name) {
            return Err(cursor.wrong(format!("tensor {name} given twice")));
        }
        tensors.insert(name, entry);
    }
    Ok(Header { metadata, tensors, len_bytes: cursor.position() })
}

fn read_entry(cursor: &mut Cursor<'_>, name: &str) -> Result<Entry, ModelError> {
    let dimension_count = cursor.u32()?;
    if !(1..=limits::GGUF_DIMENSION_COUNT).contains(&dimension_count) {
        let limit = limits::GGUF_DIMENSION_COUNT;
        return Err(cursor.wrong(format!("tensor {name} has {dimension_count} dimensions, expected 1 to {limit}")));
    }
    let mut shape = Vec::new();
    for _ in 0..dimension_count {
        let size = cursor.u64()?;
        match usize::try_from(size) {
            Ok(size) if size > 0 => shape.insert(0, size),
            _ => return Err(cursor.wrong(format!("tensor {name} has a dimension of {size}, expected at least 1"))),
        }
    }
    let coding = BlockType::parse(cursor.u32()?).map_err(|found| ModelError::TensorDtype {
        tensor: name.to_owned(),
        found,
        expected: "F32, F16, BF16, Q8_0, Q4_0, Q5_0, Q4_K, Q5_K or Q6_K",
    })?;
    let begin = cursor.u64()?;
    let columns = shape.last().copied().unwrap_or(1);
    if !columns.is_multiple_of(coding.block_len()) {
        let (columns, block, coding) = (columns, coding.block_len(), coding.name());
        return Err(ModelError::TensorGroup { tensor: name.to_owned(), columns, group: block, coding });
    }
    let elements = shape.iter().try_fold(1_u64, |product, size| product.checked_mul(*size as u64));
    let blocks = elements.map(|elements| elements / coding.block_len() as u64);
    let Some(len_bytes) = blocks.and_then(|blocks| blocks.checked_mul(coding.block_len_bytes() as u64)) else {
        return Err(cursor.wrong(format!("tensor {name} has shape {shape:?}, more elements than can be counted")));
    };
    Ok(Entry { coding, shape, begin, len_bytes })
}

fn alignment_of(label: &str, metadata: &BTreeMap<String, Value>) -> Result<u64, ModelError> {
    let value = match metadata.get("general.alignment") {
        None => return Ok(32),
        Some(Value::Integer(value)) => u64::try_from(*value).ok(),
        Some(_) => None,
    };
    let sound = |value: &u64| value.is_power_of_two() && (8..=limits::GGUF_ALIGNMENT_BYTES).contains(value);
    value.filter(sound).ok_or_else(|| ModelError::ConfigValue {
        file: label.to_owned(),
        key: "general.alignment",
        found: value.map_or_else(|| "no count".to_owned(), |value| value.to_string()),
        expected: format!("a power of two from 8 to {}", limits::GGUF_ALIGNMENT_BYTES),
    })
}

fn check_places(
    label: &str,
    tensors: &BTreeMap<String, Entry>,
    alignment: u64,
    data_len_bytes: u64,
) -> Result<(), ModelError> {
    let mut order: Vec<(&String, &Entry)> = tensors.iter().collect();
    order.sort_by_key(|(_, entry)| (entry.begin, entry.len_bytes));
    let mut expected_end = 0_u64;
    for (name, entry) in order {
        let expected_begin = expected_end.next_multiple_of(alignment);
        let end = entry.begin.saturating_add(entry.len_bytes);
        if entry.begin != expected_begin || end > data_len_bytes {
            return Err(ModelError::TensorOffsets {
                file: label.to_owned(),
                tensor: name.clone(),
                begin: entry.begin,
                end,
                expected_begin,
                len_bytes: data_len_bytes,
            });
        }
        expected_end = end;
    }
    // Writers pad the last tensor, or do not.
    if data_len_bytes - expected_end >= alignment {
        return Err(ModelError::TrailingBytes {
            file: label.to_owned(),
            found: data_len_bytes,
            expected: expected_end,
        });
    }
    Ok(())
}
