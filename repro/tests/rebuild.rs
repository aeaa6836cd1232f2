//! Transcripts of the real `kolm-repro` over the micro example: rebuild, statements, compare, challenge.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

use arrow::array::{ArrayRef, StringArray};
use arrow::record_batch::RecordBatch;
use kolm_compile::cli::environment::Environment;
use kolm_compile::cli::progress::Progress;
use kolm_compile::pipeline::{self, Compiled, Request};
use kolm_repro::statement::{SigningKey, Statement};
use kolm_runtime::artifact::{KeySource, Timestamp};
use kolm_runtime::kernel::Level;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// The micro example, compiled once for all tests.
struct Micro {
    _folder: tempfile::TempDir,
    root: PathBuf,
    artifact: PathBuf,
    cid: String,
}

/// One run: exit code, stdout, stderr.
type Run = (i32, String, String);

fn micro() -> &'static Micro {
    static MICRO: OnceLock<Micro> = OnceLock::new();
    MICRO.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned();
        let home = folder.path().to_owned();
        let compiled = compile(&root.join("corpora/micro/kolm.toml"), &home);
        Micro { _folder: folder, root, artifact: compiled.path, cid: compiled.cid }
    })
}

/// Compiles a job into `home`, where its key is made too.
fn compile(job: &Path, home: &Path) -> Compiled {
    let environment = Environment {
        hub_endpoint: None,
        kolm_home: home.join(".kolm"),
        hub_cache: home.join("hub"),
        key_file: None,
        credentials: None,
        offline: None,
        source_date_epoch: None,
        now_seconds: 1_800_000_000,
        threads: None,
        home: home.to_owned(),
    };
    let request = Request {
        previous: None,
        full_trace: false,
        job: job.to_owned(),
        out: home.to_owned(),
        corpus: Vec::new(),
        base: None,
        encoder: None,
        init_adapter: None,
        created: Timestamp::parse("2026-11-23T00:00:00Z").unwrap(),
        micro_batch: None,
        memory: None,
        allow_below_gate: false,
        force: false,
        key: KeySource { home: Some(home.to_owned()), ..KeySource::default() },
    };
    pipeline::compile(&request, Level::detect(), &environment, &mut Progress::new(true)).unwrap()
}

/// Runs the binary in `home`, with nothing of this process' environment.
fn repro(home: &Path, arguments: &[&str]) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kolm-repro"));
    command.env_clear().env("HOME", home).current_dir(home).args(arguments);
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// A rebuild of the micro artifact from `train`, with `more` arguments.
fn rebuild(home: &Path, train: &Path, more: &[&str]) -> Run {
    let micro = micro();
    let text = |path: &str| micro.root.join(path).to_str().unwrap().to_owned();
    let (eval, base, encoder) =
        (text("corpora/micro/eval.parquet"), text("golden/micro/base"), text("golden/micro/encoder"));
    // Eval file first: files are known by their digests.
    let mut arguments = vec!["rebuild", micro.artifact.to_str().unwrap(), "--corpus", &eval, train.to_str().unwrap()];
    arguments.extend(["--base", &base, "--encoder", &encoder, "--quiet"]);
    arguments.extend(more);
    repro(home, &arguments)
}

fn train() -> PathBuf {
    micro().root.join("corpora/micro/train.parquet")
}

