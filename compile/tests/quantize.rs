//! `kolm base quantize` by the real binary: what it writes, that it repeats, and what it refuses.

use std::path::Path;
use std::process::{Command, Output};

use kolm_runtime::kernel::{IntegerBits, Level, QuantizedRows};
use kolm_runtime::model::{Decoder, ModelSource, Weights};

fn quantize(home: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kolm"));
    command.current_dir(home).env("HOME", home).args(["base", "quantize"]).args(arguments);
    command.output().expect("kolm runs")
}

#[track_caller]
fn refused(home: &Path, arguments: &[&str], code: i32, message: &str) {
    let output = quantize(home, arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(stderr.contains(message), "{stderr}");
    assert!(output.stdout.is_empty());
}

#[test]
fn a_quantised_base_repeats_and_means_scale_times_integer() {
    let home = tempfile::tempdir().expect("folder");
    for (to, kind, threads) in [("a", "int4", "1"), ("b", "int4", "2"), ("c", "int8", "2")] {
        let output = quantize(
            home.path(),
            &["--from", "kolm/nano", "--to", to, "--type", kind, "--group", "32", "--threads", threads],
        );
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let source = |name: &str| ModelSource::folder(&home.path().join(name)).expect("located");
    let (a, b, c) = (source("a"), source("b"), source("c"));
    assert_eq!(a.identities().expect("hashed"), b.identities().expect("hashed"));
    assert_ne!(a.revision(), c.revision());
    let nano = ModelSource::embedded("kolm/nano").expect("embedded");
    let plain = Weights::open(&nano).expect("opens");
    for (made, linear) in [(&a, IntegerBits::Four), (&c, IntegerBits::Eight)] {
        let weights = Weights::open(made).expect("opens");
        let record = weights.quantization().expect("recorded");
        assert_eq!(record.source.files, nano.identities().expect("hashed"));
        assert_eq!(weights.names().collect::<Vec<_>>(), plain.names().collect::<Vec<_>>());
        for name in plain.names() {
            let shape = plain.shape(name).expect("there");
            let values = plain.tensor_f32(name, &shape).expect("reads");
            let found = weights.tensor_f32(name, &shape).expect("reads");
            let bits = if name.contains("embed_tokens") { IntegerBits::Eight } else { linear };
            let expected = match shape[..] {
                [rows, columns] => QuantizedRows::quantize(&values, rows, columns, bits, 32).to_f32(),
                _ => values,
            };
            assert!(found.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits()), "{name}");
        }
        Decoder::load(Level::detect(), made).expect("loads");
    }
}

#[test]
fn what_cannot_be_quantised_is_refused_before_a_byte_is_written() {
    let home = tempfile::tempdir().expect("folder");
    refused(
        home.path(),
        &["--from", "kolm/nano", "--to", "x", "--type", "int8", "--group", "48"],
        2,
        "--group is \"48\"",
    );
    refused(home.path(), &["--from", "none/none", "--to", "x", "--type", "int8"], 4, "none/none");
    assert!(quantize(home.path(), &["--from", "kolm/nano", "--to", "x", "--type", "int8"]).status.success());
    refused(home.path(), &["--from", "kolm/nano", "--to", "x", "--type", "int8"], 2, "--to is \"x\"");
    refused(home.path(), &["--from", "./x", "--to", "y", "--type", "int4"], 2, "a base of int8");
    let left: Vec<_> =
        std::fs::read_dir(home.path()).expect("folder").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["x"]);
}
