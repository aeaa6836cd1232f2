//! The audit log and the keyring under `kill -9`, two writers, a full disk, a file size limit and a read-only folder: the real binary.
#![allow(clippy::disallowed_methods)] // tests run the real binary and look at the clock
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use kolm_runtime::kernel::SplitMix;
use serde_json::Value;

struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Home {
        let home = Home(tempfile::tempdir().expect("a folder"));
        home.must(&["key", "generate"]);
        home
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kolm"));
        command
            .args(arguments)
            .env_remove("KOLM_KEY_FILE")
            .env_remove("CREDENTIALS_DIRECTORY")
            .env("HOME", self.0.path());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().expect("kolm starts")
    }

    fn kolm(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("kolm runs")
    }

    fn must(&self, arguments: &[&str]) -> Value {
        let output = self.kolm(&[arguments, &["--json"]].concat());
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(".kolm").join(name)
    }

    /// How often each detail stands in the log.
    fn details(&self) -> BTreeMap<String, u32> {
        let mut counts = BTreeMap::new();
        for line in fs::read_to_string(self.path("audit.log")).expect("a log").lines() {
            let line: Value = serde_json::from_str(line).expect("an entry");
            *counts.entry(line["entry"]["detail"].as_str().expect("text").to_owned()).or_default() += 1;
        }
        counts
    }
}

/// A thousand processes, each killed at a random moment of its life: what was acknowledged is there once, what was not is there once or
/// not at all, and the log verifies all along.
#[test]
fn a_thousand_kills_lose_no_entry_and_double_none() {
    let home = Home::new();
    let mut random = SplitMix(9);
    let started = Instant::now();
    (0..20).for_each(|count| drop(home.must(&["audit", "note", &format!("warm {count}")])));
    let life = started.elapsed() / 20;
    let (mut acknowledged, mut killed) = (Vec::new(), Vec::new());
    for count in 0..1000 {
        let text = format!("note {count}");
        let mut child = home.start(&["audit", "note", &text]);
        std::thread::sleep(life.mul_f32((random.uniforms(1)[0] + 1.0) * 0.6));
        child.kill().expect("killed or ended");
        if child.wait().expect("an end").success() {
            acknowledged.push(text)
        } else {
            killed.push(text)
        }
        if count % 100 == 99 {
            home.must(&["audit", "note", &format!("after {count}")]);
            home.must(&["audit", "verify"]);
        }
    }
    let details = home.details();
    let times = |text: &String| details.get(text).copied().unwrap_or(0);
    assert!(acknowledged.iter().all(|text| times(text) == 1), "an acknowledged entry was lost or doubled");
    assert!(killed.iter().all(|text| times(text) <= 1), "an entry was accepted twice");
    let written = killed.iter().filter(|text| times(text) == 1).count();
    let torn = fs::read_dir(home.path("")).expect("a folder").flatten();
    let torn = torn.filter(|entry| entry.file_name().to_string_lossy().starts_with("audit.torn.")).count();
    println!(
        "{} acknowledged, {} killed, {written} of them after their line was written, {torn} torn lines",
        acknowledged.len(),
        killed.len()
    );
    assert!(killed.len() > 200 && acknowledged.len() > 50 && written > 0, "the kills missed the appends");
}

/// A rotation broken off anywhere: every key that ever signed is still in the ring, and the next rotation goes through.
#[test]
fn kills_during_rotation_lose_no_key() {
    let home = Home::new();
    let mut random = SplitMix(5);
    let started = Instant::now();
    (0..5).for_each(|_| drop(home.must(&["key", "rotate"])));
    let life = started.elapsed() / 5;
    for _ in 0..150 {
        let before = home.must(&["key", "id"])["key_id"].clone();
        let mut child = home.start(&["key", "rotate"]);
        std::thread::sleep(life.mul_f32((random.uniforms(1)[0] + 1.0) * 0.6));
        child.kill().expect("killed or ended");
        child.wait().expect("an end");
        home.must(&["key", "id"]);
        let ring = home.must(&["key", "list"]);
        let keys = ring["keys"].as_array().expect("a list");
        assert!(keys.iter().any(|key| key["key_id"] == before), "{before} is lost");
    }
    let last = home.must(&["key", "rotate"]);
    assert!(!home.path("keys/next.key").exists());
    assert!(home.must(&["audit", "verify"])["keys"].as_u64().expect("a number") > 20);
    assert_eq!(home.must(&["key", "id"])["key_id"], last["key_id"]);
}

#[test]
fn two_processes_take_turns() {
    let home = Home::new();
    for round in 0..20 {
        let texts: Vec<String> = (0..4).map(|writer| format!("{round} {writer}")).collect();
        let children: Vec<Child> = texts.iter().map(|text| home.start(&["audit", "note", text])).collect();
        for child in children {
            assert!(child.wait_with_output().expect("an end").status.success());
        }
    }
    assert_eq!(home.must(&["audit", "verify"])["entries"], 81);
    assert!(home.details().values().all(|count| *count == 1));
}

