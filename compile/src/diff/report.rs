//! A diff arranged for people: sections of one summary and one table each, and their text.

use serde_json::Value;

use super::answers::{Flip, signed};
use super::keyed::Keyed;
use super::tensors::Tensors;
use super::tree::Change;
use super::{Diff, Trace};

/// One part of the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Name.
    pub title: &'static str,
    /// What can be said in a line; `same` if nothing differs.
    pub summary: String,
    /// Names of the columns; empty without rows.
    pub columns: Vec<&'static str>,
    /// Cells, a row as long as `columns`.
    pub rows: Vec<Vec<String>>,
}

/// The sections, in fixed order.
pub fn sections(diff: &Diff) -> Vec<Section> {
    let replay = &diff.replay;
    let mut cases = keyed("eval pack", "cases", &diff.cases.cases);
    if !diff.cases.header.is_empty() {
        cases.summary = format!("{}; header differs", cases.summary);
        let cell = |change: &Change| vec![format!("header {}", change.key), pair(change)];
        cases.columns = vec!["what", "id"];
        cases.rows.extend(diff.cases.header.iter().map(cell));
    }
    vec![
        changes("identity", &diff.identity),
        changes("members", &diff.members),
        changes("task", &diff.task),
        changes("plan", &diff.plan),
        changes("corpus and split", &diff.corpus),
        tensors("adapter tensors", &diff.adapter),
        changes("adapter config", &diff.adapter_config),
        tensors("recall vectors", &diff.recall_vectors),
        keyed("recall passages", "passages", &diff.passages),
        cases,
        Section {
            title: "replay",
            summary: format!(
                "K {} -> {}; {} common cases{}; {} answers differ, {} more by logits only; {} right -> wrong, {} wrong -> right",
                replay.k[0],
                replay.k[1],
                replay.common,
                replay.delta_ppm.map(|delta| format!(", K {}", signed(delta))).unwrap_or_default(),
                replay.answers_changed,
                replay.logits_changed,
                replay.lost.len(),
                replay.won.len()
            ),
            columns: vec!["flip", "id", "expected", "a", "b"],
            rows: flips("right -> wrong", &replay.lost).chain(flips("wrong -> right", &replay.won)).collect(),
        },
        trace(&diff.trace),
    ]
}

/// The report as text; cells are cut so that a row stays a row.
pub fn text(diff: &Diff) -> String {
    let mut out = String::new();
    for section in sections(diff) {
        out.push_str(&format!("{:<18}{}\n", section.title, section.summary));
        if section.rows.is_empty() {
            continue;
        }
        let header: Vec<String> = section.columns.iter().map(|name| (*name).to_owned()).collect();
        let rows: Vec<Vec<String>> = std::iter::once(&header)
            .chain(&section.rows)
            .map(|row| row.iter().map(|cell| one_line(cell)).collect())
            .collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..header.len()).map(width).collect();
        for row in &rows {
            let cells: Vec<String> =
                row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}", width = *width)).collect();
            out.push_str(&format!("    {}\n", cells.join("  ").trim_end()));
        }
    }
    out.push_str(if diff.identical { "identical: one CID\n" } else { "different: two CIDs\n" });
    out
}

/// Control characters as escapes, and no more than a screen's width.
fn one_line(cell: &str) -> String {
    const WIDTH: usize = 78;
    let plain: String = cell
        .chars()
        .flat_map(|letter| match letter.is_control() {
            true => letter.escape_default().collect::<Vec<_>>(),
            false => vec![letter],
        })
        .collect();
    match plain.char_indices().nth(WIDTH) {
        Some((at, _)) => format!("{}...", &plain[..at]),
        None => plain,
    }
}

fn changes(title: &'static str, changes: &[Change]) -> Section {
    let summary = match changes.len() {
        0 => "same".to_owned(),
        1 => "1 difference".to_owned(),
        count => format!("{count} differences"),
    };
    let rows = changes.iter().map(|change| vec![change.key.clone(), shown(&change.a), shown(&change.b)]);
    Section { title, summary, columns: vec!["key", "a", "b"], rows: rows.collect() }
}

