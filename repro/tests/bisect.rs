//! Ten planted differences, each found by `kolm-repro bisect` exactly: five in the inputs, five in a build with one wrong kernel.
//!
//! The wrong builds are `kolm-repro-planted`, made by `ci/bisect`, which names it in `KOLM_REPRO_PLANTED`; without it those five are skipped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::record_batch::RecordBatch;
use kolm_compile::cli::environment::Environment;
use kolm_compile::cli::progress::Progress;
use kolm_compile::pipeline::{self, Request};
use kolm_runtime::artifact::{KeySource, Timestamp};
use kolm_runtime::kernel::Level;
use kolm_runtime::model::safetensors;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

/// The micro example with its models, in a folder of its own, and what it compiled to.
struct Micro {
    folder: tempfile::TempDir,
    artifact: PathBuf,
}

impl Micro {
    /// Copies the example, changes something, and compiles.
    fn changed(change: impl FnOnce(&Path)) -> Micro {
        let folder = tempfile::tempdir().unwrap();
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for part in ["corpora/micro", "golden/micro/base", "golden/micro/encoder"] {
            fs::create_dir_all(folder.path().join(part)).unwrap();
            for entry in fs::read_dir(repository.join(part)).unwrap() {
                let path = entry.unwrap().path();
                fs::copy(&path, folder.path().join(part).join(path.file_name().unwrap())).unwrap();
            }
        }
        change(folder.path());
        let artifact = compile(folder.path());
        Micro { folder, artifact }
    }

    fn path(&self, path: &str) -> String {
        self.folder.path().join(path).to_str().unwrap().to_owned()
    }
}

/// The example as it is, compiled once.
fn plain() -> &'static Micro {
    static PLAIN: OnceLock<Micro> = OnceLock::new();
    PLAIN.get_or_init(|| Micro::changed(|_| ()))
}

fn compile(folder: &Path) -> PathBuf {
    let environment = Environment {
        hub_endpoint: None,
        kolm_home: folder.join(".kolm"),
        hub_cache: folder.join("hub"),
        key_file: None,
        credentials: None,
        offline: None,
        source_date_epoch: None,
        now_seconds: 1_800_000_000,
        threads: None,
        home: folder.to_owned(),
    };
    let request = Request {
        previous: None,
        full_trace: false,
        job: folder.join("corpora/micro/kolm.toml"),
        out: folder.to_owned(),
        corpus: Vec::new(),
        base: None,
        encoder: None,
        init_adapter: None,
        created: Timestamp::parse("2026-11-24T00:00:00Z").unwrap(),
        micro_batch: None,
        memory: None,
        allow_below_gate: false,
        force: false,
        key: KeySource { home: Some(folder.to_owned()), ..KeySource::default() },
    };
    pipeline::compile(&request, Level::detect(), &environment, &mut Progress::new(true)).unwrap().path
}