#[test]
fn a_file_size_limit_takes_the_entry_back() {
    let home = Home::new();
    home.must(&["audit", "note", &"x".repeat(300)]);
    let before = fs::read(home.path("audit.log")).expect("a log");
    let script = "trap '' XFSZ; ulimit -f 1; exec \"$0\" audit note \"$1\"";
    let output = Command::new("bash")
        .args(["-c", script, env!("CARGO_BIN_EXE_kolm"), &"y".repeat(2000)])
        .env("HOME", home.0.path())
        .output()
        .expect("bash");
    assert_eq!(output.status.code(), Some(6), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::read(home.path("audit.log")).expect("a log"), before);
    home.must(&["audit", "note", "there is room again"]);
    assert_eq!(home.must(&["audit", "verify"])["entries"], 3);
}

/// Runs a script as root of a mount namespace of its own; none where the machine gives none.
fn in_namespace(home: &Home, script: &str) -> Option<Output> {
    let allowed = Command::new("unshare").args(["-rm", "true"]).output().is_ok_and(|output| output.status.success());
    let run = || {
        let mut command = Command::new("unshare");
        command.args(["-rm", "sh", "-c", script, env!("CARGO_BIN_EXE_kolm")]).env("HOME", home.0.path());
        command.output().expect("unshare")
    };
    if !allowed {
        eprintln!("skipped: no mount namespace on this machine");
    }
    allowed.then(run)
}

#[test]
fn a_full_disk_leaves_a_log_that_holds() {
    let home = Home::new();
    // A disk of eight pages, filled to the brim by notes; then what is there must verify, and room must let it go on.
    let script = r#"
        set -e; mkdir "$HOME/small"; mount -t tmpfs -o size=32k none "$HOME/small"; cp -a "$HOME/.kolm" "$HOME/small/"; export HOME="$HOME/small"
        count=0; while "$0" audit note "$(head -c 900 /dev/zero | tr '\0' x)" 2>"$HOME/../refusal"; do count=$((count+1)); test $count -lt 100; done
        cat "$HOME/../refusal" >&2; "$0" audit verify --json; mount -o remount,size=64k "$HOME"; "$0" audit note more; "$0" audit verify"#;
    let Some(output) = in_namespace(&home, script) else { return };
    let (out, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{said}");
    assert!(said.contains("No space left on device"), "{said}");
    assert!(out.contains("\"verified\": true") && out.contains("every line and the sealed head hold"), "{out}");
}

#[test]
fn a_read_only_folder_can_be_checked_and_takes_no_entry() {
    let home = Home::new();
    let script = r#"
        set -e; mount --bind "$HOME/.kolm" "$HOME/.kolm"; mount -o remount,ro,bind "$HOME/.kolm"
        "$0" audit verify; "$0" audit show; "$0" key list
        code=0; "$0" audit note x || code=$?; test $code = 6; code=0; "$0" key rotate || code=$?; test $code = 6"#;
    let Some(output) = in_namespace(&home, script) else { return };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("Read-only file system"), "{said}");
    assert_eq!(home.must(&["audit", "verify"])["entries"], 1);
}

#[test]
fn keys_come_by_descriptor_and_by_credential() {
    let home = Home::new();
    let id = home.must(&["key", "id"])["key_id"].as_str().expect("an id").to_owned();
    let away = Path::new("kept.key");
    let folder = home.0.path().join("credentials");
    fs::create_dir(&folder).expect("made");
    fs::rename(home.path("keys/operator.key"), folder.join(away)).expect("moved");
    assert_eq!(home.kolm(&["key", "id"]).status.code(), Some(4));
    for redirection in ["7<\"$1\"", "7< <(cat \"$1\")"] {
        let script = format!("exec \"$0\" key id --key-fd 7 {redirection}");
        let output =
            Command::new("bash").args(["-c", &script, env!("CARGO_BIN_EXE_kolm")]).arg(folder.join(away)).output();
        assert_eq!(String::from_utf8_lossy(&output.expect("bash").stdout).trim(), id, "{redirection}");
    }
    fs::rename(folder.join(away), folder.join("kolm.key")).expect("moved");
    let output = home.command(&["key", "id"]).env("CREDENTIALS_DIRECTORY", &folder).output().expect("kolm runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), id);
}

/// The log's times are the clock's; `verify` says how often it went back.
#[test]
fn a_clock_set_back_is_shown() {
    let home = Home::new();
    let log = home.path("");
    let key = kolm_runtime::artifact::OperatorKey::load(&home.path("keys/operator.key")).expect("the key");
    let event = kolm_runtime::artifact::Event {
        time: kolm_runtime::artifact::Timestamp::from_unix(1_000_000_000).expect("a time"),
        action: "note".to_owned(),
        cid: None,
        outcome: "done".to_owned(),
        detail: "in the past".to_owned(),
    };
    kolm_runtime::artifact::AuditLog::open(&log, &key).expect("the log").append(&event).expect("appended");
    assert_eq!(home.must(&["audit", "verify"])["clock_steps_back"], 1);
}
