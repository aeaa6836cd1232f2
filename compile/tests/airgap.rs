//! The air gap from end to end, through the real binary: two users who share a bundle and a key, and what a bundle must not get past.
#![cfg(unix)]

#[cfg(feature = "connected")]
mod loopback;

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the workspace")
}

/// One user: a home folder, and the command that everything they type goes through.
struct User {
    home: tempfile::TempDir,
    through: Vec<String>,
}

impl User {
    fn new(through: &[&str]) -> User {
        let home = tempfile::tempdir().expect("a folder");
        User { home, through: through.iter().map(|part| (*part).to_owned()).collect() }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.home.path().join(below)
    }

    fn kolm(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        let kolm = env!("CARGO_BIN_EXE_kolm").to_owned();
        let mut words =
            self.through.iter().cloned().chain([kolm]).chain(arguments.iter().map(|word| (*word).to_owned()));
        Command::new(words.next().expect("a command"))
            .args(words)
            .env_clear()
            .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
            .env("HOME", self.home.path())
            .envs(variables.iter().copied())
            .current_dir(self.home.path())
            .output()
            .expect("kolm runs")
    }

    /// Runs a verb that must end with `code`; gives stdout and stderr.
    fn ends(&self, code: i32, arguments: &[&str]) -> (String, String) {
        let output = self.kolm(arguments, &[]);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, talk) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "kolm {}\n{out}{talk}", arguments.join(" "));
        (out, talk)
    }

    /// Takes the key of another user, as an operator would.
    fn take_key(&self, other: &User) {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(self.path(".kolm/keys")).expect("a folder");
        fs::copy(other.path(".kolm/keys/operator.key"), self.path(".kolm/keys/operator.key")).expect("copied");
    }

    /// Puts the operator's key among the retired ones, as the hint of a log under another key says.
    fn retire_key(&self) {
        let (id, _) = self.ends(0, &["key", "id"]);
        let retired = self.path(".kolm/keys/retired");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&retired).expect("a folder");
        let place = retired.join(format!("{}.key", id.trim()));
        fs::rename(self.path(".kolm/keys/operator.key"), place).expect("moved");
    }

    /// Nothing of a bundle has its final name.
    fn has_nothing(&self) -> bool {
        ["artifacts", "bin", "models", "receipts"].iter().all(|folder| !self.path(".kolm").join(folder).exists())
            && !self.path(".cache").exists()
    }
}

fn runs(command: &[&str]) -> bool {
    Command::new(command[0]).args(&command[1..]).output().is_ok_and(|output| output.status.success())
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// A static program of nothing, with this content behind its headers.
fn program(content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 120];
    bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
    for (at, value) in [(16, 2), (32, 64), (54, 56), (56, 1), (64, 1), (96, 120)] {
        bytes[at] = value;
    }
    bytes.extend(content);
    bytes
}

/// A connected user who compiled the micro example from its local folders.
fn compiled() -> (User, String) {
    let user = User::new(&[]);
    let job = root().join("corpora/micro/kolm.toml");
    user.ends(0, &["compile", text(&job), "--out", "out", "--quiet"]);
    let artifact = text(&user.path("out/micro-1.0.0.kolm")).to_owned();
    (user, artifact)
}

/// A bundle of that artifact in parts of 1 MiB, with 3 MiB in the verifier's place.
fn exported(more: &[&str]) -> (User, PathBuf) {
    let (user, artifact) = compiled();
    let noise: Vec<u8> = (0..3u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs::write(user.path("noise"), program(&noise)).expect("written");
    let (base, encoder) = (root().join("golden/micro/base"), root().join("golden/micro/encoder"));
    let mut words = vec!["airgap", "export", &artifact, "--to", "bundle", "--part-size", "1MiB", "--verifier", "noise"];
    words.extend(["--base", text(&base), "--encoder", text(&encoder)]);
    words.extend(more);
    user.ends(0, &words);
    let bundle = user.path("bundle");
    (user, bundle)
}

fn parts(bundle: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(bundle).expect("a bundle").map(|entry| entry.expect("an entry").path());
    let mut parts: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|ext| ext == "part")).collect();
    parts.sort();
    parts
}

