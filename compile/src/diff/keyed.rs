//! Two lists of objects with ids: what only one of them has, and what both have but not alike.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

/// Ids by what became of them from `a` to `b`, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Keyed {
    /// Objects of `a` and of `b`.
    pub count: [usize; 2],
    /// In `b` only.
    pub added: Vec<String>,
    /// In `a` only.
    pub removed: Vec<String>,
    /// In both, not alike.
    pub changed: Vec<String>,
}

impl Keyed {
    /// Whether nothing differs.
    pub fn is_same(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

/// Compares by the field `id`.
pub fn compare(a: &[Value], b: &[Value]) -> Keyed {
    let by_id = |rows: &[Value]| -> BTreeMap<String, Value> {
        let id = |row: &Value| row.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
        rows.iter().map(|row| (id(row), row.clone())).collect()
    };
    let (left, right) = (by_id(a), by_id(b));
    let (added, removed) =
        super::only(&left.keys().map(String::as_str).collect(), &right.keys().map(String::as_str).collect());
    let changed = left.iter().filter(|(id, row)| right.get(*id).is_some_and(|other| other != *row));
    Keyed { count: [a.len(), b.len()], added, removed, changed: changed.map(|(id, _)| id.clone()).collect() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn added_removed_changed() {
        let row = |id: &str, text: &str| json!({ "id": id, "text": text });
        let found =
            compare(&[row("a", "1"), row("b", "1"), row("c", "1")], &[row("b", "2"), row("c", "1"), row("d", "1")]);
        assert_eq!((found.added, found.removed, found.changed), (vec!["d".into()], vec!["a".into()], vec!["b".into()]));
    }
}
