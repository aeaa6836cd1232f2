//! A read artifact: its four JSON members parsed, and every fact that stands in two of them compared.
//!
//! Nothing here reads weights; `Opened::digests` does, and the checks of `verify` build on it.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::container::{ArtifactFile, MemberDigest};
use super::manifest::Manifest;
use super::plan::Plan;
use super::receipt::{AdapterBody, BaseBody, EvalBody, Lineage, ManifestBody, Receipt, TaskBody};
use super::{ArtifactError, Member, MerkleTree, Task, json, seal, sha256_hex};

/// An artifact whose members agree with each other.
#[derive(Debug)]
pub struct Opened {
    /// The container.
    pub file: ArtifactFile,
    /// `manifest.json`.
    pub manifest: Manifest,
    /// `receipt.json`.
    pub receipt: Receipt,
    /// `task.json`.
    pub task: Task,
    /// `plan.json`.
    pub plan: Plan,
    manifest_sha256: String,
}

impl Opened {
    /// Reads the JSON members of `file` and compares them.
    ///
    /// # Errors
    /// Container and JSON errors, `Field`, `Disagree`, `HashesSet`.
    pub fn new(file: ArtifactFile) -> Result<Self, ArtifactError> {
        let manifest_bytes = file.read(Member::Manifest)?;
        let manifest = Manifest::parse(&manifest_bytes)?;
        let receipt = Receipt::parse(&file.read(Member::Receipt)?)?;
        let task = Task::parse(&file.read(Member::Task)?)?;
        let plan = Plan::parse(&file.read(Member::Plan)?)?;
        agree(&manifest, &receipt, &task, &plan, |member| file.member_len_bytes(member))?;
        Ok(Self { manifest_sha256: sha256_hex(&manifest_bytes), file, manifest, receipt, task, plan })
    }

    /// Reads everything: the adapter's configuration and the lines of the JSON Lines members are checked, and every member is
    /// hashed.
    ///
    /// # Errors
    /// `MemberChecksum`, JSON errors, `Disagree`, `Io`.
    pub fn digests(&self) -> Result<Vec<MemberDigest>, ArtifactError> {
        check_adapter_config(&self.manifest, &self.file.read(Member::AdapterConfig)?)?;
        for member in self.file.members() {
            if matches!(member, Member::EvalPack | Member::EvalReplay | Member::RecallPassages | Member::TrainingTrace)
            {
                let bytes = self.file.read(member)?;
                for (name, line) in json::lines(member.name(), &bytes)? {
                    json::parse_canonical::<serde_json::Value>(&name, line)?;
                }
                if member == Member::TrainingTrace {
                    let of_trace = Against { member: Member::Manifest.name(), other: member.name() };
                    let root = MerkleTree::of_text(&bytes).root();
                    of_trace.same("training.trace_root", &self.manifest.training.trace_root, &root)?;
                }
            }
        }
        self.file.members().map(|member| self.file.digest(member)).collect()
    }

    /// The content of a hashed member, compared with `manifest.hashes`: what is used is what was checked, even if the file
    /// changes meanwhile.
    ///
    /// # Errors
    /// `MemberHash`, and as `ArtifactFile::read`.
    pub fn read(&self, member: Member) -> Result<Vec<u8>, ArtifactError> {
        let bytes = self.file.read(member)?;
        let (name, found) = (member.name(), sha256_hex(&bytes));
        let expected = self.manifest.hashes.get(name).cloned().unwrap_or_default();
        if found == expected { Ok(bytes) } else { Err(ArtifactError::MemberHash { name, found, expected }) }
    }

    /// What the receipt must bind, from the digests as read.
    pub fn lineage(&self, digests: &[MemberDigest]) -> Lineage {
        let hashes = digests.iter().map(|digest| (digest.member.name().to_owned(), digest.sha256.clone())).collect();
        lineage(&self.manifest, &self.plan, &hashes, &self.manifest_sha256)
    }

