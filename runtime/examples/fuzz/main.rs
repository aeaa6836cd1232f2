//! Feeds broken input to every reader of the bounded side until its time is up: `fuzz MINUTES [TARGET] [--seed N] [--findings DIR]`.
//!
//! Inputs are sound ones, changed by rules that know the formats (`mutate`); one that makes a reader answer in a way not seen before
//! joins the inputs that are changed further. A panic, an answer that takes longer than a second, or more than 64 MB of memory beyond the
//! input is a finding: the input is written to the findings folder, and the exit code is 1. What ends the whole process (a stack
//! overflow, memory that nobody has) leaves its input there as `running`. Needs no nightly compiler and no unsafe code.
//! `fuzz --replay FILE TARGET` tries one input again. ci/fuzz calls this.

mod bundle;
mod gguf;
mod mutate;
mod targets;
mod watch;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use mutate::Mutator;
use targets::{TARGETS, Target};
use watch::Watch;

fn main() -> ExitCode {
    let typed: Vec<String> = std::env::args().skip(1).collect();
    let Some(options) = Options::parse(&typed) else {
        let names = TARGETS.map(|target| target.name).join(", ");
        eprintln!(
            "usage: fuzz MINUTES [TARGET] [--seed N] [--findings DIR]\n       fuzz --replay FILE TARGET\ntargets: {names}"
        );
        return ExitCode::from(2);
    };
    let watch = Watch::start(options.findings.clone());
    if let Some(path) = &options.replay {
        let input = std::fs::read(path).expect("the input to try again");
        let answer = options.targets.first().and_then(|target| watch.run(target, &input));
        println!("{}", answer.as_deref().unwrap_or("a finding"));
        return ExitCode::from(u8::from(answer.is_none()));
    }
    let each = options.time / u32::try_from(options.targets.len()).unwrap_or(1);
    let mut findings = 0;
    for target in &options.targets {
        findings += fuzz(target, each, options.seed, &watch);
    }
    watch.end();
    println!("fuzz: {findings} findings");
    ExitCode::from(u8::from(findings > 0))
}

/// Works on one target for `time`, and gives how many inputs were findings.
fn fuzz(target: &Target, time: Duration, seed: u64, watch: &Watch) -> u64 {
    let mut corpus = (target.seeds)();
    let mut mutator = Mutator::new(seed, target.name);
    let (mut seen, mut executions, mut findings, mut most) = (BTreeSet::new(), 0_u64, 0_u64, 0);
    for input in corpus.clone() {
        seen.extend(watch.run(target, &input));
        executions += 1;
    }
    let started = now();
    while started.elapsed() < time {
        let mut batch: Vec<Vec<u8>> = (0..BATCH).map(|_| mutator.mutant(target, &corpus)).collect();
        let peak = watch.peak_above(|| {
            for input in &batch {
                executions += 1;
                match watch.run(target, input) {
                    None => findings += 1,
                    Some(answer) => {
                        if seen.insert(answer) && corpus.len() < CORPUS_MAX {
                            corpus.push(input.clone());
                        }
                    }
                }
            }
        });
        most = peak.max(most);
        // One of the batch took too much: which one shows when each is tried alone.
        if peak > MEMORY_MAX_BYTES {
            batch.retain(|input| {
                let alone = watch.peak_above(|| drop(watch.run(target, input)));
                alone > MEMORY_MAX_BYTES + input.len() as u64
            });
            for input in &batch {
                findings += 1;
                watch.report(target, input, "took more than 64 MB beyond the input");
            }
        }
        if findings >= FINDINGS_MAX {
            break;
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "fuzz: {:<12} {executions:>10} executions in {seconds:.0} s, {:>5} different answers, {findings} findings, at most {} MB beyond the input, seed {seed}",
        target.name,
        seen.len(),
        most >> 20
    );
    findings
}

struct Options {
    time: Duration,
    targets: Vec<Target>,
    seed: u64,
    findings: PathBuf,
    replay: Option<PathBuf>,
}

impl Options {
    fn parse(typed: &[String]) -> Option<Self> {
        let mut options = Self {
            time: Duration::ZERO,
            targets: TARGETS.to_vec(),
            seed: 1,
            findings: PathBuf::from("fuzz-findings"),
            replay: None,
        };
        let mut words = typed.iter();
        let mut free = Vec::new();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--seed" => options.seed = words.next()?.parse().ok()?,
                "--findings" => options.findings = words.next()?.into(),
                "--replay" => options.replay = Some(words.next()?.into()),
                flag if flag.starts_with('-') => return None,
                _ => free.push(word.as_str()),
            }
        }
        if options.replay.is_none() {
            let minutes: f64 = free.first()?.parse().ok().filter(|minutes| *minutes > 0.0 && *minutes < 1e6)?;
            options.time = Duration::from_secs_f64(60.0 * minutes);
            free.remove(0);
        }
        match free[..] {
            [] if options.replay.is_none() => {}
            [name] => options.targets = vec![*TARGETS.iter().find(|target| target.name == name)?],
            _ => return None,
        }
        Some(options)
    }
}

#[expect(clippy::disallowed_methods, reason = "how long it runs is what it is asked")]
fn now() -> Instant {
    Instant::now()
}

/// Inputs between two looks at the memory.
const BATCH: usize = 64;
/// Inputs that are changed further.
const CORPUS_MAX: usize = 4096;
/// What the bar allows beyond the file.
const MEMORY_MAX_BYTES: u64 = 64 << 20;
/// Enough to look at.
const FINDINGS_MAX: u64 = 20;
