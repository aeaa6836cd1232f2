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

/// Where artifact bytes come from.
trait Source: Read + Seek + Send {}
impl<T: Read + Seek + Send> Source for T {}

#[derive(Clone, Copy, Debug)]
struct Entry {
    member: Member,
    header_offset: u64,
    offset: u64,
    len: u64,
    crc: u32,
}

impl Entry {
    fn end(&self) -> u64 {
        self.offset.saturating_add(self.len)
    }
}

/// Reads at an offset and tells a file that ends too early from one that cannot be read.
struct Window<'a> {
    source: &'a mut dyn Source,
    path: &'a Path,
    len_bytes: u64,
}

impl Window<'_> {
    fn read<const N: usize>(&mut self, offset: u64) -> Result<[u8; N], ArtifactError> {
        let mut bytes = [0; N];
        self.fill(offset, &mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, offset: u64, bytes: &mut [u8]) -> Result<(), ArtifactError> {
        let expected = offset.saturating_add(bytes.len().try_into().unwrap_or(u64::MAX));
        if expected > self.len_bytes {
            let found = self.len_bytes;
            return Err(ArtifactError::Truncated { found, expected });
        }
        self.source
            .seek(SeekFrom::Start(offset))
            .and_then(|_| self.source.read_exact(bytes))
            .map_err(ArtifactError::io("read", self.path))
    }
}

/// The entry whose local header lies at `offset`, or none where the central directory starts.
fn next_entry(reader: &mut Window<'_>, offset: u64, earlier: &[Entry]) -> Result<Option<Entry>, ArtifactError> {
    if offset == 0 && reader.len_bytes < LOCAL_LEN_BYTES {
        return Err(ArtifactError::NotAnArtifact);
    }
    let signature: [u8; 4] = reader.read(offset)?;
    if signature == CENTRAL_SIGNATURE && offset > 0 {
        return Ok(None);
    }
    if signature != LOCAL_SIGNATURE {
        return Err(match offset {
            0 => ArtifactError::NotAnArtifact,
            _ => ArtifactError::ContainerEncoding { offset, field: "signature" },
        });
    }
    let header: [u8; 30] = reader.read(offset)?;
    let [.., c0, c1, c2, c3, _, _, _, _, s0, s1, s2, s3, n0, n1, _, _] = header;
    let crc = u32::from_le_bytes([c0, c1, c2, c3]);
    let len = u64::from(u32::from_le_bytes([s0, s1, s2, s3]));
    let name_len = usize::from(u16::from_le_bytes([n0, n1]));
    let mut spelled = vec![0; name_len.min(limits::MEMBER_NAME_LEN_MAX_BYTES)];
    reader.fill(offset.saturating_add(LOCAL_LEN_BYTES), &mut spelled)?;
    let known = std::str::from_utf8(&spelled).ok().and_then(Member::from_name);
    let Some(member) = known.filter(|member| member.name().len() == name_len) else {
        return Err(match offset {
            0 => ArtifactError::NotAnArtifact,
            _ => ArtifactError::MemberUnknown { name: spelled.escape_ascii().to_string() },
        });
    };
    let name = member.name();
    if earlier.iter().any(|entry| entry.member == member) {
        return Err(ArtifactError::MemberDuplicate { name });
    }
    if let Some(later) = earlier.iter().find(|entry| entry.member > member) {
        let after = later.member.name();
        return Err(ArtifactError::MemberOrder { name, after });
    }
    within(name, len, member.len_max_bytes())?;
    compare_header(&header, &local_header(member, crc, len)?, offset)?;
    let entry = Entry {
        member,
        header_offset: offset,
        offset: offset.saturating_add(LOCAL_LEN_BYTES + name_len_bytes(member)),
        len,
        crc,
    };
    if entry.end() > reader.len_bytes {
        let (found, expected) = (reader.len_bytes, entry.end());
        return Err(ArtifactError::Truncated { found, expected });
    }
    Ok(Some(entry))
}

fn compare_header(found: &[u8; 30], expected: &[u8], offset: u64) -> Result<(), ArtifactError> {
    let Some(at) = found.iter().zip(expected).position(|(a, b)| a != b) else {
        return Ok(());
    };
    let at = at.try_into().unwrap_or(u64::MAX);
    let field = LOCAL_FIELDS.iter().take_while(|(start, _)| *start <= at).last().map_or("header", |(_, name)| name);
    let offset = offset.saturating_add(at);
    Err(ArtifactError::ContainerEncoding { offset, field })
}

