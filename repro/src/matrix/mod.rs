//! `kolm-repro matrix`: one job compiled under many conditions must give one CID, one K and one replay digest.
//!
//! Every condition is a run of the `kolm` binary as a child process with an environment of its own: home folder, operator key, date.
//! `conditions` is the table of what is varied, `runner` the one way it is run, `report` the one way it is said, `machine`
//! what this machine can do. A condition that this machine cannot give is a row that says why; it never counts as agreement.
//! Nothing is compiled in this process, so the binary that ships is the one that is judged.

mod arguments;
mod build;
mod condition;
mod conditions;
mod copies;
mod emulated;
mod error;
mod fakes;
mod machine;
mod report;
mod runner;

use std::path::{Path, PathBuf};

pub use arguments::Arguments;
pub use error::MatrixError;
pub use kolm_compile::cli::Exit;
pub use report::Summary;

use build::Build;
use condition::Condition;
use conditions::Surroundings;
use kolm_compile::job::Job;
use machine::Machine;
use report::Printer;
use runner::{Outcome, Runner};

/// Runs the verb, says on stderr what stopped it, and gives the exit code.
pub fn main(arguments: &Arguments) -> Exit {
    match run(arguments) {
        Ok(summary) if summary.agrees() => Exit::Done,
        Ok(summary) => {
            if let Some(hint) = summary.hint(arguments.keep.as_deref()) {
                eprintln!("hint: {hint}");
            }
            Exit::Refused
        }
        Err(error) => {
            eprintln!("error: {error}");
            if let Some(hint) = error.hint() {
                eprintln!("hint: {hint}");
            }
            error.exit()
        }
    }
}

/// Compiles the job under every condition and prints a row for each as it comes.
///
/// # Errors
/// [`MatrixError`] when nothing can be compared: an input is missing, or the first compile fails.
pub fn run(arguments: &Arguments) -> Result<Summary, MatrixError> {
    let machine = Machine::detect();
    let job_path = settled(&absolute(&arguments.job)?);
    let job = Job::read(&job_path)?;
    let kolm = match &arguments.kolm {
        Some(path) => Build::open("kolm", path)?,
        None => Build::open("kolm", &machine.sibling("kolm")?)?,
    };
    let given = arguments.builds()?;
    let scratch = Scratch::new(arguments.keep.as_deref())?;
    let surroundings = Surroundings {
        machine: &machine,
        job: &job,
        scratch: scratch.folder(),
        found: build::found_beside(&kolm, &given),
        given,
        kolm,
    };
    let conditions = if arguments.full { conditions::full(&surroundings)? } else { conditions::quick(&surroundings)? };

    let runner =
        Runner { machine: &machine, job: &job_path, scratch: scratch.folder(), keep: arguments.keep.is_some() };
    let mut printer = Printer::new(arguments.json, &job.task.name, &job.task.version)?;
    for (index, condition) in conditions.iter().enumerate() {
        let outcome = runner.run(index, condition)?;
        if index == 0 {
            require_reference(condition, &outcome)?;
        }
        printer.row(condition, outcome)?;
    }
    printer.finish()
}

/// Without a first result there is nothing to compare with; its own exit code says why.
fn require_reference(condition: &Condition, outcome: &Outcome) -> Result<(), MatrixError> {
    match outcome {
        Outcome::Made(_) => Ok(()),
        Outcome::Skipped(reason) => {
            Err(MatrixError::Reference { kolm: condition.build.path.clone(), code: None, message: reason.clone() })
        }
        Outcome::Failed { code, message } => {
            Err(MatrixError::Reference { kolm: condition.build.path.clone(), code: *code, message: message.clone() })
        }
    }
}

fn absolute(path: &Path) -> Result<PathBuf, MatrixError> {
    std::path::absolute(path).map_err(|source| MatrixError::Io { action: "resolve", path: path.to_owned(), source })
}

/// The path with its folder's links and `..` resolved, so that the job's relative paths can be followed by name; as it is where the
/// folder is missing, which reading the job will say.
fn settled(path: &Path) -> PathBuf {
    let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
    folder.zip(path.file_name()).map_or_else(|| path.to_owned(), |(folder, name)| folder.join(name))
}

/// Where the runs happen: `--keep`'s folder, or one that goes when the verb ends.
enum Scratch {
    Kept(PathBuf),
    Passing(tempfile::TempDir),
}

impl Scratch {
    fn new(keep: Option<&Path>) -> Result<Scratch, MatrixError> {
        let Some(keep) = keep else {
            let made = tempfile::Builder::new().prefix("kolm-matrix-").tempdir();
            return made.map(Scratch::Passing).map_err(|source| MatrixError::Io {
                action: "create a folder in",
                path: std::env::temp_dir(),
                source,
            });
        };
        let keep = absolute(keep)?;
        let io = |action| {
            let path = keep.clone();
            move |source| MatrixError::Io { action, path, source }
        };
        std::fs::create_dir_all(&keep).map_err(io("create"))?;
        if std::fs::read_dir(&keep).map_err(io("list"))?.next().is_some() {
            return Err(MatrixError::KeepInUse { path: keep });
        }
        Ok(Scratch::Kept(keep))
    }

    fn folder(&self) -> &Path {
        match self {
            Scratch::Kept(path) => path,
            Scratch::Passing(folder) => folder.path(),
        }
    }
}
