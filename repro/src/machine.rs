//! The facts of this machine and of this process that stand in a rebuild statement.
//!
//! The one home of the clock in this crate. None of these facts decides a byte of what is rebuilt; a fact that the system does not tell is
//! `unknown`, or 0 where it is a number.

use std::fs;
use std::time::Instant;

use kolm_runtime::artifact::sha256_hex;
use kolm_runtime::kernel::Level;
use serde::{Deserialize, Serialize};

/// Where and with what a rebuild was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Model name of the CPU.
    pub cpu: String,
    /// Instruction set extensions that the system lists, sorted.
    pub cpu_features: Vec<String>,
    /// SIMD level that the kernels ran at.
    pub simd: String,
    /// Threads that worked.
    pub threads: u64,
    /// System, architecture and kernel release.
    pub os: String,
    /// C library.
    pub libc: String,
    /// Compiler that built this program.
    pub rustc: String,
    /// Version of this program.
    pub kolm: String,
    /// SHA-256 of this program's file.
    pub binary_sha256: String,
    /// Time the rebuild took.
    pub wall_ms: u64,
    /// Most memory this process held.
    pub peak_memory_bytes: u64,
}

/// Measures a rebuild from its start.
#[derive(Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts.
    #[expect(clippy::disallowed_methods, reason = "the one home of the clock in this crate")]
    pub fn start() -> Stopwatch {
        Stopwatch(Instant::now())
    }

    /// Milliseconds since the start.
    pub fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Machine {
    /// Reads the facts; `wall_ms` is the time that the rebuild took.
    pub fn read(level: Level, wall_ms: u64) -> Machine {
        let cpuinfo = text("/proc/cpuinfo");
        let cpu = value(&cpuinfo, &["model name", "CPU part"]).unwrap_or("unknown");
        let mut cpu_features: Vec<String> =
            value(&cpuinfo, &["flags", "Features"]).unwrap_or_default().split_whitespace().map(str::to_owned).collect();
        cpu_features.sort_unstable();
        cpu_features.dedup();
        let release = text("/proc/sys/kernel/osrelease");
        let release = if release.trim().is_empty() { "unknown" } else { release.trim() };
        Machine {
            cpu: cpu.to_owned(),
            cpu_features,
            simd: level.name().to_owned(),
            threads: rayon::current_num_threads() as u64,
            os: format!("{} {} {release}", std::env::consts::OS, std::env::consts::ARCH),
            libc: libc(),
            rustc: env!("KOLM_RUSTC_VERSION").to_owned(),
            kolm: env!("CARGO_PKG_VERSION").to_owned(),
            binary_sha256: std::env::current_exe()
                .and_then(fs::read)
                .map_or_else(|_| "unknown".to_owned(), |bytes| sha256_hex(&bytes)),
            wall_ms,
            peak_memory_bytes: peak_memory_bytes(&text("/proc/self/status")),
        }
    }
}

fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The value of the first of `keys` in lines of `key : value`.
fn value<'a>(lines: &'a str, keys: &[&str]) -> Option<&'a str> {
    keys.iter().find_map(|key| {
        lines
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.trim() == *key)
            .map(|(_, it)| it.trim())
    })
}

fn peak_memory_bytes(status: &str) -> u64 {
    let kibibytes =
        value(status, &["VmHWM"]).and_then(|it| it.strip_suffix("kB")).and_then(|it| it.trim().parse().ok());
    kibibytes.map_or(0, |kibibytes: u64| kibibytes.saturating_mul(1024))
}

/// The C library in this process. Asking it for its version needs a C call; its file says it too.
fn libc() -> String {
    let linked = if cfg!(target_feature = "crt-static") { "static" } else { "dynamic" };
    let kind = match () {
        () if cfg!(target_env = "gnu") => "glibc",
        () if cfg!(target_env = "musl") => "musl",
        () => return "system".to_owned(),
    };
    let maps = text("/proc/self/maps");
    let file =
        maps.lines().filter_map(|line| line.find('/').map(|at| &line[at..])).find(|path| path.contains("/libc.so"));
    let version = file.and_then(|path| fs::read(path).ok()).and_then(|bytes| glibc_version(&bytes));
    match version {
        Some(version) => format!("{kind} {version} {linked}"),
        None => format!("{kind} {linked}"),
    }
}

/// What stands after `release version` in glibc's banner.
fn glibc_version(library: &[u8]) -> Option<String> {
    let at = library.windows(BANNER.len()).position(|window| window == BANNER)? + BANNER.len();
    let version: String = library[at..]
        .iter()
        .take(16)
        .map(|byte| char::from(*byte))
        .take_while(|it| it.is_ascii_digit() || *it == '.')
        .collect();
    Some(version.trim_end_matches('.').to_owned())
}

const BANNER: &[u8] = b"release version ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_read_from_what_linux_says() {
        assert_eq!(value("a\t: 1\nmodel name\t: X 9\nmodel name\t: Y\n", &["model name"]), Some("X 9"));
        assert_eq!(value("a : 1\n", &["b", "a"]), Some("1"));
        assert_eq!(peak_memory_bytes("VmPeak:\t 9 kB\nVmHWM:\t   2048 kB\n"), 2048 * 1024);
        assert_eq!(peak_memory_bytes(""), 0);
        assert_eq!(glibc_version(b"\0GNU C Library stable release version 2.41.\nCopyright").as_deref(), Some("2.41"));
        assert_eq!(glibc_version(b"nothing"), None);
    }
}
