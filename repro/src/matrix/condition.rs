//! One condition: how one run of `kolm compile` departs from the first one.
//!
//! A condition is data. Conditions can be joined, which is how one run carries several of them.

use std::ffi::OsString;
use std::path::PathBuf;
use std::rc::Rc;

use super::build::Build;
use super::copies::CopiedJob;
use super::machine::Possible;

/// What one run is like.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    /// What the row is called.
    pub(super) label: String,
    /// The machine or CPU level that computes: `x86_64 v3`, `aarch64 (qemu)`.
    pub(super) machine: String,
    /// The executable.
    pub(super) build: Build,
    /// Commands before the executable, the outermost first.
    pub(super) before: Vec<OsString>,
    /// Variables that are set.
    pub(super) set: Vec<(&'static str, OsString)>,
    /// Variables that are not set, though the first run has them.
    pub(super) unset: Vec<&'static str>,
    /// Flags after `kolm compile JOB`.
    pub(super) flags: Vec<&'static str>,
    /// Which of the run's folders have a name with spaces and letters outside ASCII.
    pub(super) odd: Vec<Folder>,
    /// The job, where it is not the one that was given.
    pub(super) job: Option<Rc<CopiedJob>>,
    /// How it comes to its end.
    pub(super) life: Life,
    /// Why this machine cannot have it.
    pub(super) skipped: Option<String>,
}

/// A folder that a run has to itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Folder {
    /// `HOME`.
    Home,
    /// The working folder.
    Working,
    /// `TMPDIR`.
    Temporary,
}

/// How a run comes to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// By itself.
    Whole,
    /// Killed once a checkpoint is there, slowly on one thread, then started again as the condition says.
    Killed,
    /// On a machine emulated by a script that takes executable and job folder and prints what `kolm compile --json` printed there.
    Emulated(PathBuf),
}

impl Condition {
    /// The first run: `build` as it is, on this machine.
    pub(super) fn new(label: &str, machine: String, build: &Build) -> Condition {
        Condition {
            label: label.to_owned(),
            machine,
            build: build.clone(),
            before: Vec::new(),
            set: Vec::new(),
            unset: Vec::new(),
            flags: Vec::new(),
            odd: Vec::new(),
            job: None,
            life: Life::Whole,
            skipped: None,
        }
    }

    /// Sets a variable.
    pub(super) fn set(mut self, name: &'static str, value: impl Into<OsString>) -> Condition {
        self.set.push((name, value.into()));
        self
    }

    /// Leaves out a variable.
    pub(super) fn unset(mut self, name: &'static str) -> Condition {
        self.unset.push(name);
        self
    }

    /// Adds flags.
    pub(super) fn flags(mut self, flags: &[&'static str]) -> Condition {
        self.flags.extend(flags);
        self
    }

    /// Gives one of the run's folders an odd name.
    pub(super) fn odd(mut self, folder: Folder) -> Condition {
        self.odd.push(folder);
        self
    }

    /// Puts a command before the executable, or records why there is none.
    pub(super) fn before(mut self, command: Possible) -> Condition {
        match command {
            Ok(command) => self.before.extend(command),
            Err(reason) => self.skipped = Some(reason),
        }
        self
    }

    /// Takes a copy of the job, or records why there is none.
    pub(super) fn job(mut self, job: Result<CopiedJob, String>) -> Condition {
        match job {
            Ok(job) => self.job = Some(Rc::new(job)),
            Err(reason) => self.skipped = Some(reason),
        }
        self
    }

    /// Says how the run comes to its end.
    pub(super) fn life(mut self, life: Life) -> Condition {
        self.life = life;
        self
    }

    /// Records why this machine cannot have it, if there is a reason.
    pub(super) fn unless(mut self, reason: Option<&str>) -> Condition {
        self.skipped = self.skipped.or(reason.map(str::to_owned));
        self
    }

    /// One run with all of these, which must be of one build; those that this machine cannot have are left out, as the label says.
    pub(super) fn joined(parts: &[&Condition]) -> Option<Condition> {
        let mut possible = parts.iter().filter(|part| part.skipped.is_none());
        let mut joined = (*possible.next()?).clone();
        for part in possible {
            joined.label = format!("{}, {}", joined.label, part.label);
            joined.before.extend(part.before.clone());
            joined.set.extend(part.set.clone());
            joined.unset.extend(&part.unset);
            joined.flags.extend(&part.flags);
            joined.odd.extend(&part.odd);
            joined.job = part.job.clone().or(joined.job);
        }
        Some(joined)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(label: &str) -> Condition {
        let build = Build {
            label: "kolm".to_owned(),
            path: "kolm".into(),
            arch: std::env::consts::ARCH,
            dynamic: true,
            compiler: None,
        };
        Condition::new(label, "x86_64 v3".to_owned(), &build)
    }

    #[test]
    fn joins_what_is_possible_and_says_so_in_the_label() {
        let threads = named("threads 1").set("KOLM_THREADS", "1");
        let clock = named("another year").before(Err("faketime is not installed".to_owned()));
        let umask = named("umask 077").before(Ok(vec!["sh".into()])).flags(&["--force"]).odd(Folder::Home);
        let joined = Condition::joined(&[&threads, &clock, &umask]).expect("two are possible");
        assert_eq!(joined.label, "threads 1, umask 077");
        assert_eq!((joined.before.len(), joined.set.len(), joined.flags.len(), joined.odd.len()), (1, 1, 1, 1));
        assert!(Condition::joined(&[&clock]).is_none());
    }

    #[test]
    fn keeps_the_first_reason_for_a_skip() {
        let skipped = named("x").before(Err("first".to_owned())).unless(Some("second"));
        assert_eq!(skipped.skipped.as_deref(), Some("first"));
        assert_eq!(named("x").unless(None).skipped, None);
    }
}
