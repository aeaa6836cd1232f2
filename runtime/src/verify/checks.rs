//! The five checks, in the fixed order. Decides; prints nothing.
//!
//! Checks 2, 3 and 4 run whenever check 1 holds, so that one run names everything that is wrong; the replay runs only on an
//! artifact for which all four hold, so that no unproved weights are loaded.

use crate::artifact::{ArtifactError, ArtifactFile, Member, MemberDigest, Opened, OperatorKey};
use crate::eval::{Drift, Outcome as Replay};
use crate::kernel::Level;
use crate::model::ModelSource;
use crate::recall::{Lists, RecallIndex, RecallMembers};

use super::models::{ModelPlaces, Role};
use super::replay::{recorded, replay};

/// What came of one check.
#[derive(Debug)]
pub enum Outcome {
    /// It holds.
    Passed,
    /// It does not.
    Failed(ArtifactError),
    /// It was not made: left out by the caller, or an earlier check failed.
    NotRun,
}

impl Outcome {
    fn of(result: Result<(), ArtifactError>) -> Self {
        result.map_or_else(Self::Failed, |()| Self::Passed)
    }

    /// Whether the check was made and holds.
    pub fn passed(&self) -> bool {
        matches!(self, Self::Passed)
    }
}

/// One of the five.
#[derive(Debug)]
pub struct Check {
    /// Its fixed name.
    pub name: &'static str,
    /// What came of it.
    pub outcome: Outcome,
}

/// All five, and what they were made on.
#[derive(Debug)]
pub struct Verification {
    /// In the fixed order.
    pub checks: [Check; 5],
    /// The artifact, if check 1 got that far.
    pub opened: Option<Opened>,
    /// What the replay of this machine gave, if there was one.
    pub replayed: Option<Replay>,
    /// Every case that it answered otherwise than recorded.
    pub drifts: Vec<Drift>,
}

impl Verification {
    /// The refusal that decides: the first check that refuses, else the first that lacks an input.
    pub fn failure(&self) -> Option<&ArtifactError> {
        let failures = || {
            self.checks.iter().filter_map(|check| match &check.outcome {
                Outcome::Failed(error) => Some(error),
                _ => None,
            })
        };
        failures().find(|error| super::Exit::of(error) == super::Exit::Refused).or_else(|| failures().next())
    }
}

impl Verification {
    /// The refusal of [`Verification::failure`], owned.
    pub fn into_failure(self) -> Option<ArtifactError> {
        let mut failures = self.checks.into_iter().filter_map(|check| match check.outcome {
            Outcome::Failed(error) => Some(error),
            _ => None,
        });
        let first = failures.next()?;
        if super::Exit::of(&first) == super::Exit::Refused {
            return Some(first);
        }
        Some(failures.find(|error| super::Exit::of(error) == super::Exit::Refused).unwrap_or(first))
    }
}

/// How the replay is made; none leaves check 5 out.
pub struct ReplayWith<'a> {
    /// Kernels.
    pub level: Level,
    /// Told how many cases of how many are answered.
    pub progress: &'a mut (dyn FnMut(usize, usize) + Send),
}

/// Makes the five checks. `key` gives the key for the id that the receipt names; `known` is what else this machine knows of the CID,
/// asked in check 4 once receipt and content hold; it also says whether the replay is worth its time.
pub fn verify(
    file: Result<ArtifactFile, ArtifactError>,
    key: impl FnOnce(&str) -> Result<OperatorKey, ArtifactError>,
    places: &ModelPlaces,
    replay_with: Option<ReplayWith<'_>>,
    known: &mut dyn FnMut(&Opened) -> Result<bool, ArtifactError>,
) -> Verification {
    let (opened, digests) = match file.and_then(schema) {
        Ok(read) => read,
        Err(error) => {
            let mut checks = NAMES.map(|name| Check { name, outcome: Outcome::NotRun });
            let [first, ..] = &mut checks;
            first.outcome = Outcome::Failed(error);
            return Verification { checks, opened: None, replayed: None, drifts: Vec::new() };
        }
    };
    let base = find_models(&opened, places);
    let receipt = key(&opened.receipt.key_id).and_then(|key| opened.receipt.check(&key, &opened.lineage(&digests)));
    let mut wanted = true;
    let content = opened.check_content(&digests).and_then(|()| {
        if receipt.is_ok() {
            wanted = known(&opened)?;
        }
        Ok(())
    });

    let (mut replayed, mut drifts) = (None, Vec::new());
    let answered = match (&base, &receipt, &content, replay_with.filter(|_| wanted)) {
        (Ok(base), Ok(()), Ok(()), Some(with)) => match replay(&opened, base, with.level, with.progress) {
            Ok(result) => {
                replayed = Some(result.outcome);
                drifts = result.drifts;
                result.difference.map_or(Outcome::Passed, Outcome::Failed)
            }
            Err(error) => Outcome::Failed(error),
        },
        _ => Outcome::NotRun,
    };
    let outcomes =
        [Outcome::Passed, Outcome::of(base.map(|_| ())), Outcome::of(receipt), Outcome::of(content), answered];
    let mut outcomes = outcomes.into_iter();
    let checks = NAMES.map(|name| Check { name, outcome: outcomes.next().unwrap_or(Outcome::NotRun) });
    Verification { checks, opened: Some(opened), replayed, drifts }
}

