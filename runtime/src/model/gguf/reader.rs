//! Primitive values of a GGUF header, each checked against what is left of the file before a byte is kept.

use std::io::Read;
use std::path::PathBuf;

use crate::model::error::ModelError;
use crate::model::limits;

/// A place in a header that is being read.
pub(super) struct Cursor<'a> {
    label: &'a str,
    reader: &'a mut dyn Read,
    position: u64,
    len_bytes: u64,
}

/// One metadata value; arrays of numbers that decide nothing here are passed over.
#[derive(Clone, PartialEq, Debug)]
pub(in crate::model) enum Value {
    Integer(i128),
    Float(f64),
    Flag(bool),
    Text(String),
    Texts(Vec<String>),
    Integers(Vec<i64>),
    Passed,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(label: &'a str, reader: &'a mut dyn Read, len_bytes: u64) -> Self {
        Self { label, reader, position: 0, len_bytes }
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    pub(super) fn wrong(&self, detail: String) -> ModelError {
        ModelError::GgufHeader { file: self.label.to_owned(), offset_bytes: self.position, detail }
    }

    // What is about to be read lies inside the file, and the header stays within its limit.
    fn announce(&self, count: u64) -> Result<(), ModelError> {
        let expected = self.position.saturating_add(count);
        let file = || self.label.to_owned();
        if expected > self.len_bytes {
            return Err(ModelError::HeaderTruncated { file: file(), found: self.len_bytes, expected });
        }
        if expected > limits::GGUF_HEADER_LEN_BYTES {
            let limit = limits::GGUF_HEADER_LEN_BYTES;
            return Err(ModelError::HeaderTooLong { file: file(), found: expected, limit });
        }
        Ok(())
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], ModelError> {
        self.announce(N as u64)?;
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), ModelError> {
        let unreadable = |source| ModelError::Unreadable { path: PathBuf::from(self.label), source };
        self.reader.read_exact(bytes).map_err(unreadable)?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    fn skip(&mut self, mut count: u64) -> Result<(), ModelError> {
        self.announce(count)?;
        let mut buffer = [0; 4096];
        while count > 0 {
            let part = count.min(buffer.len() as u64);
            self.fill(buffer.get_mut(..usize::try_from(part).unwrap_or(0)).unwrap_or_default())?;
            count -= part;
        }
        Ok(())
    }

    pub(super) fn magic(&mut self) -> Result<[u8; 4], ModelError> {
        self.bytes()
    }

    pub(super) fn u32(&mut self) -> Result<u32, ModelError> {
        Ok(u32::from_le_bytes(self.bytes()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, ModelError> {
        Ok(u64::from_le_bytes(self.bytes()?))
    }

    /// A count that at least `each` bytes of the file stand behind, one by one, and no more than `limit`.
    pub(super) fn count(&mut self, what: &str, each: u64, limit: usize) -> Result<u64, ModelError> {
        let count = self.u64()?;
        if count > limit as u64 {
            return Err(self.wrong(format!("{count} {what}, expected at most {limit}")));
        }
        self.announce(count.saturating_mul(each))?;
        Ok(count)
    }

    pub(super) fn text(&mut self, what: &str, limit: usize) -> Result<String, ModelError> {
        let len = self.u64()?;
        if len > limit as u64 {
            return Err(self.wrong(format!("{what} of {len} bytes, expected at most {limit}")));
        }
        self.announce(len)?;
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        self.fill(&mut bytes)?;
        String::from_utf8(bytes).map_err(|_| self.wrong(format!("{what} that is not UTF-8")))
    }

    pub(super) fn value(&mut self, key: &str) -> Result<Value, ModelError> {
        let kind = self.u32()?;
        if kind == ARRAY {
            return self.array(key);
        }
        self.scalar(key, kind)
    }

    fn scalar(&mut self, key: &str, kind: u32) -> Result<Value, ModelError> {
        Ok(match kind {
            0 => Value::Integer(u8::from_le_bytes(self.bytes()?).into()),
            1 => Value::Integer(i8::from_le_bytes(self.bytes()?).into()),
            2 => Value::Integer(u16::from_le_bytes(self.bytes()?).into()),
            3 => Value::Integer(i16::from_le_bytes(self.bytes()?).into()),
            4 => Value::Integer(u32::from_le_bytes(self.bytes()?).into()),
            5 => Value::Integer(i32::from_le_bytes(self.bytes()?).into()),
            6 => Value::Float(f32::from_le_bytes(self.bytes()?).into()),
            7 => match self.bytes()? {
                [0] => Value::Flag(false),
                [1] => Value::Flag(true),
                [other] => return Err(self.wrong(format!("{key} is the flag {other}, expected 0 or 1"))),
            },
            8 => Value::Text(self.text(key, limits::TEMPLATE_LEN_BYTES)?),
            10 => Value::Integer(u64::from_le_bytes(self.bytes()?).into()),
            11 => Value::Integer(i64::from_le_bytes(self.bytes()?).into()),
            12 => Value::Float(f64::from_le_bytes(self.bytes()?)),
            other => return Err(self.wrong(format!("{key} has value type {other}, expected 0 to 12"))),
        })
    }

    fn array(&mut self, key: &str) -> Result<Value, ModelError> {
        let kind = self.u32()?;
        let each = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            8 | 10..=12 => 8,
            other => {
                return Err(self.wrong(format!("{key} is an array of value type {other}, expected 0 to 8 or 10 to 12")));
            }
        };
        let count = self.count(&format!("elements in {key}"), each, limits::GGUF_ARRAY_LEN)?;
        if kind == TEXT {
            let texts = (0..count).map(|_| self.text(key, limits::GGUF_TOKEN_LEN_BYTES)).collect::<Result<_, _>>()?;
            return Ok(Value::Texts(texts));
        }
        if !matches!(kind, 4 | 5) {
            self.skip(count.saturating_mul(each))?;
            return Ok(Value::Passed);
        }
        let integers = (0..count).map(|_| {
            Ok(match self.scalar(key, kind)? {
                Value::Integer(value) => i64::try_from(value).unwrap_or(i64::MAX),
                _ => 0,
            })
        });
        Ok(Value::Integers(integers.collect::<Result<_, ModelError>>()?))
    }
}

const TEXT: u32 = 8;
const ARRAY: u32 = 9;
