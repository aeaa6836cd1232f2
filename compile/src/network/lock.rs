//! The kernel as witness: a seccomp filter that refuses this process, and all it starts, every socket but local ones.
//!
//! Refused with `EACCES`: `socket` for any family but `AF_UNIX`, and `io_uring_setup`, whose rings could open sockets past the filter.
//! A filter cannot be taken off again, not by this process either. Where the kernel has no seccomp the caller is told, and
//! the rest of the air gap stands alone.

/// What the kernel does about sockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lock {
    /// Not asked for: air-gap mode is off.
    NotAsked,
    /// Every socket but local ones is refused until this process ends.
    InForce,
    /// The kernel does not do it, and why.
    Unavailable(String),
}

/// Locks every thread of this process out of the network.
pub fn lock_out() -> Lock {
    match filter() {
        Ok(()) => Lock::InForce,
        Err(reason) => Lock::Unavailable(reason),
    }
}

#[cfg(target_os = "linux")]
fn filter() -> Result<(), String> {
    use std::collections::BTreeMap;

    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
        TargetArch,
    };

    let local = u64::from(libc::AF_UNIX.unsigned_abs());
    let not_local = || -> Result<SeccompRule, seccompiler::BackendError> {
        SeccompRule::new(vec![SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, local)?])
    };
    let build = || -> Result<BpfProgram, seccompiler::BackendError> {
        let mut rules = BTreeMap::new();
        for abi in ABIS {
            rules.insert(libc::SYS_socket | abi, vec![not_local()?]);
            // No condition: always refused.
            rules.insert(libc::SYS_io_uring_setup | abi, vec![]);
        }
        let refuse = SeccompAction::Errno(libc::EACCES.unsigned_abs());
        let target = TargetArch::try_from(std::env::consts::ARCH)?;
        SeccompFilter::new(rules, SeccompAction::Allow, refuse, target)?.try_into()
    };
    let program = build().map_err(|error| error.to_string())?;
    seccompiler::apply_filter_all_threads(&program).map_err(|error| error.to_string())
}

#[cfg(not(target_os = "linux"))]
fn filter() -> Result<(), String> {
    Err("this system has no seccomp".to_owned())
}

/// Bits that mark a second table of system calls: x86-64 has x32's.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
const ABIS: [i64; 2] = [0, 0x4000_0000];
#[cfg(all(target_os = "linux", not(target_arch = "x86_64")))]
const ABIS: [i64; 1] = [0];
