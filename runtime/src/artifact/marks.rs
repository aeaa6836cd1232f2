//! Marks: the highest version of each artifact that this machine has accepted, so that an older one is noticed.
//!
//! A mark is sealed like the audit log's head, and also says how long the log was when it was written: a log that was deleted
//! together with its head is noticed as long as a mark is left. Marks are only ever raised.

use std::cmp::Ordering;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::sealed::{Keys, Sealed, Usage};
use super::{ArtifactError, Manifest, OperatorKey, Staged, key, limits, parse_canonical};

/// The highest version of one name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// Its CID.
    pub cid: String,
    /// Entries that the audit log had.
    pub entries: u64,
    /// `kolm-mark-1`.
    pub format: String,
    /// Id of the key that sealed the mark.
    pub key_id: String,
    /// Name of the task.
    pub name: String,
    /// The version.
    pub version: String,
}

/// The marks of one machine.
#[derive(Debug)]
pub struct Marks<'a> {
    folder: PathBuf,
    keys: Keys<'a>,
}

impl<'a> Marks<'a> {
    /// The marks below `kolm_home` (`~/.kolm`); touches nothing.
    ///
    /// # Errors
    /// As `AuditLog::open`.
    pub fn of(kolm_home: &Path, key: &'a OperatorKey) -> Result<Self, ArtifactError> {
        Ok(Self { folder: kolm_home.join(FOLDER), keys: Keys::new(key, kolm_home)? })
    }

    /// The mark of `name`, if there is one.
    ///
    /// # Errors
    /// `Mark` when it is not sealed by a key at hand or speaks of another name; `Io`.
    pub fn of_name(&self, name: &str) -> Result<Option<Mark>, ArtifactError> {
        let path = self.path(name);
        let mark = read(&path, &self.keys)?;
        match mark {
            Some(mark) if mark.name != name => {
                Err(ArtifactError::Mark { path, fault: format!("is the mark of {}", mark.name) })
            }
            mark => Ok(mark),
        }
    }

    /// Raises the mark of an accepted artifact's name; one that is as high stays.
    ///
    /// # Errors
    /// As `of_name`.
    pub fn raise(&self, manifest: &Manifest, entries: u64) -> Result<(), ArtifactError> {
        let before = self.of_name(&manifest.name)?;
        if before.is_some_and(|mark| compare_versions(&manifest.version, &mark.version) != Ordering::Greater) {
            return Ok(());
        }
        let mark = Mark {
            cid: manifest.cid.clone(),
            entries,
            format: FORMAT.to_owned(),
            key_id: self.keys.own_id().to_owned(),
            name: manifest.name.clone(),
            version: manifest.version.clone(),
        };
        let mut bytes = self.keys.seal(Usage::Mark, mark)?;
        bytes.push(b'\n');
        key::private_folder(&self.folder).map_err(ArtifactError::io("make folder", &self.folder))?;
        Staged::write_private(&self.path(&manifest.name), &bytes)?.commit()
    }

    fn path(&self, name: &str) -> PathBuf {
        // A name begins with a letter or digit and holds no separator: it cannot leave the folder.
        self.folder.join(format!("{name}.mark"))
    }
}

/// The most entries that any mark says the audit log had.
pub(super) fn entries(kolm_home: &Path, keys: &Keys<'_>) -> Result<u64, ArtifactError> {
    let folder = kolm_home.join(FOLDER);
    let files = match fs::read_dir(&folder) {
        Ok(files) => files,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(ArtifactError::io("read", &folder)(error)),
    };
    let mut most = 0;
    for file in files {
        let path = file.map_err(ArtifactError::io("read", &folder))?.path();
        if path.extension().is_some_and(|extension| extension == "mark")
            && let Some(mark) = read(&path, keys)?
        {
            most = most.max(mark.entries);
        }
    }
    Ok(most)
}

fn read(path: &Path, keys: &Keys<'_>) -> Result<Option<Mark>, ArtifactError> {
    let fault = |fault: &str| ArtifactError::Mark { path: path.to_path_buf(), fault: fault.to_owned() };
    let bytes = match fs::metadata(path) {
        Ok(metadata) if metadata.len() > limits::AUDIT_HEAD_LEN_MAX_BYTES => return Err(fault("is not a mark")),
        Ok(_) => fs::read(path).map_err(ArtifactError::io("read", path))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ArtifactError::io("read", path)(error)),
    };
    let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let sealed: Sealed<Mark> = parse_canonical("mark", line).map_err(|_| fault("is not a mark"))?;
    let Sealed { entry: mark, mac } = sealed;
    if mark.format != FORMAT {
        return Err(fault("has another format"));
    }
    match keys.holds(Usage::Mark, &mark.key_id, &mark, &mac)? {
        Some(true) => Ok(Some(mark)),
        Some(false) => Err(fault("has a MAC that does not match")),
        None => Err(fault(&format!("was sealed with key {}, which is not at hand", mark.key_id))),
    }
}

/// Orders two versions part by part: numbers by value, texts by bytes, a text below a number; a version that ends first is
/// lower, unless the other goes on with a text after `-`, as 1.0.0-rc.1 does after 1.0.0.
pub fn compare_versions(a: &str, b: &str) -> Ordering {
    let (mut of_a, mut of_b) = (parts(a), parts(b));
    loop {
        let ordering = match (of_a.next(), of_b.next()) {
            (None, None) => return Ordering::Equal,
            (Some(part), None) => after_the_end(part),
            (None, Some(part)) => after_the_end(part).reverse(),
            (Some((_, a)), Some((_, b))) => match (digits(a), digits(b)) {
                (Some(a), Some(b)) => (a.len(), a).cmp(&(b.len(), b)),
                (Some(_), None) => Ordering::Greater,
                (None, Some(_)) => Ordering::Less,
                (None, None) => a.cmp(b),
            },
        };
        if ordering != Ordering::Equal {
            return ordering;
        }
    }
}

/// The parts, each with the separator before it.
fn parts(version: &str) -> impl Iterator<Item = (Option<char>, &str)> {
    let mut before = None;
    version.split_inclusive(SEPARATORS).map(move |part| {
        let trimmed = part.trim_end_matches(SEPARATORS);
        let separator = part.chars().next_back().filter(|last| SEPARATORS.contains(last));
        (std::mem::replace(&mut before, separator), trimmed)
    })
}

/// How a version that goes on with `part` compares with one that has ended.
fn after_the_end((separator, part): (Option<char>, &str)) -> Ordering {
    match (separator, digits(part)) {
        (Some('-'), None) => Ordering::Less,
        _ => Ordering::Greater,
    }
}

/// The digits of a number without leading zeros; none for a text.
fn digits(part: &str) -> Option<&str> {
    let number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    number.then(|| part.trim_start_matches('0'))
}

const FOLDER: &str = "marks";
const FORMAT: &str = "kolm-mark-1";
const SEPARATORS: [char; 4] = ['.', '-', '+', '_'];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered() {
        let ascending = [
            "0.9",
            "0.10.0-alpha",
            "0.10.0",
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-rc.2",
            "1.0.0-rc.10",
            "1.0.0",
            "1.0.0+5",
            "1.0.1",
            "1.1",
            "1.1.0",
            "1.9",
            "1.10",
            "2",
            "2.0",
            "99999999999999999999999",
            "100000000000000000000000",
        ];
        for (index, a) in ascending.iter().enumerate() {
            for (other, b) in ascending.iter().enumerate() {
                assert_eq!(compare_versions(a, b), index.cmp(&other), "{a} {b}");
            }
        }
        assert_eq!(compare_versions("1.01", "1.1"), Ordering::Equal);
    }
}