#[cfg(feature = "connected")]
#[test]
fn five_steps_of_two_users_who_share_a_bundle_and_a_key() {
    let golden = root().join("golden/micro");
    let (base, encoder) = (golden.join("base"), golden.join("encoder"));
    let hub = loopback::Hub::serve(&[("test/base", &base), ("test/encoder", &encoder)]);
    let reach = [("HF_ENDPOINT", hub.address.as_str())];
    let connected = User::new(&[]);
    let done = |output: Output| {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };

    // 1 compile
    let job = root().join("corpora/micro/kolm.toml");
    let words = ["compile", text(&job), "--base", "test/base", "--encoder", "test/encoder", "--out", "out", "--quiet"];
    done(connected.kolm(&words, &reach));
    let artifact = text(&connected.path("out/micro-1.0.0.kolm")).to_owned();
    // 2 inspect: every weight with its repository, revision, size and hash
    let inspected = connected.ends(0, &["inspect", &artifact]).0;
    for expected in
        ["test/base  rev=0123456789abcdef0123456789abcdef01234567", "test/encoder", "model.safetensors", "sha256:"]
    {
        assert!(inspected.contains(expected), "{inspected}");
    }
    // 3 prime, from an empty cache; then again, and nothing is fetched
    fs::remove_dir_all(connected.path(".cache")).expect("removed");
    connected.ends(4, &["airgap", "preflight", &artifact]);
    let primed = done(connected.kolm(&["airgap", "prime", &artifact], &reach));
    assert!(primed.contains("3 of 3 files fetched") && primed.contains("refs/main written"), "{primed}");
    let asked = hub.asked();
    assert!(!asked.iter().any(|path| path.contains("README")), "only what the artifact loads: {asked:?}");
    assert!(done(connected.kolm(&["airgap", "prime", &artifact], &reach)).contains("nothing fetched"));
    assert_eq!(hub.asked().len(), asked.len());
    connected.ends(0, &["airgap", "preflight", &artifact]);
    // 4 export; from here on only bundle and key are left of the first user
    let refused =
        connected.ends(1, &["airgap", "export", &artifact, "--to", "bundle", "--verifier", env!("CARGO_BIN_EXE_kolm")]);
    assert!(
        refused.1.contains("needs an interpreter") && refused.1.contains("hint: build one with ci/static"),
        "{refused:?}"
    );
    assert!(
        connected
            .ends(1, &["airgap", "export", &artifact, "--to", "bundle", "--verifier", &artifact])
            .1
            .contains("no ELF file")
    );
    fs::write(connected.path("verifier"), program(b"verifier")).expect("written");
    connected.ends(0, &["airgap", "export", &artifact, "--to", "bundle", "--verifier", "verifier"]);
    let through: &[&str] = if runs(&["unshare", "-rn", "true"]) {
        &["unshare", "-rn"]
    } else {
        eprintln!("skipped: an empty network namespace is not permitted here; the rest runs without one");
        &[]
    };
    let bounded = User::new(through);
    bounded.take_key(&connected);
    fs::rename(connected.path("bundle"), bounded.path("carried")).expect("carried over");
    drop((connected, hub));
    // 5 import, enable, verify
    bounded.ends(0, &["airgap", "import", "carried"]);
    let enabled = bounded.ends(0, &["airgap", "enable"]).0;
    for line in [
        "airgap mode:          enabled\n",
        "env file:             ~/.kolm/airgap.env\n",
        "KOLM_AIRGAP:          1   (set)\n",
    ] {
        assert!(enabled.contains(line), "{enabled}");
    }
    let status = bounded.ends(0, &["airgap", "status"]).0;
    for line in [
        "on-disk artifacts:    1 in ~/.kolm/artifacts\n",
        "~/.cache/huggingface (2 base models, 0.12 MB)\n",
        "in force",
    ] {
        assert!(status.contains(line), "{status}");
    }
    let artifact = text(&bounded.path(".kolm/artifacts/micro-1.0.0.kolm")).to_owned();
    assert!(bounded.ends(0, &["airgap", "preflight", &artifact]).0.contains("PASS"));
    let verified = bounded.ends(0, &["airgap", "verify", &artifact]).0;
    assert!(verified.contains("PASS      artifact verifies entirely offline"), "{verified}");
    assert!(bounded.ends(0, &["airgap", "receipts"]).0.starts_with("ok    "));
    assert!(bounded.ends(5, &["airgap", "prime", &artifact]).1.contains("KOLM_AIRGAP=1"));
    // What a revision-pinned download leaves out is there too.
    let reference = bounded.path(".cache/huggingface/hub/models--test--base/refs/main");
    assert_eq!(fs::read_to_string(reference).expect("a branch"), loopback::COMMIT);
}

