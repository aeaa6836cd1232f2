use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, DictionaryArray, Int64Array, LargeStringArray, RecordBatch, StringArray, StringViewArray,
};
use arrow::datatypes::Int32Type;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;

use super::identifiers::{Kind, Replacement, deidentify_file, scan_files};
use super::*;
use crate::job::{Duplicates, Identifiers, Job, Leakage};

type Cells<'a> = Vec<Option<&'a str>>;

fn some<'a>(cells: &[&'a str]) -> Cells<'a> {
    cells.iter().map(|cell| Some(*cell)).collect()
}

fn write(path: &Path, columns: Vec<(&str, ArrayRef)>, group_row_count: usize) -> PathBuf {
    let batch =
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(group_row_count)).build();
    let mut writer =
        ArrowWriter::try_new(std::fs::File::create(path).unwrap(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    path.to_owned()
}

fn strings(cells: Cells<'_>) -> ArrayRef {
    Arc::new(StringArray::from(cells))
}

fn request(train: PathBuf) -> Request {
    let job = Job::parse("[task]\nname = \"t\"\n[eval]\ncases = 2\n", Path::new("kolm.toml")).unwrap();
    Request::from_job(&job, &[train])
}

const PROMPTS: [&str; 6] = [
    "my card was charged",
    "where is the parcel",
    "app crashes",
    "refund the bill",
    "courier is late",
    "error on start",
];
const LABELS: [&str; 6] = ["billing", "shipping", "technical", "billing", "shipping", "technical"];

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn rows(&self, name: &str, prompts: &[&str], completions: &[&str]) -> PathBuf {
        write(
            &self.path(name),
            vec![("prompt", strings(some(prompts))), ("completion", strings(some(completions)))],
            100,
        )
    }
}

/// Expects `load` to refuse with `code` and a message that holds every part.
fn refused(request: &Request, code: &str, exit_code: u8, parts: &[&str]) -> CorpusError {
    let error = load(request).expect_err(code);
    let message = error.to_string();
    assert_eq!((error.code(), error.exit_code()), (code, exit_code), "{message}");
    for part in parts {
        assert!(message.contains(part), "{message:?} lacks {part:?}");
    }
    error
}

#[test]
fn rows_come_in_file_order_from_any_text_encoding_and_any_row_group_size() {
    let folder = Folder::new();
    let many: Vec<String> = (0..3000).map(|row| format!("text number {row}")).collect();
    let texts: Vec<&str> = many.iter().map(String::as_str).collect();
    let labels: Vec<&str> = (0..3000).map(|row| LABELS[row % 3]).collect();
    let prompts: [ArrayRef; 4] = [
        strings(some(&texts)),
        Arc::new(LargeStringArray::from(texts.clone())),
        Arc::new(StringViewArray::from(texts.clone())),
        Arc::new(texts.iter().copied().collect::<DictionaryArray<Int32Type>>()),
    ];
    let columns = Columns { id: None, prompt: "prompt".into(), completion: "completion".into(), split: None };
    let mut digests = Vec::new();
    for (place, prompt) in prompts.into_iter().enumerate() {
        let path = write(
            &folder.path(&format!("{place}.parquet")),
            vec![("completion", strings(some(&labels))), ("prompt", prompt)],
            700 + place,
        );
        let rows: Vec<Row> = read_file(0, &path, &columns).unwrap().map(Result::unwrap).collect();
        assert_eq!(rows.len(), 3000);
        for (number, row) in rows.iter().enumerate() {
            assert_eq!(
                (row.row, row.prompt.as_str(), row.completion.as_str()),
                (number as u64, texts[number], labels[number])
            );
        }
        assert_eq!(rows[7].id, "f0-r7");
        digests.push(digest_rows(&rows));
    }
    assert!(digests.iter().all(|digest| digest == &digests[0]));
}

