//! A hub on the loopback address, for the tests that fetch.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// The one commit of every repository.
pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A hub with some repositories, whose branch `main` stands for [`COMMIT`]; it notes what it is asked for.
pub(crate) struct Hub {
    pub(crate) address: String,
    asked: Arc<Mutex<Vec<String>>>,
    cut: Arc<Mutex<Option<usize>>>,
}

impl Hub {
    pub(crate) fn serve(repositories: &[(&str, &Path)]) -> Hub {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let cut = Arc::new(Mutex::new(None));
        let (noted, cutting) = (asked.clone(), cut.clone());
        let repositories: Vec<(String, PathBuf)> =
            repositories.iter().map(|(repo, folder)| ((*repo).to_owned(), (*folder).to_owned())).collect();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                answer(stream, &repositories, &noted, &cutting);
            }
        });
        Hub { address, asked, cut }
    }

    /// The next file that is longer is cut off after `bytes`, as by a broken connection.
    #[allow(dead_code, reason = "not every test breaks a connection")]
    pub(crate) fn cut_off(&self, bytes: usize) {
        *self.cut.lock().expect("not poisoned") = Some(bytes);
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("not poisoned").clone()
    }
}

/// Answers one request as the hub does: the file list with the commit, or the bytes of a file that are asked for, with size and etag. What is
/// noted of a request is its path, and behind a space where it begins in the file if that is not the start.
fn answer(
    mut stream: TcpStream,
    repositories: &[(String, PathBuf)],
    asked: &Mutex<Vec<String>>,
    cut: &Mutex<Option<usize>>,
) {
    let mut lines = BufReader::new(stream.try_clone().expect("a second handle")).lines();
    let Some(Ok(first)) = lines.next() else { return };
    let headers: Vec<String> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let range =
        headers.iter().find_map(|line| line.to_ascii_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
    let (from, to) = range.as_deref().and_then(|range| range.split_once('-')).unwrap_or(("0", ""));
    let noted = if from == "0" { path.clone() } else { format!("{path} {from}") };
    asked.lock().expect("not poisoned").push(noted);
    let listed = |(repo, _): &&(String, PathBuf)| path == format!("/api/models/{repo}/revision/main");
    let file = |(repo, folder): &(String, PathBuf)| {
        let name = path.strip_prefix(&format!("/{repo}/resolve/{COMMIT}/"))?;
        fs::read(folder.join(name)).ok()
    };
    let (status, headers, body) = if let Some((_, base)) = repositories.iter().find(listed) {
        let names = fs::read_dir(base).expect("the base").map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<String> = names.map(|name| name.into_string().expect("a plain name")).collect();
        names.extend(["README.md".to_owned(), "onnx/model.safetensors".to_owned()]);
        let siblings: Vec<_> = names.iter().map(|name| serde_json::json!({ "rfilename": name })).collect();
        let list = serde_json::json!({ "sha": COMMIT, "siblings": siblings });
        ("200 OK", "Content-Type: application/json\r\n".to_owned(), list.to_string().into_bytes())
    } else if let Some(bytes) = repositories.iter().find_map(file) {
        let etag = format!("\"{}\"", kolm_runtime::artifact::sha256_hex(&bytes));
        let size = bytes.len();
        let from: usize = from.parse().expect("a number");
        let to = to.parse().map_or(size, |last: usize| last + 1);
        let sent = bytes.get(from..to).expect("a range of the file").to_vec();
        let range = format!("Content-Range: bytes {from}-{}/{size}\r\n", to - 1);
        ("206 Partial Content", format!("x-repo-commit: {COMMIT}\r\netag: {etag}\r\n{range}"), sent)
    } else {
        ("404 Not Found", String::new(), Vec::new())
    };
    let length = body.len();
    let mut cut = cut.lock().expect("not poisoned");
    let sent = cut.take_if(|bytes| *bytes < length).unwrap_or(length);
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{headers}Connection: close\r\n\r\n");
    // A client that hangs up early is the client's matter.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body[..sent]));
}
