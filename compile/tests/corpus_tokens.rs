//! `kolm corpus check --tokens` by the real binary, over more rows than a batch holds, in two files.
#![allow(clippy::disallowed_methods)] // tests run the real binary

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use serde_json::Value;

/// Rows of one file, of which every seventh repeats the one before it.
fn write(path: &Path, rows: std::ops::Range<usize>) {
    let word = |row: usize| format!("parcel {} of {}", row * 7919 % 1000, row - usize::from(row % 7 == 6));
    let prompt = |row: usize| match row {
        1500 | 3300 => word(row).repeat(40),
        _ => word(row),
    };
    let column = |cell: &dyn Fn(usize) -> String| -> ArrayRef {
        Arc::new(rows.clone().map(|row| Some(cell(row))).collect::<StringArray>())
    };
    let same = |row: usize| if row % 7 == 6 { prompt(row - 1) } else { prompt(row) };
    let batch = RecordBatch::try_from_iter([
        ("id", column(&|row| format!("row-{row}"))),
        ("prompt", column(&same)),
        ("completion", column(&|row| format!("queue {}", (row - usize::from(row % 7 == 6)) % 5))),
    ])
    .expect("columns");
    let mut writer =
        ArrowWriter::try_new(fs::File::create(path).expect("made"), batch.schema(), None).expect("a writer");
    writer.write(&batch).expect("written");
    writer.close().expect("closed");
}

fn check(folder: &Path, overlong: &str, threads: &str, more: &[&str]) -> Output {
    let job = format!(
        "[task]\nname = \"tokens\"\nversion = \"1.0.0\"\ntemplate = \"{{{{ prompt }}}}\\n=> \"\n[base]\nmodel = \"kolm/nano\"\n\
         [corpus]\ntrain = [\"a.parquet\", \"b.parquet\"]\nid = \"id\"\nprompt = \"prompt\"\ncompletion = \"completion\"\n\
         duplicates = \"drop\"\nidentifiers = \"allow\"\noverlong = \"{overlong}\"\n[train]\nmax_length = 64\n\
         [recall]\nuse = \"off\"\n[eval]\nmetric = \"exact\"\ncases = 20\ngate = 0.0\n"
    );
    fs::write(folder.join("kolm.toml"), job).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_kolm"));
    command.args(["corpus", "check", "kolm.toml", "--tokens"]).args(more);
    command.current_dir(folder).env("HOME", folder).env("KOLM_THREADS", threads).output().expect("kolm runs")
}

#[test]
fn tokens_of_many_batches_are_counted_the_same_on_any_number_of_threads() {
    let folder = tempfile::tempdir().expect("a folder");
    write(&folder.path().join("a.parquet"), 0..2100);
    write(&folder.path().join("b.parquet"), 2100..4000);
    let counted = |overlong: &str, threads: &str| -> Value {
        let output = check(folder.path(), overlong, threads, &["--json"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    };
    let first = counted("drop", "1");
    assert_eq!(counted("drop", "3"), first);
    let (train, tokens) = (&first["train"], &first["tokens"]["train"]);
    assert_eq!(first["read"], 4000);
    assert!(first["duplicates"].as_u64() > Some(500), "{first}");
    assert_eq!(tokens["left_out"], 2);
    assert_eq!(tokens["rows"].as_u64().map(|rows| rows + 2), train.as_u64());
    assert!(tokens["longest"].as_u64() <= Some(64) && tokens["learned"].as_u64() < tokens["tokens"].as_u64());
    let shortened = counted("truncate", "3");
    assert_eq!(
        (&shortened["tokens"]["train"]["shortened"], &shortened["tokens"]["train"]["left_out"]),
        (&2.into(), &0.into())
    );
    assert_eq!(shortened["train_sha256"], first["train_sha256"]);

    for threads in ["1", "3"] {
        let refused = check(folder.path(), "error", threads, &[]);
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(1), "{told}");
        assert!(told.contains("\"row-1500\"") && told.contains("the context holds 64"), "{told}");
    }
    let text = check(folder.path(), "drop", "2", &[]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains(" training rows, ") && text.contains("2 left out as too long, 0 shortened"), "{text}");
}
