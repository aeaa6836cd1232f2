//! `kolm refresh` on the micro example: the next version on fewer rows, and every job that is not a refresh.
#![allow(clippy::disallowed_methods)] // tests run the real binary

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

struct Site {
    folder: tempfile::TempDir,
}

impl Site {
    /// A folder with the micro job as version 1.0.0, compiled.
    fn new() -> Site {
        let site = Site { folder: tempfile::tempdir().expect("a folder") };
        site.write_job("1.0.0", |job| job);
        let compiled = site.kolm(&["compile", "1.0.0.toml", "--out", ".", "--created", "2026-08-01", "-q"]);
        assert!(compiled.status.success(), "{}", said(&compiled));
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write_job(&self, version: &str, change: impl Fn(String) -> String) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the repository");
        let job = fs::read_to_string(root.join("corpora/micro/kolm.toml")).expect("the job");
        let job = job
            .replace("../../golden", &root.join("golden").display().to_string())
            .replace("\"train.parquet\"", &format!("{:?}", root.join("corpora/micro/train.parquet")))
            .replace("\"eval.parquet\"", &format!("{:?}", root.join("corpora/micro/eval.parquet")))
            .replace("version = \"1.0.0\"", &format!("version = {version:?}"));
        fs::write(self.path(&format!("{version}.toml")), change(job)).expect("written");
    }

    fn kolm(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kolm"));
        command.args(arguments).current_dir(self.folder.path()).env("HOME", self.folder.path());
        command.output().expect("kolm runs")
    }

    fn refresh(&self, job: &str, more: &[&str]) -> Output {
        let previous =
            ["refresh", job, "--previous", "micro-1.0.0.kolm", "--out", ".", "--created", "2026-11-01", "-q"];
        self.kolm(&[&previous[..], more].concat())
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Writes the micro training rows without the first `dropped`.
fn shorter(to: &Path, dropped: usize) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpora/micro/train.parquet");
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(from).expect("a file")).expect("parquet");
    let mut batches = reader.build().expect("a reader");
    let batch = batches.next().expect("one batch").expect("rows");
    assert!(batches.next().is_none());
    let batch = batch.slice(dropped, batch.num_rows() - dropped);
    let mut writer = ArrowWriter::try_new(File::create(to).expect("a file"), batch.schema(), None).expect("a writer");
    writer.write(&batch).expect("written");
    writer.close().expect("closed");
}

#[test]
fn the_next_version_names_what_it_replaces_and_what_moved() {
    let site = Site::new();
    shorter(&site.path("newer.parquet"), 2);
    site.write_job("1.1.0", |job| {
        let (before, after) = job.split_once("train = [").expect("a train key");
        let (_, after) = after.split_once(']').expect("a list");
        format!("{before}train = [\"newer.parquet\"]{after}")
    });
    let output = site.refresh("1.1.0.toml", &["--json"]);
    assert!(output.status.success(), "{}", said(&output));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let inspect = |name: &str| -> Value {
        serde_json::from_slice(&site.kolm(&["inspect", name, "--json"]).stdout).expect("JSON")
    };
    let (old, new) = (inspect("micro-1.0.0.kolm"), inspect("micro-1.1.0.kolm"));
    assert_eq!((&report["previous_cid"], &new["supersedes"]), (&old["cid"], &old["cid"]));
    assert_eq!((&report["compiled"]["cid"], &old["supersedes"]), (&new["cid"], &Value::Null));
    assert_ne!(old["cid"], new["cid"]);
    assert_eq!(report["passages"]["removed"].as_array().expect("ids").len(), 2);
    assert_eq!((&report["previous_age_days"], &report["common_cases"]), (&92.into(), &16.into()));
    let text = site.refresh("1.1.0.toml", &[]);
    let text = String::from_utf8(text.stdout).expect("text");
    for expected in ["refresh:  micro 1.0.0 -> 1.1.0", "(92 days older)", "0 added, 2 removed, 0 changed"] {
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn what_is_no_refresh_is_refused_before_training() {
    let site = Site::new();
    let check = |version: &str, from: &str, to: &str, more: &[&str], code: i32, message: &str| {
        site.write_job(version, |job| job.replace(from, to));
        let output = site.refresh(&format!("{version}.toml"), more);
        assert_eq!(output.status.code(), Some(code), "{}", said(&output));
        assert!(said(&output).contains(message), "{}", said(&output));
        assert!(!site.path(&format!("micro-{version}.kolm")).exists() || version == "1.0.0");
    };
    check("1.1.0", "steps = 6", "steps = 7", &[], 1, "train.steps of the plan is 7, expected 6");
    check("1.1.0", "rank = 4", "rank = 2", &[], 1, "adapter.rank");
    check("1.1.0", "name = \"micro\"", "name = \"other\"", &[], 2, "task.name is \"other\", expected micro");
    check("1.0.0", "", "", &[], 2, "task.version");
    fs::write(site.path("another.key"), format!("{}\n", "ab".repeat(32))).expect("written");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(site.path("another.key"), fs::Permissions::from_mode(0o600)).expect("private");
    }
    check("1.1.0", "", "", &["--key-file", "another.key"], 1, "key");
    check("1.1.0", "", "", &["--previous", "absent.kolm"], 2, "");
}
