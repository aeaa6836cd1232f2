//! The safetensors format: a table of tensors in JSON, then their bytes.
//!
//! [`TensorFile`] exists only for a file whose table is sound: every tensor inside the data area, none overlapping, no gap,
//! no byte left over, each range as long as its shape needs. Tensors are read one at a time, so a large file never lies in
//! memory as a whole. [`write()`] gives one encoding for one set of tensors: names sorted, header padded with spaces to 8 bytes.
//! Format: <https://github.com/huggingface/safetensors>.

mod dtype;
mod write;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};

use super::error::ModelError;
use super::limits;
use super::storage::Storage;
pub use dtype::Dtype;
pub(super) use dtype::bf16_to_f32;
pub(crate) use dtype::f16_to_f32;
pub use write::{bf16_bytes, f32_bytes, header, write};

/// One tensor of a file: its type, shape and little-endian bytes.
#[derive(Clone, Debug)]
pub struct TensorView<'a> {
    /// Name in the file.
    pub name: &'a str,
    /// Element type.
    pub dtype: Dtype,
    /// Row-major shape.
    pub shape: &'a [usize],
    /// Elements, little-endian.
    pub bytes: Cow<'a, [u8]>,
}

impl TensorView<'_> {
    /// The elements as f32; bf16 and f16 widen exactly.
    ///
    /// # Errors
    /// [`ModelError::TensorDtype`] for any other type.
    pub fn to_f32(&self) -> Result<Vec<f32>, ModelError> {
        let (pairs, _) = self.bytes.as_chunks::<2>();
        Ok(match self.dtype {
            Dtype::F32 => self.bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
            Dtype::Bf16 => pairs.iter().map(|b| bf16_to_f32(u16::from_le_bytes(*b))).collect(),
            Dtype::F16 => pairs.iter().map(|b| f16_to_f32(u16::from_le_bytes(*b))).collect(),
            Dtype::Other(name, _) => {
                return Err(ModelError::TensorDtype {
                    tensor: self.name.to_owned(),
                    found: name.to_owned(),
                    expected: "F32, BF16 or F16",
                });
            }
        })
    }
}

/// A safetensors file whose table has been checked; tensors are read when asked for.
pub struct TensorFile {
    label: String,
    storage: Storage,
    data_offset_bytes: u64,
    tensors: BTreeMap<String, Entry>,
    metadata: BTreeMap<String, String>,
}

#[derive(Debug)]
struct Entry {
    dtype: Dtype,
    shape: Vec<usize>,
    begin: u64,
    end: u64,
}

impl TensorFile {
    /// Reads the table of a file that lies in memory. `label` names it in errors.
    ///
    /// # Errors
    /// The header and tensor variants of [`ModelError`].
    pub fn from_bytes(label: &str, bytes: impl Into<Cow<'static, [u8]>>) -> Result<Self, ModelError> {
        let bytes = bytes.into();
        let len_bytes = bytes.len() as u64;
        let mut cursor: &[u8] = &bytes;
        let header = read_header(label, &mut cursor, len_bytes, None)?;
        let (tensors, metadata, data_offset_bytes) = check_table(label, &header, len_bytes)?;
        Ok(Self { label: label.to_owned(), storage: Storage::Bytes(bytes), data_offset_bytes, tensors, metadata })
    }

    /// Reads the table of a file on disk. `label` names it in errors.
    ///
    /// # Errors
    /// [`ModelError::Unreadable`], and the header and tensor variants of [`ModelError`].
    pub fn open(label: &str, path: &Path) -> Result<Self, ModelError> {
        let unreadable = |source| ModelError::Unreadable { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(unreadable)?;
        let len_bytes = file.metadata().map_err(unreadable)?.len();
        let header = read_header(label, &mut file, len_bytes, Some(path))?;
        let (tensors, metadata, data_offset_bytes) = check_table(label, &header, len_bytes)?;
        let storage = Storage::Path(path.to_owned(), Mutex::new(file));
        Ok(Self { label: label.to_owned(), storage, data_offset_bytes, tensors, metadata })
    }

    /// Names of the tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The file's `__metadata__`.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Element type and shape of a tensor, without reading it.
    pub fn describe(&self, name: &str) -> Option<(Dtype, &[usize])> {
        self.tensors.get(name).map(|entry| (entry.dtype, entry.shape.as_slice()))
    }

    /// One tensor.
    ///
    /// # Errors
    /// [`ModelError::TensorMissing`], [`ModelError::Unreadable`].
    pub fn tensor(&self, name: &str) -> Result<TensorView<'_>, ModelError> {
        let Some((name, entry)) = self.tensors.get_key_value(name) else {
            return Err(ModelError::TensorMissing { model: self.label.clone(), tensor: name.to_owned() });
        };
        let bytes = self.read(entry)?;
        Ok(TensorView { name, dtype: entry.dtype, shape: &entry.shape, bytes })
    }