/// Exit code, stdout, stderr of the real program.
fn repro(variables: &[(&str, &str)], program: &str, arguments: &[&str]) -> (i32, String, String) {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(program);
    command.env_clear().env("HOME", home.path()).envs(variables.iter().copied()).args(arguments);
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

const REPRO: &str = env!("CARGO_BIN_EXE_kolm-repro");

/// `--corpus … --base … --encoder …` of the plain example.
fn inputs() -> Vec<String> {
    let plain = plain();
    let flags = [
        ("--corpus", vec!["corpora/micro/train.parquet", "corpora/micro/eval.parquet"]),
        ("--base", vec!["golden/micro/base"]),
        ("--encoder", vec!["golden/micro/encoder"]),
    ];
    let words = flags.into_iter().flat_map(|(flag, paths)| {
        std::iter::once(flag.to_owned()).chain(paths.into_iter().map(|path| plain.path(path)))
    });
    words.collect()
}

/// Bisects the plain example and a changed one, the inputs of both at hand.
fn bisect(other: &Micro) -> Value {
    let mut arguments = vec!["bisect".to_owned(), plain().artifact.display().to_string()];
    arguments.push(other.artifact.display().to_string());
    arguments.extend(inputs());
    arguments.push("--corpus-b".to_owned());
    arguments.extend(["corpora/micro/train.parquet", "corpora/micro/eval.parquet"].map(|path| other.path(path)));
    arguments.extend([
        "--base-b".to_owned(),
        other.path("golden/micro/base"),
        "--quiet".to_owned(),
        "--json".to_owned(),
    ]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (code, stdout, stderr) = repro(&[], REPRO, &arguments);
    assert_eq!((code, stderr.as_str()), (1, ""), "{stdout}");
    serde_json::from_str(&stdout).unwrap()
}

fn input(found: &Value, row: usize) -> (&str, &str) {
    let difference = &found["inputs"][row];
    (difference["kind"].as_str().unwrap_or_default(), difference["place"].as_str().unwrap_or_default())
}

/// Stage, example, block, operation, tensor of the first difference.
fn first(found: &Value) -> (&str, Option<u64>, Option<u64>, &str, &str) {
    let place = &found["step"]["place"];
    let text = |name: &str| place[name].as_str().unwrap_or_default();
    (text("stage"), place["example"].as_u64(), place["block"].as_u64(), text("operation"), text("tensor"))
}

/// Rewrites one cell of a parquet file.
fn change_cell(path: &Path, row: usize, column: &str, text: &str) {
    let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(path).unwrap()).unwrap().build().unwrap();
    let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    let batch = arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap();
    let place = batch.schema().index_of(column).unwrap();
    let old = batch.column(place).as_string::<i32>();
    let cells = (0..old.len()).map(|at| if at == row { text } else { old.value(at) });
    let mut columns: Vec<ArrayRef> = batch.columns().to_vec();
    columns[place] = Arc::new(StringArray::from_iter_values(cells));
    let batch = RecordBatch::try_new(batch.schema(), columns).unwrap();
    let mut writer = ArrowWriter::try_new(fs::File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn a_run_on_this_machine_is_identical() {
    let plain = plain();
    let mut arguments = vec!["bisect", plain.artifact.to_str().unwrap(), "--quiet"];
    let inputs = inputs();
    arguments.extend(inputs.iter().map(String::as_str));
    let (code, stdout, stderr) = repro(&[], REPRO, &arguments);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.starts_with("bisect:   identical\n"), "{stdout}");
    assert!(stdout.ends_with("trace:    the same 6 steps\n"), "{stdout}");
}

#[test]
fn one_corpus_row_is_found() {
    let other = Micro::changed(|folder| {
        change_cell(&folder.join("corpora/micro/train.parquet"), 31, "text", "the parcel never came, where is it");
    });
    let found = bisect(&other);
    let (kind, place) = input(&found, 0);
    assert_eq!(kind, "corpus row");
    assert!(place.ends_with("train.parquet row 31 prompt"), "{place}");
    // The second step is the first that takes this row, as the second of its batch.
    assert_eq!(found["trace"]["first_step"], 2);
    let (stage, example, _, operation, _) = first(&found);
    assert_eq!((stage, example, operation), ("batch", Some(1), "tokenizer, prompt template"), "{found}");
}

#[test]
fn one_tokenizer_merge_is_found() {
    let other = Micro::changed(|folder| {
        let path = folder.join("golden/micro/base/tokenizer.json");
        let mut tokenizer: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        tokenizer["model"]["merges"].as_array_mut().unwrap().remove(2);
        fs::write(&path, serde_json::to_vec(&tokenizer).unwrap()).unwrap();
    });
    let found = bisect(&other);
    assert_eq!(input(&found, 0), ("base file", "tokenizer.json model.merges[2][0]"), "{found}");
    assert_eq!(first(&found).0, "batch", "{found}");
}

#[test]
fn one_bit_of_a_weight_is_found() {
    let name = "model.layers.1.mlp.down_proj.weight";
    let other = Micro::changed(|folder| {
        let path = folder.join("golden/micro/base/model.safetensors");
        let mut bytes = fs::read(&path).unwrap();
        let places = safetensors::places("base", &mut bytes.as_slice(), bytes.len() as u64).unwrap();
        let place = places.iter().find(|place| place.name == name).unwrap();
        // The lowest bit of a bf16 number is bit 16 of the f32 that it means.
        bytes[place.offset_bytes as usize + 2 * 7] ^= 1;
        fs::write(&path, bytes).unwrap();
    });
    let found = bisect(&other);
    let (kind, place) = input(&found, 0);
    assert_eq!((kind, place), ("base tensor", format!("{name} element 7 of shape [32, 48]").as_str()));
    assert_eq!(found["inputs"][0]["detail"], "65536 ULP; 1 of 1536 elements differ");
    assert_eq!(found["trace"]["first_step"], 1);
    let expected = ("forward", Some(0), Some(1), "hidden + mlp.down_proj", "hidden states out");
    assert_eq!(first(&found), expected, "{found}");
    assert_eq!(found["step"]["what"]["values"]["index"], serde_json::json!([0, 0]));
}

#[test]
fn one_eval_case_is_found() {
    let other = Micro::changed(|folder| {
        change_cell(&folder.join("corpora/micro/eval.parquet"), 3, "text", "the invoice was charged two times");
    });
    let found = bisect(&other);
    let (kind, place) = input(&found, 0);
    assert_eq!(kind, "corpus row");
    assert!(place.ends_with("eval.parquet row 3 prompt"), "{place}");
    let (kind, place) = input(&found, 1);
    assert_eq!(kind, "eval case");
    assert!(place.starts_with("case 3 (") && place.ends_with(") prompt"), "{place}");
    assert_eq!((&found["trace"]["first_step"], &found["step"]), (&Value::Null, &Value::Null));
}

#[test]
fn one_hyper_parameter_is_found() {
    let other = Micro::changed(|folder| {
        let path = folder.join("corpora/micro/kolm.toml");
        let job = fs::read_to_string(&path).unwrap().replace("steps = 6", "steps = 6\nweight_decay = 0.02");
        fs::write(&path, job).unwrap();
    });
    let found = bisect(&other);
    assert_eq!(input(&found, 0), ("plan", "train.weight_decay"));
    let (stage, _, _, operation, _) = first(&found);
    assert_eq!((stage, operation), ("optimiser", "AdamW, p"), "{found}");
}

/// Five builds with one wrong kernel each.
#[test]
fn wrong_kernels_are_found() {
    #[expect(clippy::disallowed_methods, reason = "the test's own switch")]
    let Ok(planted) = std::env::var("KOLM_REPRO_PLANTED") else {
        eprintln!("skipped: KOLM_REPRO_PLANTED names no build with wrong kernels; ci/bisect makes one");
        return;
    };
    let initial = "base_model.model.model.layers.0.self_attn.o_proj.lora_A.weight";
    let updated = "base_model.model.model.layers.0.self_attn.o_proj.lora_B.weight";
    let layer = |operation, tensor| ("forward", Some(0), Some(0), operation, tensor);
    for (plant, step, expected) in [
        ("product-order", 1, layer("self_attn.q_proj.lora_A", "x Aᵀ")),
        ("lanes", 1, layer("post_attention_layernorm", "normed")),
        ("exp", 1, layer("softmax(queries keysᵀ · scale)", "attention probabilities")),
        ("optimizer", 2, ("optimiser", None, None, "AdamW, p", updated)),
        ("stream", 1, ("start", None, None, "state before the step", initial)),
    ] {
        let kept = tempfile::tempdir().unwrap();
        let variables = [("KOLM_PLANT", plant)];
        let inputs = inputs();
        let artifact = plain().artifact.to_str().unwrap();
        let mut rebuild = vec!["rebuild", artifact, "--quiet", "--keep", kept.path().to_str().unwrap()];
        rebuild.extend(inputs.iter().map(String::as_str));
        let (code, stdout, stderr) = repro(&variables, &planted, &rebuild);
        assert_eq!((code, stderr.as_str()), (1, ""), "{plant}: {stdout}");
        let trace = kept.path().join("training/trace.jsonl");
        let mut arguments =
            vec!["bisect", artifact, trace.to_str().unwrap(), "--build-b", &planted, "--quiet", "--json"];
        arguments.extend(inputs.iter().map(String::as_str));
        let (code, stdout, stderr) = repro(&variables, REPRO, &arguments);
        assert_eq!((code, stderr.as_str()), (1, ""), "{plant}: {stdout}");
        let found: Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!((&found["trace"]["first_step"], first(&found)), (&Value::from(step), expected), "{plant}: {found}");
        let values = &found["step"]["what"]["values"];
        assert!(values["differing"].as_u64() > Some(0) && values["ulp"].as_u64() > Some(0), "{plant}: {found}");
        assert_eq!(found["notes"], serde_json::json!([]), "{plant}");
        // Without the build that made it, this one says that it is not the one.
        arguments.retain(|word| ![planted.as_str(), "--build-b"].contains(word));
        let (_, stdout, _) = repro(&variables, REPRO, &arguments);
        let found: Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!(found["step"], Value::Null);
        assert!(found["notes"][0].as_str().unwrap().contains("this build does not give step"), "{found}");
    }
}

#[test]
fn a_record_brought_from_elsewhere_is_used() {
    let plain = plain();
    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().join("step-3");
    let inputs = inputs();
    let artifact = plain.artifact.to_str().unwrap();
    let mut arguments = vec!["record-step", artifact, "--step", "3", "--out", record.to_str().unwrap(), "--quiet"];
    arguments.extend(inputs.iter().map(String::as_str));
    let (code, stdout, stderr) = repro(&[], REPRO, &arguments);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.starts_with("step 3 in "), "{stdout}");

    // A trace whose third step was tampered with has no record anywhere.
    let trace = fs::read_to_string(folder_of_members(plain, folder.path()).join("training/trace.jsonl")).unwrap();
    let lines: Vec<String> = trace
        .lines()
        .enumerate()
        .map(|(row, line)| if row == 2 { line.replacen("\"loss\":\"4", "\"loss\":\"5", 1) } else { line.to_owned() })
        .collect();
    let tampered = folder.path().join("trace.jsonl");
    fs::write(&tampered, lines.join("\n") + "\n").unwrap();
    let mut arguments = vec!["bisect", artifact, tampered.to_str().unwrap(), "--recorded-b", record.to_str().unwrap()];
    arguments.extend(["--quiet", "--json"]);
    arguments.extend(inputs.iter().map(String::as_str));
    let (code, stdout, _) = repro(&[], REPRO, &arguments);
    let found: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &found["trace"]["first_step"], &found["step"]), (1, &Value::from(3), &Value::Null));
    assert!(found["notes"][0].as_str().unwrap().contains("does not give step 3 of b"), "{found}");

    // A record of another step is refused.
    fs::write(&tampered, trace.replacen("\"loss\":\"4", "\"loss\":\"5", 1)).unwrap();
    let (code, _, stderr) = repro(&[], REPRO, &arguments);
    assert_eq!(code, 1);
    assert!(stderr.starts_with("error[step_of_other]: "), "{stderr}");
}