/// The first refusal of checks 1, 3 and 4, which need no model: what a structural test of a file asks.
pub fn refusal(bytes: Vec<u8>, key: &OperatorKey) -> Option<ArtifactError> {
    let check = || {
        let (opened, digests) = schema(ArtifactFile::from_bytes(bytes)?)?;
        opened.receipt.check(key, &opened.lineage(&digests))?;
        opened.check_content(&digests)
    };
    check().err()
}

/// Check 1: container, canonical JSON, schema of every member, and the facts that stand in two of them.
fn schema(file: ArtifactFile) -> Result<(Opened, Vec<MemberDigest>), ArtifactError> {
    let opened = Opened::new(file)?;
    let digests = opened.digests()?;
    check_members(&opened)?;
    Ok((opened, digests))
}

/// Pack, recorded replay and plan say the same; K and digest in the manifest are those of the recorded answers.
///
/// # Errors
/// `Eval` for a pack or replay that is not well formed, `Disagree`.
pub fn check_members(opened: &Opened) -> Result<(), ArtifactError> {
    let (pack, outcome) = recorded(|member| opened.file.read(member))?;
    let (plan, summary) = (&opened.plan.eval, &opened.manifest.eval);
    let of_pack = |field, found: String, expected: String| {
        let (member, other) = (Member::EvalPack.name(), Member::Plan.name());
        same(member, field, found, other, expected)
    };
    of_pack("number of cases", pack.cases().len().to_string(), plan.cases.to_string())?;
    of_pack("metric", pack.metric_name().to_owned(), plan.metric.clone())?;
    of_pack("max_new_tokens", pack.max_new_tokens().to_string(), plan.max_new_tokens.to_string())?;
    let labels = plan.labels.as_deref().unwrap_or_default();
    of_pack("labels", format!("{:?}", pack.labels()), format!("{labels:?}"))?;
    let of_summary = |field, found: &str, expected: String| {
        let (member, other) = (Member::Manifest.name(), Member::EvalReplay.name());
        same(member, field, found.to_owned(), other, expected)
    };
    of_summary("eval.k", &summary.k, outcome.k.to_string())?;
    of_summary("eval.wilson_low", &summary.wilson_low, outcome.wilson.0.to_string())?;
    of_summary("eval.wilson_high", &summary.wilson_high, outcome.wilson.1.to_string())?;
    of_summary("eval.replay_digest", &summary.replay_digest, outcome.replay_digest)?;
    check_recall(opened)
}

/// The index, if there is one, is sound, as large as the plan says and stored as it says.
fn check_recall(opened: &Opened) -> Result<(), ArtifactError> {
    let Some(plan) = &opened.plan.recall else { return Ok(()) };
    let members = RecallMembers {
        config: opened.file.read(Member::RecallConfig)?,
        vectors: opened.file.read(Member::RecallVectors)?,
        passages: opened.file.read(Member::RecallPassages)?,
    };
    // Any level will do: none shows in the bits.
    let index = RecallIndex::parse(Level::detect(), &members)
        .map_err(|error| ArtifactError::Eval { detail: error.to_string() })?;
    let (member, other) = (Member::RecallPassages.name(), Member::Plan.name());
    same(member, "number of passages", index.passages().len().to_string(), other, plan.passages.to_string())?;
    let (member, planned) = (Member::RecallConfig.name(), plan.vectors.unwrap_or_default());
    same(member, "type of vectors", index.vector_type().name().to_owned(), other, planned.name().to_owned())?;
    let (found, planned) = (index.lists().map_or(0, Lists::count).to_string(), plan.lists.unwrap_or(0).to_string());
    same(member, "number of lists", found, other, planned)
}

/// Check 2: base, encoder if recall is on, and the adapter, which the artifact carries.
fn find_models(opened: &Opened, places: &ModelPlaces) -> Result<ModelSource, ArtifactError> {
    let plan = &opened.plan;
    let base = places.find(Role::Base, &plan.base.repo, &plan.base.revision, &plan.base.files)?;
    if let Some(recall) = &plan.recall {
        let encoder = &recall.encoder;
        places.find(Role::Encoder, &encoder.repo, &encoder.revision, &encoder.files)?;
    }
    Ok(base)
}

fn same(
    member: &'static str,
    field: &'static str,
    found: String,
    other: &'static str,
    expected: String,
) -> Result<(), ArtifactError> {
    if found == expected {
        return Ok(());
    }
    Err(ArtifactError::Disagree { member, field, found, other, expected })
}

const NAMES: [&str; 5] = [
    "manifest schema",
    "base + adapter present in cache",
    "HMAC receipt chain (5 steps)",
    "CID over canonical-JSON",
    "embedded eval pack",
];
