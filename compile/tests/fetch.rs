//! Fetching a base: `kolm compile` against a hub on the loopback address, into an empty cache, pinned to a commit.
#![cfg(feature = "connected")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A hub with one repository, `test/base`, whose branch `main` stands for [`COMMIT`]; it notes what it is asked for.
struct Hub {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Hub {
    fn serve(base: PathBuf) -> Hub {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                answer(stream, &base, &noted);
            }
        });
        Hub { address, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("not poisoned").clone()
    }
}

/// Answers one request as the hub does: the file list with the commit, or a file, whole or its first byte, with size and etag.
fn answer(mut stream: TcpStream, base: &Path, asked: &Mutex<Vec<String>>) {
    let mut lines = BufReader::new(stream.try_clone().expect("a second handle")).lines();
    let Some(Ok(first)) = lines.next() else { return };
    let headers: Vec<String> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    asked.lock().expect("not poisoned").push(path.clone());
    let (status, headers, body) = if path == "/api/models/test/base/revision/main" {
        let names = fs::read_dir(base).expect("the base").map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<String> = names.map(|name| name.into_string().expect("a plain name")).collect();
        names.extend(["README.md".to_owned(), "onnx/model.safetensors".to_owned()]);
        let siblings: Vec<_> = names.iter().map(|name| serde_json::json!({ "rfilename": name })).collect();
        let list = serde_json::json!({ "sha": COMMIT, "siblings": siblings });
        ("200 OK", "Content-Type: application/json\r\n".to_owned(), list.to_string().into_bytes())
    } else if let Some(bytes) =
        path.strip_prefix(&format!("/test/base/resolve/{COMMIT}/")).and_then(|name| fs::read(base.join(name)).ok())
    {
        let etag = format!("\"{}\"", kolm_runtime::artifact::sha256_hex(&bytes));
        let size = bytes.len();
        let head = headers.iter().any(|header| header.to_ascii_lowercase().starts_with("range: bytes=0-0"));
        let sent = if head { bytes[..1].to_vec() } else { bytes };
        let range = format!("Content-Range: bytes 0-{}/{size}\r\n", sent.len() - 1);
        ("206 Partial Content", format!("x-repo-commit: {COMMIT}\r\netag: {etag}\r\n{range}"), sent)
    } else {
        ("404 Not Found", String::new(), Vec::new())
    };
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{headers}Connection: close\r\n\r\n");
    // A client that hangs up early is the client's matter.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
}

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
    let hub = Hub::serve(base());
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
    let hub = Hub::serve(base());
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
    let hub = Hub::serve(partial.path().to_owned());
    let refused = compile(home.path(), &hub, &[]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(4), "{said}");
    assert!(said.contains("model.safetensors"), "{said}");
}
