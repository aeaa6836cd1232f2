//! `kolm-verify`: inspect, verify and replay, in one static binary without network code.
//!
//! This file is the binary's one reader of environment and clock.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::UNIX_EPOCH;

use kolm_runtime::artifact::{KeySource, Timestamp};
use kolm_runtime::kernel::Level;
use kolm_runtime::model::HubCache;
use kolm_runtime::selftest;
use kolm_runtime::verify::{Exit, ModelPlaces, parse_days, verb};
use lexopt::prelude::*;

fn main() -> ExitCode {
    let arguments = match RawArguments::parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error.to_string()),
    };
    match run(arguments) {
        Ok(exit) => exit.into(),
        // Whoever reads stdout went away (`| head`); that is no failure of the check.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done.into(),
        Err(error) => {
            eprintln!("error: cannot write: {error}");
            Exit::Io.into()
        }
    }
}

#[derive(Default)]
struct RawArguments {
    verb: Option<String>,
    artifact: Option<PathBuf>,
    key_file: Option<PathBuf>,
    key_fd: Option<u32>,
    base: Option<PathBuf>,
    encoder: Option<PathBuf>,
    cache: Option<PathBuf>,
    threads: Option<usize>,
    no_replay: bool,
    max_age: Option<String>,
    gate: bool,
    json: bool,
}

impl RawArguments {
    fn parse() -> Result<Self, lexopt::Error> {
        let mut raw = Self::default();
        let mut parser = lexopt::Parser::from_env();
        while let Some(argument) = parser.next()? {
            match argument {
                Long("key-file") => raw.key_file = Some(parser.value()?.into()),
                Long("key-fd") => raw.key_fd = Some(parser.value()?.parse()?),
                Long("base") => raw.base = Some(parser.value()?.into()),
                Long("encoder") => raw.encoder = Some(parser.value()?.into()),
                Long("cache") => raw.cache = Some(parser.value()?.into()),
                Long("threads") => raw.threads = Some(parser.value()?.parse()?),
                Long("no-replay") => raw.no_replay = true,
                Long("max-age") => raw.max_age = Some(parser.value()?.string()?),
                Long("gate") => raw.gate = true,
                Long("json") => raw.json = true,
                Long("help") | Short('h') => raw.verb = Some("help".to_owned()),
                Long("version") | Short('V') => raw.verb = Some("version".to_owned()),
                Value(verb) if raw.verb.is_none() => raw.verb = Some(verb.string()?),
                Value(path) if raw.artifact.is_none() => raw.artifact = Some(path.into()),
                _ => return Err(argument.unexpected()),
            }
        }
        Ok(raw)
    }
}

