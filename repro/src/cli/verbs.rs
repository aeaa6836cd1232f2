//! One function per verb: what was typed becomes a request, what came out becomes text and an exit.

use std::path::{Path, PathBuf};

use kolm_compile::cli::environment::Environment;
use kolm_compile::cli::progress::Progress;
use kolm_compile::cli::{Exit, micro_batch, print, print_json};
use kolm_compile::pipeline::CompileError;
use kolm_runtime::artifact::Member;
use kolm_runtime::kernel::Level;

use super::arguments;
use super::error::CliError;
use crate::agreement::{self, Agreement};
use crate::bisect;
use crate::golden::{self, nano as model};
use crate::machine::{Machine, Stopwatch};
use crate::rebuild::{self, Models, Request, Results};
use crate::statement::{PublicKey, Signed, SigningKey, Statement, StatementError};

/// `rebuild`
pub(super) fn rebuild(
    arguments: &arguments::Rebuild,
    level: Level,
    environment: &Environment,
) -> Result<Exit, CliError> {
    // A key that cannot sign is found before the work is done.
    let key = arguments.signing_key.as_deref().map(SigningKey::read).transpose()?;
    corpus_named(&arguments.inputs)?;
    let request = Request {
        full_trace: arguments.full_trace.clone(),
        keep: arguments.keep.clone(),
        ..request(&arguments.artifact, &arguments.inputs, environment)?
    };
    let watch = Stopwatch::start();
    let rebuilt = rebuild::rebuild(&request, level, environment, &mut Progress::new(arguments.quiet))?;
    if let (Some(key), Some(path)) = (&key, &arguments.statement) {
        Statement::of(&rebuilt, Machine::read(level, watch.elapsed_ms())).write(key, path)?;
        if !arguments.quiet {
            eprintln!("statement {} signed by {}", path.display(), key.public().id());
        }
    }
    if arguments.json {
        print_json(&rebuilt)?
    } else {
        print(&rebuilt.text())?
    }
    Ok(if rebuilt.identical() { Exit::Done } else { Exit::Refused })
}

/// `bisect`
pub(super) fn bisect(arguments: &arguments::Bisect, level: Level, environment: &Environment) -> Result<Exit, CliError> {
    let run_here = arguments.b.is_none();
    let path_b = arguments.b.as_ref().unwrap_or(&arguments.a);
    let inputs_a = request(&arguments.a, &arguments.inputs, environment)?;
    let or = |of_b: &Option<PathBuf>, of_a: &Option<PathBuf>| of_b.clone().or_else(|| of_a.clone());
    let inputs_b = Request {
        artifact: path_b.clone(),
        corpus: if arguments.corpus_b.is_empty() { inputs_a.corpus.clone() } else { arguments.corpus_b.clone() },
        models: Models {
            base: or(&arguments.base_b, &inputs_a.models.base),
            encoder: or(&arguments.encoder_b, &inputs_a.models.encoder),
            cache: inputs_a.models.cache.clone(),
        },
        ..inputs_a.clone()
    };
    let request = bisect::Request {
        a: bisect::Named {
            path: arguments.a.clone(),
            inputs: inputs_a,
            build: arguments.build_a.clone(),
            recorded: arguments.recorded_a.clone(),
        },
        b: bisect::Named {
            path: path_b.clone(),
            inputs: inputs_b,
            build: arguments.build_b.clone(),
            recorded: arguments.recorded_b.clone(),
        },
        run_here,
        checkpoints: arguments.checkpoints.clone(),
    };
    let found = bisect::bisect(&request, level, environment, &mut Progress::new(arguments.quiet))?;
    if arguments.json {
        print_json(&found)?
    } else {
        print(&found.text())?
    }
    Ok(if found.identical() { Exit::Done } else { Exit::Refused })
}

/// `record-step`
pub(super) fn record_step(
    arguments: &arguments::RecordStep,
    level: Level,
    environment: &Environment,
) -> Result<Exit, CliError> {
    corpus_named(&arguments.inputs)?;
    let request = request(&arguments.artifact, &arguments.inputs, environment)?;
    let mut progress = Progress::new(arguments.quiet);
    let line = bisect::record_step(
        &request,
        arguments.step,
        arguments.checkpoints.as_deref(),
        &arguments.out,
        level,
        environment,
        &mut progress,
    )?;
    print(&format!("step {} in {}, parameters {}\n", line.step, arguments.out.display(), line.parameters_sha256))?;
    Ok(Exit::Done)
}