    /// The one encoding of this file's tensors and metadata key, as [`write()`] gives it.
    ///
    /// # Errors
    /// Those of [`write()`] and [`TensorFile::tensor`]; [`ModelError::HeaderMalformed`] for more than one metadata key.
    pub fn canonical_bytes(&self) -> Result<Vec<u8>, ModelError> {
        if self.metadata.len() > 1 {
            return Err(ModelError::HeaderMalformed {
                file: self.label.clone(),
                detail: format!("{} metadata keys, expected at most 1", self.metadata.len()),
            });
        }
        let views: Vec<TensorView<'_>> = self.names().map(|name| self.tensor(name)).collect::<Result<_, _>>()?;
        let tensors: Vec<_> = views.iter().map(|view| (view.name, view.dtype, view.shape, &view.bytes[..])).collect();
        write(&tensors, self.metadata.iter().next().map(|(key, value)| (key.as_str(), value.as_str())))
    }

    fn read(&self, entry: &Entry) -> Result<Cow<'_, [u8]>, ModelError> {
        self.storage.read(&self.label, self.data_offset_bytes + entry.begin, entry.end - entry.begin)
    }
}

impl fmt::Debug for TensorFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TensorFile").field("label", &self.label).field("tensors", &self.tensors).finish_non_exhaustive()
    }
}

/// Where one tensor lies in its file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TensorPlace {
    /// Name in the file.
    pub name: String,
    /// Element type.
    pub dtype: Dtype,
    /// Row-major shape.
    pub shape: Vec<usize>,
    /// Offset of its first byte from the start of the file.
    pub offset_bytes: u64,
    /// Its length in bytes.
    pub len_bytes: u64,
}

/// Reads and checks the table alone, from a reader at the start of a file of `len_bytes`: for callers that stream the tensors.
/// Sorted by name.
///
/// # Errors
/// As [`TensorFile::from_bytes`].
pub fn places(label: &str, reader: &mut dyn Read, len_bytes: u64) -> Result<Vec<TensorPlace>, ModelError> {
    let header = read_header(label, reader, len_bytes, None)?;
    let (tensors, _, data_offset_bytes) = check_table(label, &header, len_bytes)?;
    let place = |(name, entry): (String, Entry)| TensorPlace {
        name,
        dtype: entry.dtype,
        shape: entry.shape,
        offset_bytes: data_offset_bytes + entry.begin,
        len_bytes: entry.end - entry.begin,
    };
    Ok(tensors.into_iter().map(place).collect())
}

fn read_header(label: &str, reader: &mut dyn Read, len_bytes: u64, path: Option<&Path>) -> Result<Vec<u8>, ModelError> {
    let truncated = |expected| ModelError::HeaderTruncated { file: label.to_owned(), found: len_bytes, expected };
    if len_bytes < 8 {
        return Err(truncated(8));
    }
    let unreadable =
        |source| ModelError::Unreadable { path: path.map_or_else(|| PathBuf::from(label), Path::to_owned), source };
    let mut prefix = [0; 8];
    reader.read_exact(&mut prefix).map_err(unreadable)?;
    let header_len_bytes = u64::from_le_bytes(prefix);
    if header_len_bytes > limits::HEADER_LEN_BYTES {
        let limit = limits::HEADER_LEN_BYTES;
        return Err(ModelError::HeaderTooLong { file: label.to_owned(), found: header_len_bytes, limit });
    }
    if header_len_bytes > len_bytes - 8 {
        return Err(truncated(8 + header_len_bytes));
    }
    let mut header = vec![0; usize::try_from(header_len_bytes).unwrap_or(usize::MAX)];
    reader.read_exact(&mut header).map_err(unreadable)?;
    Ok(header)
}

type Table = (BTreeMap<String, Entry>, BTreeMap<String, String>, u64);

