//! Runs one input and notices a panic, a hang, and memory: the kernel's own high-water mark, reset before each measurement.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{self, Seek, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use kolm_runtime::artifact::sha256_hex;

use super::now;
use super::targets::Target;

/// An input at work, and how often the second thread has seen it so.
type Running = Option<(u32, &'static str, Vec<u8>)>;

/// The input at work, where a second thread sees it.
pub(crate) struct Watch {
    running: Arc<Mutex<Running>>,
    findings: PathBuf,
    /// The input at work, where it outlives the process.
    file: RefCell<File>,
}

impl Watch {
    /// Starts the thread that ends the process when an input hangs.
    pub(crate) fn start(findings: PathBuf) -> Self {
        let file = fs::create_dir_all(&findings).and_then(|()| File::create(findings.join(RUNNING)));
        let file = RefCell::new(file.expect("a folder for findings"));
        let watch = Self { running: Arc::default(), findings, file };
        let (running, findings) = (watch.running.clone(), watch.findings.clone());
        thread::spawn(move || {
            loop {
                thread::sleep(LOOK);
                let mut running = running.lock().unwrap_or_else(PoisonError::into_inner);
                // Looks are counted, not time: a process that was stopped for a while does not hang.
                if let Some((looks, target, input)) = &mut *running {
                    *looks += 1;
                    if *looks > HANG_LOOKS {
                        save(&findings, target, input, "hangs");
                        process::exit(1);
                    }
                }
            }
        });
        watch
    }

    /// What the target answers; none if that is a finding.
    pub(crate) fn run(&self, target: &Target, input: &[u8]) -> Option<String> {
        self.keep(input).expect("the findings folder takes the input at work");
        self.set(Some((0, target.name, input.to_vec())));
        let (mut answer, mut took) = timed(target, input);
        if took > SLOW {
            // What the machine did meanwhile is not the input's fault; what the input costs, it costs again.
            (answer, took) = timed(target, input);
        }
        self.set(None);
        match answer {
            Err(_) => self.report(target, input, "panics"),
            Ok(_) if took > SLOW => self.report(target, input, &format!("took {} ms", took.as_millis())),
            Ok(answer) => return Some(skeleton(&answer)),
        }
        None
    }

    /// Every input was answered.
    pub(crate) fn end(&self) {
        let _ = fs::remove_file(self.findings.join(RUNNING));
    }

    fn keep(&self, input: &[u8]) -> io::Result<()> {
        let mut file = self.file.borrow_mut();
        file.rewind()?;
        file.set_len(input.len() as u64)?;
        file.write_all(input)
    }

    /// Writes a finding down.
    pub(crate) fn report(&self, target: &Target, input: &[u8], what: &str) {
        save(&self.findings, target.name, input, what);
    }

    /// How far the resident set rose above where it stood, in bytes, while `work` ran.
    pub(crate) fn peak_above(&self, work: impl FnOnce()) -> u64 {
        // "5" resets the high-water mark of this process (man 5 proc_pid_clear_refs).
        let reset = fs::write("/proc/self/clear_refs", "5").is_ok();
        let before = status_bytes("VmRSS:");
        work();
        if reset { status_bytes("VmHWM:").saturating_sub(before) } else { 0 }
    }

    fn set(&self, running: Running) {
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = running;
    }
}

fn timed(target: &Target, input: &[u8]) -> (thread::Result<String>, Duration) {
    let started = now();
    let answer = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    (answer, started.elapsed())
}

fn save(findings: &PathBuf, target: &str, input: &[u8], what: &str) {
    let name = format!("{target}-{}", &sha256_hex(input)[..16]);
    eprintln!("finding: {target} {what}: {} bytes, {}", input.len(), findings.join(&name).display());
    let written = fs::create_dir_all(findings).and_then(|()| fs::write(findings.join(name), input));
    if let Err(error) = written {
        eprintln!("finding could not be written: {error}");
    }
}

fn status_bytes(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) << 10
}

/// An answer without its numbers and quoted parts: two inputs refused at different offsets are refused alike.
fn skeleton(answer: &str) -> String {
    let plain = answer.chars().map(|letter| if letter.is_ascii_digit() { '0' } else { letter });
    let mut text: String = plain.take(160).collect();
    while text.contains("00") {
        text = text.replace("00", "0");
    }
    text
}

const RUNNING: &str = "running";
/// What an answer may take.
const SLOW: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(500);
/// When nobody waits longer: 20 seconds.
const HANG_LOOKS: u32 = 40;
