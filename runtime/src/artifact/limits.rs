//! Largest sizes read from outside, each with its reason.

/// A ZIP without ZIP64 counts in 32 bits, and `0xffff_ffff` marks ZIP64; the whole file stays below that mark.
pub(crate) const ARTIFACT_LEN_MAX_BYTES: u64 = 0xffff_fffe;
/// Manifest: twelve hashes and a summary take 4 KiB; 1 MiB leaves room and is parsed in milliseconds.
pub(crate) const MANIFEST_LEN_MAX_BYTES: u64 = 1 << 20;
/// Receipt: step 2 lists every file of the base, 150 bytes each; 1 MiB holds 7 000 shards.
pub(crate) const RECEIPT_LEN_MAX_BYTES: u64 = 1 << 20;
/// Task: a name, a version and a description.
pub(crate) const TASK_LEN_MAX_BYTES: u64 = 1 << 16;
/// Plan: two model file lists, a prompt template and a label set.
pub(crate) const PLAN_LEN_MAX_BYTES: u64 = 1 << 22;
/// PEFT's `adapter_config.json` is about 1 KiB.
pub(crate) const ADAPTER_CONFIG_LEN_MAX_BYTES: u64 = 1 << 16;
/// Recall configuration: a handful of fields.
pub(crate) const RECALL_CONFIG_LEN_MAX_BYTES: u64 = 1 << 16;
/// Members read into memory line by line; 1 GiB is some million passages or cases.
pub(crate) const LINES_LEN_MAX_BYTES: u64 = 1 << 30;
/// Longest member name is 34 bytes; anything longer is unknown and not worth reading.
pub(crate) const MEMBER_NAME_LEN_MAX_BYTES: usize = 64;
/// Central directory and end record of twelve members take about 1 KiB.
pub(crate) const DIRECTORY_LEN_MAX_BYTES: u64 = 1 << 12;
/// RFC 7493 readers hold integers in a double: above 2^53 two integers share one value.
pub(crate) const JSON_INTEGER_MAX: u64 = 1 << 53;
/// Longest `name` of a task; it becomes part of a file name.
pub(crate) const NAME_LEN_MAX_BYTES: usize = 64;
/// Longest `version` of a task; it becomes part of a file name.
pub(crate) const VERSION_LEN_MAX_BYTES: usize = 32;
/// Longest description of a task.
pub(crate) const DESCRIPTION_LEN_MAX_BYTES: usize = 4096;
/// Longest path of a model file inside its repository.
pub(crate) const PATH_LEN_MAX_BYTES: usize = 255;
/// A key file holds 64 hex digits and a line feed; a longer one is not a key file.
pub(crate) const KEY_FILE_LEN_MAX_BYTES: u64 = 4096;
/// One audit line; events carry no content, only names and hashes.
pub(crate) const AUDIT_LINE_LEN_MAX_BYTES: usize = 1 << 16;
/// The sealed head is one line of about 300 bytes.
pub(crate) const AUDIT_HEAD_LEN_MAX_BYTES: u64 = 1 << 12;
/// An artifact takes some 250 bytes in the index; 16 MiB hold 60 000, and a log that speaks of more is read whole.
pub(crate) const AUDIT_INDEX_LEN_MAX_BYTES: u64 = 1 << 24;
