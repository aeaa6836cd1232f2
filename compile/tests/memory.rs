//! `kolm compile --plan` and `--memory` by the real binary: what is foreseen, that it leaves nothing behind, that it never shows in a CID,
//! and what is refused before any work.
#![allow(clippy::disallowed_methods)] // tests run the real binary

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

struct Stage {
    folder: tempfile::TempDir,
}

impl Stage {
    /// The micro job, its base copied so that it can be altered.
    fn new() -> Stage {
        let folder = tempfile::tempdir().expect("a folder");
        let micro = root().join("golden/micro/base");
        fs::create_dir(folder.path().join("base")).expect("a folder");
        for file in fs::read_dir(micro).expect("the base").flatten() {
            fs::copy(file.path(), folder.path().join("base").join(file.file_name())).expect("copied");
        }
        Stage { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The micro job on the embedded base, its rows long enough for their activations to be seen beside a process.
    fn long_rows(&self) {
        let corpus = root().join("corpora/micro");
        let job = fs::read_to_string(corpus.join("kolm.toml")).expect("the job");
        let job = job
            .replace("../../golden/micro/base", "kolm/nano")
            .replace("\"train.parquet\"", &format!("{:?}", corpus.join("train.parquet")))
            .replace("\"eval.parquet\"", &format!("{:?}", corpus.join("eval.parquet")))
            .replace("{{ prompt }}", &"{{ prompt }} ".repeat(10))
            .replace("max_length = 64", "max_length = 300")
            .replace("use = \"cite\"", "use = \"off\"");
        fs::write(self.path("long.toml"), job).expect("written");
    }

    fn kolm(&self, arguments: &[&str]) -> Output {
        let (long, micro) = (self.path("long.toml"), root().join("corpora/micro/kolm.toml"));
        let job = if long.exists() { long } else { micro };
        let mut command = Command::new(env!("CARGO_BIN_EXE_kolm"));
        command.args(["compile", job.to_str().expect("text"), "--created", "2026-05-01", "-q"]).args(arguments);
        command.current_dir(self.folder.path()).env("HOME", self.folder.path());
        command.env_remove("KOLM_KEY_FILE").env_remove("CREDENTIALS_DIRECTORY").output().expect("kolm runs")
    }

    fn plan(&self, arguments: &[&str]) -> Value {
        let output = self.kolm(&[&["--plan", "--json"], arguments].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    #[track_caller]
    fn refused(&self, arguments: &[&str], code: i32, messages: &[&str]) {
        let output = self.kolm(&[&["--out", "out"], arguments].concat());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(output.stdout.is_empty());
        for message in messages {
            assert!(stderr.contains(message), "{message:?} in {stderr}");
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the repository")
}

#[test]
fn a_plan_adds_up_and_leaves_nothing_behind() {
    let stage = Stage::new();
    let plan = stage.plan(&["--threads", "2", "--memory", "1GB"]);
    let number = |key: &str| plan[key].as_u64().unwrap_or_else(|| panic!("{key} in {plan}"));
    let sum = |key: &str| plan[key].as_object().expect("by type").values().filter_map(Value::as_u64).sum::<u64>();
    let parts: u64 = ["adapter", "gradients", "activations", "recall", "rows", "process"].into_iter().map(number).sum();
    let peak = (sum("base") + parts).max(number("peak_so_far"));
    assert!(number("peak").abs_diff(peak) < 1 << 20, "{} and {peak}: {plan}", number("peak"));
    assert_eq!((number("allowed"), plan["allowed_by"].as_str()), (1_000_000_000, Some("--memory")));
    assert_eq!((number("steps"), number("batch_size"), number("examples")), (6, 4, 48));
    assert_eq!((number("in_flight"), number("micro_batch"), plan["recompute"].as_bool()), (2, 4, Some(false)));
    assert!(number("tokens_per_step") > 40 && number("longest_example_tokens") > 20, "{plan}");

    let output = stage.kolm(&["--plan"]);
    let text = String::from_utf8(output.stdout).expect("text");
    for line in ["base: bf16", "(what kolm holds and half of what is free)", "work: 6 steps of 4 examples"] {
        assert!(text.contains(line), "{line:?} in {text}");
    }
    let left: Vec<_> = fs::read_dir(stage.folder.path()).expect("a folder").flatten().map(|e| e.file_name()).collect();
    assert_eq!(left, ["base"]);
}

/// Much memory and little, activations kept and computed again: one CID.
#[test]
fn memory_never_shows_in_a_cid() {
    let stage = Stage::new();
    let cid = |name: &str, arguments: &[&str]| {
        let output = stage.kolm(&[&["--out", name, "--json"], arguments].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).expect("JSON")["cid"].clone()
    };
    let golden = fs::read_to_string(root().join("golden/examples/micro.json")).expect("the golden file");
    let golden = serde_json::from_str::<Value>(&golden).expect("JSON")["cid"].clone();
    assert_eq!(cid("large", &["--memory", "4GB"]), golden);
    assert_eq!(cid("small", &["--memory", "300MB", "--micro-batch", "1"]), golden);

    stage.long_rows();
    let nano = ["--threads", "4", "--micro-batch", "4"];
    let plan = stage.plan(&[&nano[..], &["--memory", "4GB"]].concat());
    let number = |key: &str| plan[key].as_u64().unwrap_or_else(|| panic!("{key} in {plan}"));
    let tight = format!("{}B", number("peak") - number("activations") / 5 * 2);
    let tight = [&nano[..], &["--memory", &tight]].concat();
    let again = stage.plan(&tight);
    assert_eq!((plan["recompute"].as_bool(), again["recompute"].as_bool()), (Some(false), Some(true)), "{again}");
    assert!(again["peak"].as_u64() <= again["allowed"].as_u64(), "{again}");
    assert_eq!(cid("again", &tight), cid("kept", &nano));
}

#[test]
fn what_cannot_be_is_refused_before_any_work() {
    let stage = Stage::new();
    stage.refused(
        &["--memory", "1MB"],
        2,
        &["for the base and the program alone, --memory gives 1.00 MB", "hint: raise --memory"],
    );
    for size in ["3", "lots", "0GB", "-1GB"] {
        stage.refused(
            &[&format!("--memory={size}")],
            2,
            &[&format!("--memory is {size:?}, expected a size such as 3GB, 2.5GiB or 800MB")],
        );
    }
    let output = stage.kolm(&[]);
    assert_eq!(output.status.code(), Some(2), "--out is needed without --plan");
    assert!(!stage.path(".kolm").exists(), "no key was made");
}

/// A tokenizer that gives more ids than the embedding has rows is refused before the weights are read: they are not even there.
#[test]
fn a_vocabulary_larger_than_the_tensor_is_refused() {
    let stage = Stage::new();
    let config = stage.path("base/config.json");
    let text = fs::read_to_string(&config).expect("a configuration");
    let mut altered: Value = serde_json::from_str(&text).expect("JSON");
    for (key, value) in [("vocab_size", 5), ("eos_token_id", 1), ("bos_token_id", 1)] {
        altered[key] = value.into();
    }
    fs::write(&config, altered.to_string()).expect("written");
    fs::write(stage.path("base/model.safetensors"), b"").expect("written");
    stage.refused(
        &["--base", "./base"],
        1,
        &["expected below the vocabulary of 5", "hint: tokenizer.json and the weights belong to two different models"],
    );
    assert!(!stage.path(".kolm").exists(), "no key was made");
}
