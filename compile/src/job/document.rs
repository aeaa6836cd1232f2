//! Typed reading of a TOML text with a line for every complaint.
//!
//! A [`Section`] knows its keys; what it does not know is refused when it is opened, so nothing in a job is ever ignored.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::decimal::Decimal;
use super::error::JobError;

/// The sections of a parsed job file.
pub(super) struct Document<'a> {
    path: &'a Path,
    text: &'a str,
    sections: BTreeMap<String, DeTable<'a>>,
}

/// One section; its values are taken out one by one.
pub(super) struct Section<'a> {
    name: &'static str,
    path: &'a Path,
    values: BTreeMap<String, Entry<'a>>,
}

struct Entry<'a> {
    line: usize,
    value: DeValue<'a>,
}

/// A value and the place it stands at.
#[derive(Debug)]
pub(super) struct Placed<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

/// Where a value stands.
#[derive(Debug, Clone)]
pub(super) struct Place {
    path: PathBuf,
    key: String,
    pub(super) line: usize,
}

impl Place {
    pub(super) fn bad(&self, found: impl ToString, expected: impl ToString) -> JobError {
        let (path, key) = (self.path.clone(), self.key.clone());
        JobError::BadValue { path, line: self.line, key, found: found.to_string(), expected: expected.to_string() }
    }

    fn wrong_type(&self, value: &DeValue<'_>, expected: &'static str) -> JobError {
        JobError::WrongType {
            path: self.path.clone(),
            line: self.line,
            key: self.key.clone(),
            found: type_name(value),
            expected,
        }
    }
}

