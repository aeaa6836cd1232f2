//! `task.json`: what the artifact is for.

use serde::{Deserialize, Serialize};

use super::{ArtifactError, Member, canonical, limits, parse_canonical, rules};

/// Name, version and description of the task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// `kolm-task-1`.
    pub format: String,
    /// First half of the file name.
    pub name: String,
    /// Second half of the file name.
    pub version: String,
    /// One paragraph for people; may be empty.
    pub description: String,
}

impl Task {
    /// The value of `format`.
    pub const FORMAT: &'static str = "kolm-task-1";

    /// Reads canonical bytes.
    ///
    /// # Errors
    /// Any JSON error, `Field` for a value outside its rules.
    pub fn parse(bytes: &[u8]) -> Result<Self, ArtifactError> {
        let task: Self = parse_canonical(Member::Task.name(), bytes)?;
        task.check()?;
        Ok(task)
    }

    /// Writes canonical bytes.
    ///
    /// # Errors
    /// `Field` for a value outside its rules.
    pub fn encode(&self) -> Result<Vec<u8>, ArtifactError> {
        self.check()?;
        canonical(self)
    }

    fn check(&self) -> Result<(), ArtifactError> {
        let member = Member::Task.name();
        rules::format(member, &self.format, Self::FORMAT)?;
        rules::name(member, "name", &self.name, limits::NAME_LEN_MAX_BYTES)?;
        rules::name(member, "version", &self.version, limits::VERSION_LEN_MAX_BYTES)?;
        rules::require(
            member,
            "description",
            self.description.len() <= limits::DESCRIPTION_LEN_MAX_BYTES,
            || format!("{} bytes", self.description.len()),
            "at most 4096 bytes",
        )
    }
}
