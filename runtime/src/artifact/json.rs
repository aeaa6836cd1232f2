//! Canonical JSON (RFC 8785), narrowed: no number but integers within ±2^53, no key twice, and the bytes on disk are the
//! canonical bytes.
//!
//! RFC 8785 alone loses information: 9007199254740993 and ...992 share one form, NaN becomes `null`, and of a key given
//! twice most parsers keep the last. Here all three are refused, so two different values never share a CID.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserializer, Serialize};
use serde_json::{Map, Value};

use super::{ArtifactError, limits};

/// The canonical bytes of `value`. `T` holds no `f32` or `f64`.
///
/// # Errors
/// `JsonFloat`, `JsonInteger` for a number that signed JSON does not hold; `JsonSchema` for a value JSON cannot express.
pub fn canonical<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, ArtifactError> {
    let member = "value to write";
    let schema = |error: serde_json::Error| schema(member, &error);
    let value = serde_json::to_value(value).map_err(schema)?;
    check_numbers(member, &value)?;
    serde_jcs::to_vec(&value).map_err(schema)
}

/// Reads `bytes` as the canonical form of a `T`; `member` names them in errors.
///
/// # Errors
/// `JsonSyntax`, `JsonDuplicateKey`, `JsonFloat`, `JsonInteger`, `JsonSchema`, `JsonNotCanonical`.
pub fn parse_canonical<T: DeserializeOwned + Serialize>(member: &str, bytes: &[u8]) -> Result<T, ArtifactError> {
    let value = parse_value(member, bytes)?;
    same_bytes(member, bytes, &canonical(&value)?)?;
    let typed = serde_json::from_value(value).map_err(|error| schema(member, &error))?;
    // A field left out where the format writes null would give one value two encodings.
    same_bytes(member, bytes, &canonical(&typed)?)?;
    Ok(typed)
}

/// One canonical value a line, each line ended by a line feed.
///
/// # Errors
/// As `canonical`.
pub fn canonical_lines<T: Serialize>(values: impl IntoIterator<Item = T>) -> Result<Vec<u8>, ArtifactError> {
    let mut bytes = Vec::new();
    for value in values {
        bytes.append(&mut canonical(&value)?);
        bytes.push(b'\n');
    }
    Ok(bytes)
}

/// Reads what `canonical_lines` wrote.
///
/// # Errors
/// As `parse_canonical`; `JsonSyntax` when the last line lacks its line feed. Errors name the line, from 1.
pub fn parse_canonical_lines<T: DeserializeOwned + Serialize>(
    member: &str,
    bytes: &[u8],
) -> Result<Vec<T>, ArtifactError> {
    lines(member, bytes)?.map(|(name, line)| parse_canonical(&name, line)).collect()
}

/// The lines of a JSON Lines member, each with the name that errors give it.
pub(crate) fn lines<'a>(
    member: &'a str,
    bytes: &'a [u8],
) -> Result<impl Iterator<Item = (String, &'a [u8])>, ArtifactError> {
    let body = match bytes {
        [] => None,
        [body @ .., b'\n'] => Some(body),
        _ => {
            return Err(ArtifactError::JsonSyntax {
                member: member.to_owned(),
                detail: "the last line has no line feed".to_owned(),
            });
        }
    };
    let split = body.into_iter().flat_map(|body| body.split(|&byte| byte == b'\n'));
    Ok(split.enumerate().map(move |(index, line)| (format!("{member} line {}", index + 1), line)))
}

/// Reads strict JSON without asking for its canonical form.
fn parse_value(member: &str, bytes: &[u8]) -> Result<Value, ArtifactError> {
    let fault = RefCell::new(None);
    let seed = Strict { member, fault: &fault };
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let result = seed.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    result.map_err(|error| {
        fault
            .take()
            .unwrap_or_else(|| ArtifactError::JsonSyntax { member: member.to_owned(), detail: error.to_string() })
    })
}