    /// Compares every digest with `manifest.hashes` and the CID with their hash.
    ///
    /// # Errors
    /// `MemberHash`, `Cid`.
    pub fn check_content(&self, digests: &[MemberDigest]) -> Result<(), ArtifactError> {
        for digest in digests.iter().filter(|digest| digest.member.is_hashed()) {
            let name = digest.member.name();
            let expected = self.manifest.hashes.get(name).cloned().unwrap_or_default();
            if digest.sha256 != expected {
                let found = digest.sha256.clone();
                return Err(ArtifactError::MemberHash { name, found, expected });
            }
        }
        self.manifest.check_cid()
    }
}

/// What the five steps bind, given the hash of every member.
pub(crate) fn lineage(
    manifest: &Manifest,
    plan: &Plan,
    hashes: &BTreeMap<String, String>,
    manifest_sha256: &str,
) -> Lineage {
    let hash = |member: Member| hashes.get(member.name()).cloned().unwrap_or_default();
    Lineage {
        task: TaskBody {
            name: manifest.name.clone(),
            plan_sha256: hash(Member::Plan),
            task_sha256: hash(Member::Task),
            version: manifest.version.clone(),
        },
        base: BaseBody {
            files: plan.base.files.clone(),
            repo: plan.base.repo.clone(),
            revision: plan.base.revision.clone(),
        },
        adapter: AdapterBody { config_sha256: hash(Member::AdapterConfig), weights_sha256: hash(Member::AdapterModel) },
        eval: EvalBody { pack_sha256: hash(Member::EvalPack), replay_sha256: hash(Member::EvalReplay) },
        manifest: ManifestBody {
            cid: manifest.cid.clone(),
            created: manifest.created,
            manifest_sha256: manifest_sha256.to_owned(),
        },
    }
}

/// Compares every fact that stands in two places; `len` gives the length of each member that is there.
pub(crate) fn agree(
    manifest: &Manifest,
    receipt: &Receipt,
    task: &Task,
    plan: &Plan,
    len: impl Fn(Member) -> Option<u64>,
) -> Result<(), ArtifactError> {
    let of_manifest = Against { member: Member::Manifest.name(), other: Member::Plan.name() };
    let of_task = Against { other: Member::Task.name(), ..of_manifest };
    let of_receipt = Against { member: Member::Receipt.name(), other: Member::Manifest.name() };
    of_task.same("name", &manifest.name, &task.name)?;
    of_task.same("version", &manifest.version, &task.version)?;
    of_receipt.same("cid", &receipt.cid, &manifest.cid)?;
    of_receipt.same("created", &receipt.created, &manifest.created)?;

    let base = &plan.base;
    let expected = seal::model_summary(&base.repo, &base.revision, base.dtype, &base.files);
    of_manifest.same_debug("base", &manifest.base, &expected)?;
    of_manifest.same("adapter.rank", &manifest.adapter.rank, &plan.adapter.rank)?;
    of_manifest.same("adapter.alpha", &manifest.adapter.alpha, &plan.adapter.alpha)?;
    of_manifest.same_debug("adapter.targets", &manifest.adapter.targets, &plan.adapter.targets)?;
    let of_content = Against { other: Member::AdapterModel.name(), ..of_manifest };
    let size = len(Member::AdapterModel).unwrap_or(0);
    of_content.same("adapter.size", &manifest.adapter.size, &size)?;

    let expected = plan.recall.as_ref().map(|recall| {
        let encoder = &recall.encoder;
        super::RecallSummary {
            encoder: seal::model_summary(&encoder.repo, &encoder.revision, encoder.dtype, &encoder.files),
            usage: recall.usage,
            k: recall.k,
            passages: recall.passages,
        }
    });
    of_manifest.same_debug("recall", &manifest.recall, &expected)?;
    let has_recall = len(Member::RecallConfig).is_some();
    if has_recall != manifest.recall.is_some() {
        let name = Member::RecallConfig.name();
        return Err(match has_recall {
            true => ArtifactError::HashesSet { name: name.to_owned() },
            false => ArtifactError::MemberMissing { name },
        });
    }
    let recall_at_k = manifest.eval.recall_at_k.is_some();
    // recall@k asks whether a passage has the expected label: it is defined for label packs.
    let defined = plan.recall.is_some() && plan.eval.metric == "label";
    of_manifest.same("eval.recall_at_k present", &recall_at_k, &defined)?;

    of_manifest.same("eval.cases", &manifest.eval.cases, &plan.eval.cases)?;
    of_manifest.same("eval.metric", &manifest.eval.metric, &plan.eval.metric)?;
    of_manifest.same("eval.gate", &manifest.eval.gate, &plan.eval.gate)?;
    of_manifest.same("training.steps", &manifest.training.steps, &plan.train.steps)?;

    let there = Member::ALL.into_iter().filter(|&member| member.is_hashed() && len(member).is_some());
    let mut unlisted: BTreeMap<&str, &String> =
        manifest.hashes.iter().map(|(name, hash)| (name.as_str(), hash)).collect();
    for member in there {
        if unlisted.remove(member.name()).is_none() {
            return Err(ArtifactError::HashesSet { name: member.name().to_owned() });
        }
    }
    if let Some(name) = unlisted.keys().next() {
        return Err(ArtifactError::HashesSet { name: (*name).to_owned() });
    }
    let trace = manifest.hashes.get(Member::TrainingTrace.name()).cloned().unwrap_or_default();
    let of_hashes = Against { other: Member::Manifest.name(), ..of_manifest };
    of_hashes.same("training.trace_sha256", &manifest.training.trace_sha256, &trace)
}

