//! Whether a file is a program that needs nothing of the machine it is brought to: a 64-bit ELF file without interpreter and dynamic section.
//!
//! Reads the header and the program headers only, each against the file's length; runs nothing.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use crate::pipeline::CompileError;

/// Refuses a verifier that is not static.
///
/// # Errors
/// [`CompileError::NotStatic`], [`CompileError::Io`].
pub(super) fn check(path: &Path) -> Result<(), CompileError> {
    let io = |source| CompileError::Io { action: "read", path: path.to_owned(), source };
    let mut file = File::open(path).map_err(io)?;
    let len = file.metadata().map_err(io)?.len();
    match fault(&mut file, len).map_err(io)? {
        None => Ok(()),
        Some(found) => Err(CompileError::NotStatic { path: path.to_owned(), found }),
    }
}

/// What keeps a file of `len` bytes from being a static program.
fn fault(file: &mut (impl Read + Seek), len: u64) -> std::io::Result<Option<&'static str>> {
    const CUT: Option<&str> = Some("an ELF file that was cut");
    let mut header = [0; HEADER_LEN];
    if len < HEADER_LEN as u64 {
        return Ok(Some("no program"));
    }
    file.read_exact(&mut header)?;
    if header[..4] != *b"\x7fELF" {
        return Ok(Some("no ELF file"));
    }
    if header[4..6] != [CLASS_64, LITTLE_ENDIAN] {
        return Ok(Some("not a 64-bit little-endian ELF file"));
    }
    if ![EXECUTABLE, SHARED].contains(&number(&header[16..18])) {
        return Ok(Some("an ELF file that is no program"));
    }
    let (place, size, count) = (number(&header[32..40]), number(&header[54..56]), number(&header[56..58]));
    // More headers than the field holds stand elsewhere; no verifier has them.
    if size != ROW_LEN as u64 || !(1..ROWS_ELSEWHERE).contains(&count) {
        return Ok(Some("an ELF file without the program headers of a program"));
    }
    if place.checked_add(size * count).is_none_or(|end| end > len) {
        return Ok(CUT);
    }
    file.seek(SeekFrom::Start(place))?;
    let mut loads = false;
    for _ in 0..count {
        let mut row = [0; ROW_LEN];
        file.read_exact(&mut row)?;
        let (start, size) = (number(&row[8..16]), number(&row[32..40]));
        match number(&row[..4]) {
            INTERPRETER => return Ok(Some("a program that needs an interpreter (it is linked dynamically)")),
            DYNAMIC => return Ok(Some("a program with a dynamic section")),
            LOAD if start.checked_add(size).is_none_or(|end| end > len) => return Ok(CUT),
            LOAD => loads = true,
            _ => {}
        }
    }
    Ok(if loads { None } else { Some("an ELF file with nothing to load") })
}

/// A little-endian number of at most eight bytes.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Lengths and values of the ELF-64 object file format, version 1.5.
const HEADER_LEN: usize = 64;
const ROW_LEN: usize = 56;
const ROWS_ELSEWHERE: u64 = 0xffff;
const CLASS_64: u8 = 2;
const LITTLE_ENDIAN: u8 = 1;
const EXECUTABLE: u64 = 2;
const SHARED: u64 = 3;
const LOAD: u64 = 1;
const DYNAMIC: u64 = 2;
const INTERPRETER: u64 = 3;

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// A program of these program headers, each with type, offset and size in the file, and 8 bytes of content.
    fn program(rows: &[(u32, u64, u64)]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_LEN];
        bytes[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', CLASS_64, LITTLE_ENDIAN]);
        bytes[16] = 2;
        bytes[32] = 64;
        bytes[54] = 56;
        bytes[56] = rows.len() as u8;
        for (kind, offset, size) in rows {
            let mut row = [0; ROW_LEN];
            row[..4].copy_from_slice(&kind.to_le_bytes());
            row[8..16].copy_from_slice(&offset.to_le_bytes());
            row[32..40].copy_from_slice(&size.to_le_bytes());
            bytes.extend(row);
        }
        [bytes, vec![7; 8]].concat()
    }

    fn found(bytes: &[u8]) -> Option<&'static str> {
        fault(&mut Cursor::new(bytes), bytes.len() as u64).expect("read from memory")
    }

    #[test]
    fn a_static_program_and_nothing_else() {
        let sound = program(&[(6, 0, 56), (1, 0, 128)]);
        assert_eq!(found(&sound), None);
        let of = |row| found(&program(&[(1, 0, 100), row])).unwrap_or("static");
        assert!(of((3, 0, 20)).contains("interpreter"));
        assert!(of((2, 0, 20)).contains("dynamic section"));
        assert!(of((1, 0, 1 << 20)).contains("cut"));
        assert!(of((1, u64::MAX, 2)).contains("cut"));
        assert!(found(&program(&[(6, 0, 0)])).unwrap_or_default().contains("nothing to load"));
        for (at, byte) in [(0, 0), (4, 1), (5, 2), (16, 1), (32, 255), (39, 255), (54, 32), (56, 0), (56, 200)] {
            let mut bytes = sound.clone();
            bytes[at] = byte;
            assert!(found(&bytes).is_some(), "byte {at} = {byte}");
        }
        // However it is cut or changed, it is answered.
        for len in 0..sound.len() {
            assert!(len >= 64 + 2 * 56 || found(&sound[..len]).is_some(), "{len}");
        }
        for at in 0..sound.len() {
            for bit in 0..8 {
                let mut bytes = sound.clone();
                bytes[at] ^= 1 << bit;
                found(&bytes);
            }
        }
        // This test's own program is a real one.
        let own = std::fs::read(std::env::current_exe().expect("a program")).expect("readable");
        if cfg!(all(target_os = "linux", not(target_feature = "crt-static"))) {
            assert!(found(&own).is_some_and(|found| found.contains("interpreter")), "{:?}", found(&own));
        }
    }
}