fn check_table(label: &str, header: &[u8], len_bytes: u64) -> Result<Table, ModelError> {
    let malformed = |detail: String| ModelError::HeaderMalformed { file: label.to_owned(), detail };
    if header.first() != Some(&b'{') {
        return Err(malformed("it does not begin with {".to_owned()));
    }
    let raw: RawTable = serde_json::from_slice(header).map_err(|error| malformed(error.to_string()))?;
    let data_offset_bytes = 8 + header.len() as u64;
    let data_len_bytes = len_bytes - data_offset_bytes;
    let mut tensors = BTreeMap::new();
    for (name, raw) in raw.tensors {
        let Some(dtype) = Dtype::parse(&raw.dtype) else {
            return Err(ModelError::TensorDtype { tensor: name, found: raw.dtype, expected: "a safetensors type" });
        };
        if raw.shape.len() > limits::TENSOR_DIMENSION_COUNT {
            let limit = limits::TENSOR_DIMENSION_COUNT;
            return Err(malformed(format!("{name} has {} dimensions, expected at most {limit}", raw.shape.len())));
        }
        let shape: Vec<usize> = raw.shape.iter().map(|size| usize::try_from(*size).unwrap_or(usize::MAX)).collect();
        let (begin, end) = raw.data_offsets;
        tensors.insert(name, Entry { dtype, shape, begin, end });
    }
    let mut order: Vec<(&String, &Entry)> = tensors.iter().collect();
    order.sort_by_key(|(_, entry)| (entry.begin, entry.end));
    let mut expected_begin = 0;
    for (name, entry) in order {
        if entry.begin != expected_begin || entry.end < entry.begin || entry.end > data_len_bytes {
            return Err(ModelError::TensorOffsets {
                file: label.to_owned(),
                tensor: name.clone(),
                begin: entry.begin,
                end: entry.end,
                expected_begin,
                len_bytes: data_len_bytes,
            });
        }
        check_length(label, name, entry.dtype, &entry.shape, entry.begin, entry.end)?;
        expected_begin = entry.end;
    }
    if expected_begin != data_len_bytes {
        let (found, expected) = (data_len_bytes, expected_begin);
        return Err(ModelError::TrailingBytes { file: label.to_owned(), found, expected });
    }
    Ok((tensors, raw.metadata, data_offset_bytes))
}

fn check_length(
    file: &str,
    tensor: &str,
    dtype: Dtype,
    shape: &[usize],
    begin: u64,
    end: u64,
) -> Result<(), ModelError> {
    let needed = shape.iter().try_fold(dtype.len_bytes() as u64, |product, size| product.checked_mul(*size as u64));
    if needed == Some(end - begin) {
        return Ok(());
    }
    Err(ModelError::TensorLength {
        file: file.to_owned(),
        tensor: tensor.to_owned(),
        shape: shape.to_vec(),
        dtype: dtype.name(),
        found: end - begin,
        expected: needed.unwrap_or(u64::MAX),
    })
}

const METADATA: &str = "__metadata__";

struct RawTable {
    tensors: BTreeMap<String, RawEntry>,
    metadata: BTreeMap<String, String>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

// By hand, because a derived map would silently keep the last of two equal names.
impl<'de> Deserialize<'de> for RawTable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TableVisitor;
        impl<'de> Visitor<'de> for TableVisitor {
            type Value = RawTable;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawTable, A::Error> {
                let mut table = RawTable { tensors: BTreeMap::new(), metadata: BTreeMap::new() };
                let mut metadata_seen = false;
                while let Some(name) = map.next_key::<String>()? {
                    if name == METADATA {
                        if metadata_seen {
                            return Err(A::Error::custom("__metadata__ given twice"));
                        }
                        metadata_seen = true;
                        table.metadata = map.next_value()?;
                        continue;
                    }
                    if name.len() > limits::TENSOR_NAME_LEN_BYTES || table.tensors.len() >= limits::TENSOR_COUNT {
                        return Err(A::Error::custom("more tensors, or a longer name, than any model has"));
                    }
                    let entry = map.next_value()?;
                    if table.tensors.contains_key(&name) {
                        return Err(A::Error::custom(format!("{name} given twice")));
                    }
                    table.tensors.insert(name, entry);
                }
                Ok(table)
            }
        }
        deserializer.deserialize_map(TableVisitor)
    }
}
