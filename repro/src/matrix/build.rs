//! A build of `kolm`: what its executable says about machine, linkage and compiler.
//!
//! The facts are read from the ELF file (machine, program headers) and from the compiler's name that rustc leaves in it. A file that
//! is no ELF (a script, a Mach-O, a PE) is taken for one of this machine. No build is executed here.

use std::path::{Path, PathBuf};

use super::error::MatrixError;

/// One executable `kolm`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Build {
    /// What its rows are called.
    pub(super) label: String,
    /// The executable.
    pub(super) path: PathBuf,
    /// The architecture it was built for, as `std::env::consts::ARCH` writes it.
    pub(super) arch: &'static str,
    /// Whether it loads a dynamic linker; `LD_PRELOAD` and the C library's tunables do not reach one that does not.
    pub(super) dynamic: bool,
    /// `rustc` and its version, if the file names them.
    pub(super) compiler: Option<String>,
}

impl Build {
    /// Reads the facts of the executable at `path`.
    ///
    /// # Errors
    /// [`MatrixError::BuildMissing`] when there is no file, [`MatrixError::Io`] when it cannot be read.
    pub(super) fn open(label: &str, path: &Path) -> Result<Build, MatrixError> {
        if !path.is_file() {
            return Err(MatrixError::BuildMissing { label: label.to_owned(), path: path.to_owned() });
        }
        let io = |action| move |source| MatrixError::Io { action, path: path.to_owned(), source };
        let path = std::path::absolute(path).map_err(io("resolve"))?;
        let bytes = std::fs::read(&path).map_err(io("read"))?;
        Ok(Build { label: label.to_owned(), path, ..Build::of_bytes(&bytes) })
    }

    fn of_bytes(bytes: &[u8]) -> Build {
        let elf = Elf::parse(bytes);
        Build {
            label: String::new(),
            path: PathBuf::new(),
            arch: elf.as_ref().map_or(std::env::consts::ARCH, |elf| elf.arch),
            dynamic: elf.is_none_or(|elf| elf.dynamic),
            compiler: compiler(bytes),
        }
    }

    /// Whether this machine runs it without an emulator.
    pub(super) fn is_native(&self) -> bool {
        self.arch == std::env::consts::ARCH
    }

    /// Label with what tells the build from the others: `second compiler (aarch64, static, rustc 1.96.0)`.
    pub(super) fn described(&self) -> String {
        let arch = (!self.is_native()).then_some(self.arch);
        let linkage = (!self.dynamic).then_some("static");
        let facts: Vec<&str> = [arch, linkage, self.compiler.as_deref()].into_iter().flatten().collect();
        if facts.is_empty() { self.label.clone() } else { format!("{} ({})", self.label, facts.join(", ")) }
    }
}

/// The builds that lie in the same target folder as `kolm`, where cargo and `ci/aarch64` put them; those in `given` are left out.
pub(super) fn found_beside(kolm: &Build, given: &[Build]) -> Vec<Build> {
    let Some(target) = kolm.path.parent().and_then(Path::parent) else { return Vec::new() };
    PLACES
        .iter()
        .filter_map(|(label, place)| Build::open(label, &target.join(place)).ok())
        .filter(|found| found.path != kolm.path && given.iter().all(|given| given.path != found.path))
        .collect()
}

struct Elf {
    arch: &'static str,
    dynamic: bool,
}

impl Elf {
    /// Reads a little-endian ELF64; `None` for any other file.
    fn parse(bytes: &[u8]) -> Option<Elf> {
        if bytes.get(..6)? != b"\x7fELF\x02\x01" {
            return None;
        }
        let arch = match short(bytes, 18)? {
            0x3e => "x86_64",
            0xb7 => "aarch64",
            0xf3 => "riscv64",
            _ => "unknown",
        };
        let table = usize::try_from(long(bytes, 32)?).ok()?;
        let entry_len_bytes = usize::from(short(bytes, 54)?);
        let entry_count = usize::from(short(bytes, 56)?);
        let dynamic = (0..entry_count).any(|entry| {
            let offset = entry.checked_mul(entry_len_bytes).and_then(|offset| offset.checked_add(table));
            offset.and_then(|offset| word(bytes, offset)) == Some(PROGRAM_INTERPRETER)
        });
        Some(Elf { arch, dynamic })
    }
}

