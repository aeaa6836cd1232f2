//! Faked facts of the machine: files that a private mount namespace shows in place of those in `/sys` and `/proc`.
//!
//! Libraries for matrix products choose their blocks by the caches that Linux reports under `/sys/devices/system/cpu/cpu*/cache` (the
//! crate `gemm` does), and with them the order of additions. What the CPU itself says through CPUID is not faked here: that takes an
//! emulated CPU. Nothing outside the namespace changes.

use std::fs;
use std::path::{Path, PathBuf};

use super::error::MatrixError;

/// One file or folder shown in place of another.
pub(super) struct Fake {
    /// What is shown.
    pub(super) file: PathBuf,
    /// Where.
    pub(super) over: PathBuf,
}

/// Mounts pairs of paths up to `--`, then becomes the command after it.
pub(super) const MOUNT_THEN_RUN: &str =
    r#"while [ "$1" != -- ]; do mount --bind "$1" "$2" || exit 1; shift 2; done; shift; exec "$@""#;

/// A CPU with 4 KiB L1, 16 KiB L2 and no L3, for every CPU that this system lists; empty where it lists no caches.
///
/// # Errors
/// [`MatrixError::Io`] when the files cannot be written.
pub(super) fn cache_geometry(scratch: &Path) -> Result<Vec<Fake>, MatrixError> {
    let caches = scratch.join("fake-cache");
    for (index, [level, kind, size, ways, sets]) in CACHES.iter().enumerate() {
        let folder = caches.join(format!("index{index}"));
        fs::create_dir_all(&folder).map_err(io("create", &folder))?;
        let files = [
            ("level", *level),
            ("type", *kind),
            ("size", *size),
            ("ways_of_associativity", *ways),
            ("number_of_sets", *sets),
            ("coherency_line_size", "64"),
            ("physical_line_partition", "1"),
            ("shared_cpu_list", "0"),
            ("shared_cpu_map", "1"),
        ];
        for (name, value) in files {
            write(&folder.join(name), &format!("{value}\n"))?;
        }
    }
    let cpus = fs::read_dir("/sys/devices/system/cpu").into_iter().flatten().flatten();
    let mut fakes: Vec<Fake> = cpus
        .map(|cpu| cpu.path().join("cache"))
        .filter(|cache| cache.join("index0").is_dir())
        .map(|over| Fake { file: caches.clone(), over })
        .collect();
    fakes.sort_by(|one, other| one.over.cmp(&other.over));
    if !fakes.is_empty() {
        fakes.extend(rewritten(scratch, "cpuinfo", |key, value| {
            if key == "cache size" { "16 KB".to_owned() } else { value.to_owned() }
        })?);
    }
    Ok(fakes)
}

/// 4 MiB of memory available; empty where `/proc/meminfo` is not to be had.
///
/// # Errors
/// As [`cache_geometry`].
pub(super) fn little_memory(scratch: &Path) -> Result<Vec<Fake>, MatrixError> {
    let fake = rewritten(scratch, "meminfo", |key, value| {
        if ["MemAvailable", "MemFree"].contains(&key) { "4096 kB".to_owned() } else { value.to_owned() }
    })?;
    Ok(fake.into_iter().collect())
}

/// A file of `/proc` with some of its values changed.
fn rewritten(scratch: &Path, name: &str, value: impl Fn(&str, &str) -> String) -> Result<Option<Fake>, MatrixError> {
    let over = Path::new("/proc").join(name);
    let Ok(text) = fs::read_to_string(&over) else { return Ok(None) };
    let mut faked = String::new();
    for line in text.lines() {
        match line.split_once(':') {
            Some((key, found)) => faked.push_str(&format!("{key}: {}\n", value(key.trim(), found.trim()))),
            None => faked.push_str(&format!("{line}\n")),
        }
    }
    let file = scratch.join(format!("fake-{name}"));
    write(&file, &faked)?;
    Ok(Some(Fake { file, over }))
}

fn write(path: &Path, text: &str) -> Result<(), MatrixError> {
    fs::write(path, text).map_err(io("write", path))
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> MatrixError {
    let path = path.to_owned();
    move |source| MatrixError::Io { action, path, source }
}

/// Level, type, size, ways and sets.
const CACHES: [[&str; 5]; 3] =
    [["1", "Data", "4K", "1", "64"], ["1", "Instruction", "4K", "1", "64"], ["2", "Unified", "16K", "2", "128"]];

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn little_memory_keeps_the_other_lines() {
        let scratch = tempfile::tempdir().expect("a folder");
        let fakes = little_memory(scratch.path()).expect("written");
        let text = fs::read_to_string(&fakes.first().expect("/proc/meminfo is there").file).expect("written");
        assert!(text.lines().any(|line| line == "MemAvailable: 4096 kB"), "{text}");
        assert!(text.starts_with("MemTotal: "), "{text}");
    }
}