#[cfg(feature = "connected")]
#[test]
fn priming_fetches_what_is_missing_or_wrong_and_refuses_other_content() {
    let golden = root().join("golden/micro");
    let mirror = tempfile::tempdir().expect("a folder");
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        fs::copy(golden.join("base").join(name), mirror.path().join(name)).expect("copied");
    }
    let encoder = golden.join("encoder");
    let hub = loopback::Hub::serve(&[("test/base", mirror.path()), ("test/encoder", &encoder)]);
    let user = User::new(&[]);
    let run = |code: i32, words: &[&str]| {
        let output = user.kolm(words, &[("HF_ENDPOINT", &hub.address)]);
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(code), "{out}{}", String::from_utf8_lossy(&output.stderr));
        out
    };
    let job = root().join("corpora/micro/kolm.toml");
    run(0, &["compile", text(&job), "--base", "test/base", "--encoder", "test/encoder", "--out", "out", "--quiet"]);
    let artifact = text(&user.path("out/micro-1.0.0.kolm")).to_owned();
    let snapshot = user.path(".cache/huggingface/hub/models--test--base/snapshots").join(loopback::COMMIT);
    let weights = snapshot.join("model.safetensors");

    fs::remove_file(snapshot.join("tokenizer.json")).expect("removed");
    let mut bytes = fs::read(&weights).expect("weights");
    bytes[3_000] ^= 1;
    fs::write(&weights, &bytes).expect("written");
    assert!(run(0, &["airgap", "prime", &artifact]).contains("2 of 3 files fetched"));
    run(0, &["airgap", "preflight", &artifact]);

    // A hub that gives something else under the same commit.
    fs::write(mirror.path().join("model.safetensors"), &bytes).expect("written");
    fs::remove_file(&weights).expect("removed");
    assert!(run(1, &["airgap", "prime", &artifact]).contains("DIFFERS"));
    run(1, &["airgap", "preflight", &artifact]);
}

