//! What differs between two artifacts, section by section, down to the first tensor element.
//!
//! [`Diff::of`] compares two artifacts whose members all match their own hashes; [`report`] arranges what it found for people,
//! [`verb`] is the verb both binaries mount. Needs no key and no model. Tensors are read in pieces, so memory does not grow
//! with the adapter. Never answers a case: replays are compared as recorded.

pub mod answers;
mod error;
mod html;
pub mod keyed;
pub mod report;
mod tensors;
pub mod tree;
pub mod ulp;
pub mod verb;

use std::collections::BTreeSet;
use std::path::Path;

use kolm_runtime::artifact::{ArtifactError, ArtifactFile, Member, MemberDigest, Opened};
use kolm_runtime::eval::{Outcome, Pack};
use serde::Serialize;
use serde_json::{Value, json};

use answers::{Answers, Cases};
pub use error::DiffError;
use keyed::Keyed;
use tensors::Tensors;
use tree::Change;

/// Everything that differs between `a` and `b`.
#[derive(Clone, Debug, Serialize)]
pub struct Diff {
    /// Whether both have one CID.
    pub identical: bool,
    /// CID of `a` and of `b`.
    pub cid: [String; 2],
    /// Name, version, CID, key id, date, tool, superseded artifact.
    pub identity: Vec<Change>,
    /// Members whose content differs, with both hashes.
    pub members: Vec<Change>,
    /// `task.json`.
    pub task: Vec<Change>,
    /// `plan.json`, save corpus and split.
    pub plan: Vec<Change>,
    /// Corpus and split of `plan.json`.
    pub corpus: Vec<Change>,
    /// The adapter's tensors.
    pub adapter: Tensors,
    /// The adapter's configuration.
    pub adapter_config: Vec<Change>,
    /// The recall vectors; empty where neither has any.
    pub recall_vectors: Tensors,
    /// The recall passages, by id.
    pub passages: Keyed,
    /// The eval cases, by id, and the pack's header.
    pub cases: Cases,
    /// The recorded answers.
    pub replay: Answers,
    /// The first step that differs.
    pub trace: Trace,
}

/// Where two traces part.
#[derive(Clone, Debug, Serialize)]
pub struct Trace {
    /// Recorded steps of `a` and of `b`.
    pub steps: [usize; 2],
    /// Step number of the first line that differs, none if no common line does.
    pub first_step: Option<u64>,
    /// The fields that differ there.
    pub fields: Vec<Change>,
}

impl Diff {
    /// Compares two artifacts.
    ///
    /// # Errors
    /// [`DiffError::Side`] for one that is not whole, [`DiffError::Tensors`], [`DiffError::Json`].
    pub fn of(a: &Path, b: &Path) -> Result<Diff, DiffError> {
        let (a, b) = rayon::join(|| Side::open(a), || Side::open(b));
        let (a, b) = (a?, b?);
        let tensors = |member| match a.hash(member) == b.hash(member) {
            true => tensors::same(&a.opened.file, member),
            false => tensors::compare(&a.opened.file, &b.opened.file, member),
        };
        let (plan, corpus) = tree::changes(&value(&a.opened.plan), &value(&b.opened.plan))
            .into_iter()
            .partition(|change| !change.key.starts_with("corpus.") && !change.key.starts_with("split."));
        let ((pack_a, replay_a), (pack_b, replay_b)) = (a.graded()?, b.graded()?);
        Ok(Diff {
            identical: a.opened.manifest.cid == b.opened.manifest.cid,
            cid: [a.opened.manifest.cid.clone(), b.opened.manifest.cid.clone()],
            identity: tree::changes(&a.identity(), &b.identity()),
            members: tree::flat_changes(&value(&a.opened.manifest.hashes), &value(&b.opened.manifest.hashes)),
            task: tree::changes(&value(&a.opened.task), &value(&b.opened.task)),
            plan,
            corpus,
            adapter: tensors(Member::AdapterModel)?,
            adapter_config: tree::changes(&a.json(Member::AdapterConfig)?, &b.json(Member::AdapterConfig)?),
            recall_vectors: tensors(Member::RecallVectors)?,
            passages: keyed::compare(&a.lines(Member::RecallPassages)?, &b.lines(Member::RecallPassages)?),
            cases: answers::cases(&pack_a, &pack_b),
            replay: answers::compare((&pack_a, &replay_a), (&pack_b, &replay_b)),
            trace: trace(&a.lines(Member::TrainingTrace)?, &b.lines(Member::TrainingTrace)?),
        })
    }
}