fn home() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn a_rebuild_gives_the_same_members_without_the_operators_key() {
    let home = home();
    let (code, stdout, stderr) =
        rebuild(home.path(), &train(), &["--keep", "members", "--threads", "1", "--micro-batch", "3"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.starts_with("rebuild:  identical\n"), "{stdout}");
    assert!(stdout.contains(&format!("cid:      {}\n", micro().cid)), "{stdout}");
    assert!(!stdout.contains("differs"), "{stdout}");
    assert_eq!(stdout.matches("  equal   ").count(), 10, "{stdout}");
    assert!(home.path().join("members/adapter/adapter_model.safetensors").is_file());
    assert!(!home.path().join(".kolm/keys").exists(), "a rebuild needs no operator key and makes none");
}

/// The split is made before overlong rows are left out, so the plan keeps the cases asked for.
#[test]
fn the_split_is_made_again_when_eval_rows_were_too_long() {
    let home = home();
    let root = &micro().root;
    let absolute = |text: &str, from: &str, to: &str| text.replace(from, root.join(to).to_str().unwrap());
    let job = fs::read_to_string(root.join("corpora/micro/kolm.toml")).unwrap();
    let job = job.replace("max_length = 64", "max_length = 26").replace("cases = 16", "cases = 8");
    let job = absolute(&job, "../../golden", "golden");
    let job = absolute(&job, "train.parquet", "corpora/micro/train.parquet");
    let job = absolute(&job, "eval.parquet", "corpora/micro/eval.parquet");
    fs::write(home.path().join("job.toml"), job).unwrap();
    let compiled = compile(&home.path().join("job.toml"), home.path());
    assert_eq!(compiled.cases, 3, "of 8");
    let (eval, base) = (root.join("corpora/micro/eval.parquet"), root.join("golden/micro/base"));
    let (train, encoder) = (train(), root.join("golden/micro/encoder"));
    let text = |path: &'_ PathBuf| path.to_str().unwrap().to_owned();
    let arguments =
        ["rebuild", &text(&compiled.path), "--corpus", &text(&train), &text(&eval), "--quiet"].map(str::to_owned);
    let models = ["--base", &text(&base), "--encoder", &text(&encoder)].map(str::to_owned);
    let arguments: Vec<&str> = arguments.iter().chain(&models).map(String::as_str).collect();
    let (code, stdout, stderr) = repro(home.path(), &arguments);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.starts_with("rebuild:  identical\n"), "{stdout}");
}

/// A plan holds the values of the split column: a rebuild is told nothing but the file.
#[test]
fn a_split_by_column_is_made_again_from_the_plan_alone() {
    let home = home();
    let root = &micro().root;
    let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(train()).unwrap()).unwrap().build().unwrap();
    let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    let batch = arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap();
    let parts = (0..batch.num_rows()).map(|row| if row % 6 == 0 { "ask" } else { "learn" });
    let parts: ArrayRef = Arc::new(StringArray::from_iter_values(parts));
    let fields = ["id", "text", "queue"].map(|name| (name, batch.column_by_name(name).unwrap().clone()));
    let batch = RecordBatch::try_from_iter(fields.into_iter().chain([("part", parts)])).unwrap();
    let corpus = home.path().join("rows.parquet");
    let mut writer = ArrowWriter::try_new(fs::File::create(&corpus).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();

    let job = fs::read_to_string(root.join("corpora/micro/kolm.toml")).unwrap();
    let split = "split = \"part\"\ntrain_split = \"learn\"\neval_split = \"ask\"";
    let job = job.replace("train = [\"train.parquet\"]", "train = [\"rows.parquet\"]");
    let job = job.replace("eval = [\"eval.parquet\"]", split).replace("cases = 16", "cases = 8");
    let job = job.replace("../../golden", root.join("golden").to_str().unwrap());
    fs::write(home.path().join("job.toml"), job).unwrap();
    let compiled = compile(&home.path().join("job.toml"), home.path());
    assert_eq!(compiled.cases, 8);
    let text = |path: PathBuf| path.to_str().unwrap().to_owned();
    let (base, encoder) = (text(root.join("golden/micro/base")), text(root.join("golden/micro/encoder")));
    let (artifact, corpus) = (text(compiled.path), text(corpus));
    let models = ["--base", base.as_str(), "--encoder", encoder.as_str(), "--quiet"];
    let arguments: Vec<&str> =
        ["rebuild", artifact.as_str(), "--corpus", corpus.as_str()].into_iter().chain(models).collect();
    let (code, stdout, stderr) = repro(home.path(), &arguments);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.starts_with("rebuild:  identical\n"), "{stdout}");
}