fn array<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..offset.checked_add(N)?)?.try_into().ok()
}

fn short(bytes: &[u8], offset: usize) -> Option<u16> {
    array(bytes, offset).map(u16::from_le_bytes)
}

fn word(bytes: &[u8], offset: usize) -> Option<u32> {
    array(bytes, offset).map(u32::from_le_bytes)
}

fn long(bytes: &[u8], offset: usize) -> Option<u64> {
    array(bytes, offset).map(u64::from_le_bytes)
}

/// Finds `rustc version 1.95.0 (…)`, which rustc writes into the section `.comment`.
fn compiler(bytes: &[u8]) -> Option<String> {
    let mut rest = bytes;
    while let Some(start) = rest.windows(COMPILER_MARK.len()).position(|window| window == COMPILER_MARK) {
        rest = &rest[start + COMPILER_MARK.len()..];
        let version: String = rest
            .iter()
            .take_while(|byte| !byte.is_ascii_whitespace() && byte.is_ascii_graphic())
            .map(|byte| char::from(*byte))
            .collect();
        if version.starts_with(|first: char| first.is_ascii_digit()) {
            return Some(format!("rustc {version}"));
        }
    }
    None
}

/// `PT_INTERP`.
const PROGRAM_INTERPRETER: u32 = 3;
const COMPILER_MARK: &[u8] = b"rustc version ";

/// Where other builds are looked for, relative to the target folder.
const PLACES: [(&str, &str); 5] = [
    ("debug build", "debug/kolm"),
    ("second compiler", "second-compiler/release/kolm"),
    ("second compiler", "second-compiler/x86_64-unknown-linux-gnu/release/kolm"),
    ("second compiler", "second-compiler/aarch64-unknown-linux-gnu/release/kolm"),
    ("static build", "static/x86_64-unknown-linux-gnu/release/kolm"),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// A header of 64 bytes, and program headers that hold no more than their type.
    fn elf(machine: u16, program_headers: &[u32]) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        bytes[32..40].copy_from_slice(&64_u64.to_le_bytes());
        bytes[54..56].copy_from_slice(&4_u16.to_le_bytes());
        bytes[56..58].copy_from_slice(&u16::try_from(program_headers.len()).expect("a few").to_le_bytes());
        bytes.extend(program_headers.iter().flat_map(|kind| kind.to_le_bytes()));
        bytes
    }

    #[test]
    fn reads_machine_linkage_and_compiler() {
        let mut bytes = elf(0xb7, &[1, 6]);
        bytes.extend(b"rustc version was not found\0rustc version 1.96.0 (ac68faa20 2026-05-25)\0");
        let build = Build { label: "second compiler".to_owned(), ..Build::of_bytes(&bytes) };
        assert_eq!((build.arch, build.dynamic, build.compiler.as_deref()), ("aarch64", false, Some("rustc 1.96.0")));
        assert!(Build::of_bytes(&elf(0x3e, &[1, PROGRAM_INTERPRETER])).dynamic);
    }

    #[test]
    fn takes_what_is_no_elf_for_a_build_of_this_machine() {
        for bytes in [&b"#!/bin/sh\nexec kolm \"$@\"\n"[..], b"", b"\x7fELF", b"\x7fELF\x02\x01"] {
            let build = Build::of_bytes(bytes);
            assert!(build.is_native() && build.dynamic && build.compiler.is_none(), "{bytes:?}");
        }
    }

    #[test]
    fn a_header_that_points_outside_the_file_is_no_panic() {
        let mut bytes = elf(0x3e, &[]);
        bytes[32..40].copy_from_slice(&u64::MAX.to_le_bytes());
        bytes[56..58].copy_from_slice(&u16::MAX.to_le_bytes());
        assert!(!Build::of_bytes(&bytes).dynamic);
    }
}
