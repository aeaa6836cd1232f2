//! What this process holds and what the machine has left, as the system says: files of `/proc` and of the control group.
//!
//! They change how much is done at once and never what comes out. Elsewhere than on Linux nothing is known.

use std::fs::read_to_string;
use std::path::Path;

/// Bytes that this process holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    /// Now.
    pub(super) now: u64,
    /// At most, since it was started.
    pub(super) peak: u64,
}

impl Held {
    /// Reads it; `None` where the system does not say.
    pub(super) fn now() -> Option<Held> {
        let status = read_to_string("/proc/self/status").ok()?;
        Some(Held { now: kibibytes(&status, "VmRSS:")?, peak: kibibytes(&status, "VmHWM:")? })
    }
}

/// Bytes that may still be taken: what is available in the machine or left in the control group, whichever is less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Free(pub(super) u64);

impl Free {
    /// Reads it; 2 GiB where the system does not say.
    pub(super) fn now() -> Free {
        let machine = read_to_string("/proc/meminfo").ok().and_then(|text| kibibytes(&text, "MemAvailable:"));
        Free(machine.into_iter().chain(groups_left()).min().unwrap_or(ASSUMED_BYTES))
    }
}

/// What is left in this process's control group (version 2) and in each that holds it.
fn groups_left() -> Vec<u64> {
    let own = read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let left = |group: &Path| {
        let file = |name: &str| read_to_string(Path::new("/sys/fs/cgroup").join(group).join(name)).ok();
        group_left(&file("memory.max")?, &file("memory.current")?, &file("memory.stat")?)
    };
    Path::new(own).ancestors().filter_map(left).collect()
}

fn kibibytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// What a control group has left; what it holds of files, those in memory only left out, is given up before anything is refused.
fn group_left(max: &str, current: &str, stat: &str) -> Option<u64> {
    let max: u64 = max.trim().parse().ok()?;
    let current: u64 = current.trim().parse().ok()?;
    let of = |key: &str| -> u64 {
        stat.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok()).unwrap_or_default()
    };
    let files = of("file ").saturating_sub(of("shmem "));
    Some(max.saturating_sub(current.saturating_sub(files)))
}

const ASSUMED_BYTES: u64 = 2 << 30;

#[cfg(test)]
mod tests {
    use super::{Free, group_left, kibibytes};

    #[test]
    fn reads_what_the_kernel_says() {
        let text = "MemTotal:  10 kB\nMemAvailable:    2048 kB\n";
        assert_eq!(kibibytes(text, "MemAvailable:"), Some(2048 * 1024));
        assert_eq!(kibibytes("MemTotal:  10 kB\n", "MemAvailable:"), None);
        assert!(Free::now().0 > 0);
    }

    #[test]
    fn a_control_group_without_a_limit_says_nothing() {
        assert_eq!(group_left("max\n", "5\n", "file 1\n"), None);
        assert_eq!(group_left("1000\n", "600\n", "anon 300\nfile 250\nfile_mapped 9\n"), Some(650));
        assert_eq!(group_left("1000\n", "600\n", "anon 300\nfile 250\nshmem 50\n"), Some(600));
        assert_eq!(group_left("1000\n", "1600\n", ""), Some(0));
    }
}
