//! The container: a ZIP of STORED entries with one encoding, so that the same members give the same file.
//!
//! The reader walks the local headers from byte 0, compares each with the one the writer would have made, and then compares
//! central directory and end record as a whole. What passes re-encodes to the same bytes; there is no second directory, no
//! gap and no comment to hide in. Contents are read by offset and only when asked for.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

use super::zip::{
    Entry, LOCAL_LEN_BYTES, Source, Window, check_directory, directory, local_header, name_len_bytes, next_entry,
    within,
};
use super::{ArtifactError, Member, hex, limits};

/// The members of an artifact in memory, in file order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members(BTreeMap<Member, Vec<u8>>);

impl Members {
    /// No members.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts `bytes` in as `member`, in place of what was there.
    pub fn insert(&mut self, member: Member, bytes: Vec<u8>) {
        self.0.insert(member, bytes);
    }

    /// The content of `member`.
    pub fn get(&self, member: Member) -> Option<&[u8]> {
        self.0.get(&member).map(Vec::as_slice)
    }

    /// Takes `member` out.
    pub fn remove(&mut self, member: Member) -> Option<Vec<u8>> {
        self.0.remove(&member)
    }

    /// Members and contents in file order.
    pub fn iter(&self) -> impl Iterator<Item = (Member, &[u8])> {
        self.0.iter().map(|(&member, bytes)| (member, bytes.as_slice()))
    }
}

/// The artifact's bytes.
///
/// # Errors
/// `MemberMissing` for an incomplete set, `TooLarge` for a member or file above its limit.
pub fn encode(members: &Members) -> Result<Vec<u8>, ArtifactError> {
    complete(|member| members.get(member).is_some())?;
    let mut bytes = Vec::new();
    let mut entries = Vec::new();
    for (member, content) in members.iter() {
        let found = content.len().try_into().unwrap_or(u64::MAX);
        within(member.name(), found, member.len_max_bytes())?;
        let header_offset = bytes.len().try_into().unwrap_or(u64::MAX);
        let crc = crc32fast::hash(content);
        let header = local_header(member, crc, found)?;
        let entry = Entry {
            member,
            header_offset,
            offset: header_offset.saturating_add(LOCAL_LEN_BYTES + name_len_bytes(member)),
            len: found,
            crc,
        };
        within("artifact", entry.end(), limits::ARTIFACT_LEN_MAX_BYTES)?;
        bytes.extend_from_slice(&header);
        bytes.extend_from_slice(content);
        entries.push(entry);
    }
    let end = bytes.len().try_into().unwrap_or(u64::MAX);
    bytes.append(&mut directory(&entries, end)?);
    let found = bytes.len().try_into().unwrap_or(u64::MAX);
    within("artifact", found, limits::ARTIFACT_LEN_MAX_BYTES)?;
    Ok(bytes)
}

/// An opened artifact: where each member lies. Contents are read on demand.
pub struct ArtifactFile {
    source: Mutex<Box<dyn Source>>,
    path: PathBuf,
    entries: Vec<Entry>,
    len_bytes: u64,
}

/// Size and SHA-256 of one member's content, as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberDigest {
    /// The member.
    pub member: Member,
    /// Length of its content in bytes.
    pub size: u64,
    /// SHA-256 of its content in hex.
    pub sha256: String,
}

impl ArtifactFile {
    /// Opens the file at `path` and checks every header byte; reads no content.
    ///
    /// # Errors
    /// `Io`, or any container error.
    pub fn open(path: &Path) -> Result<Self, ArtifactError> {
        let file = File::open(path).map_err(ArtifactError::io("open", path))?;
        let metadata = file.metadata().map_err(ArtifactError::io("read", path))?;
        if !metadata.is_file() {
            return Err(ArtifactError::NotAnArtifact);
        }
        Self::walk(Box::new(file), path.to_path_buf(), metadata.len())
    }

