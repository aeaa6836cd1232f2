//! Reading typed, bounded values out of a JSON configuration, with errors that name file, key, found and expected.

use serde_json::{Map, Value};

use super::error::ModelError;

/// The object of one configuration file.
pub(super) struct Keys<'a> {
    file: &'a str,
    object: Map<String, Value>,
}

impl<'a> Keys<'a> {
    pub(super) fn parse(file: &'a str, bytes: &[u8]) -> Result<Self, ModelError> {
        let wrong = |detail: String| ModelError::NotJson { file: file.to_owned(), detail };
        match serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))? {
            Value::Object(object) => Ok(Self { file, object }),
            _ => Err(wrong("not an object".to_owned())),
        }
    }

    pub(super) fn of(file: &'a str, object: &Map<String, Value>) -> Self {
        Self { file, object: object.clone() }
    }

    /// The value, unless absent or null.
    pub(super) fn value(&self, key: &str) -> Option<&Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.object.iter().map(|(key, value)| (key.as_str(), value)).filter(|(_, value)| !value.is_null())
    }

    pub(super) fn object(&self, key: &'static str) -> Result<Option<Keys<'a>>, ModelError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Object(object)) => Ok(Some(Keys::of(self.file, object))),
            Some(_) => Err(self.wrong(key, "an object")),
        }
    }

    /// A count from 1 to the limit.
    pub(super) fn count(&self, key: &'static str, limit: usize) -> Result<usize, ModelError> {
        self.optional_count(key, limit)?.ok_or_else(|| self.wrong(key, &format!("a count from 1 to {limit}")))
    }

    pub(super) fn optional_count(&self, key: &'static str, limit: usize) -> Result<Option<usize>, ModelError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let count = value.as_u64().and_then(|count| usize::try_from(count).ok());
        match count {
            Some(count) if (1..=limit).contains(&count) => Ok(Some(count)),
            _ => Err(self.wrong(key, &format!("a count from 1 to {limit}"))),
        }
    }

    /// A finite number above zero.
    pub(super) fn positive(&self, key: &'static str) -> Result<Option<f64>, ModelError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        match value.as_f64() {
            Some(number) if number.is_finite() && number > 0.0 => Ok(Some(number)),
            _ => Err(self.wrong(key, "a finite number above 0")),
        }
    }

    pub(super) fn flag(&self, key: &'static str, default: bool) -> Result<bool, ModelError> {
        match self.value(key) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(self.wrong(key, "true or false")),
        }
    }

    pub(super) fn text(&self, key: &'static str) -> Result<Option<&str>, ModelError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(key, "a text")),
        }
    }

    /// One id or a list of them.
    pub(super) fn ids(&self, key: &'static str, vocabulary: usize) -> Result<Vec<u32>, ModelError> {
        let values = match self.value(key) {
            None => return Ok(Vec::new()),
            Some(Value::Array(values)) => values.as_slice(),
            Some(value) => std::slice::from_ref(value),
        };
        let id = |value: &Value| {
            let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
            id.filter(|id| (*id as usize) < vocabulary)
                .ok_or_else(|| self.wrong(key, &format!("token ids below {vocabulary}")))
        };
        values.iter().map(id).collect()
    }

    pub(super) fn wrong(&self, key: &'static str, expected: &str) -> ModelError {
        let found = self.object.get(key).map_or_else(|| "absent".to_owned(), shortened);
        ModelError::ConfigValue { file: self.file.to_owned(), key, found, expected: expected.to_owned() }
    }
}

/// A JSON value for a message, cut where it grows long.
pub(super) fn shortened(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(80) {
        Some((cut, _)) => format!("{}…", text.get(..cut).unwrap_or_default()),
        None => text,
    }
}