fn tensors(title: &'static str, found: &Tensors) -> Section {
    if found.count == [0, 0] {
        return Section { title, summary: "none".to_owned(), columns: Vec::new(), rows: Vec::new() };
    }
    let differing: u64 = found.changed.iter().filter_map(|change| change.values.as_ref()).map(|of| of.differing).sum();
    let summary = match found.changed.len() {
        0 => format!("same: {} tensors, {} elements", found.count[0], found.elements[0]),
        changed => format!(
            "{changed} of {} tensors, {differing} of {} elements differ",
            found.count[0].max(found.count[1]),
            found.elements[0].max(found.elements[1])
        ),
    };
    let rows = found.changed.iter().map(|change| {
        let absent = || "absent".to_owned();
        let (a, b) = (change.a.clone().unwrap_or_else(absent), change.b.clone().unwrap_or_else(absent));
        let mut row = vec![change.name.clone(), if a == b { a } else { format!("{a} -> {b}") }];
        let Some(values) = &change.values else {
            row.extend(["-"; 6].map(str::to_owned));
            return row;
        };
        let nan = if values.nan > 0 { format!(" ({} NaN)", values.nan) } else { String::new() };
        row.push(format!("{}/{}{nan}", values.differing, values.elements));
        row.push(values.max_ulp.map_or_else(|| "-".to_owned(), |ulp| ulp.to_string()));
        row.push(values.max_absolute.clone().unwrap_or_else(|| "-".to_owned()));
        match &values.first {
            Some(first) => row.extend([first.index.to_string(), first.a.clone(), first.b.clone()]),
            None => row.extend(["-"; 3].map(str::to_owned)),
        }
        row
    });
    let columns = vec!["tensor", "type", "differing", "max ULP", "max abs", "first", "a", "b"];
    Section { title, summary, columns, rows: rows.collect() }
}

fn keyed(title: &'static str, what: &'static str, found: &Keyed) -> Section {
    let summary = match found.is_same() {
        true => format!("same: {} {what}", found.count[0]),
        false => format!(
            "{} -> {} {what}: {} added, {} removed, {} changed",
            found.count[0],
            found.count[1],
            found.added.len(),
            found.removed.len(),
            found.changed.len()
        ),
    };
    let lists = [("added", &found.added), ("removed", &found.removed), ("changed", &found.changed)];
    let rows = lists.into_iter().flat_map(|(what, ids)| ids.iter().map(move |id| vec![what.to_owned(), id.clone()]));
    Section { title, summary, columns: vec!["what", "id"], rows: rows.collect() }
}

fn flips<'a>(what: &'a str, flips: &'a [Flip]) -> impl Iterator<Item = Vec<String>> + 'a {
    flips
        .iter()
        .map(move |flip| vec![what.to_owned(), flip.id.clone(), flip.expected.clone(), flip.a.clone(), flip.b.clone()])
}

fn trace(found: &Trace) -> Section {
    let [a, b] = found.steps;
    let summary = match found.first_step {
        Some(step) => format!("first difference at step {step} ({a} and {b} lines)"),
        None if a == b => format!("same: {a} lines"),
        None => format!("{a} lines and {b} lines, alike as far as both go"),
    };
    Section { summary, ..changes("trace", &found.fields) }
}

fn pair(change: &Change) -> String {
    format!("{} -> {}", shown(&change.a), shown(&change.b))
}

fn shown(value: &Option<Value>) -> String {
    match value {
        None => "absent".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_stay_on_their_line() {
        assert_eq!(one_line("a\nb\t\u{1b}[31m"), "a\\nb\\t\\u{1b}[31m");
        assert_eq!(one_line(&"é".repeat(100)).chars().count(), 81);
    }
}
