//! Two tensor members, compared piece by piece in constant memory.
//!
//! Elements are compared by bits. For f32 the greatest distance in ULPs and in value stand beside the count; other types are
//! counted and shown in hex only.

use std::io::Read;

use kolm_runtime::artifact::{ArtifactFile, Member, MemberReader};
use kolm_runtime::model::safetensors::{self, Dtype, TensorPlace};
use serde::Serialize;

use super::{DiffError, ulp};

/// What differs between two tensor members.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Tensors {
    /// Tensors of `a` and of `b`.
    pub count: [usize; 2],
    /// Elements of `a` and of `b`, all tensors together.
    pub elements: [u64; 2],
    /// Tensors that differ, by name.
    pub changed: Vec<TensorChange>,
}

/// One tensor that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TensorChange {
    /// Name in the file.
    pub name: String,
    /// Type and shape in `a`, `f32 [8, 64]`; none if it is not there.
    pub a: Option<String>,
    /// Type and shape in `b`.
    pub b: Option<String>,
    /// Element by element; none if type or shape differ.
    pub values: Option<Values>,
}

/// Element by element.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Values {
    /// Elements.
    pub elements: u64,
    /// Elements whose bits differ.
    pub differing: u64,
    /// Of these, how many are NaN on either side; they count in no maximum.
    pub nan: u64,
    /// Greatest distance in units in the last place; none for types other than f32.
    pub max_ulp: Option<u32>,
    /// Greatest absolute difference, a decimal string; none for types other than f32.
    pub max_absolute: Option<String>,
    /// The first element that differs.
    pub first: Option<First>,
}

/// The first element that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct First {
    /// Row-major place, from 0.
    pub index: u64,
    /// Bits in `a`, hex.
    pub a: String,
    /// Bits in `b`, hex.
    pub b: String,
}

/// The sizes of a member that is the same in both.
pub(super) fn same(file: &ArtifactFile, member: Member) -> Result<Tensors, DiffError> {
    let (_, table) = table(file, member)?;
    Ok(Tensors { count: [table.len(); 2], elements: [elements(&table); 2], changed: Vec::new() })
}

/// Compares `member` of two artifacts.
pub(super) fn compare(a: &ArtifactFile, b: &ArtifactFile, member: Member) -> Result<Tensors, DiffError> {
    let ((reader_a, left), (reader_b, right)) = (table(a, member)?, table(b, member)?);
    let mut names: Vec<&str> = left.iter().chain(&right).map(|place| place.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let mut changed = Vec::new();
    for name in names {
        let find = |table: &'_ [TensorPlace]| table.iter().position(|place| place.name == name);
        let (old, new) = (find(&left).map(|row| &left[row]), find(&right).map(|row| &right[row]));
        let values = match (old, new, &reader_a, &reader_b) {
            (Some(old), Some(new), Some(a), Some(b)) if old.dtype == new.dtype && old.shape == new.shape => {
                let read = |source| DiffError::Read { member: member.name(), source };
                let (a, b) = (a.at(old.offset_bytes), b.at(new.offset_bytes));
                Some(values(a, b, old.dtype, old.len_bytes).map_err(read)?)
            }
            _ => None,
        };
        if values.as_ref().is_none_or(|values| values.differing > 0) {
            let (name, a, b) = (name.to_owned(), old.map(described), new.map(described));
            changed.push(TensorChange { name, a, b, values });
        }
    }
    Ok(Tensors { count: [left.len(), right.len()], elements: [elements(&left), elements(&right)], changed })
}

type Table<'a> = (Option<MemberReader<'a>>, Vec<TensorPlace>);

/// The member's table, empty where there is no such member.
fn table(file: &ArtifactFile, member: Member) -> Result<Table<'_>, DiffError> {
    let Ok(mut reader) = file.reader(member) else { return Ok((None, Vec::new())) };
    let len_bytes = reader.len_bytes();
    let table = safetensors::places(member.name(), &mut reader, len_bytes)
        .map_err(|source| DiffError::Tensors { member: member.name(), source: Box::new(source) })?;
    Ok((Some(reader), table))
}

fn elements(table: &[TensorPlace]) -> u64 {
    table.iter().map(|place| place.len_bytes / place.dtype.len_bytes() as u64).sum()
}

