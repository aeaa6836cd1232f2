//! What this machine knows of an artifact: the CID its audit log has for the same name and version, and the highest version that was
//! accepted here. Also how old an artifact may be.
//!
//! A check that is made here is recorded here, whatever came of it; one that cannot be recorded did not happen.

use std::cmp::Ordering;
use std::path::PathBuf;

use crate::artifact::{
    ArtifactError, AuditLog, Event, Manifest, Marks, Opened, OperatorKey, Timestamp, compare_versions,
};

/// The log and marks of one user on one machine.
#[derive(Clone, Debug)]
pub struct Site {
    /// `~/.kolm`.
    pub kolm_home: PathBuf,
    /// Now, for the log.
    pub now: Timestamp,
    /// What to do about an artifact older than the highest version accepted here.
    pub rollback: Rollback,
}

/// What to do about an older version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rollback {
    /// Refuse it.
    Refuse,
    /// Accept it, and say so in the log.
    Allow,
    /// Say so; for looking through a folder that keeps older versions.
    Tell,
}

/// How an artifact stands on this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// First log entry that accepted this CID; none for an artifact that is new here.
    pub known_since: Option<u64>,
    /// The highest version accepted here before, where it is a higher one.
    pub newer: Option<String>,
}

impl Site {
    /// How a sound artifact stands here.
    ///
    /// # Errors
    /// `CidLogged` when the log has another CID for the name and version; any fault of log or mark.
    pub fn standing(&self, key: &OperatorKey, manifest: &Manifest) -> Result<Standing, ArtifactError> {
        let label = label(manifest);
        let known = AuditLog::open(&self.kolm_home, key)?.known()?;
        if let Some(last) = known.accepted(&label).filter(|last| last.cid != manifest.cid) {
            let (found, expected) = (manifest.cid.clone(), last.cid.clone());
            return Err(ArtifactError::CidLogged { entry: last.seq, name: label, found, expected });
        }
        let known_since = known.first(&manifest.cid);
        let mark = Marks::of(&self.kolm_home, key)?.of_name(&manifest.name)?;
        let higher = |version: &String| compare_versions(&manifest.version, version) == Ordering::Less;
        Ok(Standing { known_since, newer: mark.map(|mark| mark.version).filter(higher) })
    }

    /// Refuses an artifact of a lower version than was accepted here, if this site is to.
    ///
    /// # Errors
    /// `Rollback`.
    pub fn check_rollback(&self, standing: &Standing, manifest: &Manifest) -> Result<(), ArtifactError> {
        match &standing.newer {
            Some(newer) if self.rollback == Rollback::Refuse => {
                let (name, found) = (manifest.name.clone(), manifest.version.clone());
                Err(ArtifactError::Rollback { name, found, expected: newer.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Records what was done with an artifact, and raises its mark if it was accepted. Gives the number of the entry.
    ///
    /// # Errors
    /// As `AuditLog::append`, `Marks::raise`.
    pub fn record(&self, key: &OperatorKey, done: &Done<'_>) -> Result<u64, ArtifactError> {
        let manifest = done.opened.map(|opened| &opened.manifest);
        let mut detail = manifest.map_or_else(|| done.file.to_owned(), label);
        if let Some(error) = done.failure {
            detail.push_str(&format!(" {}: {error}", error.code()));
        } else {
            if let Some(newer) = done.standing.and_then(|standing| standing.newer.as_ref()) {
                detail.push_str(&format!(" although {newer} was accepted before"));
            }
            if !done.note.is_empty() {
                detail.push_str(&format!(" {}", done.note));
            }
        }
        // Messages quote the artifact, and a line has a limit.
        let detail = detail.chars().take(DETAIL_LEN_MAX).collect();
        let event = Event {
            time: self.now,
            action: done.action.to_owned(),
            cid: manifest.map(|manifest| manifest.cid.clone()),
            outcome: if done.failure.is_none() { "done" } else { "refused" }.to_owned(),
            detail,
        };
        let entry = AuditLog::open(&self.kolm_home, key)?.append_numbered(&event)?;
        if let (None, Some(manifest)) = (done.failure, manifest) {
            Marks::of(&self.kolm_home, key)?.raise(manifest, entry)?;
        }
        Ok(entry)
    }
}

/// What was done with an artifact.
pub struct Done<'a> {
    /// `verify`, `run`.
    pub action: &'static str,
    /// Name of the file, for one that could not be opened.
    pub file: &'a str,
    /// The artifact.
    pub opened: Option<&'a Opened>,
    /// How it stands here, if that was asked.
    pub standing: Option<&'a Standing>,
    /// Why it was refused.
    pub failure: Option<&'a ArtifactError>,
    /// What else the entry says.
    pub note: &'a str,
}

/// Refuses an artifact older than `days`, and one whose date lies ahead of the clock.
///
/// # Errors
/// `TooOld`.
pub fn check_age(created: Timestamp, now: Timestamp, days: i64) -> Result<(), ArtifactError> {
    let age = created.days_until(now);
    let date = created.date();
    let fault = match age {
        ..=-1 => {
            format!(
                "the artifact is dated {date}, {} days ahead of this machine's clock: its age cannot be told",
                age.unsigned_abs()
            )
        }
        _ if age > days => format!("the artifact is {age} days old (made on {date}), at most {days} are allowed"),
        _ => return Ok(()),
    };
    Err(ArtifactError::TooOld { fault })
}

/// The number of days that `180d` means.
pub fn parse_days(text: &str) -> Option<i64> {
    let digits = text.strip_suffix('d')?;
    let number = !digits.is_empty() && digits.len() <= 6 && digits.bytes().all(|byte| byte.is_ascii_digit());
    number.then(|| digits.parse().ok()).flatten()
}

/// As the log names it: the file name without its ending.
fn label(manifest: &Manifest) -> String {
    format!("{}-{}", manifest.name, manifest.version)
}

/// Longest detail of an entry, in characters: a page of text.
const DETAIL_LEN_MAX: usize = 2000;