#[test]
fn a_changed_corpus_file_is_named_with_both_hashes() {
    let home = home();
    let mut bytes = fs::read(train()).unwrap();
    let recorded = kolm_runtime::artifact::sha256_hex(&bytes);
    bytes.push(0);
    let changed = home.path().join("changed.parquet");
    fs::write(&changed, &bytes).unwrap();
    let found = kolm_runtime::artifact::sha256_hex(&bytes);
    let (code, stdout, stderr) = rebuild(home.path(), &changed, &[]);
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(stderr.starts_with("error[corpus_file_differs]: 1 input is not what the plan records:\n"), "{stderr}");
    assert!(stderr.contains(&format!("found {found}, recorded {recorded}\n")), "{stderr}");
    assert!(stderr.contains("\nhint: "), "{stderr}");
}

#[test]
fn missing_extra_and_wrong_inputs_have_their_own_codes() {
    let home = home();
    let again = train();
    let (code, _, stderr) = rebuild(home.path(), &again, &["--corpus", again.to_str().unwrap()]);
    assert_eq!(code, 1);
    assert!(stderr.starts_with("error[corpus_file_extra]"), "{stderr}");

    let micro = micro();
    let artifact = micro.artifact.to_str().unwrap();
    let base = micro.root.join("golden/micro/base");
    let encoder = micro.root.join("golden/micro/encoder");
    let (base, encoder) = (base.to_str().unwrap(), encoder.to_str().unwrap());
    let train = again.to_str().unwrap();
    let models = ["--base", base, "--encoder", encoder];
    let run = |arguments: &[&str]| {
        repro(home.path(), &[&["rebuild", artifact, "--quiet", "--corpus", train], arguments].concat())
    };
    let (code, _, stderr) = run(&models);
    assert_eq!(code, 4, "{stderr}");
    assert!(stderr.starts_with("error[corpus_file_missing]"), "{stderr}");
    let (code, _, stderr) = run(&["--encoder", encoder]);
    assert_eq!(code, 4, "{stderr}");
    assert!(stderr.starts_with("error[model_folder_not_named]: the recorded base local/base"), "{stderr}");
    let (code, _, stderr) = run(&["--base", encoder, "--encoder", encoder]);
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("base_file_differs: base model.safetensors: found "), "{stderr}");
    let (code, _, stderr) = run(&["--base", "absent", "--encoder", encoder]);
    assert_eq!(code, 4, "{stderr}");
    assert_eq!(run(&["--statement", "s.json"]).0, 2, "a statement needs a key");
}

#[test]
fn a_refusal_is_json_where_json_was_asked_for() {
    let home = home();
    let again = train();
    let (code, stdout, stderr) = rebuild(home.path(), &again, &["--corpus", again.to_str().unwrap(), "--json"]);
    let told: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, told["exit"].as_i64()), (1, Some(1)), "{stdout}{stderr}");
    assert_eq!(told["error"]["code"], "corpus_file_extra");
    assert!(told["error"]["message"].as_str().is_some_and(|text| !text.is_empty()));
    assert!(stderr.starts_with("error[corpus_file_extra]: "), "{stderr}");
}

#[test]
fn in_air_gap_mode_the_kernel_refuses_sockets_here_too() {
    let home = home();
    let filters = |value: &str| {
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-e", "trace=seccomp", env!("CARGO_BIN_EXE_kolm-repro"), "compare", "absent"]);
        command.env("HOME", home.path()).env("KOLM_AIRGAP", value);
        let output = command.output().ok()?;
        let trace = String::from_utf8_lossy(&output.stderr).into_owned();
        trace.contains("error[").then(|| trace.contains("SECCOMP_SET_MODE_FILTER"))
    };
    match (filters("1"), filters("0")) {
        (Some(on), Some(off)) => assert_eq!((on, off), (true, false)),
        _ => eprintln!("skipped: strace cannot trace here"),
    }
}

