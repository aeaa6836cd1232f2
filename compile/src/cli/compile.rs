//! `kolm compile` and `kolm init`: from what was typed to a request, and what is said at the end.

use std::io::Write;
use std::path::Path;

use kolm_runtime::artifact::{KeySource, Timestamp};
use kolm_runtime::kernel::Level;

use super::arguments;
use super::environment::Environment;
use super::progress::Progress;
use crate::job;
use crate::pipeline::{self, CompileError, Compiled, Request, Size};

/// Runs `kolm compile`.
pub(super) fn compile(
    arguments: &arguments::Compile,
    level: Level,
    environment: &Environment,
) -> Result<(), CompileError> {
    let request = request(arguments, environment)?;
    if arguments.plan {
        return plan(&request, arguments, level, environment);
    }
    let compiled = pipeline::compile(&request, level, environment, &mut Progress::new(arguments.quiet))?;
    if arguments.json { super::print_json(&compiled) } else { super::print(&report(&compiled)) }
}

/// Says what the training of `request` will need, and does none of it.
pub(super) fn plan(
    request: &Request,
    arguments: &arguments::Compile,
    level: Level,
    environment: &Environment,
) -> Result<(), CompileError> {
    let plan = pipeline::foresee(request, level, environment, &mut Progress::new(arguments.quiet))?;
    if arguments.json { super::print_json(&plan) } else { super::print(&plan.text()) }
}

/// What was typed, as a request.
pub(super) fn request(arguments: &arguments::Compile, environment: &Environment) -> Result<Request, CompileError> {
    Ok(Request {
        job: arguments.job.clone(),
        // Given unless only the plan is asked for, which is written nowhere.
        out: arguments.out.clone().unwrap_or_default(),
        corpus: arguments.corpus.clone(),
        base: arguments.base.clone(),
        encoder: arguments.encoder.clone(),
        init_adapter: arguments.init_adapter.clone(),
        created: created(arguments.created.as_deref(), environment)?,
        micro_batch: micro_batch(&arguments.micro_batch)?,
        memory: arguments.memory.as_deref().map(memory).transpose()?,
        allow_below_gate: arguments.allow_below_gate,
        force: arguments.force,
        key: key_source(&arguments.key, environment),
        previous: None,
        full_trace: arguments.trace == arguments::Trace::Full,
    })
}

/// Runs `kolm init`.
pub(super) fn init(arguments: &arguments::Init) -> Result<(), CompileError> {
    let path = &arguments.path;
    let io = |action| {
        let path = path.clone();
        move |source| CompileError::Io { action, path, source }
    };
    let folder = std::path::absolute(path).map_err(io("resolve"))?;
    let of_folder = folder.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    let name = arguments.name.clone().or(of_folder).unwrap_or_else(|| "my-task".to_owned());
    let text = job::commented(&sound_name(&name));
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(path).map_err(io("create"))?;
    file.write_all(text.as_bytes()).map_err(io("write"))?;
    super::print(&format!(
        "{}: name the corpus' files and columns, then `kolm compile {} --out .`\n",
        path.display(),
        path.display()
    ))
}

/// The nearest name that a job accepts.
fn sound_name(name: &str) -> String {
    let kept: String =
        name.chars()
            .map(|letter| {
                if letter.is_ascii_alphanumeric() || "._-+".contains(letter) {
                    letter.to_ascii_lowercase()
                } else {
                    '-'
                }
            })
            .collect();
    let kept = kept.trim_start_matches(|first: char| !first.is_ascii_alphanumeric());
    if kept.is_empty() { "my-task".to_owned() } else { kept.chars().take(64).collect() }
}

/// Where the operator's key is, from flags and environment.
pub(super) fn key_source(key: &arguments::Key, environment: &Environment) -> KeySource {
    KeySource {
        file: key.key_file.clone(),
        descriptor: key.key_fd,
        environment: environment.key_file.clone(),
        credentials: environment.credentials.clone(),
        home: Some(environment.home.clone()),
    }
}

/// `--created`, else `SOURCE_DATE_EPOCH`, else now.
fn created(typed: Option<&str>, environment: &Environment) -> Result<Timestamp, CompileError> {
    if let Some(typed) = typed {
        return Timestamp::parse(typed).or_else(|| Timestamp::parse(&format!("{typed}T00:00:00Z"))).ok_or_else(|| {
            CompileError::Value {
                what: "--created",
                found: typed.to_owned(),
                expected: "2026-11-23 or 2026-11-23T10:00:00Z",
            }
        });
    }
    if let Some(epoch) = &environment.source_date_epoch {
        return epoch.trim().parse().ok().and_then(Timestamp::from_unix).ok_or_else(|| CompileError::Value {
            what: "SOURCE_DATE_EPOCH",
            found: epoch.clone(),
            expected: "seconds since 1970-01-01",
        });
    }
    now(environment)
}

/// The time at start-up.
pub(super) fn now(environment: &Environment) -> Result<Timestamp, CompileError> {
    Timestamp::from_unix(environment.now_seconds).ok_or_else(|| CompileError::Value {
        what: "the clock",
        found: environment.now_seconds.to_string(),
        expected: "a date before the year 10000",
    })
}

/// What `--micro-batch` means: `auto` is `None`, `all` is 0.
///
/// # Errors
/// [`CompileError::Value`].
pub fn micro_batch(typed: &str) -> Result<Option<usize>, CompileError> {
    let wrong = || CompileError::Value {
        what: "--micro-batch",
        found: typed.to_owned(),
        expected: "auto, all, or a number of at least 1",
    };
    match typed {
        "auto" => Ok(None),
        "all" => Ok(Some(0)),
        number => number.parse().ok().filter(|size| *size > 0).map(Some).ok_or_else(wrong),
    }
}

/// What `--memory` means.
fn memory(typed: &str) -> Result<Size, CompileError> {
    Size::parse(typed).ok_or_else(|| CompileError::Value {
        what: "--memory",
        found: typed.to_owned(),
        expected: "a size such as 3GB, 2.5GiB or 800MB",
    })
}

/// What stands on stdout after a compile.
fn report(compiled: &Compiled) -> String {
    let mut lines = vec![
        format!("artifact: {} ({} bytes)", compiled.path.display(), compiled.size),
        format!("cid:      {}", compiled.cid),
        format!(
            "eval:     K={} (gate {}), 95 % interval {} to {}, {} cases, {}",
            compiled.k, compiled.gate, compiled.wilson[0], compiled.wilson[1], compiled.cases, compiled.metric
        ),
        format!("          base without adapter K={}, most frequent answer K={}", compiled.k_base, compiled.k_majority),
    ];
    if let (Some(share), Some(k)) = (&compiled.recall_at_k, compiled.recall_k) {
        lines.push(format!("recall:   the answer is among the {k} nearest passages in {share} of the cases"));
    }
    lines.push(format!("replay:   {}", compiled.replay_digest));
    lines.push(format!("receipt:  chain of 5 HMAC-SHA256 steps   key {}", compiled.key_id));
    if !compiled.gate_met {
        lines
            .push("warning:  K is below the gate; `kolm run` and `kolm verify --gate` refuse this artifact".to_owned());
    }
    lines.push(String::new());
    lines.join("\n")
}