/// One artifact, every member of which was hashed and is as its manifest says.
struct Side {
    opened: Opened,
    digests: Vec<MemberDigest>,
    path: String,
}

impl Side {
    fn open(path: &Path) -> Result<Side, DiffError> {
        let shown = path.display().to_string();
        let read = || -> Result<_, Box<ArtifactError>> {
            let opened = Opened::new(ArtifactFile::open(path)?)?;
            let digests = opened.digests()?;
            opened.check_content(&digests)?;
            Ok((opened, digests))
        };
        let (opened, digests) = read().map_err(|source| DiffError::Side { path: shown.clone(), source })?;
        Ok(Side { opened, digests, path: shown })
    }

    fn hash(&self, member: Member) -> Option<&str> {
        self.digests.iter().find(|digest| digest.member == member).map(|digest| digest.sha256.as_str())
    }

    fn side(&self, source: ArtifactError) -> DiffError {
        DiffError::Side { path: self.path.clone(), source: Box::new(source) }
    }

    fn identity(&self) -> Value {
        let manifest = &self.opened.manifest;
        json!({
            "name": manifest.name,
            "version": manifest.version,
            "cid": manifest.cid,
            "key_id": self.opened.receipt.key_id,
            "created": manifest.created,
            "tool": manifest.tool,
            "supersedes": manifest.supersedes,
        })
    }

    /// A JSON member; null where the artifact has none.
    fn json(&self, member: Member) -> Result<Value, DiffError> {
        if self.hash(member).is_none() {
            return Ok(Value::Null);
        }
        let bytes = self.opened.read(member).map_err(|source| self.side(source))?;
        self.parsed(member, &bytes)
    }

    /// The lines of a JSON Lines member; none where the artifact has no such member.
    fn lines(&self, member: Member) -> Result<Vec<Value>, DiffError> {
        if self.hash(member).is_none() {
            return Ok(Vec::new());
        }
        let bytes = self.opened.read(member).map_err(|source| self.side(source))?;
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| self.parsed(member, line)).collect()
    }

    fn parsed(&self, member: Member, bytes: &[u8]) -> Result<Value, DiffError> {
        serde_json::from_slice(bytes).map_err(|error| DiffError::Json {
            path: self.path.clone(),
            member: member.name(),
            detail: error.to_string(),
        })
    }

    fn graded(&self) -> Result<(Pack, Outcome), DiffError> {
        let read = |member| self.opened.read(member).map_err(|source| self.side(source));
        let wrong = |error: kolm_runtime::eval::EvalError| self.side(ArtifactError::Eval { detail: error.to_string() });
        let pack = Pack::parse(&read(Member::EvalPack)?).map_err(wrong)?;
        let outcome = Outcome::parse(&pack, &read(Member::EvalReplay)?).map_err(wrong)?;
        Ok((pack, outcome))
    }
}

fn trace(a: &[Value], b: &[Value]) -> Trace {
    let first = a.iter().zip(b).find(|(a, b)| a != b);
    Trace {
        steps: [a.len(), b.len()],
        first_step: first.and_then(|(a, _)| a.get("step")?.as_u64()),
        fields: first.map(|(a, b)| tree::changes(a, b)).unwrap_or_default(),
    }
}

fn value<T: Serialize>(of: &T) -> Value {
    serde_json::to_value(of).expect("members are maps with text keys")
}

/// The ids of two sets that only one of them has: of the second, then of the first.
fn only<'a>(a: &BTreeSet<&'a str>, b: &BTreeSet<&'a str>) -> (Vec<String>, Vec<String>) {
    let names = |ids: Vec<&&str>| ids.into_iter().map(|id| (*id).to_owned()).collect();
    (names(b.difference(a).collect()), names(a.difference(b).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trace_names_the_first_step_and_its_fields() {
        let line = |step: u64, loss: &str| json!({ "step": step, "loss": loss, "gradient_sha256": "g" });
        let found = trace(&[line(1, "a"), line(2, "b"), line(3, "c")], &[line(1, "a"), line(2, "x"), line(3, "y")]);
        assert_eq!(found.first_step, Some(2));
        assert_eq!(found.fields.len(), 1);
        assert_eq!(found.fields[0].key, "loss");
        assert_eq!(trace(&[line(1, "a")], &[line(1, "a")]).first_step, None);
    }
}
