//! Equality of two JSON texts as values, for the `json` metric.
//!
//! Objects compare as maps, arrays in order, strings by scalar values, numbers as the nearest IEEE-754 binary64.
//! A text with a duplicate key, a number outside that range, or anything after the value has no value at all.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// A JSON value whose equality is the metric's.
#[derive(PartialEq, Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    Array(Vec<Value>),
    Object(BTreeMap<String, Value>),
}

/// Reads one JSON text; `None` when it has no value. Nesting stops at the parser's 128 levels.
pub(super) fn parse(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok()
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(nearest(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        let magnitude = nearest(value.unsigned_abs());
        Ok(Value::Number(if value < 0 { -magnitude } else { magnitude }))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element()? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = BTreeMap::new();
        while let Some((key, value)) = entries.next_entry::<String, Value>()? {
            if object.insert(key, value).is_some() {
                return Err(de::Error::custom("duplicate key"));
            }
        }
        Ok(Value::Object(object))
    }
}

/// The nearest binary64: both halves are exact, so the one addition rounds once.
fn nearest(value: u64) -> f64 {
    let (high, low) = (value >> 32, value & 0xffff_ffff);
    let exact = |half: u64| f64::from(u32::try_from(half).unwrap_or(u32::MAX));
    exact(high) * 4_294_967_296.0 + exact(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_as_values() {
        let check = |left: &str, right: &str, equal: bool| {
            assert_eq!(parse(left).unwrap() == parse(right).unwrap(), equal, "{left} {right}")
        };
        check(r#"{"a":1,"b":[true,null]}"#, r#" { "b" : [ true , null ] , "a" : 1.0 } "#, true);
        check("1e2", "100", true);
        check("-0", "0", true);
        check("18446744073709551615", "1.8446744073709552e19", true);
        check("-3", "-3.0", true);
        check(r#""\u00e9""#, "\"é\"", true);
        check("[1,2]", "[2,1]", false);
        check(r#"{"a":null}"#, "{}", false);
        check("\"1\"", "1", false);
    }

    #[test]
    fn texts_without_a_value() {
        for text in ["", "{", "nul", "1 2", r#"{"a":1,"a":1}"#, "1e999", "NaN", "'a'", "[1,]", &"[".repeat(4000)] {
            assert!(parse(text).is_none(), "{text:.20}");
        }
    }
}
