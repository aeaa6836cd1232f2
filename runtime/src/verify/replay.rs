//! Check 5: the eval pack is answered again, and every token, every logit bit, every score and K must come out as recorded.

use crate::artifact::{ArtifactError, Member, Opened};
use crate::eval::{self, Drift, Outcome, Pack};
use crate::kernel::Level;
use crate::model::{Adapter, Decoder, ModelSource, TextTokenizer};

use super::models::{Role, refusal};

/// A finished replay beside what was recorded.
#[derive(Debug)]
pub struct Replayed {
    /// The replay of this machine.
    pub outcome: Outcome,
    /// Every case that was answered otherwise than recorded.
    pub drifts: Vec<Drift>,
    /// What to refuse for; none if nothing differs.
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
    let (pack, recorded) = recorded(|member| opened.read(member))?;
    let decoder = Decoder::load(level, base).map_err(unreadable)?;
    let config = &decoder.config;
    let tokenizer = TextTokenizer::load(base, config.vocabulary, &config.eos_ids).map_err(unreadable)?;
    let adapter_config = opened.read(Member::AdapterConfig)?;
    let adapter_model = opened.read(Member::AdapterModel)?;
    let adapter = Adapter::from_files(level, config, &adapter_config, adapter_model).map_err(|error| {
        let (role, repo) = ("adapter", Member::AdapterModel.name().to_owned());
        ArtifactError::ModelUnreadable { role, repo, detail: error.to_string() }
    })?;
    let outcome = eval::run(&decoder, &tokenizer, Some(&adapter), &pack, progress).map_err(eval_refusal)?;
    let drifts = eval::compare(&recorded.results, &outcome.results);
    let difference = difference(opened, &drifts, &outcome);
    Ok(Replayed { outcome, drifts, difference })
}

/// The pack and its recorded replay, by way of `read`.
pub(super) fn recorded(
    read: impl Fn(Member) -> Result<Vec<u8>, ArtifactError>,
) -> Result<(Pack, Outcome), ArtifactError> {
    let pack = Pack::parse(&read(Member::EvalPack)?).map_err(eval_refusal)?;
    let outcome = Outcome::parse(&pack, &read(Member::EvalReplay)?).map_err(eval_refusal)?;
    Ok((pack, outcome))
}

/// What to refuse for: K first, then the cases, then the digest, which covers whatever is left.
fn difference(opened: &Opened, drifts: &[Drift], replayed: &Outcome) -> Option<ArtifactError> {
    let summary = &opened.manifest.eval;
    let found = replayed.k.to_string();
    let (count, first) = (drifts.len(), drifts.first().map(Drift::to_string));
    if found != summary.k {
        let (expected, first) = (summary.k.clone(), first.unwrap_or_else(|| "none".to_owned()));
        return Some(ArtifactError::ReplayScore { found, expected, count, first });
    }
    if let Some(first) = first {
        return Some(ArtifactError::ReplayCase { count, first });
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