#[test]
fn a_split_by_hash_depends_on_the_rows_alone() {
    let folder = Folder::new();
    let load_ids = |prompts: &[&str], labels: &[&str]| {
        let corpus = load(&request(folder.rows("a.parquet", prompts, labels))).unwrap();
        let mut eval: Vec<String> = corpus.eval.iter().map(|row| row.prompt.clone()).collect();
        eval.sort();
        (eval, corpus)
    };
    let (eval, corpus) = load_ids(&PROMPTS, &LABELS);
    assert_eq!((corpus.method, corpus.read, corpus.train.len(), corpus.eval.len()), (SplitMethod::Hash, 6, 4, 2));
    assert_eq!(
        corpus.labels.as_deref(),
        Some(&["billing".to_owned(), "shipping".to_owned(), "technical".to_owned()][..])
    );
    let reversed = |texts: &[&'static str]| texts.iter().rev().copied().collect::<Vec<_>>();
    assert_eq!(load_ids(&reversed(&PROMPTS), &reversed(&LABELS)).0, eval);
    assert_eq!(corpus.files[0].rows, 6);
    assert_eq!(corpus.scan.total(), 0);
}

#[test]
fn no_number_of_threads_shows_and_a_check_says_what_a_load_says() {
    let folder = Folder::new();
    let texts: Vec<String> = (0..5000)
        .map(|row| match row % 700 {
            3 => format!("call 602-272-{row:04} about row {}", row / 2),
            _ => format!("words of row {} and {}", row / 2, row / 2 % 13),
        })
        .collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let labels: Vec<&str> = (0..5000).map(|row| LABELS[row / 2 % 6]).collect();
    let mut wanted = request(folder.rows("a.parquet", &texts, &labels));
    (wanted.identifiers, wanted.cases) = (Identifiers::Allow, 40);
    let facts = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let (corpus, checked) = (load(&wanted).unwrap(), check(&wanted).unwrap());
            assert_eq!((&checked.train_sha256, &checked.eval_sha256), (&corpus.train_sha256, &corpus.eval_sha256));
            assert_eq!((checked.train, checked.eval), (corpus.train.len() as u64, corpus.eval.len() as u64));
            let said = (corpus.dropped, corpus.labels, corpus.scan.clone());
            assert_eq!((checked.dropped, checked.labels, checked.scan), said);
            (corpus.train, corpus.eval, corpus.dropped, corpus.scan)
        })
    };
    let first = facts(1);
    assert!(first.2.duplicates > 0 && first.3.total() > 0, "{:?}", first.2);
    assert_eq!(facts(2), first);
    assert_eq!(facts(3), first);
}

#[test]
fn files_and_columns_that_do_not_fit_are_named() {
    let folder = Folder::new();
    refused(&request(folder.path("none.parquet")), "corpus_file_missing", 4, &["none.parquet"]);
    refused(&request(folder.0.path().to_owned()), "corpus_unreadable", 6, &["folder"]);
    std::fs::write(folder.path("text.parquet"), "id,prompt\n1,hello\n").unwrap();
    refused(&request(folder.path("text.parquet")), "corpus_not_parquet", 1, &["text.parquet"]);
    let whole = std::fs::read(folder.rows("whole.parquet", &PROMPTS, &LABELS)).unwrap();
    std::fs::write(folder.path("cut.parquet"), &whole[..whole.len() - 9]).unwrap();
    refused(&request(folder.path("cut.parquet")), "corpus_not_parquet", 1, &["cut.parquet"]);
    let mut broken = whole;
    (4..60).for_each(|at| broken[at] ^= 0x5a);
    std::fs::write(folder.path("broken.parquet"), broken).unwrap();
    refused(&request(folder.path("broken.parquet")), "corpus_broken", 1, &["row 0"]);
    let other = write(
        &folder.path("other.parquet"),
        vec![("text", strings(some(&PROMPTS))), ("label", strings(some(&LABELS)))],
        9,
    );
    refused(&request(other), "corpus_column_missing", 1, &["no column `prompt`", "text, label"]);
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    let wrong =
        write(&folder.path("wrong.parquet"), vec![("prompt", numbers), ("completion", strings(some(&LABELS[..3])))], 9);
    refused(&request(wrong), "corpus_column_not_text", 1, &["`prompt` is Int64", "expected text"]);
    let mut nothing = request(folder.path("x"));
    nothing.train.clear();
    refused(&nothing, "corpus_no_file", 2, &["--corpus"]);
}

#[test]
fn null_and_empty_cells_are_refused_with_their_row() {
    let folder = Folder::new();
    for (cell, code) in [(None, "corpus_null"), (Some(" \n\t"), "corpus_empty"), (Some(""), "corpus_empty")] {
        let mut prompts = some(&PROMPTS);
        prompts[4] = cell;
        let path = write(
            &folder.path("a.parquet"),
            vec![("prompt", strings(prompts)), ("completion", strings(some(&LABELS)))],
            2,
        );
        refused(&request(path), code, 1, &["row 4", "`prompt`"]);
    }
}

