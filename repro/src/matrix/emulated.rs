//! CPUs that this machine is not, in user-mode qemu: x86-64 with the build that is judged, aarch64 with another one.
//!
//! The cache sizes of an emulated CPU are its CPUID leaves, which no mount can fake: Haswell without its L3, and AMD's own leaves.

use std::ffi::{OsStr, OsString};

use super::condition::Condition;
use super::conditions::Surroundings;

/// A row for every CPU of the table.
pub(super) fn conditions(with: &Surroundings<'_>) -> Vec<Condition> {
    EMULATED.iter().map(|row| condition(with, row)).collect()
}

fn condition(with: &Surroundings<'_>, row: &Emulated) -> Condition {
    let mut builds = std::iter::once(&with.kolm).chain(&with.given).chain(&with.found);
    let Some(build) = builds.find(|build| build.arch == row.arch) else {
        let reason = format!("no {} build; ci/aarch64 makes one for aarch64, --build LABEL=PATH names it", row.arch);
        return Condition::new(row.label, row.machine.to_owned(), &with.kolm).unless(Some(&reason));
    };
    let label = match &build.compiler {
        Some(compiler) if !build.is_native() => format!("{}, {compiler}", row.label),
        _ => row.label.to_owned(),
    };
    let names = [format!("qemu-{}-static", row.arch), format!("qemu-{}", row.arch)];
    let before = with.machine.tool(&names.each_ref().map(String::as_str)).map(|qemu| {
        let cpu: [OsString; 2] = [OsStr::new("-cpu"), OsStr::new(row.cpu)].map(OsStr::to_owned);
        std::iter::once(qemu.into_os_string()).chain(cpu).collect()
    });
    let condition = Condition::new(&label, row.machine.to_owned(), build).before(before);
    row.level.iter().fold(condition, |condition, level| condition.set("KOLM_SIMD", *level))
}

/// A CPU in user-mode qemu.
struct Emulated {
    label: &'static str,
    arch: &'static str,
    /// What `-cpu` takes.
    cpu: &'static str,
    machine: &'static str,
    level: Option<&'static str>,
}

const EMULATED: [Emulated; 8] = [
    Emulated {
        label: "qemu Nehalem (no AVX, no FMA)",
        arch: "x86_64",
        cpu: "Nehalem",
        machine: "x86_64 Nehalem",
        level: None,
    },
    Emulated {
        label: "qemu SandyBridge (AVX, no FMA)",
        arch: "x86_64",
        cpu: "SandyBridge",
        machine: "x86_64 SandyBridge",
        level: None,
    },
    Emulated {
        label: "qemu Haswell (AVX2, FMA)",
        arch: "x86_64",
        cpu: "Haswell",
        machine: "x86_64 Haswell",
        level: None,
    },
    Emulated {
        label: "qemu Haswell, CPUID without L3",
        arch: "x86_64",
        cpu: "Haswell,l3-cache=off",
        machine: "x86_64 Haswell",
        level: None,
    },
    Emulated {
        label: "qemu EPYC (AMD's cache leaves)",
        arch: "x86_64",
        cpu: "EPYC",
        machine: "x86_64 EPYC",
        level: None,
    },
    Emulated { label: "qemu aarch64 (NEON)", arch: "aarch64", cpu: "max", machine: "aarch64 neon", level: None },
    Emulated {
        label: "qemu Cortex-A53 (NEON)",
        arch: "aarch64",
        cpu: "cortex-a53",
        machine: "aarch64 Cortex-A53",
        level: None,
    },
    Emulated {
        label: "qemu aarch64, SIMD scalar",
        arch: "aarch64",
        cpu: "max",
        machine: "aarch64 scalar",
        level: Some("scalar"),
    },
];
