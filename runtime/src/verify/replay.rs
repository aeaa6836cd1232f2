//! Check 5: the eval pack is answered again, and every token, every logit bit, every score and K must come out as recorded.

use crate::artifact::{ArtifactError, Member, Opened};
use crate::eval::{self, Outcome, Pack};
use crate::kernel::Level;
use crate::model::{Adapter, Decoder, ModelSource, TextTokenizer};

use super::models::{Role, refusal};

/// A finished replay beside what was recorded.
#[derive(Debug)]
pub struct Replayed {
    /// The replay of this machine.
    pub outcome: Outcome,
    /// How it differs from the recorded one; none if it does not.
    pub difference: Option<ArtifactError>,
}

/// Answers the pack of `opened` on `base` and compares. `progress` is told how many cases of how many are answered.
///
/// # Errors
/// `ModelUnreadable` when base or adapter do not load, `Eval` when the pack cannot be answered.
pub fn replay(
    opened: &Opened,
    base: &ModelSource,
    level: Level,
    progress: &mut (dyn FnMut(usize, usize) + Send),
) -> Result<Replayed, ArtifactError> {
    let plan = &opened.plan.base;
    let unreadable = |error| refusal(Role::Base, &plan.repo, &plan.revision, error);
    let (pack, recorded) = recorded(opened)?;
    let decoder = Decoder::load(level, base).map_err(unreadable)?;
    let config = &decoder.config;
    let tokenizer = TextTokenizer::load(base, config.vocabulary, &config.eos_ids).map_err(unreadable)?;
    let adapter_config = opened.file.read(Member::AdapterConfig)?;
    let adapter_model = opened.file.read(Member::AdapterModel)?;
    let adapter = Adapter::from_files(level, config, &adapter_config, adapter_model).map_err(|error| {
        let (role, repo) = ("adapter", Member::AdapterModel.name().to_owned());
        ArtifactError::ModelUnreadable { role, repo, detail: error.to_string() }
    })?;
    let outcome = eval::run(&decoder, &tokenizer, Some(&adapter), &pack, progress).map_err(eval_refusal)?;
    let difference = difference(opened, &recorded, &outcome);
    Ok(Replayed { outcome, difference })
}

/// The pack and its recorded replay.
pub(super) fn recorded(opened: &Opened) -> Result<(Pack, Outcome), ArtifactError> {
    let pack = Pack::parse(&opened.file.read(Member::EvalPack)?).map_err(eval_refusal)?;
    let outcome = Outcome::parse(&pack, &opened.file.read(Member::EvalReplay)?).map_err(eval_refusal)?;
    Ok((pack, outcome))
}

fn difference(opened: &Opened, recorded: &Outcome, replayed: &Outcome) -> Option<ArtifactError> {
    let summary = &opened.manifest.eval;
    let found = replayed.k.to_string();
    if found != summary.k {
        return Some(ArtifactError::ReplayScore { found, expected: summary.k.clone() });
    }
    let drifts = eval::compare(&recorded.results, &replayed.results);
    if let Some(first) = drifts.first() {
        return Some(ArtifactError::ReplayCase { count: drifts.len(), first: first.to_string() });
    }
    if replayed.replay_digest != summary.replay_digest {
        let (found, expected) = (replayed.replay_digest.clone(), summary.replay_digest.clone());
        return Some(ArtifactError::ReplayDigest { found, expected });
    }
    None
}

pub(super) fn eval_refusal(error: eval::EvalError) -> ArtifactError {
    ArtifactError::Eval { detail: error.to_string() }
}