    /// The same over bytes in memory.
    ///
    /// # Errors
    /// Any container error.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, ArtifactError> {
        let len_bytes = bytes.len().try_into().unwrap_or(u64::MAX);
        Self::walk(Box::new(Cursor::new(bytes)), PathBuf::from("memory"), len_bytes)
    }

    /// The members that are there, in file order.
    pub fn members(&self) -> impl Iterator<Item = Member> {
        self.entries.iter().map(|entry| entry.member)
    }

    /// Length of the whole file in bytes.
    pub fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// Length of a member's content in bytes, without reading it.
    pub fn member_len_bytes(&self, member: Member) -> Option<u64> {
        self.entry(member).map(|entry| entry.len)
    }

    /// The content of `member`.
    ///
    /// # Errors
    /// `MemberMissing`, `MemberChecksum`, `Io`.
    pub fn read(&self, member: Member) -> Result<Vec<u8>, ArtifactError> {
        let mut content = Vec::new();
        self.stream(member, |piece| content.extend_from_slice(piece))?;
        Ok(content)
    }

    /// Size and SHA-256 of `member`, in constant memory.
    ///
    /// # Errors
    /// As `read`.
    pub fn digest(&self, member: Member) -> Result<MemberDigest, ArtifactError> {
        let mut sha256 = Sha256::new();
        let size = self.stream(member, |piece| sha256.update(piece))?;
        Ok(MemberDigest { member, size, sha256: hex(&sha256.finalize()) })
    }

    /// A reader over `member`'s content that starts anywhere in it and holds no buffer. It checks no CRC, which only a whole
    /// reading could: whoever relies on the content takes its `digest` first.
    ///
    /// # Errors
    /// `MemberMissing`.
    pub fn reader(&self, member: Member) -> Result<MemberReader<'_>, ArtifactError> {
        let entry = self.entry(member).ok_or(ArtifactError::MemberMissing { name: member.name() })?;
        Ok(MemberReader { file: self, entry: *entry, position: 0 })
    }

    fn entry(&self, member: Member) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.member == member)
    }

    /// Reads `member` in pieces, checks its CRC, and gives its length.
    fn stream(&self, member: Member, mut take: impl FnMut(&[u8])) -> Result<u64, ArtifactError> {
        let name = member.name();
        let entry = self.entry(member).ok_or(ArtifactError::MemberMissing { name })?;
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        let io = |error| ArtifactError::io("read", &self.path)(error);
        source.seek(SeekFrom::Start(entry.offset)).map_err(io)?;
        let mut crc = crc32fast::Hasher::new();
        let mut reader = source.as_mut().take(entry.len);
        let mut piece = vec![0; PIECE_LEN_BYTES];
        let mut len = 0u64;
        loop {
            let count = match reader.read(&mut piece) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(io(error)),
            };
            let read = piece.get(..count).unwrap_or_default();
            crc.update(read);
            take(read);
            len = len.saturating_add(read.len().try_into().unwrap_or(u64::MAX));
        }
        if len != entry.len {
            return Err(ArtifactError::Truncated { found: entry.offset.saturating_add(len), expected: entry.end() });
        }
        let found = crc.finalize();
        if found != entry.crc {
            let expected = entry.crc;
            return Err(ArtifactError::MemberChecksum { name, found, expected });
        }
        Ok(len)
    }

    fn walk(mut source: Box<dyn Source>, path: PathBuf, len_bytes: u64) -> Result<Self, ArtifactError> {
        within("artifact", len_bytes, limits::ARTIFACT_LEN_MAX_BYTES)?;
        let mut entries: Vec<Entry> = Vec::new();
        let mut reader = Window { source: source.as_mut(), path: &path, len_bytes };
        let mut offset = 0;
        while let Some(entry) = next_entry(&mut reader, offset, &entries)? {
            offset = entry.end();
            entries.push(entry);
        }
        complete(|member| entries.iter().any(|entry| entry.member == member))?;
        check_directory(&mut reader, &directory(&entries, offset)?, offset)?;
        Ok(Self { source: Mutex::new(source), path, entries, len_bytes })
    }
}

impl std::fmt::Debug for ArtifactFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ArtifactFile").field("path", &self.path).field("entries", &self.entries).finish_non_exhaustive()
    }
}

/// Reads one member's content piece by piece.
#[derive(Debug)]
pub struct MemberReader<'a> {
    file: &'a ArtifactFile,
    entry: Entry,
    position: u64,
}

impl MemberReader<'_> {
    /// The same member from `offset` on; past its end there is nothing to read.
    pub fn at(&self, offset: u64) -> Self {
        Self { file: self.file, entry: self.entry, position: offset.min(self.entry.len) }
    }

    /// Length of the whole content in bytes.
    pub fn len_bytes(&self) -> u64 {
        self.entry.len
    }
}

impl Read for MemberReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.entry.len.saturating_sub(self.position);
        let mut source = self.file.source.lock().unwrap_or_else(PoisonError::into_inner);
        source.seek(SeekFrom::Start(self.entry.offset.saturating_add(self.position)))?;
        let count = source.as_mut().take(left).read(buffer)?;
        self.position = self.position.saturating_add(count.try_into().unwrap_or(u64::MAX));
        Ok(count)
    }
}

/// Every member that must be there is; of the recall members all are, or none.
fn complete(has: impl Fn(Member) -> bool) -> Result<(), ArtifactError> {
    let recall = Member::ALL.into_iter().any(|member| member.is_recall() && has(member));
    let missing = Member::ALL.into_iter().find(|&member| (recall || !member.is_recall()) && !has(member));
    match missing {
        Some(member) => Err(ArtifactError::MemberMissing { name: member.name() }),
        None => Ok(()),
    }
}

const PIECE_LEN_BYTES: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn members() -> impl Strategy<Value = Members> {
        let content = prop::collection::vec(any::<u8>(), 0..64);
        (prop::collection::vec(content, 12), any::<bool>()).prop_map(|(contents, recall)| {
            let mut members = Members::new();
            for (member, content) in Member::ALL.into_iter().zip(contents) {
                if recall || !member.is_recall() {
                    members.insert(member, content);
                }
            }
            members
        })
    }

    fn read_all(bytes: Vec<u8>) -> Result<Members, ArtifactError> {
        let file = ArtifactFile::from_bytes(bytes)?;
        let mut members = Members::new();
        for member in file.members() {
            members.insert(member, file.read(member)?);
        }
        Ok(members)
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(members in members()) {
            prop_assert_eq!(read_all(encode(&members).unwrap()).unwrap(), members);
        }

        #[test]
        fn any_changed_byte_is_refused(members in members(), at in any::<prop::sample::Index>(), change in 1u8..) {
            let mut bytes = encode(&members).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= change;
            prop_assert!(read_all(bytes).is_err());
        }

        #[test]
        fn any_cut_is_refused_and_nothing_panics(members in members(), at in any::<prop::sample::Index>(), more: Vec<u8>) {
            let bytes = encode(&members).unwrap();
            let cut = bytes[..at.index(bytes.len())].to_vec();
            prop_assert!(read_all([&cut[..], &more].concat()).map_or(true, |found| found == members));
            prop_assert!(read_all(cut).is_err());
            let _ = read_all(more);
        }
    }

    #[test]
    fn one_recall_member_alone_is_refused() {
        let mut members = Members::new();
        Member::ALL.into_iter().for_each(|member| members.insert(member, Vec::new()));
        members.remove(Member::RecallVectors);
        assert_eq!(encode(&members).unwrap_err().to_string(), "member recall/vectors.safetensors is missing");
    }
}
