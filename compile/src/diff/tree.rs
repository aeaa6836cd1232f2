//! Two JSON values, leaf by leaf: dotted path and both values of every leaf that differs.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;

/// One leaf that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Dotted path, places of lists in brackets: `corpus.files[0].sha256`.
    pub key: String,
    /// Value in `a`, none where it is absent.
    pub a: Option<Value>,
    /// Value in `b`, none where it is absent.
    pub b: Option<Value>,
}

/// Every leaf that differs, in the order of the keys.
pub fn changes(a: &Value, b: &Value) -> Vec<Change> {
    let mut found = Vec::new();
    walk(String::new(), Some(a), Some(b), &mut found);
    found
}

/// The same for an object whose keys are paths with points in them: one level, keys as they stand.
pub fn flat_changes(a: &Value, b: &Value) -> Vec<Change> {
    let (a, b) = (a.as_object(), b.as_object());
    let keys: BTreeSet<&String> = a.into_iter().chain(b).flat_map(|map| map.keys()).collect();
    let both = keys.into_iter().map(|key| (key, a.and_then(|map| map.get(key)), b.and_then(|map| map.get(key))));
    both.filter(|(_, a, b)| a != b)
        .map(|(key, a, b)| Change { key: key.clone(), a: a.cloned(), b: b.cloned() })
        .collect()
}

fn walk(key: String, a: Option<&Value>, b: Option<&Value>, found: &mut Vec<Change>) {
    if a == b {
        return;
    }
    match (a, b) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for name in names {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                walk(key, a.get(name), b.get(name), found);
            }
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            for row in 0..a.len().max(b.len()) {
                walk(format!("{key}[{row}]"), a.get(row), b.get(row), found);
            }
        }
        _ => found.push(Change { key, a: a.cloned(), b: b.cloned() }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn leaves_by_dotted_path() {
        let a = json!({ "x": { "y": 1, "z": [1, 2] }, "only": true, "same": "s" });
        let b = json!({ "x": { "y": 2, "z": [1, 3, 4] }, "same": "s" });
        let found: Vec<String> = changes(&a, &b)
            .iter()
            .map(|change| {
                format!(
                    "{} {:?} {:?}",
                    change.key,
                    change.a.as_ref().map(Value::to_string),
                    change.b.as_ref().map(Value::to_string)
                )
            })
            .collect();
        assert_eq!(
            found,
            [
                r#"only Some("true") None"#,
                r#"x.y Some("1") Some("2")"#,
                r#"x.z[1] Some("2") Some("3")"#,
                r#"x.z[2] None Some("4")"#
            ]
        );
        assert!(changes(&a, &a).is_empty());
    }
}
