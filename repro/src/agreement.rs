//! Many rebuilders, one answer: do their statements agree, and do they confirm an artifact?
//!
//! With trusted keys named, only those count and the others are shown; with none named, every statement counts. A quorum counts distinct
//! trusted keys, so a rebuilder who signs twice counts once.

use serde::Serialize;

use crate::rebuild::Results;
use crate::statement::{PublicKey, Signed, StatementError};

/// Whom to believe, and how many of them.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// Keys that count; none named means that every statement counts.
    pub keys: Vec<PublicKey>,
    /// Distinct trusted keys that must agree.
    pub quorum: Option<usize>,
}

/// One statement in the table.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Id of the key that signed it.
    pub key: String,
    /// Whether that key is among those trusted.
    pub trusted: bool,
    /// Whether the statement counts.
    pub counts: bool,
    /// CPU, system and architecture.
    pub machine: String,
    /// SIMD level.
    pub simd: String,
    /// Threads.
    pub threads: u64,
    /// What the rebuild gave.
    #[serde(flatten)]
    pub rebuilt: Results,
    /// Whether that is what the artifact records.
    pub confirms: bool,
}

/// What the statements say together.
#[derive(Debug, Clone, Serialize)]
pub struct Agreement {
    /// The artifact they are about.
    pub cid: String,
    /// One row a statement, as given.
    pub statements: Vec<Row>,
    /// Whether all that count give the same CID, K, replay digest and trace.
    pub agree: bool,
    /// Whether all that count give what the artifact records.
    pub confirmed: bool,
    /// Distinct trusted keys behind the recorded result when an artifact is challenged, behind the most widely shared one when not.
    pub trusted_keys: usize,
    /// As asked for.
    pub quorum: Option<usize>,
}

/// Compares statements with each other.
///
/// # Errors
/// [`StatementError::AnotherArtifact`] when they are not all about the first one's artifact, and the quorum errors.
pub fn compare(statements: &[Signed], trust: &Trust) -> Result<Agreement, StatementError> {
    let cid = statements.first().map(|first| first.statement.predicate.recorded.cid.clone()).unwrap_or_default();
    gather(statements, trust, cid, None)
}

/// Holds statements against what an artifact records.
///
/// # Errors
/// As [`compare`]; [`StatementError::AnotherArtifact`] when one is not about this artifact.
pub fn challenge(recorded: &Results, statements: &[Signed], trust: &Trust) -> Result<Agreement, StatementError> {
    gather(statements, trust, recorded.cid.clone(), Some(recorded))
}

fn gather(
    statements: &[Signed],
    trust: &Trust,
    cid: String,
    recorded: Option<&Results>,
) -> Result<Agreement, StatementError> {
    if let Some(quorum) = trust.quorum {
        if quorum > statements.len() {
            return Err(StatementError::QuorumTooLarge { quorum, statements: statements.len() });
        }
        if quorum == 0 || trust.keys.is_empty() {
            return Err(StatementError::QuorumOfNobody { quorum, trusted: trust.keys.len() });
        }
    }
    for signed in statements {
        let found = &signed.statement.predicate.recorded.cid;
        if *found != cid {
            return Err(StatementError::AnotherArtifact {
                path: signed.path.clone(),
                found: found.clone(),
                expected: cid,
            });
        }
    }
    let rows: Vec<Row> = statements.iter().map(|signed| row(signed, trust, recorded)).collect();
    let counted: Vec<&Row> = rows.iter().filter(|row| row.counts).collect();
    let agree = counted.first().is_some_and(|first| counted.iter().all(|row| row.rebuilt == first.rebuilt));
    let confirmed = !counted.is_empty() && counted.iter().all(|row| row.confirms);
    let trusted_keys = match recorded {
        Some(recorded) => behind(recorded, statements, trust),
        None => counted.iter().map(|row| behind(&row.rebuilt, statements, trust)).max().unwrap_or(0),
    };
    Ok(Agreement { cid, statements: rows, agree, confirmed, trusted_keys, quorum: trust.quorum })
}

/// Distinct trusted keys whose rebuild gave `result`.
fn behind(result: &Results, statements: &[Signed], trust: &Trust) -> usize {
    let mut keys: Vec<String> = statements
        .iter()
        .filter(|signed| trust.keys.contains(&signed.key) && signed.statement.predicate.rebuilt == *result)
        .map(|signed| signed.key.to_hex())
        .collect();
    keys.sort_unstable();
    keys.dedup();
    keys.len()
}

fn row(signed: &Signed, trust: &Trust, recorded: Option<&Results>) -> Row {
    let predicate = &signed.statement.predicate;
    let machine = &predicate.machine;
    let trusted = trust.keys.contains(&signed.key);
    Row {
        key: signed.key.id(),
        trusted,
        counts: trusted || trust.keys.is_empty(),
        machine: format!("{}, {}", machine.cpu, machine.os.split(" ").take(2).collect::<Vec<_>>().join(" ")),
        simd: machine.simd.clone(),
        threads: machine.threads,
        rebuilt: predicate.rebuilt.clone(),
        confirms: *recorded.unwrap_or(&predicate.recorded) == predicate.rebuilt,
    }
}

impl Agreement {
    /// Whether the quorum, if one is asked for, is met.
    pub fn quorum_met(&self) -> bool {
        self.quorum.is_none_or(|quorum| self.trusted_keys >= quorum)
    }

    /// The table, then what it comes to; `challenged` says whether an artifact is asked about.
    pub fn text(&self, challenged: bool) -> String {
        let mut text = String::new();
        let mut line = |line: String| {
            text.push_str(line.trim_end());
            text.push('\n');
        };
        line(format!("artifact: {}", self.cid));
        line(format!(
            "{:<8}  {:<9}  {:<11}  {:<7}  {:>7}  {:<12}  {:<8}  {:<12}  machine",
            "key", "trust", "says", "simd", "threads", "cid", "K", "replay"
        ));
        for row in &self.statements {
            line(format!(
                "{:<8}  {:<9}  {:<11}  {:<7}  {:>7}  {:<12}  {:<8}  {:<12}  {}",
                row.key,
                if row.trusted { "trusted" } else { "untrusted" },
                if row.confirms { "confirms" } else { "contradicts" },
                row.simd,
                row.threads,
                short(&row.rebuilt.cid),
                row.rebuilt.k,
                short(&row.rebuilt.replay_digest),
                row.machine
            ));
        }
        let left_out: Vec<&str> =
            self.statements.iter().filter(|row| !row.counts).map(|row| row.key.as_str()).collect();
        if !left_out.is_empty() {
            line(format!("not counted, their keys are not trusted: {}", left_out.join(", ")));
        }
        let verdict = match (challenged, self.agree, self.confirmed) {
            _ if !self.statements.iter().any(|row| row.counts) => "no statement counts",
            (true, _, true) => "the artifact is confirmed",
            (true, _, false) => "the artifact is contradicted",
            (false, true, _) => "the statements agree",
            (false, false, _) => "the statements disagree",
        };
        line(format!("verdict:  {verdict}"));
        if let Some(quorum) = self.quorum {
            let met = if self.quorum_met() { "met" } else { "not met" };
            line(format!("quorum:   {} of {quorum} trusted keys, {met}", self.trusted_keys));
        }
        text
    }
}

/// The first 12 hex digits of a digest or CID.
fn short(digest: &str) -> String {
    digest.rsplit(':').next().unwrap_or_default().chars().take(12).collect()
}