fn run(raw: RawArguments) -> io::Result<ExitOrUsage> {
    let (mut out, mut talk) = (io::stdout().lock(), io::stderr().lock());
    let Some(verb) = raw.verb.as_deref() else { return Ok(ExitOrUsage::Usage("a verb is missing".to_owned())) };
    match verb {
        "help" => return writeln!(out, "{HELP}").map(|()| Exit::Done.into()),
        "version" => return writeln!(out, "{TOOL}").map(|()| Exit::Done.into()),
        "selftest" if raw.artifact.is_some() => return Ok(ExitOrUsage::Usage("selftest takes no file".to_owned())),
        "selftest" => return selftest::verb(TOOL, raw.json, &mut out).map(Into::into),
        "inspect" | "verify" | "replay" => {}
        other => return Ok(ExitOrUsage::Usage(format!("unknown verb {other:?}"))),
    }
    let Some(artifact) = raw.artifact else { return Ok(ExitOrUsage::Usage("FILE.kolm is missing".to_owned())) };
    if raw.key_file.is_some() && raw.key_fd.is_some() {
        return Ok(ExitOrUsage::Usage("--key-file and --key-fd exclude each other".to_owned()));
    }
    if let Some(threads) = raw.threads {
        if threads == 0 {
            return Ok(ExitOrUsage::Usage("--threads is 0, expected at least 1".to_owned()));
        }
        // Fails only if a pool exists already, and nothing ran before.
        let _ = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    }
    let level = match Level::from_environment() {
        Ok(level) => level,
        Err(error) => return Ok(ExitOrUsage::Usage(error.to_string())),
    };
    let places = ModelPlaces {
        base: raw.base,
        encoder: raw.encoder,
        cache: raw.cache.map(HubCache::new).or_else(|| HubCache::from_variables(&variable)),
    };
    let path = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let key = KeySource {
        file: raw.key_file,
        descriptor: raw.key_fd,
        environment: path("KOLM_KEY_FILE"),
        credentials: path("CREDENTIALS_DIRECTORY"),
        home: path("HOME"),
    };
    let (gate, json, now) = (raw.gate, raw.json, now());
    let max_age_days = match raw.max_age.map(|text| parse_days(&text).ok_or(text)).transpose() {
        Ok(days) => days,
        Err(text) => return Ok(ExitOrUsage::Usage(format!("--max-age is {text:?}, expected days such as 180d"))),
    };
    let quiet = &mut |_: usize, _: usize| {};
    let exit = match verb {
        "inspect" => verb::inspect(&verb::Inspect { artifact, now, json }, &mut out, &mut talk),
        "verify" => {
            // No log and no marks: this binary needs no file but artifact, models and key, and writes none.
            let (replay, site) = (!raw.no_replay, None);
            let options = verb::Verify { artifact, key, places, replay, gate, now, max_age_days, site, json };
            verb::verify(&options, level, quiet, &mut out, &mut talk)
        }
        _ => verb::replay(&verb::Replay { artifact, places, gate, json }, level, quiet, &mut out, &mut talk),
    }?;
    out.flush()?;
    Ok(exit.into())
}

enum ExitOrUsage {
    Exit(Exit),
    Usage(String),
}

impl From<Exit> for ExitOrUsage {
    fn from(exit: Exit) -> Self {
        Self::Exit(exit)
    }
}

impl From<ExitOrUsage> for ExitCode {
    fn from(end: ExitOrUsage) -> Self {
        match end {
            ExitOrUsage::Exit(exit) => exit.into(),
            ExitOrUsage::Usage(message) => usage(&message),
        }
    }
}

fn usage(message: &str) -> ExitCode {
    eprintln!("error: {message}\nhint: kolm-verify --help");
    Exit::Usage.into()
}

#[expect(clippy::disallowed_methods, reason = "this binary's one reader of the environment")]
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

#[expect(clippy::disallowed_methods, reason = "this binary's one clock, for the age that inspect shows")]
fn now() -> Option<Timestamp> {
    let since = std::time::SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Timestamp::from_unix(since.as_secs())
}

const TOOL: &str = concat!("kolm-verify ", env!("CARGO_PKG_VERSION"));
const HELP: &str = "\
kolm-verify: checks kolm artifacts; opens no socket

usage: kolm-verify inspect FILE.kolm [--json]
       kolm-verify verify  FILE.kolm [KEY] [MODELS] [--no-replay] [--gate] [--max-age DAYS] [--json] [--threads N]
       kolm-verify replay  FILE.kolm [MODELS] [--gate] [--json] [--threads N]
       kolm-verify selftest [--json]   prove that this binary refuses and computes here as it must

KEY     --key-file FILE   operator key, mode 0600 [default: KOLM_KEY_FILE, then
                          CREDENTIALS_DIRECTORY/kolm.key, then ~/.kolm/keys/operator.key]
        --key-fd N        read the key from this open file descriptor
MODELS  --base DIR        folder of the base, for one that is not in the cache
        --encoder DIR     folder of the recall encoder
        --cache DIR       Hugging Face cache [default: HF_HUB_CACHE, HF_HOME/hub, ~/.cache/huggingface/hub]

--no-replay   leave out check 5
--gate        refuse an artifact whose K is below its gate
--max-age 180d  refuse an artifact that was made longer ago
--threads N   threads of the replay; changes speed, never a bit

exit codes: 0 done, 1 checked and refused, 2 usage, 3 gate not met, 4 missing input, 5 refused by air-gap mode, 6 I/O";