#[test]
fn duplicates_are_dropped_or_refused_and_ids_are_unique() {
    let folder = Folder::new();
    let mut prompts = PROMPTS.to_vec();
    prompts.push("My card was  CHARGED!");
    let mut labels = LABELS.to_vec();
    labels.push("billing");
    let mut wanted = request(folder.rows("a.parquet", &prompts, &labels));
    let corpus = load(&wanted).unwrap();
    assert_eq!((corpus.dropped.duplicates, corpus.train.len() + corpus.eval.len()), (1, 6));
    wanted.duplicates = Duplicates::Error;
    refused(&wanted, "corpus_duplicate_row", 1, &["row 6", "row 0"]);
    let ids = ["a", "b", "c", "d", "b", "e"];
    let columns =
        vec![("id", strings(some(&ids))), ("prompt", strings(some(&PROMPTS))), ("completion", strings(some(&LABELS)))];
    let mut wanted = request(write(&folder.path("b.parquet"), columns, 9));
    wanted.columns.id = Some("id".to_owned());
    refused(&wanted, "corpus_duplicate_id", 1, &["row 4", "\"b\"", "row 1"]);
}

#[test]
fn a_given_split_that_leaks_is_refused_or_thinned() {
    let folder = Folder::new();
    let train = folder.rows("train.parquet", &PROMPTS, &LABELS);
    let long = "one two three four five six seven eight nine ten";
    for (prompt, exact) in [("App, CRASHES", true), ("ten nine eight seven six five four three two one zero", false)] {
        let mut prompts = PROMPTS.to_vec();
        prompts[0] = long;
        folder.rows("train.parquet", &prompts, &LABELS);
        let mut wanted = request(train.clone());
        wanted.eval = vec![folder.rows("eval.parquet", &["something new", prompt], &["billing", "technical"])];
        let error = refused(&wanted, "corpus_leak", 1, &["leaks into the eval split", "eval.parquet", "row 1"]);
        assert!(matches!(error, CorpusError::Leak { exact: found, .. } if found == exact));
        assert!(error.hint().is_some());
        wanted.leakage = Leakage::Drop;
        let corpus = load(&wanted).unwrap();
        assert_eq!(
            (corpus.method, corpus.dropped.leaks, corpus.train.len(), corpus.eval.len()),
            (SplitMethod::File, 1, 5, 2)
        );
    }
}

#[test]
fn a_split_by_column_uses_its_rows_and_counts_the_others() {
    let folder = Folder::new();
    let splits = ["train", "test", "train", "test", "validation", "test"];
    let columns = vec![
        ("prompt", strings(some(&PROMPTS))),
        ("completion", strings(some(&LABELS))),
        ("split", strings(some(&splits))),
    ];
    let mut wanted = request(write(&folder.path("a.parquet"), columns, 9));
    wanted.columns.split = Some("split".to_owned());
    wanted.labels = Some(vec!["billing".to_owned(), "shipping".to_owned(), "technical".to_owned()]);
    let corpus = load(&wanted).unwrap();
    assert_eq!(
        (corpus.method, corpus.train.len(), corpus.eval.len(), corpus.dropped.unused),
        (SplitMethod::Column, 2, 2, 2)
    );
    wanted.cases = 4;
    let error = refused(&wanted, "corpus_too_few_eval_rows", 1, &["found 3", "at least 4"]);
    assert!(error.hint().is_some());
    wanted.cases = 2;
    wanted.train_split = "nothing".to_owned();
    refused(&wanted, "corpus_no_training_rows", 1, &["6 rows"]);
}

#[test]
fn labels_outside_the_set_and_too_few_rows_are_refused() {
    let folder = Folder::new();
    let mut wanted = request(folder.rows("a.parquet", &PROMPTS, &LABELS));
    wanted.labels = Some(vec!["billing".to_owned(), "shipping".to_owned()]);
    refused(&wanted, "corpus_label_outside", 1, &["\"technical\"", "billing, shipping"]);
    wanted.labels = None;
    wanted.cases = 7;
    refused(&wanted, "corpus_too_few_eval_rows", 1, &["found 6", "at least 7"]);
    wanted.cases = 6;
    refused(&wanted, "corpus_no_training_rows", 1, &[]);
    let mut wanted = request(folder.rows("train.parquet", &PROMPTS, &LABELS));
    wanted.eval = vec![folder.rows("eval.parquet", &["new one", "new two"], &["billing", "other"])];
    refused(&wanted, "corpus_label_outside", 1, &["eval.parquet", "row 1", "\"other\""]);
}

