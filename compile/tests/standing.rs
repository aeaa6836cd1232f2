//! `kolm verify` and `run` on a machine with a history: a rotated key, older versions, a folder of artifacts, a log that says otherwise.
#![allow(clippy::disallowed_methods)] // tests run the real binary

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

struct Site(tempfile::TempDir);

impl Site {
    /// The micro job compiled as 1.0.0 and 1.1.0.
    fn new() -> Site {
        let site = Site(tempfile::tempdir().expect("a folder"));
        site.compile("1.0.0", "2026-05-01");
        site.compile("1.1.0", "2026-08-01");
        site
    }

    fn compile(&self, version: &str, created: &str) {
        let root = root();
        let job = fs::read_to_string(root.join("corpora/micro/kolm.toml")).expect("the job");
        let job = job
            .replace("../../golden", &root.join("golden").display().to_string())
            .replace("\"train.parquet\"", &format!("{:?}", root.join("corpora/micro/train.parquet")))
            .replace("\"eval.parquet\"", &format!("{:?}", root.join("corpora/micro/eval.parquet")))
            .replace("version = \"1.0.0\"", &format!("version = {version:?}"));
        fs::write(self.path("job.toml"), job).expect("written");
        let output = self.kolm(&["compile", "job.toml", "--out", ".", "--created", created, "-q"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn kolm(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kolm"));
        command.args(arguments).current_dir(self.0.path()).env("HOME", self.0.path());
        command.env_remove("KOLM_KEY_FILE").env_remove("CREDENTIALS_DIRECTORY").output().expect("kolm runs")
    }

    /// Exit code and report.
    fn verify(&self, arguments: &[&str]) -> (Option<i32>, Value) {
        let models = root().join("golden/micro");
        let (base, encoder) = (models.join("base"), models.join("encoder"));
        let models = ["--base", base.to_str().expect("text"), "--encoder", encoder.to_str().expect("text"), "--json"];
        let output = self.kolm(&[&["verify"], arguments, &models].concat());
        let report = serde_json::from_slice(&output.stdout);
        (output.status.code(), report.unwrap_or_else(|_| json!(String::from_utf8_lossy(&output.stderr))))
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the repository")
}

#[test]
fn an_old_receipt_verifies_after_two_rotations() {
    let site = Site::new();
    for _ in 0..2 {
        assert!(site.kolm(&["key", "rotate"]).status.success());
    }
    let (code, report) = site.verify(&["micro-1.0.0.kolm"]);
    assert_eq!(
        (code, &report["verified"], &report["log"]["known_since"]),
        (Some(0), &json!(true), &json!(1)),
        "{report}"
    );
    assert!(site.kolm(&["audit", "verify"]).status.success());
    // A key that was named is the only one asked.
    let (code, report) = site.verify(&["micro-1.0.0.kolm", "--key-file", ".kolm/keys/operator.key"]);
    assert_eq!((code, &report["error"]["code"]), (Some(1), &json!("wrong_key")));
    assert!(report["error"]["detail"]["receipt_key_id"].is_string());
    // Through a pipe, which can be read only once.
    let retired = fs::read_dir(site.path(".kolm/keys/retired")).expect("a ring").flatten().map(|entry| entry.path());
    let script = format!(
        "{:?} verify micro-1.0.0.kolm --no-replay --key-fd 8 --base {1:?}/base --encoder {1:?}/encoder 8< <(cat \"$0\")",
        env!("CARGO_BIN_EXE_kolm"),
        root().join("golden/micro")
    );
    let codes: Vec<_> = retired
        .map(|path| {
            let mut command = Command::new("bash");
            command.args(["-c", &script]).arg(path).current_dir(site.0.path()).env("HOME", site.0.path());
            command.output().expect("bash").status.code()
        })
        .collect();
    assert!(codes.len() == 2 && codes.contains(&Some(0)) && codes.contains(&Some(1)), "{codes:?}");
}

#[test]
fn age_and_rollback() {
    let site = Site::new();
    let code = |arguments: &[&str]| {
        let (code, report) = site.verify(arguments);
        (code, report["error"]["code"].as_str().unwrap_or("none").to_owned())
    };
    let is = |code: i32, name: &str| (Some(code), name.to_owned());
    assert_eq!(code(&["micro-1.0.0.kolm", "--max-age", "100d"]), is(1, "too_old"));
    assert_eq!(code(&["micro-1.0.0.kolm", "--max-age", "99999d"]), is(0, "none"));
    assert_eq!(code(&["micro-1.1.0.kolm"]), is(0, "none"));
    assert_eq!(code(&["micro-1.0.0.kolm"]), is(1, "rollback"));
    assert_eq!(code(&["micro-1.0.0.kolm", "--allow-rollback"]), is(0, "none"));
    assert_eq!(site.kolm(&["run", "micro-1.0.0.kolm", "hello"]).status.code(), Some(1));
    assert_eq!(site.kolm(&["verify", "micro-1.0.0.kolm", "--max-age", "soon"]).status.code(), Some(2));
    let (_, report) = site.verify(&["micro-1.1.0.kolm"]);
    assert_eq!(report["created"], json!({ "manifest": "2026-08-01T00:00:00Z", "receipt": "2026-08-01T00:00:00Z" }));
    assert!(report["age_days"].as_i64().expect("an age") > 100);
}

#[test]
fn every_artifact_of_a_folder() {
    let site = Site::new();
    assert_eq!(site.verify(&["--all"]).0, Some(4));
    fs::create_dir_all(site.path(".kolm/artifacts")).expect("made");
    for name in ["micro-1.0.0.kolm", "micro-1.1.0.kolm"] {
        fs::copy(site.path(name), site.path(".kolm/artifacts").join(name)).expect("copied");
    }
    for _ in 0..2 {
        let (code, report) = site.verify(&["--all"]);
        assert_eq!((code, &report["held"]), (Some(0), &json!(2)), "{report}");
    }
    let (_, report) = site.verify(&["--all"]);
    assert_eq!(report["artifacts"][0]["report"]["log"]["newer_version"], "1.1.0");
    let whole = fs::read(site.path("micro-1.1.0.kolm")).expect("read");
    fs::write(site.path("cut.kolm"), &whole[..whole.len() - 1]).expect("written");
    let (code, report) = site.verify(&["--all", "."]);
    assert_eq!((code, &report["held"]), (Some(1), &json!(2)), "{report}");
    assert_eq!(report["artifacts"][0]["report"]["error"]["code"], "truncated");
}

#[test]
fn a_log_that_says_otherwise_stops_verify_and_compile() {
    let site = Site::new();
    let log = site.path(".kolm/audit.log");
    let honest = fs::read_to_string(&log).expect("a log");
    fs::write(&log, honest.replace("micro-1.0.0", "micro-1.0.9")).expect("written");
    let (code, report) = site.verify(&["micro-1.1.0.kolm"]);
    assert_eq!((code, &report["error"]["code"]), (Some(1), &json!("audit_line")), "{report}");
    assert_eq!(report["error"]["detail"], json!({ "line": 1, "byte": 0, "kind": "edited" }));
    assert_eq!(report["checks"][3]["outcome"], "failed");
    fs::write(&log, honest.lines().next().expect("a line").to_owned() + "\n").expect("written");
    let output = site.kolm(&["compile", "job.toml", "--out", "again", "-q"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("the tail was cut"));
}

/// Under one name and version two contents: the second is not what this machine compiled.
#[test]
fn another_content_under_the_same_version_is_refused() {
    let (site, other) = (Site::new(), Site::new());
    let job = fs::read_to_string(other.path("job.toml")).expect("the job").replace("steps = 6", "steps = 5");
    fs::write(other.path("job.toml"), job).expect("written");
    fs::copy(site.path(".kolm/keys/operator.key"), other.path("sender.key")).expect("copied");
    let output = other.kolm(&["compile", "job.toml", "--out", "changed", "-q", "--key-file", "sender.key"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::copy(other.path("changed/micro-1.1.0.kolm"), site.path("changed.kolm")).expect("copied");
    let (code, report) = site.verify(&["changed.kolm"]);
    assert_eq!((code, &report["error"]["code"]), (Some(1), &json!("cid_log")), "{report}");
    assert_eq!(report["error"]["detail"]["places"], json!(["manifest", "log entry 2"]));
}