/// The members of the plain artifact, rebuilt.
fn folder_of_members(plain: &Micro, folder: &Path) -> PathBuf {
    let kept = folder.join("members");
    let inputs = inputs();
    let mut arguments = vec!["rebuild", plain.artifact.to_str().unwrap(), "--keep", kept.to_str().unwrap(), "--quiet"];
    arguments.extend(inputs.iter().map(String::as_str));
    assert_eq!(repro(&[], REPRO, &arguments).0, 0);
    kept
}

#[test]
fn what_cannot_be_bisected_is_refused_by_name() {
    let plain = plain();
    let artifact = plain.artifact.to_str().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("notes.txt");
    fs::write(&text, "no trace\n").unwrap();
    let other = Micro::changed(|folder| {
        let path = folder.join("corpora/micro/kolm.toml");
        let job = fs::read_to_string(&path).unwrap().replace("name = \"micro\"", "name = \"other\"");
        fs::write(&path, job).unwrap();
    });
    let inputs = inputs();
    let with_inputs = |words: &[&'static str]| -> Vec<String> {
        let words = words.iter().map(|word| if *word == "ARTIFACT" { artifact } else { word });
        words.map(str::to_owned).chain(inputs.iter().cloned()).collect()
    };
    let absent = folder.path().join("absent.kolm").display().to_string();
    let plain_words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    for (arguments, code, expected) in [
        (plain_words(&["bisect", artifact]), 2, "error[nothing_to_run]: "),
        (plain_words(&["bisect", artifact, text.to_str().unwrap()]), 1, "error[trace_unreadable]: "),
        (plain_words(&["bisect", artifact, other.artifact.to_str().unwrap()]), 1, "error[other_job]: "),
        (plain_words(&["bisect", artifact, &absent]), 4, "error["),
        (with_inputs(&["record-step", "ARTIFACT", "--step", "7", "--out", "/dev/null/x"]), 2, "error[step_unknown]: "),
        (with_inputs(&["record-step", "ARTIFACT", "--step", "0", "--out", "/dev/null/x"]), 2, "error[step_unknown]: "),
        (with_inputs(&["record-step", "ARTIFACT", "--step", "1", "--out", "/dev/null/x", "-q"]), 6, "error["),
    ] {
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let (found, _, stderr) = repro(&[], REPRO, &words);
        let said = stderr.lines().find(|line| line.starts_with("error[")).unwrap_or_default();
        assert_eq!((found, said.starts_with(expected)), (code, true), "{words:?}\n{stderr}");
    }
}
