//! `golden/examples`: what the micro and the shipped example must give on every machine: CID, K, replay digest, every member.
//!
//! Each is compiled from its job as it stands in `corpora/`, up to the content; no key, no date and no path is in it.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use kolm_compile::cli::environment::Offline;
use kolm_compile::cli::progress::Progress;
use kolm_compile::corpus;
use kolm_compile::job::{Job, RecallUse};
use kolm_compile::pipeline::{self, Base, Inputs, Lookup};
use kolm_runtime::artifact::{cid, sha256_hex};
use kolm_runtime::kernel::Level;
use serde::Serialize;

/// Name of the record and job file of each example.
pub const EXAMPLES: [(&str, &str); 2] =
    [("micro", "corpora/micro/kolm.toml"), ("support_tickets", "corpora/support_tickets/kolm.toml")];

/// What an example gave.
#[derive(Debug, Serialize)]
struct Record {
    cid: String,
    k: String,
    replay_digest: String,
    hashes: BTreeMap<String, String>,
}

/// Compiles the job at `job`, below `root`, and gives the bytes of its record.
///
/// # Errors
/// Whatever stops the compile.
pub fn record(level: Level, root: &Path, job: &str) -> Result<Vec<u8>> {
    let job = Job::read(&root.join(job))?;
    let folder = job.path.parent().unwrap_or(Path::new("")).to_owned();
    // Both examples bring their models along; nothing is fetched.
    let offline = Offline { variable: "HF_HUB_OFFLINE", source: "kolm-repro golden".to_owned(), air_gap: false };
    let locate = |model: &str| -> Result<_> {
        let cache = Path::new("");
        let lookup = Lookup { model, revision: None, folder: &folder, cache, endpoint: None, offline: Some(&offline) };
        Ok(pipeline::locate(lookup)?)
    };
    let base = Base::load(level, locate(&job.base.model)?, &job)?;
    let corpus = corpus::load(&corpus::Request::from_job(&job, &[])).context("the example's corpus")?;
    let encoder = match job.recall.usage {
        RecallUse::Off => None,
        _ => Some(locate(&job.recall.encoder)?),
    };
    let work = tempfile::tempdir().context("a folder for checkpoints")?;
    let inputs = Inputs {
        job,
        corpus,
        base,
        encoder,
        init_adapter: None,
        micro_batch: None,
        memory: None,
        work_folder: work.path().to_owned(),
        previous: None,
        full_trace: None,
    };
    let made = pipeline::make(&inputs, level, &mut Progress::new(true))?;
    let members = made.content.members()?;
    let hashes: BTreeMap<String, String> =
        members.iter().map(|(member, bytes)| (member.name().to_owned(), sha256_hex(bytes))).collect();
    let record =
        Record { cid: cid(&hashes)?, k: made.outcome.k.to_string(), replay_digest: made.outcome.replay_digest, hashes };
    let mut bytes = serde_json::to_vec_pretty(&record)?;
    bytes.push(b'\n');
    Ok(bytes)
}