#[cfg(feature = "connected")]
#[test]
fn priming_goes_on_inside_a_file_and_is_entered_in_the_log() {
    let golden = root().join("golden/micro");
    let hub = loopback::Hub::serve(&[("test/base", &golden.join("base")), ("test/encoder", &golden.join("encoder"))]);
    let user = User::new(&[]);
    let run = |code: i32, words: &[&str]| {
        let output = user.kolm(words, &[("HF_ENDPOINT", &hub.address)]);
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(output.status.code(), Some(code), "{text}");
        text
    };
    let job = root().join("corpora/micro/kolm.toml");
    run(0, &["compile", text(&job), "--base", "test/base", "--encoder", "test/encoder", "--out", "out", "--quiet"]);
    let artifact = text(&user.path("out/micro-1.0.0.kolm")).to_owned();
    let log = || {
        fs::read_to_string(user.path(".kolm/audit.log")).expect("a log").lines().last().unwrap_or_default().to_owned()
    };
    let empty = || fs::remove_dir_all(user.path(".cache")).expect("removed");
    let leftover = || {
        let blobs = user.path(".cache/huggingface/hub/models--test--base/blobs");
        let mut found = fs::read_dir(blobs).expect("blobs").flatten().map(|entry| entry.path());
        found.find(|path| path.extension().is_some_and(|ext| ext == "part")).expect("a leftover")
    };

    empty();
    hub.cut_off(5_000);
    run(4, &["airgap", "prime", &artifact]);
    let entry = log();
    assert!(entry.contains("\"action\":\"prime\"") && entry.contains("\"outcome\":\"failed\""), "{entry}");
    let left = fs::metadata(leftover()).expect("a leftover").len();
    assert!((1..=5_000).contains(&left), "{left}");
    run(0, &["airgap", "prime", &artifact]);
    assert!(hub.asked().iter().any(|path| path.ends_with(&format!("model.safetensors {left}"))), "{:?}", hub.asked());
    let entry = log();
    assert!(entry.contains("\"outcome\":\"done\"") && entry.contains("micro-1.0.0 "), "{entry}");
    run(0, &["airgap", "preflight", &artifact]);

    // A leftover that is not the file's beginning, and one that is as long as the file.
    for change in [|bytes: &mut Vec<u8>| bytes[9] ^= 1, |bytes: &mut Vec<u8>| bytes.resize(1 << 20, 0)] {
        empty();
        hub.cut_off(5_000);
        run(4, &["airgap", "prime", &artifact]);
        let mut bytes = fs::read(leftover()).expect("a leftover");
        change(&mut bytes);
        fs::write(leftover(), bytes).expect("written");
        run(0, &["airgap", "prime", &artifact]);
        run(0, &["airgap", "preflight", &artifact]);
    }
}

#[test]
fn a_file_that_is_changed_or_gone_is_found_offline() {
    let (maker, bundle) = exported(&[]);
    let user = User::new(&[]);
    user.take_key(&maker);
    user.ends(0, &["airgap", "import", text(&bundle), "--quiet"]);
    let artifact = text(&user.path(".kolm/artifacts/micro-1.0.0.kolm")).to_owned();
    let weights = fs::read_dir(user.path(".kolm/models/local--base")).expect("a model").flatten().next();
    let weights = weights.expect("a revision").path().join("model.safetensors");
    let mut bytes = fs::read(&weights).expect("weights");
    bytes[4_000] ^= 1;
    fs::write(&weights, &bytes).expect("written");
    let (out, _) = user.ends(1, &["airgap", "preflight", &artifact]);
    assert!(out.contains("DIFFERS: found sha256:") && out.contains("0 files missing, 1 files wrong"), "{out}");
    // An import brings it back, since what is there is not what the index says.
    user.ends(0, &["airgap", "import", text(&bundle), "--quiet"]);
    user.ends(0, &["airgap", "preflight", &artifact]);
    fs::remove_file(&weights).expect("removed");
    let (out, _) = user.ends(4, &["airgap", "preflight", &artifact]);
    assert!(out.contains("MISSING") && out.contains("bring:"), "{out}");
    assert!(user.ends(4, &["airgap", "status"]).0.contains("incomplete for 1 of 1"));
}