/// What was typed of the inputs, as a request.
fn request(artifact: &Path, inputs: &arguments::Inputs, environment: &Environment) -> Result<Request, CliError> {
    Ok(Request {
        artifact: artifact.to_owned(),
        corpus: inputs.corpus.clone(),
        models: Models {
            base: inputs.base.clone(),
            encoder: inputs.encoder.clone(),
            cache: inputs.cache.clone().unwrap_or_else(|| environment.hub_cache.clone()),
        },
        init_adapter: inputs.init_adapter.clone(),
        micro_batch: micro_batch(&inputs.micro_batch)?,
        full_trace: None,
        keep: None,
    })
}

/// A rebuild without a corpus is a slip of the hand.
fn corpus_named(inputs: &arguments::Inputs) -> Result<(), CliError> {
    if !inputs.corpus.is_empty() {
        return Ok(());
    }
    let (what, expected) = ("--corpus", "every corpus file, in any order");
    Err(CompileError::Value { what, found: String::new(), expected }.into())
}

/// `keygen`
pub(super) fn keygen(out: &Path) -> Result<Exit, CliError> {
    let key = SigningKey::create(out)?;
    print(&format!("key {} in {}, public key in {}.pub\n", key.public().id(), out.display(), out.display()))?;
    Ok(Exit::Done)
}

/// `compare`
pub(super) fn compare(arguments: &arguments::Compare) -> Result<Exit, CliError> {
    let agreement = agreement::compare(&read(&arguments.statements)?, &trust(&arguments.trust)?)?;
    say(&agreement, arguments.trust.json, false)?;
    Ok(if agreement.agree && agreement.quorum_met() { Exit::Done } else { Exit::Refused })
}

/// `challenge`
pub(super) fn challenge(arguments: &arguments::Challenge) -> Result<Exit, CliError> {
    let opened = rebuild::open(&arguments.artifact)?;
    let manifest = &opened.manifest;
    let recorded = Results {
        cid: manifest.cid.clone(),
        k: manifest.eval.k.clone(),
        replay_digest: manifest.eval.replay_digest.clone(),
        trace_sha256: manifest.hashes.get(Member::TrainingTrace.name()).cloned().unwrap_or_default(),
    };
    let agreement = agreement::challenge(&recorded, &read(&arguments.statements)?, &trust(&arguments.trust)?)?;
    say(&agreement, arguments.trust.json, true)?;
    Ok(if agreement.confirmed && agreement.quorum_met() { Exit::Done } else { Exit::Refused })
}

/// `diff`
pub(super) fn diff(arguments: &kolm_compile::diff::verb::Arguments) -> Result<Exit, CliError> {
    let code = kolm_compile::diff::verb::run(arguments, &mut std::io::stdout().lock(), &mut std::io::stderr());
    code.map(Exit::from_code)
        .map_err(|source| CompileError::Io { action: "write", path: "stdout".into(), source }.into())
}

/// `nano`
pub(super) fn nano(level: Level, which: model::Model, root: &Path, work: &Path) -> Result<Exit, CliError> {
    let made = model::make(level, which, work, &mut |report| {
        if report.step % 10 == 0 || report.step == report.steps {
            eprintln!(
                "step {}/{}  loss {:.4}  norm {:.3}",
                report.step, report.steps, report.loss, report.gradient_norm
            );
        }
    })?;
    golden::write_model(root, which, &made)?;
    Ok(Exit::Done)
}

fn read(paths: &[PathBuf]) -> Result<Vec<Signed>, StatementError> {
    paths.iter().map(|path| Signed::read(path)).collect()
}

fn trust(typed: &arguments::Trust) -> Result<agreement::Trust, StatementError> {
    let keys = typed.trusted.iter().map(|path| PublicKey::read(path)).collect::<Result<_, _>>()?;
    Ok(agreement::Trust { keys, quorum: typed.quorum })
}

fn say(agreement: &Agreement, json: bool, challenged: bool) -> Result<(), CliError> {
    if json {
        print_json(agreement)?
    } else {
        print(&agreement.text(challenged))?
    }
    Ok(())
}
