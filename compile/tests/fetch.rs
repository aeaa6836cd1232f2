//! Fetching a base: `kolm compile` against a hub on the loopback address, into an empty cache, pinned to a commit.
#![cfg(feature = "connected")]

mod loopback;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use loopback::{COMMIT, Hub};

fn compile(home: &Path, hub: &Hub, more: &[(&str, &str)]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    Command::new(env!("CARGO_BIN_EXE_kolm"))
        .args(["compile", "--json", "--quiet", "--base", "test/base", "--out"])
        .arg(home.join("out"))
        .arg(root.join("corpora/micro/kolm.toml"))
        .env_clear()
        .env("HOME", home)
        .env("HF_ENDPOINT", &hub.address)
        .envs(more.iter().copied())
        .output()
        .expect("kolm runs")
}

fn base() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden/micro/base")
}

#[test]
fn a_base_that_is_not_in_the_cache_is_fetched_and_pinned() {
    let home = tempfile::tempdir().expect("a folder");
    let hub = Hub::serve(&[("test/base", &base())]);
    let first = compile(home.path(), &hub, &[]);
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    let snapshot = home.path().join(".cache/huggingface/hub/models--test--base/snapshots").join(COMMIT);
    for entry in fs::read_dir(base()).expect("the base") {
        let entry = entry.expect("an entry");
        let fetched = fs::read(snapshot.join(entry.file_name())).expect("fetched");
        assert_eq!(fetched, fs::read(entry.path()).expect("readable"), "{:?}", entry.file_name());
    }
    let asked = hub.asked();
    assert!(!asked.iter().any(|path| path.contains("README") || path.contains("onnx")), "{asked:?}");
    assert!(asked.iter().skip(1).all(|path| path.contains(COMMIT)), "only the commit's files: {asked:?}");

    // From now on the cache is enough: nothing is asked for, and the air gap changes nothing.
    let inspected = serde_json::from_slice::<serde_json::Value>(&first.stdout).expect("JSON");
    let again = compile(home.path(), &hub, &[("KOLM_AIRGAP", "1")]);
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    let again = serde_json::from_slice::<serde_json::Value>(&again.stdout).expect("JSON");
    assert_eq!(inspected["cid"], again["cid"]);
    assert_eq!(hub.asked().len(), asked.len());
}

#[test]
fn the_air_gap_refuses_before_anybody_is_asked() {
    let home = tempfile::tempdir().expect("a folder");
    let hub = Hub::serve(&[("test/base", &base())]);
    let refused = compile(home.path(), &hub, &[("KOLM_AIRGAP", "1")]);
    assert_eq!(refused.status.code(), Some(5), "{}", String::from_utf8_lossy(&refused.stderr));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("KOLM_AIRGAP"));
    assert!(hub.asked().is_empty() && !home.path().join("out").join("micro-1.0.0.kolm").exists());
}

#[test]
fn a_file_the_hub_does_not_give_is_named() {
    let home = tempfile::tempdir().expect("a folder");
    let partial = tempfile::tempdir().expect("a folder");
    fs::copy(base().join("config.json"), partial.path().join("config.json")).expect("copied");
    let hub = Hub::serve(&[("test/base", partial.path())]);
    let refused = compile(home.path(), &hub, &[]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(4), "{said}");
    assert!(said.contains("model.safetensors"), "{said}");
}