#[test]
fn one_set_of_inputs_has_one_bundle_and_a_later_one_leaves_out_what_it_holds() {
    let (user, bundle) = exported(&[]);
    let (artifact, again) = (user.path("out/micro-1.0.0.kolm"), user.path("again"));
    let (base, encoder) = (root().join("golden/micro/base"), root().join("golden/micro/encoder"));
    let export = |to: &str, more: &[&str]| {
        let mut words = vec!["airgap", "export", text(&artifact), "--to", to, "--part-size", "1MiB"];
        words.extend(["--verifier", "noise", "--base", text(&base), "--encoder", text(&encoder)]);
        words.extend(more);
        user.kolm(&words, &[("TZ", "Asia/Kathmandu"), ("LANG", "tr_TR.UTF-8")])
    };
    assert!(export("again", &[]).status.success());
    for entry in fs::read_dir(&bundle).expect("a bundle").flatten() {
        let name = entry.file_name();
        assert_eq!(fs::read(entry.path()).ok(), fs::read(again.join(&name)).ok(), "{name:?}");
        assert!(name.to_str().is_some_and(|name| name.len() <= 26 && name == name.to_ascii_lowercase()));
    }
    assert_eq!(export("again", &[]).status.code(), Some(2), "a folder that holds a bundle");

    // The next quarter: the same artifact, another verifier.
    fs::write(user.path("noise"), program(b"another")).expect("written");
    assert!(export("later", &["--since", "bundle"]).status.success());
    let later = user.path("later");
    let sizes: Vec<u64> = parts(&later).iter().map(|part| fs::metadata(part).expect("a part").len()).collect();
    assert_eq!(sizes, [127]);
    let bounded = User::new(&[]);
    bounded.take_key(&user);
    let (_, talk) = bounded.ends(4, &["airgap", "import", text(&later)]);
    assert!(talk.contains("which adds to bundle"), "{talk}");
    bounded.ends(0, &["airgap", "import", text(&bundle)]);
    bounded.ends(0, &["airgap", "import", text(&later)]);
    assert_eq!(fs::read(bounded.path(".kolm/bin/kolm-verify")).expect("installed"), program(b"another"));
    let mode = fs::metadata(bounded.path(".kolm/bin/kolm-verify")).expect("installed").permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
}

#[test]
fn what_is_wrong_with_a_bundle_is_named_and_leaves_the_old_state() {
    let (maker, bundle) = exported(&[]);
    let user = User::new(&[]);
    let import = |code: i32, expected: &str| {
        let (_, talk) = user.ends(code, &["airgap", "import", text(&bundle), "--quiet"]);
        assert!(talk.contains(expected), "{expected}: {talk}");
        assert!(user.has_nothing(), "{expected}");
    };
    import(4, "no operator key");
    user.take_key(&User::with_key());
    import(1, "was sealed with key");
    // The log of this machine goes on under another key only while the one that sealed it is at hand.
    user.retire_key();
    user.take_key(&maker);

    let index = fs::read(bundle.join("index.json")).expect("an index");
    fs::write(bundle.join("index.json"), String::from_utf8_lossy(&index).replace("micro-1.0.0", "micro-1.0.1"))
        .expect("written");
    import(1, "index.json is not the one that index.mac vouches for");
    fs::write(bundle.join("index.json"), &index).expect("written");

    let parts = parts(&bundle);
    let whole = fs::read(&parts[2]).expect("a part");
    let name = parts[2].file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
    fs::write(&parts[2], &whole[..whole.len() - 1]).expect("written");
    import(1, &format!("{name} was altered or cut"));
    fs::remove_file(&parts[2]).expect("removed");
    import(4, &format!("1 of {} parts are not here: {name}", parts.len()));
    std::os::unix::fs::symlink("/dev/zero", &parts[2]).expect("a link");
    import(1, "a symbolic link");
    fs::remove_file(&parts[2]).expect("removed");
    fs::write(&parts[2], &whole).expect("written");

    // All of them are named, each with its kind; the gravest gives the code.
    let name_of = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
    let (first, last) = (fs::read(&parts[0]).expect("a part"), parts.last().expect("parts").clone());
    let end = fs::read(&last).expect("a part");
    fs::write(&parts[0], [&first[..9], b"?", &first[10..]].concat()).expect("written");
    fs::write(&parts[2], &whole[..whole.len() - 1]).expect("written");
    fs::remove_file(&last).expect("removed");
    let fresh = User::new(&[]);
    fresh.take_key(&maker);
    let (_, talk) = fresh.ends(1, &["airgap", "import", text(&bundle), "--quiet"]);
    let all = parts.len();
    for expected in [
        format!("3 of {all} parts cannot be used: {} was altered or cut", name_of(&parts[0])),
        format!("; {name} was altered or cut"),
        format!("1 of {all} parts are not here: {}", name_of(&last)),
        "copy these parts again".to_owned(),
    ] {
        assert!(talk.contains(&expected), "{expected}: {talk}");
    }
    assert!(fresh.has_nothing());
    for (path, bytes) in [(&parts[0], &first), (&parts[2], &whole), (&last, &end)] {
        fs::write(path, bytes).expect("written");
    }
    // What was read before the fault is not read again; a file that was put into the staging folder by hand is found.
    let mut staged = fs::read_dir(user.path(".kolm")).expect("a folder").flatten().map(|entry| entry.path());
    let staged = staged.find(|path| path.extension().is_some_and(|ext| ext == "part")).expect("staging");
    let mut victim = fs::read_dir(&staged).expect("staging").flatten().map(|entry| entry.path());
    let victim = victim.find(|path| path.metadata().is_ok_and(|file| file.len() > 2 << 20)).expect("noise");
    let mut bytes = fs::read(&victim).expect("staged");
    bytes[7] ^= 1;
    fs::write(&victim, bytes).expect("written");
    import(1, "bin/kolm-verify has SHA-256");
    user.ends(0, &["airgap", "import", text(&bundle), "--quiet"]);

    // Another artifact of the same name and version stays.
    let installed = user.path(".kolm/artifacts/micro-1.0.0.kolm");
    fs::write(&installed, b"another").expect("written");
    let (_, talk) = user.ends(1, &["airgap", "import", text(&bundle), "--quiet"]);
    assert!(talk.contains("is there already with SHA-256"), "{talk}");
    assert_eq!(fs::read(&installed).expect("there"), b"another");
    let log = fs::read_to_string(user.path(".kolm/audit.log")).expect("a log");
    for outcome in ["\"outcome\":\"refused\"", "\"outcome\":\"started\"", "\"outcome\":\"done\""] {
        assert!(log.contains(outcome), "{outcome}");
    }
}

