//! The artifact: one `.kolm` file, from its bytes to typed values and back.
//!
//! `container` is the ZIP file of one encoding, `zip` its records, `json` the canonical JSON every signed member is written in, `task`, `plan`
//! and `manifest` the typed members, `cid` the content identifier, `receipt` the five-step chain under the operator's
//! `key`, `audit` the log of what was done. `seal` builds an artifact, `opened` reads one and cross-checks its members.
//!
//! Guarantee: what decodes re-encodes to the same bytes, so every value has one encoding. SPEC.md states every byte.
//! Nothing here touches the network, the clock or the environment: callers pass those in.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::as_conversions)
)]

mod audit;
mod cid;
mod container;
mod error;
mod error_code;
mod file;
mod hash;
mod json;
mod key;
mod key_file;
mod key_source;
mod keyring;
mod limits;
mod manifest;
mod marks;
mod member;
mod merkle;
mod opened;
mod plan;
mod receipt;
mod rules;
mod seal;
mod sealed;
mod task;
mod time;
mod zip;

pub use crate::model::FileIdentity;
pub use audit::{
    Accepted, Anchor, AuditEntry, AuditFault, AuditLog, AuditReport, Event, Known, Proof, Sighting, Words,
};
pub use cid::cid;
pub use container::{ArtifactFile, MemberDigest, MemberReader, Members, encode};
pub use error::ArtifactError;
pub use file::Staged;
pub(crate) use file::sync_folder;
pub use hash::{from_hex, hex, sha256_hex};
pub(crate) use hash::{hmac_matches, hmac_sha256};
pub use json::{canonical, canonical_lines, parse_canonical, parse_canonical_lines};
pub use key::OperatorKey;
pub use key_source::KeySource;
pub use keyring::{KeyEntry, KeyState, Keyring, Rotated};
pub use manifest::{AdapterSummary, EvalSummary, Manifest, ModelSummary, RecallSummary, Tool, TrainingSummary};
pub use marks::{Mark, Marks, compare_versions};
pub use member::Member;
pub use merkle::{MerkleTree, Parting};
pub use opened::Opened;
pub use plan::{
    AdapterPlan, Architecture, BasePlan, BaseSource, Columns, CorpusFile, CorpusPlan, CorpusRole, Duplicates,
    EncoderPlan, EvalPlan, Overlong, Plan, Pooling, RecallPlan, RecallUse, Rows, Schedule, SplitMethod, SplitPlan,
    TemplatePlan, TemplateSource, TrainPlan, WeightType,
};
pub use receipt::{AdapterBody, BaseBody, EvalBody, Lineage, ManifestBody, Receipt, Step, TaskBody};
pub use rules::{ppm, show_ppm};
pub use seal::{Content, Measured, RecallContent, hashes, seal};
pub use task::Task;
pub use time::Timestamp;
