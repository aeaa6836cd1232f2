//! The micro job with every form of recall index: compiled twice, verified, and never another file by threads.
#![allow(clippy::disallowed_methods)] // tests run the real binary

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the repository")
}

/// Runs kolm with a home of its own and gives its JSON report.
fn kolm(home: &Path, arguments: &[&str]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kolm"));
    command.args(arguments).arg("--json").current_dir(home).env("HOME", home);
    let output = command.env_remove("KOLM_KEY_FILE").env_remove("CREDENTIALS_DIRECTORY").output().expect("kolm runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
}

/// The micro job with `recall` in place of its section and rows of at most `max_length` tokens.
fn job(recall: &str, max_length: usize) -> String {
    let micro = root().join("corpora/micro");
    let job = fs::read_to_string(micro.join("kolm.toml")).expect("the job");
    let (before, rest) = job.split_once("[recall]").expect("a recall section");
    let (_, after) = rest.split_once("[eval]").expect("an eval section");
    let encoder = root().join("golden/micro/encoder");
    format!("{before}[recall]\nencoder = {encoder:?}\nk = 2\n{recall}\n[eval]{after}")
        .replace("../../golden/micro/base", &root().join("golden/micro/base").display().to_string())
        .replace("\"train.parquet\"", &format!("{:?}", micro.join("train.parquet")))
        .replace("\"eval.parquet\"", &format!("{:?}", micro.join("eval.parquet")))
        .replace("{{ prompt }}\\n=> ", "{{ prompt }}\\n{% for c in context %}{{ c }}\\n{% endfor %}=> ")
        .replace("max_length = 64", &format!("max_length = {max_length}"))
        .replace("id = \"id\"", "id = \"id\"\noverlong = \"drop\"")
}

/// Compiles a job on a machine of its own, on one thread and on three, verifies what came out, and gives its CID.
fn proved(job: &str) -> String {
    let stage = tempfile::tempdir().expect("a folder");
    let home = stage.path();
    kolm(home, &["key", "generate"]);
    fs::write(home.join("job.toml"), job).expect("written");
    let compile = |threads| {
        let compile = ["compile", "job.toml", "--out", "out", "--created", "2026-05-01", "-q", "--threads", threads];
        kolm(home, &compile)["cid"].clone()
    };
    let cid = compile("1");
    assert_eq!(cid, compile("3"), "by threads: {job}");
    let model = |name: &str| root().join("golden/micro").join(name).display().to_string();
    let (base, encoder) = (model("base"), model("encoder"));
    let verified = kolm(home, &["verify", "out/micro-1.0.0.kolm", "--base", &base, "--encoder", &encoder]);
    assert_eq!(verified["cid"], cid, "{verified}");
    cid.as_str().expect("a CID").to_owned()
}

#[test]
fn every_form_of_index_compiles_to_one_file_and_verifies() {
    let mut cids = Vec::new();
    for vectors in ["", "vectors = \"f16\"\n", "vectors = \"int8\"\n"] {
        for lists in ["", "lists = 4\n"] {
            cids.push(proved(&job(&format!("{vectors}{lists}use = \"context\"\n"), 512)));
        }
    }
    cids.sort();
    cids.dedup();
    assert_eq!(cids.len(), 6, "every form is another artifact");
}

#[test]
fn rows_too_long_to_train_on_stay_in_the_index() {
    let stage = tempfile::tempdir().expect("a folder");
    let examples = |max_length: usize| {
        fs::write(stage.path().join("job.toml"), job("use = \"cite\"\n", max_length)).expect("written");
        let plan = kolm(stage.path(), &["compile", "job.toml", "--plan", "-q"]);
        let number = |key: &str| plan[key].as_u64().and_then(|n| usize::try_from(n).ok()).expect("a number");
        (number("examples"), number("longest_example_tokens"))
    };
    let (all, longest) = examples(512);
    let short = longest - 2;
    let (kept, _) = examples(short);
    assert!(0 < kept && kept < all, "{kept} of {all} rows have at most {short} tokens");
    proved(&job("use = \"cite\"\n", short));
}
