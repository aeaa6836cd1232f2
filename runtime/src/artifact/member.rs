//! The members of an artifact, in the one order they are written in.

use super::limits;

/// A member of the container. The order of the variants is the order in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Member {
    /// `manifest.json`: summary, hashes and CID.
    Manifest,
    /// `receipt.json`: the five-step chain.
    Receipt,
    /// `task.json`: name, version, description.
    Task,
    /// `plan.json`: everything that decides the bytes.
    Plan,
    /// `adapter/adapter_config.json`, as PEFT writes it.
    AdapterConfig,
    /// `adapter/adapter_model.safetensors`, as PEFT writes it.
    AdapterModel,
    /// `recall/config.json`.
    RecallConfig,
    /// `recall/vectors.safetensors`.
    RecallVectors,
    /// `recall/passages.jsonl`.
    RecallPassages,
    /// `eval/pack.jsonl`: the locked cases.
    EvalPack,
    /// `eval/replay.jsonl`: what the model answered at compile time.
    EvalReplay,
    /// `training/trace.jsonl`: loss and digests of each step.
    TrainingTrace,
}

impl Member {
    /// Every member, in file order.
    pub const ALL: [Self; 12] = [
        Self::Manifest,
        Self::Receipt,
        Self::Task,
        Self::Plan,
        Self::AdapterConfig,
        Self::AdapterModel,
        Self::RecallConfig,
        Self::RecallVectors,
        Self::RecallPassages,
        Self::EvalPack,
        Self::EvalReplay,
        Self::TrainingTrace,
    ];

    /// The path inside the container.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Manifest => "manifest.json",
            Self::Receipt => "receipt.json",
            Self::Task => "task.json",
            Self::Plan => "plan.json",
            Self::AdapterConfig => "adapter/adapter_config.json",
            Self::AdapterModel => "adapter/adapter_model.safetensors",
            Self::RecallConfig => "recall/config.json",
            Self::RecallVectors => "recall/vectors.safetensors",
            Self::RecallPassages => "recall/passages.jsonl",
            Self::EvalPack => "eval/pack.jsonl",
            Self::EvalReplay => "eval/replay.jsonl",
            Self::TrainingTrace => "training/trace.jsonl",
        }
    }

    /// The member of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|member| member.name() == name)
    }

    /// Whether the member belongs to the recall index: all three are there, or none.
    pub const fn is_recall(self) -> bool {
        matches!(self, Self::RecallConfig | Self::RecallVectors | Self::RecallPassages)
    }

    /// Whether `manifest.hashes` lists the member: every one but manifest and receipt.
    pub const fn is_hashed(self) -> bool {
        !matches!(self, Self::Manifest | Self::Receipt)
    }

    /// Largest accepted length in bytes.
    pub const fn len_max_bytes(self) -> u64 {
        match self {
            Self::Manifest => limits::MANIFEST_LEN_MAX_BYTES,
            Self::Receipt => limits::RECEIPT_LEN_MAX_BYTES,
            Self::Task => limits::TASK_LEN_MAX_BYTES,
            Self::Plan => limits::PLAN_LEN_MAX_BYTES,
            Self::AdapterConfig => limits::ADAPTER_CONFIG_LEN_MAX_BYTES,
            Self::RecallConfig => limits::RECALL_CONFIG_LEN_MAX_BYTES,
            Self::AdapterModel | Self::RecallVectors => limits::ARTIFACT_LEN_MAX_BYTES,
            Self::RecallPassages | Self::EvalPack | Self::EvalReplay | Self::TrainingTrace => {
                limits::LINES_LEN_MAX_BYTES
            }
        }
    }
}