/// PEFT's own configuration says the same rank, alpha and targets as the manifest.
pub(crate) fn check_adapter_config(manifest: &Manifest, bytes: &[u8]) -> Result<(), ArtifactError> {
    #[derive(Deserialize)]
    struct Peft {
        r: u64,
        lora_alpha: serde_json::Number,
        target_modules: Vec<String>,
    }
    let member = Member::AdapterConfig.name();
    let mut peft: Peft = serde_json::from_slice(bytes)
        .map_err(|error| ArtifactError::JsonSchema { member: member.to_owned(), detail: error.to_string() })?;
    let against = Against { member, other: Member::Manifest.name() };
    against.same("r", &peft.r, &manifest.adapter.rank)?;
    let alpha = peft.lora_alpha.to_string();
    let alpha = alpha.strip_suffix(".0").unwrap_or(&alpha);
    against.same("lora_alpha", &alpha, &manifest.adapter.alpha.to_string().as_str())?;
    peft.target_modules.sort();
    against.same_debug("target_modules", &peft.target_modules, &manifest.adapter.targets)
}

/// Two members that must say the same.
#[derive(Clone, Copy)]
struct Against {
    member: &'static str,
    other: &'static str,
}

impl Against {
    fn same<T: PartialEq + std::fmt::Display>(
        self,
        field: &'static str,
        found: &T,
        expected: &T,
    ) -> Result<(), ArtifactError> {
        if found == expected {
            return Ok(());
        }
        self.differ(field, found.to_string(), expected.to_string())
    }

    fn same_debug<T: PartialEq + std::fmt::Debug>(
        self,
        field: &'static str,
        found: &T,
        expected: &T,
    ) -> Result<(), ArtifactError> {
        if found == expected {
            return Ok(());
        }
        self.differ(field, format!("{found:?}"), format!("{expected:?}"))
    }

    fn differ(self, field: &'static str, found: String, expected: String) -> Result<(), ArtifactError> {
        let (member, other) = (self.member, self.other);
        Err(ArtifactError::Disagree { member, field, found, other, expected })
    }
}