fn check_directory(reader: &mut Window<'_>, expected: &[u8], offset: u64) -> Result<(), ArtifactError> {
    let expected_len = expected.len().try_into().unwrap_or(u64::MAX);
    let rest = reader.len_bytes.saturating_sub(offset);
    let mut found = vec![0; rest.min(expected_len).try_into().unwrap_or(0)];
    reader.fill(offset, &mut found)?;
    if let Some(at) = found.iter().zip(expected).position(|(a, b)| a != b) {
        let offset = offset.saturating_add(at.try_into().unwrap_or(u64::MAX));
        let field = "central directory";
        return Err(ArtifactError::ContainerEncoding { offset, field });
    }
    let end = offset.saturating_add(expected_len);
    match reader.len_bytes.checked_sub(end) {
        Some(0) => Ok(()),
        Some(count) => Err(ArtifactError::TrailingBytes { count }),
        None => Err(ArtifactError::Truncated { found: reader.len_bytes, expected: end }),
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

fn within(what: &'static str, found: u64, limit: u64) -> Result<(), ArtifactError> {
    if found > limit {
        return Err(ArtifactError::TooLarge { what, found, limit });
    }
    Ok(())
}

fn name_len_bytes(member: Member) -> u64 {
    member.name().len().try_into().unwrap_or(0)
}

/// The fields that local and central header share: version needed to name length and extra length.
fn shared_fields(member: Member, crc: u32, len: u64) -> Result<Vec<u8>, ArtifactError> {
    let len = narrow(member.name(), len)?;
    let name_len = u16::try_from(member.name().len()).unwrap_or(u16::MAX);
    let mut bytes = Vec::with_capacity(26);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&0u16.to_le_bytes()); // flags
    bytes.extend_from_slice(&0u16.to_le_bytes()); // method: stored
    bytes.extend_from_slice(&0u16.to_le_bytes()); // time 00:00:00
    bytes.extend_from_slice(&DATE.to_le_bytes());
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(&len.to_le_bytes()); // compressed
    bytes.extend_from_slice(&len.to_le_bytes()); // uncompressed
    bytes.extend_from_slice(&name_len.to_le_bytes());
    bytes.extend_from_slice(&0u16.to_le_bytes()); // extra field
    Ok(bytes)
}

fn local_header(member: Member, crc: u32, len: u64) -> Result<Vec<u8>, ArtifactError> {
    let mut bytes = LOCAL_SIGNATURE.to_vec();
    bytes.append(&mut shared_fields(member, crc, len)?);
    bytes.extend_from_slice(member.name().as_bytes());
    Ok(bytes)
}

/// Central directory and end record for `entries`; the directory starts at `offset`.
fn directory(entries: &[Entry], offset: u64) -> Result<Vec<u8>, ArtifactError> {
    let mut bytes = Vec::new();
    for entry in entries {
        bytes.extend_from_slice(&CENTRAL_SIGNATURE);
        bytes.extend_from_slice(&VERSION.to_le_bytes()); // made by
        bytes.append(&mut shared_fields(entry.member, entry.crc, entry.len)?);
        bytes.extend_from_slice(&[0; 10]); // comment length, disk, internal and external attributes
        bytes.extend_from_slice(&narrow("artifact", entry.header_offset)?.to_le_bytes());
        bytes.extend_from_slice(entry.member.name().as_bytes());
    }
    let len: u64 = bytes.len().try_into().unwrap_or(u64::MAX);
    within("central directory", len, limits::DIRECTORY_LEN_MAX_BYTES)?;
    let count = u16::try_from(entries.len()).unwrap_or(u16::MAX);
    bytes.extend_from_slice(&END_SIGNATURE);
    bytes.extend_from_slice(&[0; 4]); // disks
    bytes.extend_from_slice(&count.to_le_bytes());
    bytes.extend_from_slice(&count.to_le_bytes());
    bytes.extend_from_slice(&narrow("central directory", len)?.to_le_bytes());
    bytes.extend_from_slice(&narrow("artifact", offset)?.to_le_bytes());
    bytes.extend_from_slice(&0u16.to_le_bytes()); // comment
    Ok(bytes)
}

fn narrow(what: &'static str, found: u64) -> Result<u32, ArtifactError> {
    let limit = limits::ARTIFACT_LEN_MAX_BYTES;
    u32::try_from(found).map_err(|_| ArtifactError::TooLarge { what, found, limit })
}

const LOCAL_SIGNATURE: [u8; 4] = *b"PK\x03\x04";
const CENTRAL_SIGNATURE: [u8; 4] = *b"PK\x01\x02";
const END_SIGNATURE: [u8; 4] = *b"PK\x05\x06";
/// Stored entries need version 1.0 of the format, on the system with no attributes (0).
const VERSION: u16 = 10;
/// 1980-01-01, the first date that the format can express.
const DATE: u16 = 0x0021;
const LOCAL_LEN_BYTES: u64 = 30;
const PIECE_LEN_BYTES: usize = 1 << 16;
/// Offsets of the fields of a local header, for messages.
const LOCAL_FIELDS: [(u64, &str); 11] = [
    (0, "signature"),
    (4, "version needed"),
    (6, "flags"),
    (8, "compression method"),
    (10, "time"),
    (12, "date"),
    (14, "crc-32"),
    (18, "compressed size"),
    (22, "uncompressed size"),
    (26, "name length"),
    (28, "extra field length"),
];

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
