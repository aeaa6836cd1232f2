//! Everything that can be wrong with an artifact, its key, its models, its replay or the audit log.
//!
//! The list is closed and each entry has a code that never changes; `golden/refused` holds a vector for each.

use std::io;
use std::path::{Path, PathBuf};

use super::AuditFault;

/// A refusal. The message says what was found and what was expected; `code` names the kind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArtifactError {
    // Container
    /// The file does not start as an artifact does.
    #[error("not a kolm artifact: the file does not start with a ZIP entry named manifest.json")]
    NotAnArtifact,
    /// The file ends before its last byte.
    #[error("truncated: {expected} bytes expected, the file ends at byte {found}")]
    Truncated {
        /// Length of the file.
        found: u64,
        /// Least length that what was read so far asks for.
        expected: u64,
    },
    /// Bytes follow the end record.
    #[error("{count} bytes follow the end of the artifact")]
    TrailingBytes {
        /// How many.
        count: u64,
    },
    /// A size above its limit.
    #[error("{what} is {found} bytes long, the limit is {limit}")]
    TooLarge {
        /// Member or file.
        what: &'static str,
        /// Its size in bytes.
        found: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// A header byte differs from the one encoding.
    #[error("byte {offset} ({field}) differs from the one encoding of this container")]
    ContainerEncoding {
        /// Where the file first differs.
        offset: u64,
        /// The header field there.
        field: &'static str,
    },
    /// A member that the format does not have.
    #[error("member {name} is not part of the format")]
    MemberUnknown {
        /// Its name, escaped.
        name: String,
    },
    /// A member that is there twice.
    #[error("member {name} is there twice")]
    MemberDuplicate {
        /// Its name.
        name: &'static str,
    },
    /// A member at the wrong place.
    #[error("member {name} comes after {after}")]
    MemberOrder {
        /// Its name.
        name: &'static str,
        /// The member it must precede.
        after: &'static str,
    },
    /// A member that must be there.
    #[error("member {name} is missing")]
    MemberMissing {
        /// Its name.
        name: &'static str,
    },
    /// Content and CRC-32 differ: damage in transport, or a careless change.
    #[error("member {name} is damaged: its CRC-32 is {found:08x}, its header says {expected:08x}")]
    MemberChecksum {
        /// Its name.
        name: &'static str,
        /// Computed.
        found: u32,
        /// Stated.
        expected: u32,
    },

    // Canonical JSON
    /// Not JSON, not UTF-8, or bytes after the value.
    #[error("{member}: {detail}")]
    JsonSyntax {
        /// Member or line.
        member: String,
        /// Where and what.
        detail: String,
    },
    /// An object names a key twice.
    #[error("{member}: key {key:?} is there twice")]
    JsonDuplicateKey {
        /// Member or line.
        member: String,
        /// The key.
        key: String,
    },
    /// A number with a fraction, an exponent, or `-0`.
    #[error("{member}: number {found} is not an integer; fractions are written as decimal strings")]
    JsonFloat {
        /// Member or line.
        member: String,
        /// The number.
        found: String,
    },
    /// An integer that a double cannot hold.
    #[error("{member}: integer {found} lies beyond 2^53")]
    JsonInteger {
        /// Member or line.
        member: String,
        /// The number.
        found: String,
    },
    /// Unknown field, missing field, or wrong type.
    #[error("{member}: {detail}")]
    JsonSchema {
        /// Member or line.
        member: String,
        /// Field and fault.
        detail: String,
    },
    /// Valid JSON that is not its own canonical form.
    #[error("{member}: byte {offset} differs from the canonical form")]
    JsonNotCanonical {
        /// Member or line.
        member: String,
        /// First differing byte.
        offset: usize,
    },
    /// A field's value is outside its rules.
    #[error("{member}: {field} is {found}, expected {expected}")]
    Field {
        /// Member.
        member: &'static str,
        /// Field, with dots.
        field: String,
        /// The value.
        found: String,
        /// The rule.
        expected: &'static str,
    },
    /// Two members state different facts.
    #[error("{member}: {field} is {found}, but {other} says {expected}")]
    Disagree {
        /// Member at fault.
        member: &'static str,
        /// Field, with dots.
        field: &'static str,
        /// Its value.
        found: String,
        /// The member it is compared with.
        other: &'static str,
        /// The value there.
        expected: String,
    },

    // Hashes, CID, receipt
    /// `manifest.hashes` and the members are not the same set.
    #[error("manifest.json: hashes and members differ at {name}")]
    HashesSet {
        /// The member that stands on one side only.
        name: String,
    },
    /// A member's content is not what the manifest was made for.
    #[error("member {name} hashes to {found}, manifest.json says {expected}")]
    MemberHash {
        /// Its name.
        name: &'static str,
        /// Computed.
        found: String,
        /// Stated.
        expected: String,
    },
    /// The CID is not the hash of `hashes`.
    #[error("manifest.json: cid is {found}, the hashes give {expected}")]
    Cid {
        /// Stated.
        found: String,
        /// Computed.
        expected: String,
    },
    /// Another key made this receipt: no statement about the content.
    #[error("wrong key: the receipt was made with key {expected}, this is key {found}")]
    WrongKey {
        /// Id of the key at hand.
        found: String,
        /// Id in the receipt.
        expected: String,
    },
    /// A step's body does not describe this artifact.
    #[error("tampered: receipt step {step} ({name}) does not describe this artifact, field {field}")]
    ReceiptBody {
        /// 1 to 5.
        step: usize,
        /// Its name.
        name: &'static str,
        /// First differing field.
        field: String,
    },
    /// A step's MAC does not follow from the key and the step before.
    #[error("tampered: the MAC of receipt step {step} ({name}) does not match")]
    ReceiptMac {
        /// 1 to 5.
        step: usize,
        /// Its name.
        name: &'static str,
    },

    // Key
    /// No key where one was looked for.
    #[error("no operator key at {}", path.display())]
    KeyMissing {
        /// The path.
        path: PathBuf,
    },
    /// Others can read the key.
    #[error("key file {} has mode {mode:04o}, expected 0600", path.display())]
    KeyMode {
        /// The path.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The key's path is a link or no regular file.
    #[error("key file {} is {found}, expected a regular file", path.display())]
    KeyKind {
        /// The path.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// The key's content is not a key.
    #[error("key {source_name} holds {found}, expected 64 lower-case hex digits and a line feed")]
    KeyFormat {
        /// Path or descriptor.
        source_name: String,
        /// What is wrong, never the content.
        found: String,
    },
    /// The key's text was mistyped or cut: its checksum line says so.
    #[error("key {source_name} was mistyped or cut: {found}")]
    KeyChecksum {
        /// Path or descriptor.
        source_name: String,
        /// What is wrong, never the content.
        found: String,
    },
    /// A key that the whole world knows.
    #[error("key {source_name} is {found}: it protects nothing")]
    KeyPublished {
        /// Path or descriptor.
        source_name: String,
        /// Which one.
        found: &'static str,
    },

    // Models
    /// The model is not on this machine.
    #[error("{role} {repo} rev={revision} is not on this machine")]
    ModelAbsent {
        /// `base` or `encoder`.
        role: &'static str,
        /// Repository.
        repo: String,
        /// Revision.
        revision: String,
    },
    /// A file of the model is not there.
    #[error("{role} {repo} rev={revision} lacks {file}")]
    ModelFileAbsent {
        /// `base` or `encoder`.
        role: &'static str,
        /// Repository.
        repo: String,
        /// Revision.
        revision: String,
        /// Its path.
        file: String,
    },
    /// A file of the model is another one.
    #[error("{role} {repo}: {file} was substituted: found {found}, the artifact was made with {expected}")]
    ModelSubstituted {
        /// `base` or `encoder`.
        role: &'static str,
        /// Repository.
        repo: String,
        /// Its path.
        file: String,
        /// Size and SHA-256 found.
        found: String,
        /// Size and SHA-256 in the plan.
        expected: String,
    },
    /// The model's files are as recorded and still do not load.
    #[error("{role} {repo}: {detail}")]
    ModelUnreadable {
        /// `base`, `encoder` or `adapter`.
        role: &'static str,
        /// Repository.
        repo: String,
        /// Why.
        detail: String,
    },

    // Replay
    /// The pack, replay or recall member is not well formed, or a case cannot be graded.
    #[error("{detail}")]
    Eval {
        /// Why.
        detail: String,
    },
    /// The replay scored another K.
    #[error(
        "the replay gives K={found}, manifest.json says K={expected}; {count} cases were answered otherwise than recorded, the first is {first}"
    )]
    ReplayScore {
        /// Replayed.
        found: String,
        /// Recorded.
        expected: String,
        /// How many cases differ.
        count: usize,
        /// The first of them, and where its answer parts.
        first: String,
    },
    /// Cases were answered differently.
    #[error("{count} cases were answered otherwise than recorded, the first is {first}")]
    ReplayCase {
        /// How many.
        count: usize,
        /// The first of them, in words.
        first: String,
    },
    /// Equal answers under another digest: the recorded one is not that of the recorded answers.
    #[error("the replay digest is {found}, manifest.json says {expected}")]
    ReplayDigest {
        /// Replayed.
        found: String,
        /// Recorded.
        expected: String,
    },
    /// K is below the gate.
    #[error("K={k} is below the gate {gate}")]
    GateNotMet {
        /// K.
        k: String,
        /// The gate.
        gate: String,
    },

    // Audit log
    /// A line of the log is not what was written there.
    #[error("audit log line {line} (byte {offset}) {fault}")]
    AuditLine {
        /// From 1.
        line: u64,
        /// Where the line starts.
        offset: u64,
        /// How it is wrong.
        kind: AuditFault,
        /// The same in words.
        fault: String,
    },
    /// The log ends before its sealed head.
    #[error(
        "audit log ends at byte {offset} after {found} entries, its sealed head or a mark says {expected}: the tail was cut"
    )]
    AuditTruncated {
        /// Entries in the log.
        found: u64,
        /// Entries at the last append.
        expected: u64,
        /// Where the log ends.
        offset: u64,
    },
    /// The sealed head is missing, altered, or belongs to another log.
    #[error("audit head {} {fault}", path.display())]
    AuditHead {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        fault: String,
    },
    /// Eight words that this log never had, or that are no words.
    #[error("words of the audit log: {fault}")]
    AuditWords {
        /// What is wrong with them.
        fault: String,
    },
    /// A proof that does not prove.
    #[error("audit proof: {fault}")]
    AuditProof {
        /// Why.
        fault: String,
    },
    /// The log knows this name and version under another CID.
    #[error("audit log entry {entry} says that {name} is {expected}, this artifact is {found}")]
    CidLogged {
        /// Its number.
        entry: u64,
        /// Name and version.
        name: String,
        /// CID of the artifact.
        found: String,
        /// CID in the log.
        expected: String,
    },
    /// A mark that is not one, or not sealed by a key at hand.
    #[error("mark {} {fault}", path.display())]
    Mark {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        fault: String,
    },
    /// An older version than this machine has accepted before.
    #[error("{name} {found} is older than {expected}, which was accepted here before")]
    Rollback {
        /// Name of the task.
        name: String,
        /// Version of the artifact.
        found: String,
        /// Version of the mark.
        expected: String,
    },
    /// An artifact that is older than the operator allows, or whose age cannot be told.
    #[error("{fault}")]
    TooOld {
        /// Age and limit.
        fault: String,
    },

    /// The medium gave an error in place of the content: not a statement about the content.
    #[error("media error: cannot {action} {}: {source}", path.display())]
    Media {
        /// Verb.
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// Verb.
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl ArtifactError {
    /// An `Io` refusal, for `map_err`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| match source.raw_os_error() {
            Some(EIO) => Self::Media { action, path, source },
            _ => Self::Io { action, path, source },
        }
    }
}

/// "Input/output error": the number is the same on every Unix; Windows has a range of its own and calls this `io`.
const EIO: i32 = if cfg!(unix) { 5 } else { i32::MIN };
