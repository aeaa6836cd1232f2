//! The audit entry of a verb that needs no key for its work: made where there is a key, and missed aloud where there is none.

use std::path::PathBuf;

use kolm_runtime::artifact::{ArtifactError, AuditLog, Event, OperatorKey, Timestamp};

use crate::cli::arguments::Key;
use crate::cli::compile;
use crate::cli::environment::Environment;
use crate::pipeline::CompileError;

/// What is to be entered, with the key to do it.
pub(super) struct Entry {
    kolm_home: PathBuf,
    key: Option<OperatorKey>,
    time: Timestamp,
    action: &'static str,
}

impl Entry {
    /// Loads the key, and makes sure that the log can be added to, before anything is done that could not be entered.
    ///
    /// # Errors
    /// [`CompileError::Artifact`] for a key that was named and is not there, or cannot be used; any refusal of the log.
    pub(super) fn prepare(typed: &Key, environment: &Environment, action: &'static str) -> Result<Self, CompileError> {
        let key = match compile::key_source(typed, environment).load() {
            Ok(key) => Some(key),
            Err(ArtifactError::KeyMissing { path }) if typed.key_file.is_none() => {
                eprintln!("warning: not entered in the audit log, there is no operator key at {}", path.display());
                None
            }
            Err(error) => return Err(error.into()),
        };
        if let Some(key) = &key {
            AuditLog::open(&environment.kolm_home, key)?.check_end()?;
        }
        let time = compile::now(environment)?;
        Ok(Self { kolm_home: environment.kolm_home.clone(), key, time, action })
    }

    /// Enters it.
    ///
    /// # Errors
    /// Any refusal of the log.
    pub(super) fn enter(&self, cid: Option<&str>, outcome: &str, detail: &str) -> Result<(), CompileError> {
        let Some(key) = &self.key else { return Ok(()) };
        let (action, detail) = (self.action.to_owned(), detail.chars().take(DETAIL_LEN_MAX).collect());
        let cid = cid.map(str::to_owned);
        let event = Event { time: self.time, action, cid, outcome: outcome.to_owned(), detail };
        Ok(AuditLog::open(&self.kolm_home, key)?.append(&event)?)
    }
}

/// Longest detail of an entry, in characters: a page of text.
const DETAIL_LEN_MAX: usize = 2000;
