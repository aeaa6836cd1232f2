//! The artifact that a refresh replaces: what it was compiled from, and whether only its corpus moved.
//!
//! A refresh is the same task on newer rows. Files, counts and hashes of corpus and split may differ, and what follows from counts where the
//! job leaves it open: steps, warm-up, passages, cases. Any other key of the plan that differs stops the refresh before training.

use kolm_runtime::artifact::{ArtifactError, Lineage, MemberDigest, Opened, OperatorKey, Plan, Receipt, Timestamp};
use serde_json::Value;

use super::CompileError;
use crate::diff::tree::{self, Change};
use crate::job::Job;

/// An artifact to be replaced.
#[derive(Debug, Clone)]
pub struct Previous {
    /// Its content id, which the new manifest names.
    pub cid: String,
    /// Name of its task.
    pub name: String,
    /// Version of its task.
    pub version: String,
    /// When it was made.
    pub created: Timestamp,
    plan: Plan,
    receipt: Receipt,
    lineage: Lineage,
}

impl Previous {
    /// What a refresh needs of an artifact whose members, with these digests, are what its manifest says.
    pub fn of(opened: &Opened, digests: &[MemberDigest]) -> Previous {
        Previous {
            cid: opened.manifest.cid.clone(),
            name: opened.task.name.clone(),
            version: opened.task.version.clone(),
            created: opened.manifest.created,
            plan: opened.plan.clone(),
            receipt: opened.receipt.clone(),
            lineage: opened.lineage(digests),
        }
    }

    /// Id of the key that sealed it.
    pub(super) fn key_id(&self) -> &str {
        &self.receipt.key_id
    }

    /// Refuses an artifact that was not sealed with this key, or not as it stands.
    pub(super) fn check_receipt(&self, key: &OperatorKey) -> Result<(), ArtifactError> {
        self.receipt.check(key, &self.lineage)
    }

    /// Refuses a job of another task, or of the same version.
    pub(super) fn check_task(&self, job: &Job) -> Result<(), CompileError> {
        let refuse = |what, found: &str, expected: String| {
            Err(CompileError::NotARefresh { what, found: found.to_owned(), expected })
        };
        if job.task.name != self.name {
            return refuse("task.name", &job.task.name, self.name.clone());
        }
        if job.task.version == self.version {
            return refuse("task.version", &job.task.version, format!("another than {}", self.version));
        }
        Ok(())
    }

    /// Refuses a plan that differs in more than its corpus.
    pub(super) fn check_plan(&self, plan: &Plan, job: &Job) -> Result<(), CompileError> {
        let value = |plan: &Plan| serde_json::to_value(plan).unwrap_or(Value::Null);
        let moved =
            tree::changes(&value(&self.plan), &value(plan)).into_iter().find(|change| !may_move(&change.key, job));
        match moved {
            None => Ok(()),
            Some(Change { key, a, b }) => Err(CompileError::PlanMoved { key, found: shown(b), expected: shown(a) }),
        }
    }
}

fn shown(value: Option<Value>) -> String {
    value.map_or_else(|| "nothing".to_owned(), |value| value.to_string())
}

/// Whether a key of the plan follows from the corpus alone.
fn may_move(key: &str, job: &Job) -> bool {
    key.starts_with("corpus.files[")
        || key.starts_with("corpus.rows.")
        || matches!(key, "corpus.train_sha256" | "corpus.eval_sha256" | "corpus.scan_sha256")
        || matches!(key, "split.eval_cases" | "eval.cases" | "recall.passages")
        || (key == "recall.lists" && job.recall.lists.is_none())
        || (key == "train.steps" && job.train.steps.is_none())
        || (key == "train.warmup_steps" && job.train.warmup_steps.is_none())
}