fn described(place: &TensorPlace) -> String {
    format!("{} {:?}", place.dtype.short_name(), place.shape)
}

/// Compares two streams of `len_bytes`.
fn values(mut a: impl Read, mut b: impl Read, dtype: Dtype, len_bytes: u64) -> std::io::Result<Values> {
    let width = dtype.len_bytes();
    let mut found = Values { elements: len_bytes / width as u64, ..Values::default() };
    let (mut max_ulp, mut max_absolute) = (0, 0.0_f64);
    let (mut piece_a, mut piece_b) = (vec![0; PIECE_LEN_BYTES], vec![0; PIECE_LEN_BYTES]);
    let mut done = 0;
    while done < len_bytes {
        let len = usize::try_from(len_bytes - done).unwrap_or(usize::MAX).min(PIECE_LEN_BYTES);
        let (left, right) = (&mut piece_a[..len], &mut piece_b[..len]);
        a.read_exact(left)?;
        b.read_exact(right)?;
        if left != right {
            let pairs = left.chunks_exact(width).zip(right.chunks_exact(width)).enumerate();
            for (row, (x, y)) in pairs.filter(|(_, (x, y))| x != y) {
                found.differing += 1;
                if found.first.is_none() {
                    let index = done / width as u64 + row as u64;
                    found.first = Some(First { index, a: bits(x), b: bits(y) });
                }
                if dtype != Dtype::F32 {
                    continue;
                }
                let (x, y) = (word(x), word(y));
                let Some(distance) = ulp::distance(x, y) else {
                    found.nan += 1;
                    continue;
                };
                max_ulp = max_ulp.max(distance);
                let absolute = (f64::from(f32::from_bits(x)) - f64::from(f32::from_bits(y))).abs();
                if absolute > max_absolute {
                    max_absolute = absolute;
                }
            }
        }
        done += len as u64;
    }
    if dtype == Dtype::F32 && found.differing > found.nan {
        found.max_ulp = Some(max_ulp);
        found.max_absolute = Some(format!("{max_absolute:.3e}"));
    }
    Ok(found)
}

fn word(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

/// Little-endian bytes as the hex number that they are.
fn bits(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().rev().map(|byte| format!("{byte:02x}")).collect();
    format!("0x{digits}")
}

/// A multiple of every element's width.
const PIECE_LEN_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(a: &[f32], b: &[f32]) -> Values {
        let (a, b) = (safetensors::f32_bytes(a), safetensors::f32_bytes(b));
        values(a.as_slice(), b.as_slice(), Dtype::F32, a.len() as u64).unwrap()
    }

    #[test]
    fn counts_and_first_across_pieces() {
        let a = vec![1.0_f32; PIECE_LEN_BYTES / 4 + 10];
        let mut b = a.clone();
        let late = PIECE_LEN_BYTES / 4 + 3;
        b[late] = f32::from_bits(1.0_f32.to_bits() + 5);
        b[late + 1] = 3.0;
        let found = check(&a, &b);
        assert_eq!((found.differing, found.nan, found.max_ulp), (2, 0, Some(0x40_0000 + (1 << 23))));
        assert_eq!(found.max_absolute.as_deref(), Some("2.000e0"));
        let first = found.first.unwrap();
        assert_eq!((first.index, first.a.as_str(), first.b.as_str()), (late as u64, "0x3f800000", "0x3f800005"));
        assert_eq!(check(&a, &a).differing, 0);
    }

    #[test]
    fn nan_and_zeros_are_told_apart() {
        let found = check(&[0.0, f32::NAN, f32::NAN], &[-0.0, f32::NAN, 1.0]);
        assert_eq!((found.differing, found.nan, found.max_ulp), (2, 1, Some(0)));
        let only_nan = check(&[f32::NAN], &[1.0]);
        assert_eq!((only_nan.nan, only_nan.max_ulp, only_nan.max_absolute), (1, None, None));
    }

    #[test]
    fn a_stream_that_ends_early_is_an_error() {
        assert!(values([0_u8; 4].as_slice(), [0_u8; 8].as_slice(), Dtype::F32, 8).is_err());
    }
}
