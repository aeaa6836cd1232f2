//! The table: every condition that is tried, in the order of its rows.
//!
//! A fact of the machine that a condition needs is asked for here, so that a row is there with its reason even where it cannot be run.
//! The date of every run is fixed by `SOURCE_DATE_EPOCH`, but for the run that has another clock, where the clock is left to show.

use std::ffi::OsStr;
use std::path::Path;

use kolm_compile::job::Job;

use super::build::Build;
use super::condition::{Condition, Folder, Life};
use super::copies;
use super::emulated;
use super::error::MatrixError;
use super::fakes::{self, Fake};
use super::machine::{Machine, Possible};

/// What the table is made from.
pub(super) struct Surroundings<'a> {
    /// What this machine can do.
    pub(super) machine: &'a Machine,
    /// The job.
    pub(super) job: &'a Job,
    /// A folder for copies and faked files.
    pub(super) scratch: &'a Path,
    /// The build that is judged.
    pub(super) kolm: Build,
    /// Builds named on the command line.
    pub(super) given: Vec<Build>,
    /// Builds found beside it.
    pub(super) found: Vec<Build>,
}

/// Every condition in a run of its own.
///
/// # Errors
/// [`MatrixError::Io`] when a copy or a faked file cannot be written.
pub(super) fn full(with: &Surroundings<'_>) -> Result<Vec<Condition>, MatrixError> {
    let mut conditions = vec![with.reference()];
    conditions.extend(with.threads());
    conditions.extend(with.micro_batches());
    conditions.extend(with.habits());
    conditions.push(with.clock());
    conditions.push(with.copied()?);
    conditions.extend(with.process());
    conditions.push(with.c_library());
    conditions.push(with.cache_geometry()?);
    conditions.push(with.memory()?);
    conditions.push(with.native("kill -9 after a checkpoint, then again").life(Life::Killed));
    conditions.extend(with.levels());
    conditions.extend(with.native_builds(with.given.iter().chain(&with.found)));
    conditions.extend(emulated::conditions(with));
    Ok(conditions)
}

/// A few native runs, each with several conditions.
///
/// # Errors
/// As [`full`].
pub(super) fn quick(with: &Surroundings<'_>) -> Result<Vec<Condition>, MatrixError> {
    let threads = with.threads();
    let micro_batches = with.micro_batches();
    let habits = with.habits();
    let (clock, copied, cache, memory) = (with.clock(), with.copied()?, with.cache_geometry()?, with.memory()?);
    let mut last = vec![&threads[3], &memory];
    last.extend(&habits);
    let mut conditions = vec![with.reference()];
    let runs = [
        vec![&threads[0], &micro_batches[0], &clock],
        vec![&threads[1], &micro_batches[1], &copied],
        vec![&threads[2], &micro_batches[2], &cache],
        last,
    ];
    conditions.extend(runs.iter().filter_map(|parts| Condition::joined(parts)));
    let slower = with.levels().into_iter().filter(|level| level.skipped.is_none() && level.life == Life::Whole);
    conditions.extend(slower.filter(|level| !level.machine.ends_with("scalar") && level.machine != with.here()));
    conditions.extend(with.native_builds(with.given.iter()));
    Ok(conditions)
}