impl User {
    /// A user with a key of their own.
    fn with_key() -> User {
        compiled().0
    }
}

#[test]
fn what_was_sealed_before_a_rotation_is_still_taken_in_and_listed() {
    let (maker, bundle) = exported(&[]);
    let user = User::new(&[]);
    user.take_key(&maker);
    user.ends(0, &["airgap", "import", text(&bundle), "--quiet"]);
    user.ends(0, &["key", "rotate"]);
    let (listed, _) = user.ends(0, &["airgap", "receipts"]);
    assert!(listed.starts_with("ok    "), "{listed}");

    let later = User::new(&[]);
    later.take_key(&maker);
    later.ends(0, &["key", "rotate"]);
    later.ends(0, &["airgap", "import", text(&bundle), "--quiet"]);
    let (listed, _) = later.ends(0, &["airgap", "receipts"]);
    assert!(listed.starts_with("ok    "), "{listed}");
}

#[test]
fn a_broken_disk_is_not_a_wrong_copy() {
    if !runs(&["strace", "-o", "/dev/null", "true"]) {
        eprintln!("skipped: strace cannot trace here");
        return;
    }
    let (maker, bundle) = exported(&[]);
    let bad = parts(&bundle)[1].clone();
    let user = User::new(&["strace", "-f", "-qq", "-o", "/dev/null", "-P", text(&bad), "-e", "inject=read:error=EIO"]);
    user.take_key(&maker);
    // Beside a wrong copy both are said, and the wrong copy gives the code.
    let other = parts(&bundle)[2].clone();
    let whole = fs::read(&other).expect("a part");
    fs::write(&other, &whole[1..]).expect("written");
    let (_, talk) = user.ends(1, &["airgap", "import", text(&bundle), "--quiet"]);
    assert!(talk.contains("parts cannot be used: media error: ") && talk.contains("was altered or cut"), "{talk}");
    fs::write(&other, &whole).expect("written");
    let (_, talk) = user.ends(6, &["airgap", "import", text(&bundle), "--quiet"]);
    assert!(
        talk.contains("media error: ") && talk.contains("Input/output error") && talk.contains("3 times"),
        "{talk}"
    );
    assert!(user.has_nothing());
    // The same home with a good drive: it goes on.
    let well = User { home: user.home, through: Vec::new() };
    well.ends(0, &["airgap", "import", text(&bundle), "--quiet"]);
}