fn same_bytes(member: &str, found: &[u8], expected: &[u8]) -> Result<(), ArtifactError> {
    if found == expected {
        return Ok(());
    }
    let same = found.iter().zip(expected).take_while(|(a, b)| a == b);
    Err(ArtifactError::JsonNotCanonical { member: member.to_owned(), offset: same.count() })
}

fn schema(member: &str, error: &serde_json::Error) -> ArtifactError {
    ArtifactError::JsonSchema { member: member.to_owned(), detail: error.to_string() }
}

fn check_numbers(member: &str, value: &Value) -> Result<(), ArtifactError> {
    match value {
        Value::Number(number) => match number.as_i64().map(i64::unsigned_abs).or(number.as_u64()) {
            Some(size) if size <= limits::JSON_INTEGER_MAX => Ok(()),
            Some(_) => Err(integer(member, number)),
            None => Err(float(member, number)),
        },
        Value::Array(values) => values.iter().try_for_each(|value| check_numbers(member, value)),
        Value::Object(map) => map.values().try_for_each(|value| check_numbers(member, value)),
        Value::Null | Value::Bool(_) | Value::String(_) => Ok(()),
    }
}

fn integer(member: &str, found: impl fmt::Display) -> ArtifactError {
    ArtifactError::JsonInteger { member: member.to_owned(), found: found.to_string() }
}

fn float(member: &str, found: impl fmt::Display) -> ArtifactError {
    ArtifactError::JsonFloat { member: member.to_owned(), found: found.to_string() }
}

/// Builds a `Value` and leaves the typed reason in `fault` where serde only has text.
#[derive(Clone, Copy)]
struct Strict<'a> {
    member: &'a str,
    fault: &'a RefCell<Option<ArtifactError>>,
}

