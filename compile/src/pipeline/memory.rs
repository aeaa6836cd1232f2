//! How many examples may be in flight: what fits in memory, never what decides a bit.

use kolm_runtime::model::DecoderConfig;

use crate::train::{Example, example_len_bytes};

/// The largest micro-batch whose activations fit in half of the memory that is free, at least 1 and at most the batch.
///
/// Where the system does not say how much is free (`/proc/meminfo`), 2 GiB are assumed.
pub(super) fn micro_batch(config: &DecoderConfig, examples: &[Example], batch_size: u64) -> usize {
    let longest = examples.iter().map(|example| example.tokens.len()).max().unwrap_or(1);
    let one = example_len_bytes(config, longest, false).max(1);
    let fitting = free_bytes() / 2 / one;
    usize::try_from(fitting.clamp(1, batch_size.max(1))).unwrap_or(1)
}

fn free_bytes() -> u64 {
    std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| available(&text)).unwrap_or(ASSUMED_FREE_BYTES)
}

fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

const ASSUMED_FREE_BYTES: u64 = 2 << 30;

#[cfg(test)]
mod tests {
    use super::available;

    #[test]
    fn reads_what_the_kernel_says_is_available() {
        assert_eq!(available("MemTotal:  10 kB\nMemAvailable:    2048 kB\n"), Some(2048 * 1024));
        assert_eq!(available("MemTotal:  10 kB\n"), None);
    }
}
