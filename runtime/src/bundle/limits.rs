//! Largest sizes read from outside, each with its reason.

/// An index entry takes some 250 bytes; 8 MiB list 30 000 files, and are parsed within the verifier's memory.
pub(super) const INDEX_LEN_MAX_BYTES: u64 = 1 << 23;
/// `index.mac` is one line of 93 bytes.
pub(super) const MAC_LEN_MAX_BYTES: u64 = 256;
/// An install receipt lists artifacts, a few hundred bytes each.
pub(super) const RECEIPT_LEN_MAX_BYTES: u64 = 1 << 20;
/// Smaller parts would only multiply files: a million of them for a terabyte.
pub const PART_SIZE_LEAST_BYTES: u64 = 1 << 20;
/// Integers of signed JSON end here.
pub const PART_SIZE_MOST_BYTES: u64 = 1 << 53;
/// A file name on any file system takes 255; the cache puts nothing around it.
pub(super) const PATH_PART_LEN_MAX_BYTES: usize = 128;
/// A disk that was read three times and is still wrong will stay so.
pub(super) const READ_ATTEMPTS: u32 = 3;