impl Strict<'_> {
    fn refuse<E: serde::de::Error>(self, fault: ArtifactError) -> E {
        *self.fault.borrow_mut() = Some(fault);
        E::custom("refused")
    }

    fn magnitude<E: serde::de::Error>(self, size: u64, value: Value) -> Result<Value, E> {
        if size > limits::JSON_INTEGER_MAX {
            return Err(self.refuse(integer(self.member, &value)));
        }
        Ok(value)
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        self.magnitude(value, value.into())
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Value, E> {
        self.magnitude(value.unsigned_abs(), value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Err(self.refuse(float(self.member, value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = items.next_element_seed(self)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if map.contains_key(&key) {
                let member = self.member.to_owned();
                return Err(self.refuse(ArtifactError::JsonDuplicateKey { member, key }));
            }
            let value = entries.next_value_seed(self)?;
            if map.insert(key, value).is_some() {
                return Err(A::Error::custom("key inserted twice"));
            }
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn code(text: &[u8]) -> &'static str {
        parse_canonical::<Value>("x", text).map_or_else(|error| error.code(), |_| "ok")
    }

    #[test]
    fn depth_has_a_limit() {
        let nested = |depth: usize| [b"[".repeat(depth), b"]".repeat(depth)].concat();
        assert_eq!((code(&nested(127)), code(&nested(128))), ("ok", "json_syntax"));
    }

    #[test]
    fn refusals() {
        for (text, expected) in [
            (&b"{\"a\":1,\"b\":[true,null,\"\"]}"[..], "ok"),
            (b"9007199254740992", "ok"),
            (b"-9007199254740992", "ok"),
            (b"9007199254740993", "json_integer"),
            (b"-9007199254740993", "json_integer"),
            (b"18446744073709551615", "json_integer"),
            (b"18446744073709551616", "json_float"),
            (b"1.0", "json_float"),
            (b"1e3", "json_float"),
            (b"-0", "json_float"),
            (b"1e999", "json_syntax"),
            (b"NaN", "json_syntax"),
            (b"{\"a\":1,\"a\":1}", "json_duplicate_key"),
            (b"{\"a\":1,\"\\u0061\":1}", "json_duplicate_key"),
            (b"{\"b\":1,\"a\":1}", "json_not_canonical"),
            (b"{\"a\": 1}", "json_not_canonical"),
            (b"1\n", "json_not_canonical"),
            (b"\"\\u0061\"", "json_not_canonical"),
            (b"\"\\/\"", "json_not_canonical"),
            (b"\"\\ud800\"", "json_syntax"),
            (b"\"\xff\"", "json_syntax"),
            (b"\xef\xbb\xbf1", "json_syntax"),
            (b"1 1", "json_syntax"),
            (b"01", "json_syntax"),
            (b"", "json_syntax"),
            (b"{", "json_syntax"),
            (b"\"\t\"", "json_syntax"),
        ] {
            assert_eq!(code(text), expected, "{}", text.escape_ascii());
        }
        let deep = [vec![b'['; 1000], vec![b']'; 1000]].concat();
        assert_eq!(code(&deep), "json_syntax");
    }

    #[test]
    fn keys_sort_by_utf16() {
        // U+FFFF sorts after U+10000, whose first UTF-16 unit is 0xd800.
        let text = "{\"\u{10000}\":1,\"\u{ffff}\":2}";
        assert_eq!(code(text.as_bytes()), "ok");
        assert_eq!(code("{\"\u{ffff}\":2,\"\u{10000}\":1}".as_bytes()), "json_not_canonical");
    }

    #[test]
    fn lines_end_with_a_line_feed() {
        let parse = |bytes: &[u8]| parse_canonical_lines::<Value>("x", bytes);
        assert_eq!(parse(b"").unwrap(), Vec::<Value>::new());
        assert_eq!(parse(b"1\n2\n").unwrap(), [Value::from(1), Value::from(2)]);
        assert_eq!(parse(b"1\n2").unwrap_err().code(), "json_syntax");
        assert_eq!(parse(b"1\r\n").unwrap_err().code(), "json_not_canonical");
        let error = parse(b"1\n\n").unwrap_err();
        assert!(error.to_string().starts_with("x line 2: "), "{error}");
    }

    #[test]
    fn floats_are_not_written() {
        assert_eq!(canonical(&0.5).unwrap_err().code(), "json_float");
        assert_eq!(canonical(&u64::MAX).unwrap_err().code(), "json_integer");
        assert_eq!(canonical(&[1u8, 2]).unwrap(), b"[1,2]");
    }

    /// RFC 8785's own vectors, where they hold no fractions.
    #[test]
    fn rfc8785_vectors() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/jcs");
        if !folder.exists() {
            println!("skipped: {} is not there", folder.display());
            return;
        }
        for name in ["arrays", "french", "structures", "unicode", "values", "weird"] {
            let read = |side| std::fs::read(folder.join(side).join(name).with_extension("json")).unwrap();
            match parse_value(name, &read("input")) {
                Ok(value) => {
                    let bytes = canonical(&value).unwrap();
                    assert_eq!(bytes, read("output"), "{name}");
                    parse_canonical::<Value>(name, &bytes).unwrap();
                }
                // These two hold fractions, which signed JSON does not.
                Err(error) => {
                    assert!(["structures", "values"].contains(&name), "{name}");
                    assert_eq!(error.code(), "json_float", "{name}");
                }
            }
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-(1i64 << 53)..=1 << 53).prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..8)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn one_value_one_encoding(value in value()) {
            let bytes = canonical(&value).unwrap();
            prop_assert_eq!(&parse_canonical::<Value>("x", &bytes).unwrap(), &value);
        }

        #[test]
        fn changed_bytes_never_give_the_same_value(value in value(), at in any::<prop::sample::Index>(), byte: u8) {
            let mut bytes = canonical(&value).unwrap();
            let at = at.index(bytes.len());
            prop_assume!(bytes[at] != byte);
            bytes[at] = byte;
            if let Ok(other) = parse_canonical::<Value>("x", &bytes) {
                prop_assert_ne!(other, value);
            }
        }

        #[test]
        fn never_panics(bytes: Vec<u8>) {
            let _ = parse_canonical::<Value>("x", &bytes);
        }
    }
}
