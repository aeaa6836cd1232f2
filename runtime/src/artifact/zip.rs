//! The records of the container's ZIP, each with the one encoding that the writer gives it.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use super::{ArtifactError, Member, limits};

/// Where artifact bytes come from.
pub(super) trait Source: Read + Seek + Send {}
impl<T: Read + Seek + Send> Source for T {}

/// A member: where its header and its content lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) member: Member,
    pub(super) header_offset: u64,
    pub(super) offset: u64,
    pub(super) len: u64,
    pub(super) crc: u32,
}

impl Entry {
    pub(super) fn end(&self) -> u64 {
        self.offset.saturating_add(self.len)
    }
}

/// Reads at an offset and tells a file that ends too early from one that cannot be read.
pub(super) struct Window<'a> {
    pub(super) source: &'a mut dyn Source,
    pub(super) path: &'a Path,
    pub(super) len_bytes: u64,
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
pub(super) fn next_entry(
    reader: &mut Window<'_>,
    offset: u64,
    earlier: &[Entry],
) -> Result<Option<Entry>, ArtifactError> {
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

pub(super) fn check_directory(reader: &mut Window<'_>, expected: &[u8], offset: u64) -> Result<(), ArtifactError> {
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

pub(super) fn within(what: &'static str, found: u64, limit: u64) -> Result<(), ArtifactError> {
    if found > limit {
        return Err(ArtifactError::TooLarge { what, found, limit });
    }
    Ok(())
}

pub(super) fn name_len_bytes(member: Member) -> u64 {
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

pub(super) fn local_header(member: Member, crc: u32, len: u64) -> Result<Vec<u8>, ArtifactError> {
    let mut bytes = LOCAL_SIGNATURE.to_vec();
    bytes.append(&mut shared_fields(member, crc, len)?);
    bytes.extend_from_slice(member.name().as_bytes());
    Ok(bytes)
}

/// Central directory and end record for `entries`; the directory starts at `offset`.
pub(super) fn directory(entries: &[Entry], offset: u64) -> Result<Vec<u8>, ArtifactError> {
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
pub(super) const LOCAL_LEN_BYTES: u64 = 30;
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