#[test]
fn an_identifier_stops_the_load_and_never_shows() {
    let folder = Folder::new();
    let mut prompts = PROMPTS.to_vec();
    prompts[2] = "app crashes, mail jane.roe@example.org or call 602-272-9781";
    let mut wanted = request(folder.rows("a.parquet", &prompts, &LABELS));
    let error = refused(
        &wanted,
        "corpus_identifier",
        1,
        &["a.parquet", "row 2", "`prompt`", "an email address", "[EMAIL]", "2 findings"],
    );
    assert!(!error.to_string().contains("jane") && !error.to_string().contains("272") && error.hint().is_some());
    wanted.identifiers = Identifiers::Allow;
    let corpus = load(&wanted).unwrap();
    assert_eq!((corpus.scan.total(), corpus.scan.counts[&Kind::Email], corpus.scan.counts[&Kind::Phone]), (2, 1, 1));
    assert!(corpus.scan.canonical().starts_with("{\"counts\":{\"account\":0,\"address\":0,"));
    assert_eq!(corpus.scan.sha256().len(), 64);
}

#[test]
fn a_deidentified_file_scans_clean_and_keeps_everything_else() {
    let folder = Folder::new();
    let mut prompts = some(&PROMPTS);
    prompts[1] = Some("where is order 370795561790, call 602-272-9781");
    prompts[3] = None;
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3, 4, 5, 6]));
    let columns = vec![
        ("n", numbers),
        ("prompt", strings(prompts)),
        ("completion", Arc::new(StringViewArray::from(LABELS.to_vec())) as ArrayRef),
    ];
    let input = write(&folder.path("in.parquet"), columns, 4);
    let output = folder.path("out.parquet");
    let report = deidentify_file(&input, &output, None, &Replacement::pseudonyms(b"key", "in")).unwrap();
    assert_eq!((report.total(), report.rows), (2, 6));
    assert_eq!(scan_files(std::slice::from_ref(&output), None, &mut |found| panic!("{found:?}")).unwrap().total(), 0);
    let first = std::fs::read(&output).unwrap();
    deidentify_file(&input, &output, None, &Replacement::pseudonyms(b"key", "in")).unwrap();
    assert_eq!(first, std::fs::read(&output).unwrap(), "the same bytes again");
    let batches =
        parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(&output).unwrap())
            .unwrap()
            .build()
            .unwrap();
    let batch = batches.map(Result::unwrap).next().unwrap();
    assert_eq!(
        batch.schema().fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>(),
        ["n", "prompt", "completion"]
    );
    assert!(batch.column(1).is_null(3) && batch.num_rows() == 6);
    let error = deidentify_file(&input, &input, None, &Replacement::mask()).unwrap_err();
    assert_eq!((error.code(), error.exit_code()), ("corpus_same_file", 2));
    let error = deidentify_file(&input, &folder.path("no/such/out.parquet"), None, &Replacement::mask()).unwrap_err();
    assert_eq!((error.code(), error.exit_code()), ("corpus_unwritable", 6));
    let left: Vec<_> = std::fs::read_dir(folder.0.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn the_shipped_examples_load_without_a_finding() {
    for name in ["support_tickets", "micro"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpora").join(name).join("kolm.toml");
        let job = Job::read(&path).unwrap();
        let corpus = load(&Request::from_job(&job, &[])).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((corpus.scan.total(), corpus.dropped.leaks), (0, 0), "{name}");
        assert_eq!(corpus.eval.len() as u64, job.eval.cases);
    }
}

#[test]
fn the_outside_corpora_load_by_their_job_files() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/corpora");
    if !data.exists() {
        eprintln!("skipped: {} is absent", data.display());
        return;
    }
    let folder = Folder::new();
    for (name, stops) in [
        ("banking77", false),
        ("bitext_support", true),
        ("snips", false),
        ("excavators", false),
        ("sms_spam", true),
        ("mts_dialog", false),
    ] {
        let job =
            Job::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../corpora/jobs/{name}.toml"))).unwrap();
        let mut path = data.join(format!("{name}.parquet"));
        if stops {
            let error = load(&Request::from_job(&job, std::slice::from_ref(&path))).expect_err(name);
            assert_eq!(error.code(), "corpus_identifier", "{error}");
            let output = folder.path(&format!("{name}.parquet"));
            deidentify_file(&path, &output, None, &Replacement::pseudonyms(b"key", name)).unwrap();
            path = output;
        }
        let corpus = load(&Request::from_job(&job, &[path])).unwrap_or_else(|error| panic!("{error}"));
        println!(
            "{name}: {} train, {} eval, {:?}, {} findings",
            corpus.train.len(),
            corpus.eval.len(),
            corpus.dropped,
            corpus.scan.total()
        );
        assert_eq!(corpus.read, corpus.train.len() as u64 + corpus.eval.len() as u64 + corpus.dropped.total());
        assert_eq!(corpus.eval.len() as u64, job.eval.cases);
        if stops {
            assert_eq!(corpus.scan.total(), 0);
        }
    }
}
