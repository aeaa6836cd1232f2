//! `kolm-repro matrix --quick` on the micro example, as typed: what it prints, and how it exits.
//!
//! A build that compiles something else, and one that fails, are shell scripts around the real `kolm`; what they must be is found out.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The `kolm` that `cargo test --workspace` builds beside `kolm-repro`.
fn kolm() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_kolm-repro")).with_file_name("kolm");
    assert!(path.is_file(), "{} is missing: build the whole workspace", path.display());
    path
}

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpora")
}

fn matrix(arguments: &[&str]) -> Output {
    let job = corpora().join("micro/kolm.toml");
    let command = Command::new(env!("CARGO_BIN_EXE_kolm-repro")).arg("matrix").arg(job).args(arguments).output();
    command.expect("kolm-repro can be started")
}

/// Runs the matrix, wants this exit code, and gives its stdout and stderr.
fn check(arguments: &[&str], code: i32) -> (String, String) {
    let output = matrix(arguments);
    let [stdout, stderr] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    assert_eq!(output.status.code(), Some(code), "stdout:\n{stdout}\nstderr:\n{stderr}");
    (stdout, stderr)
}

/// A build that is this script.
fn script(folder: &Path, text: &str) -> String {
    let path = folder.join("wrapped-kolm");
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("executable");
    format!("wrapped={}", path.display())
}

/// The micro job with another seed, its paths absolute.
fn another_seed(folder: &Path) -> PathBuf {
    let text = fs::read_to_string(corpora().join("micro/kolm.toml")).expect("the micro job");
    let micro = corpora().join("micro");
    let text = text
        .replace("../../golden", &format!("{}/../../golden", micro.display()))
        .replace("\"train.parquet", &format!("\"{}/train.parquet", micro.display()))
        .replace("\"eval.parquet", &format!("\"{}/eval.parquet", micro.display()))
        .replace("[train]\n", "[train]\nseed = 4242\n");
    assert!(text.contains("seed = 4242"), "{text}");
    let path = folder.join("other.toml");
    fs::write(&path, text).expect("written");
    path
}

#[test]
fn conditions_agree_and_the_table_says_so() {
    let (stdout, stderr) = check(&["--quick", "--build", &format!("again={}", kolm().display())], 0);
    assert_eq!(stderr, "");
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!(lines[0], "CID              K        replay digest    verdict   condition");
    assert!(lines[1].contains(" reference this machine: "), "{stdout}");
    assert!(lines[2..lines.len() - 1].iter().all(|line| line.contains(" same ")), "{stdout}");
    assert!(lines[lines.len() - 2].contains("again"), "{stdout}");
    let last = lines[lines.len() - 1];
    assert!(last.starts_with("matrix: micro 1.0.0: ") && last.ends_with("one CID, one K, one replay digest"), "{last}");
}

#[test]
fn a_build_that_trains_with_another_seed_differs() {
    let folder = tempfile::tempdir().expect("a folder");
    let other = another_seed(folder.path());
    let text = format!("shift 2\nexec '{}' compile '{}' \"$@\"", kolm().display(), other.display());
    let (stdout, stderr) = check(&["--quick", "--build", &script(folder.path(), &text)], 1);
    let row = stdout.lines().find(|line| line.ends_with("wrapped")).expect("a row");
    let first = stdout.lines().nth(1).expect("a row");
    assert!(row.contains(" DIFFERS ") && row[..16] != first[..16], "{stdout}");
    assert!(stdout.contains(" 1 differ, 0 failed") && stdout.ends_with("; they do not agree\n"), "{stdout}");
    assert!(stderr.starts_with("hint: "), "{stderr}");
}

#[test]
fn one_digit_of_k_is_a_difference() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = format!("'{}' \"$@\" | sed 's/\"k\": \"0\\./\"k\": \"1./'", kolm().display());
    let (stdout, _) = check(&["--json", "--build", &script(folder.path(), &text)], 1);
    let document: serde_json::Value = serde_json::from_str(&stdout).expect("one document");
    let rows = document["rows"].as_array().expect("rows");
    let (first, last) = (&rows[0], rows.last().expect("rows"));
    assert_eq!((last["condition"].as_str(), last["verdict"].as_str()), (Some("wrapped"), Some("differs")));
    assert_eq!((&first["cid"], &first["replay_digest"]), (&last["cid"], &last["replay_digest"]));
    assert_ne!(first["k"], last["k"]);
    assert_eq!(document["counts"]["differ"], 1);
}

#[test]
fn a_build_that_fails_is_named_with_its_last_words() {
    let folder = tempfile::tempdir().expect("a folder");
    let kept = folder.path().join("kept");
    let build = script(folder.path(), "echo 'error: out of memory' >&2; echo 'hint: buy some' >&2; exit 6");
    let (stdout, stderr) = check(&["--build", &build, "--keep", &kept.display().to_string()], 1);
    assert!(stdout.contains("FAILED    wrapped: error: out of memory\n"), "{stdout}");
    assert!(stderr.contains("kolm-repro diff"), "{stderr}");
    let artifacts = fs::read_dir(&kept).expect("kept").flatten().filter(|run| run.path().join("out").is_dir());
    assert!(artifacts.count() > 3);
    let (_, stderr) = check(&["--keep", &kept.display().to_string()], 2);
    assert!(stderr.contains("is not empty, expected a new or empty folder"), "{stderr}");
}

#[test]
fn what_is_missing_or_mistyped_has_its_own_exit_code() {
    let (stdout, stderr) = check(&["--build", "no-path"], 2);
    assert_eq!((stdout.as_str(), stderr.as_str()), ("", "error: --build: found \"no-path\", expected LABEL=PATH\n"));
    let (_, stderr) = check(&["--build", "other=/nowhere/kolm"], 4);
    assert!(stderr.starts_with("error: other: /nowhere/kolm is not a file, expected an executable kolm\n"), "{stderr}");
    check(&["--kolm", "/nowhere/kolm"], 4);
    check(&["--quick", "--full"], 2);
    let folder = tempfile::tempdir().expect("a folder");
    let refusing = script(folder.path(), "echo 'error: no base' >&2; exit 4");
    let (_, stderr) = check(&["--kolm", refusing.trim_start_matches("wrapped=")], 4);
    assert!(stderr.starts_with("error: the first compile failed: error: no base ("), "{stderr}");
}