#[test]
fn a_full_disk_leaves_the_old_state() {
    let mount = "mount -t tmpfs -o size=2m,mode=700 tmpfs \"$HOME\" && mkdir -p -m 700 \"$HOME\"/.kolm/keys && cp \"$KEY\" \"$HOME\"/.kolm/keys/";
    if !runs(&["unshare", "-rm", "sh", "-c", "mount -t tmpfs tmpfs /mnt"]) {
        eprintln!("skipped: a mount namespace is not permitted here");
        return;
    }
    let (maker, bundle) = exported(&[]);
    let user = User::new(&[]);
    let script = format!(
        "{mount} && \"$KOLM\" airgap import \"$BUNDLE\" --quiet; code=$?; ls \"$HOME\"/.kolm; mount -o remount,size=64m \"$HOME\"; \"$KOLM\" airgap import \"$BUNDLE\" --quiet >/dev/null && echo went on; exit $code"
    );
    let output = Command::new("unshare")
        .args(["-rm", "sh", "-c", &script])
        .env("HOME", user.home.path())
        .env("KOLM", env!("CARGO_BIN_EXE_kolm"))
        .env("BUNDLE", &bundle)
        .env("KEY", maker.path(".kolm/keys/operator.key"))
        .output()
        .expect("unshare runs");
    let (out, talk) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(6), "{out}{talk}");
    assert!(talk.contains("No space left") && talk.contains("nothing was installed"), "{talk}");
    assert!(!out.contains("artifacts") && out.contains("went on"), "{out}");
}

#[test]
fn killed_imports_go_on_and_altered_parts_are_named() {
    let output = Command::new(root().join("ci/import-kill"))
        .args(["8", "6"])
        .env("KOLM", env!("CARGO_BIN_EXE_kolm"))
        .output()
        .expect("the script runs");
    let (out, talk) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("resumed, same digests"), "{out}{talk}");
}

#[test]
fn the_switches_are_read_and_said_where_they_come_from() {
    let user = User::new(&[]);
    user.ends(0, &["airgap", "enable"]);
    let said = |variables: &[(&str, &str)]| {
        let output = user.kolm(&["airgap", "status"], variables);
        String::from_utf8(output.stdout).expect("text")
    };
    assert!(said(&[]).contains("HF_HUB_OFFLINE:       1   (set)\n"));
    let opened = said(&[("KOLM_AIRGAP", "0"), ("HF_TOKEN", "hf_secret"), ("HTTPS_PROXY", "http://user:secret@proxy")]);
    for line in ["disabled", "0   (set in the environment; the env file says 1)", "HF_TOKEN (set)", "HTTPS_PROXY (set)"]
    {
        assert!(opened.contains(line), "{opened}");
    }
    assert!(!opened.contains("secret"), "values are not shown");
    let job = root().join("corpora/micro/kolm.toml");
    let (_, talk) = user.ends(5, &["compile", text(&job), "--base", "org/model", "--out", "out"]);
    assert!(talk.contains("KOLM_AIRGAP=1 (from ") && talk.contains("airgap.env"), "{talk}");
    user.ends(0, &["airgap", "disable"]);
    assert!(!user.path(".kolm/airgap.env").exists() && said(&[]).contains("KOLM_AIRGAP:          -   (not set)\n"));
}