impl<'a> Document<'a> {
    pub(super) fn parse(text: &'a str, path: &'a Path, known: &[(&'static str, &[&str])]) -> Result<Self, JobError> {
        let parsed = DeTable::parse(text).map_err(|error| JobError::Syntax {
            path: path.to_owned(),
            line: error.span().map_or(1, |span| line_of(text, span.start)),
            reason: error.message().to_owned(),
        })?;
        let mut sections = BTreeMap::new();
        for (key, value) in parsed.into_inner() {
            let line = line_of(text, key.span().start);
            let name = key.into_inner().into_owned();
            if !known.iter().any(|(section, _)| *section == name) {
                let nearest = nearest(&name, known.iter().map(|(section, _)| *section)).to_owned();
                return Err(JobError::UnknownSection { path: path.to_owned(), line, found: name, nearest });
            }
            match value.into_inner() {
                DeValue::Table(table) => drop(sections.insert(name, table)),
                other => {
                    let place = Place { path: path.to_owned(), key: name, line };
                    return Err(place.wrong_type(&other, "a section"));
                }
            }
        }
        Ok(Document { path, text, sections })
    }

    /// Opens section `name`, empty if the file does not have it.
    pub(super) fn section(
        &mut self,
        name: &'static str,
        known: &[(&'static str, &[&str])],
    ) -> Result<Section<'a>, JobError> {
        let keys = known.iter().find(|(section, _)| *section == name).map_or(&[][..], |(_, keys)| keys);
        let mut values = BTreeMap::new();
        for (key, value) in self.sections.remove(name).unwrap_or_default() {
            let line = line_of(self.text, key.span().start);
            let found = key.into_inner().into_owned();
            if !keys.contains(&found.as_str()) {
                let nearest = nearest_key(&found, name, keys, known);
                return Err(JobError::UnknownKey { path: self.path.to_owned(), line, section: name, found, nearest });
            }
            values.insert(found, Entry { line, value: value.into_inner() });
        }
        Ok(Section { name, path: self.path, values })
    }
}

impl<'a> Section<'a> {
    /// Where `key` stands, if the file has it.
    pub(super) fn place_of(&self, key: &str) -> Option<Place> {
        self.values.get(key).map(|entry| self.place(key, entry.line))
    }

    fn place(&self, key: &str, line: usize) -> Place {
        Place { path: self.path.to_owned(), key: format!("{}.{key}", self.name), line }
    }

    fn take(&mut self, key: &str) -> Option<Placed<DeValue<'a>>> {
        let entry = self.values.remove(key)?;
        Some(Placed { place: self.place(key, entry.line), value: entry.value })
    }

    pub(super) fn text(&mut self, key: &str) -> Result<Option<Placed<String>>, JobError> {
        let Some(Placed { value, place }) = self.take(key) else { return Ok(None) };
        match value {
            DeValue::String(text) => Ok(Some(Placed { value: text.into_owned(), place })),
            other => Err(place.wrong_type(&other, "a string")),
        }
    }

    pub(super) fn texts(&mut self, key: &str) -> Result<Option<Placed<Vec<String>>>, JobError> {
        let Some(Placed { value, place }) = self.take(key) else { return Ok(None) };
        let DeValue::Array(items) = value else { return Err(place.wrong_type(&value, "an array of strings")) };
        let mut texts = Vec::new();
        for item in items {
            match item.into_inner() {
                DeValue::String(text) => texts.push(text.into_owned()),
                other => return Err(place.wrong_type(&other, "an array of strings")),
            }
        }
        Ok(Some(Placed { value: texts, place }))
    }

    /// A whole number in `least..=most`.
    pub(super) fn whole(&mut self, key: &str, least: u64, most: u64) -> Result<Option<u64>, JobError> {
        let Some(Placed { value, place }) = self.take(key) else { return Ok(None) };
        let DeValue::Integer(number) = &value else { return Err(place.wrong_type(&value, "a whole number")) };
        let parsed = u64::from_str_radix(&number.as_str().replace('_', ""), number.radix()).ok();
        match parsed.filter(|number| (least..=most).contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(place.bad(number, format!("a whole number from {least} to {most}"))),
        }
    }

    /// A finite number for which `holds`.
    pub(super) fn number(
        &mut self,
        key: &str,
        expected: &'static str,
        holds: fn(f64) -> bool,
    ) -> Result<Option<Decimal>, JobError> {
        let Some(Placed { value, place }) = self.take(key) else { return Ok(None) };
        let written = match &value {
            DeValue::Float(number) => number.as_str(),
            DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
            other => return Err(place.wrong_type(other, "a number")),
        };
        let parsed: Option<f64> = written.replace('_', "").parse().ok();
        match parsed.filter(|number| holds(*number)).and_then(Decimal::new) {
            Some(number) => Ok(Some(number)),
            None => Err(place.bad(written, expected)),
        }
    }

    /// One of `options`, or `default`.
    pub(super) fn one_of<T: Copy>(&mut self, key: &str, options: &[(&str, T)], default: T) -> Result<T, JobError> {
        let Some(Placed { value, place }) = self.text(key)? else { return Ok(default) };
        let found = options.iter().find(|(name, _)| *name == value);
        found.map(|(_, option)| *option).ok_or_else(|| {
            let names: Vec<&str> = options.iter().map(|(name, _)| *name).collect();
            place.bad(format!("{value:?}"), format!("one of {}", names.join(", ")))
        })
    }

    /// `"auto"` (none) or a whole number in `1..=most`.
    pub(super) fn whole_or_auto(&mut self, key: &str, least: u64, most: u64) -> Result<Option<u64>, JobError> {
        if matches!(self.values.get(key), Some(Entry { value: DeValue::String(word), .. }) if word == "auto") {
            self.values.remove(key);
        }
        self.whole(key, least, most)
    }
}

/// The known name with the smallest edit distance; ties go to the first.
fn nearest<'k>(found: &str, known: impl Iterator<Item = &'k str>) -> &'k str {
    known.min_by_key(|name| strsim::damerau_levenshtein(found, name)).unwrap_or_default()
}

/// The nearest key of this section, or the same key of another one.
fn nearest_key(found: &str, section: &str, keys: &[&str], known: &[(&'static str, &[&str])]) -> String {
    let elsewhere = known.iter().find(|(other, keys)| *other != section && keys.contains(&found));
    elsewhere.map_or_else(|| nearest(found, keys.iter().copied()).to_owned(), |(other, _)| format!("{other}.{found}"))
}

fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with decimals",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}