#[test]
fn statements_are_compared_challenged_and_refused() {
    let home = home();
    let here = home.path();
    for key in ["a", "b"] {
        let (code, stdout, _) = repro(here, &["keygen", "--out", key]);
        assert_eq!(code, 0);
        assert!(stdout.starts_with("key "), "{stdout}");
        let (code, ..) = rebuild(here, &train(), &["--statement", &format!("{key}.json"), "--signing-key", key]);
        assert_eq!(code, 0);
    }
    assert_eq!(repro(here, &["keygen", "--out", "a"]).0, 2, "a key is never replaced");

    let (code, stdout, _) = repro(here, &["compare", "a.json", "b.json"]);
    assert_eq!(code, 0, "{stdout}");
    assert!(stdout.contains("verdict:  the statements agree\n"), "{stdout}");
    let id = SigningKey::read(&here.join("b")).unwrap().public().id();
    let (code, stdout, _) = repro(here, &["compare", "a.json", "b.json", "--trusted", "a.pub"]);
    assert_eq!(code, 0);
    assert!(stdout.contains(&format!("not counted, their keys are not trusted: {id}\n")), "{stdout}");

    // A quorum counts keys, not statements.
    let quorum = |statements: &[&str], number: &str, trusted: &[&str]| {
        repro(here, &[&["compare"], statements, &["--quorum", number, "--trusted"], trusted].concat())
    };
    assert_eq!(quorum(&["a.json", "b.json"], "2", &["a.pub", "b.pub"]).0, 0);
    assert_eq!(quorum(&["a.json", "a.json"], "2", &["a.pub", "b.pub"]).0, 1);
    assert_eq!(quorum(&["a.json", "b.json"], "2", &["a.pub"]).0, 1);
    let (code, _, stderr) = quorum(&["a.json"], "2", &["a.pub"]);
    assert_eq!(code, 2);
    assert!(stderr.starts_with("error[quorum_too_large]: the quorum is 2, expected at most the 1 "), "{stderr}");

    let artifact = micro().artifact.to_str().unwrap();
    let (code, stdout, _) = repro(here, &["challenge", artifact, "a.json", "b.json"]);
    assert_eq!(code, 0, "{stdout}");
    assert!(stdout.contains("verdict:  the artifact is confirmed\n"), "{stdout}");

    // One who signs another K contradicts; one who changes a signed byte is refused.
    let key = SigningKey::read(&here.join("b")).unwrap();
    let signed = kolm_repro::statement::Signed::read(&here.join("b.json")).unwrap();
    let mut other: Statement = signed.statement.clone();
    other.predicate.rebuilt.k = "0.000001".to_owned();
    other.predicate.verdict = "different".to_owned();
    other.write(&key, &here.join("other.json")).unwrap();
    let (code, stdout, _) = repro(here, &["compare", "a.json", "other.json"]);
    assert_eq!(code, 1);
    assert!(stdout.contains("verdict:  the statements disagree\n"), "{stdout}");
    let (code, stdout, _) = repro(here, &["challenge", artifact, "a.json", "other.json"]);
    assert_eq!(code, 1);
    assert!(stdout.contains(&format!("{id}  untrusted  contradicts")), "{stdout}");

    let text = fs::read_to_string(here.join("a.json")).unwrap();
    let cut = text.replacen("\"sig\":\"", "\"sig\":\"AAAA", 1);
    fs::write(here.join("bad.json"), cut).unwrap();
    let (code, _, stderr) = repro(here, &["compare", "bad.json"]);
    assert_eq!(code, 1);
    assert!(stderr.starts_with("error[statement_signature]"), "{stderr}");

    let mut foreign: Statement = signed.statement;
    let cid = format!("cidv1:sha256:{}", "0".repeat(64));
    foreign.subject[0].digest.kolm_cid_v1 = "0".repeat(64);
    (foreign.predicate.recorded.cid, foreign.predicate.rebuilt.cid) = (cid.clone(), cid);
    foreign.write(&key, &here.join("foreign.json")).unwrap();
    let (code, _, stderr) = repro(here, &["challenge", artifact, "foreign.json"]);
    assert_eq!(code, 1);
    assert!(stderr.starts_with("error[statement_of_another_artifact]"), "{stderr}");
}