impl Surroundings<'_> {
    /// The machine that native runs compute on, at the level that kolm chooses.
    fn here(&self) -> String {
        format!("{} {}", std::env::consts::ARCH, self.machine.fastest_level())
    }

    fn native(&self, label: &str) -> Condition {
        Condition::new(label, self.here(), &self.kolm)
    }

    fn reference(&self) -> Condition {
        self.native(&format!("this machine: {}", self.here()))
    }

    fn threads(&self) -> [Condition; 4] {
        ["1", "2", "3", "8"].map(|count| self.native(&format!("threads {count}")).set("KOLM_THREADS", count))
    }

    fn micro_batches(&self) -> [Condition; 3] {
        ["1", "4", "all"].map(|size| self.native(&format!("micro-batch {size}")).flags(&["--micro-batch", size]))
    }

    /// What differs between one person's session and another's.
    fn habits(&self) -> Vec<Condition> {
        let umask = self.machine.before("sh", &["-c", r#"umask 077; exec "$@""#, "sh"].map(OsStr::new));
        vec![
            self.native("TZ=Asia/Kathmandu").set("TZ", "Asia/Kathmandu"),
            self.native("LANG=tr_TR.UTF-8").set("LANG", "tr_TR.UTF-8").set("LC_ALL", "tr_TR.UTF-8"),
            self.native("HOME with spaces and non-ASCII").odd(Folder::Home),
            self.native("cwd with spaces and non-ASCII").odd(Folder::Working),
            self.native("TMPDIR elsewhere").odd(Folder::Temporary),
            self.native("umask 077").before(umask),
        ]
    }

    fn clock(&self) -> Condition {
        let faked = self.machine.before("faketime", &[OsStr::new("2011-11-11 11:11:11")]);
        self.native("clock in 2011").before(faked).unset("SOURCE_DATE_EPOCH").unless(self.needs_dynamic())
    }

    fn copied(&self) -> Result<Condition, MatrixError> {
        let job = copies::elsewhere_in_another_order(self.job, self.scratch)?;
        Ok(self.native("inputs elsewhere, listed in another order").job(job))
    }

    /// What the operating system gives a process.
    fn process(&self) -> Vec<Condition> {
        let one_cpu = self.machine.before("taskset", &["-c", "0"].map(OsStr::new));
        let old_kernel = self.machine.before("setarch", &["-R", "--uname-2.6"].map(OsStr::new));
        vec![
            self.native("no HOME").unset("HOME"),
            self.native("one CPU allowed").before(one_cpu),
            self.native("no network").before(self.machine.namespace("n", &[])),
            self.native("no ASLR, kernel called 2.6").before(old_kernel),
            self.native("malloc fills with 0xa5, one arena")
                .set("MALLOC_PERTURB_", "165")
                .set("MALLOC_ARENA_MAX", "1")
                .unless(self.needs_glibc()),
        ]
    }

    /// Without FMA, glibc's own exp, sin and pow give other bits (measured); a compile that used them would show it here.
    fn c_library(&self) -> Condition {
        let told =
            "glibc.cpu.hwcaps=-AVX2,-FMA:glibc.cpu.x86_data_cache_size=0x2000:glibc.cpu.x86_shared_cache_size=0x10000";
        let other_cpu = (std::env::consts::ARCH != "x86_64").then_some("its tunables for x86-64 only");
        self.native("C library told: no AVX2, no FMA, 8 KiB L1")
            .set("GLIBC_TUNABLES", told)
            .unless(self.needs_glibc())
            .unless(other_cpu)
    }

    fn cache_geometry(&self) -> Result<Condition, MatrixError> {
        let fakes = fakes::cache_geometry(self.scratch)?;
        Ok(self.native("faked caches: 4 KiB L1, no L3 (sysfs, cpuinfo)").before(self.faked(fakes)))
    }

    fn memory(&self) -> Result<Condition, MatrixError> {
        let fakes = fakes::little_memory(self.scratch)?;
        Ok(self.native("faked memory: 4 MiB free (meminfo)").before(self.faked(fakes)))
    }

    /// Files that a private mount namespace shows in place of the system's own.
    fn faked(&self, fakes: Vec<Fake>) -> Possible {
        if fakes.is_empty() {
            return Err("this system shows no such file".to_owned());
        }
        let pairs: Vec<&OsStr> = fakes.iter().flat_map(|fake| [fake.file.as_os_str(), fake.over.as_os_str()]).collect();
        let mut inside = ["sh", "-c", fakes::MOUNT_THEN_RUN, "sh"].map(OsStr::new).to_vec();
        inside.extend(pairs);
        inside.push(OsStr::new("--"));
        self.machine.namespace("m", &inside)
    }

    /// The SIMD levels of this architecture, each asked for by name.
    fn levels(&self) -> Vec<Condition> {
        let arch = std::env::consts::ARCH;
        let level = |name: &'static str, label: &str| {
            let has = self.machine.levels.contains(&name);
            Condition::new(label, format!("{arch} {name}"), &self.kolm)
                .set("KOLM_SIMD", name)
                .unless((!has).then_some("this CPU lacks it"))
        };
        let scalar = level("scalar", "SIMD scalar (software FMA)");
        match arch {
            "x86_64" => vec![scalar, level("v3", "SIMD v3 (AVX2, FMA)"), self.avx512()],
            "aarch64" => vec![scalar, level("neon", "SIMD NEON")],
            _ => vec![scalar],
        }
    }

    /// On a CPU that has it, or on one that Bochs emulates.
    fn avx512(&self) -> Condition {
        let on = |label: &str| Condition::new(label, "x86_64 v4".to_owned(), &self.kolm);
        if self.machine.levels.contains(&"v4") {
            return on("SIMD v4 (AVX-512)").set("KOLM_SIMD", "v4");
        }
        match self.machine.avx512_script() {
            Ok(script) => on("SIMD v4 (AVX-512), emulated by Bochs").life(Life::Emulated(script)),
            Err(reason) => on("SIMD v4 (AVX-512)").unless(Some(&reason)),
        }
    }

    fn native_builds<'a>(&self, builds: impl Iterator<Item = &'a Build>) -> Vec<Condition> {
        let native = builds.filter(|build| build.is_native());
        native.map(|build| Condition::new(&build.described(), self.here(), build)).collect()
    }

    fn needs_dynamic(&self) -> Option<&'static str> {
        (!self.kolm.dynamic).then_some("a static build loads no library that could fake it")
    }

    fn needs_glibc(&self) -> Option<&'static str> {
        if cfg!(not(target_os = "linux")) { Some("a matter of glibc") } else { self.needs_dynamic() }
    }
}
