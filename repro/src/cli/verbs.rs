//! One function per verb: what was typed becomes a request, what came out becomes text and an exit.

use std::path::{Path, PathBuf};

use kolm_compile::cli::environment::Environment;
use kolm_compile::cli::progress::Progress;
use kolm_compile::cli::{Exit, micro_batch, print, print_json};
use kolm_compile::pipeline::{CompileError, SplitValues};
use kolm_runtime::artifact::Member;
use kolm_runtime::kernel::Level;

use super::arguments;
use super::error::CliError;
use crate::agreement::{self, Agreement};
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
    let request = Request {
        artifact: arguments.artifact.clone(),
        corpus: arguments.corpus.clone(),
        models: Models {
            base: arguments.base.clone(),
            encoder: arguments.encoder.clone(),
            cache: arguments.cache.clone().unwrap_or_else(|| environment.hub_cache.clone()),
        },
        init_adapter: arguments.init_adapter.clone(),
        split: SplitValues { train: arguments.train_split.clone(), eval: arguments.eval_split.clone() },
        micro_batch: micro_batch(&arguments.micro_batch)?,
        keep: arguments.keep.clone(),
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
