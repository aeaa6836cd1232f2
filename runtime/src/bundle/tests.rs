use std::cell::Cell;
use std::fs;
use std::io::{self, Read};
use std::path::Path;

use serde_json::{Value, json};

use super::part::read_with;
use super::*;
use crate::artifact::{OperatorKey, Timestamp, canonical, sha256_hex};

const REVISION: &str = "0123456789abcdef0123456789abcdef01234567";
const MIB: u64 = 1 << 20;

fn key() -> OperatorKey {
    OperatorKey::from_bytes([9; 32])
}

fn path(text: &str) -> BundlePath {
    BundlePath::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// A bundle of 2.5 MiB in three parts: two artifacts that share their content, and a file of a model.
fn write(folder: &Path) -> Index {
    let contents: [(&str, Vec<u8>); 3] = [
        ("artifacts/a-1.kolm", vec![1; 1 << 20]),
        ("artifacts/b-1.kolm", vec![1; 1 << 20]),
        (&format!("models/org--name/{REVISION}/config.json"), vec![2; 3 << 19]),
    ];
    let files = contents.iter().map(|(name, bytes)| (path(name), sha256_hex(bytes), bytes.len() as u64)).collect();
    let mut index = Index::plan(files, MIB, None).unwrap();
    let mut writer = PartWriter::new(folder, MIB);
    for entry in index.contents() {
        let (_, bytes) = contents.iter().find(|(name, _)| *name == entry.path).unwrap();
        bytes.chunks(99_991).for_each(|chunk| writer.write(chunk).unwrap());
    }
    index.parts = writer.finish().unwrap();
    let bytes = index.to_bytes().unwrap();
    fs::write(folder.join(INDEX), &bytes).unwrap();
    fs::write(folder.join(INDEX_MAC), seal(&bytes, &key())).unwrap();
    index
}

fn code<T>(result: Result<T, BundleError>) -> &'static str {
    result.map_or_else(|error| error.code(), |_| "ok")
}

#[test]
fn what_is_written_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let index = write(folder.path());
    let offsets: Vec<_> = index.files.iter().map(|file| file.offset).collect();
    assert_eq!(offsets, [Some(0), Some(0), Some(MIB)]);
    assert_eq!(index.parts.iter().map(|part| part.size).collect::<Vec<_>>(), [MIB, MIB, MIB / 2]);
    let bundle = Bundle::open(folder.path(), &key()).unwrap();
    assert_eq!(bundle.index, index);
    let mut stream = Vec::new();
    for part in &index.parts {
        read_part(folder.path(), part, &mut |_, bytes| {
            stream.extend_from_slice(bytes);
            Ok(())
        })
        .unwrap();
    }
    assert_eq!(sha256_hex(&stream[1 << 20..]), index.files[2].sha256);

    let again = tempfile::tempdir().unwrap();
    write(again.path());
    for name in [INDEX, INDEX_MAC, &index.parts[0].name, &index.parts[1].name, &index.parts[2].name] {
        assert_eq!(fs::read(folder.path().join(name)).unwrap(), fs::read(again.path().join(name)).unwrap(), "{name}");
    }
}

#[test]
fn the_worked_example_of_the_specification() {
    let sha256 = sha256_hex(b"abc");
    let mut index = Index::plan(vec![(path("artifacts/a-1.kolm"), sha256.clone(), 3)], MIB, None).unwrap();
    index.parts = vec![Part { name: "0001-ba7816bf8f01cfea.part".to_owned(), sha256, size: 3 }];
    let spec = include_str!("../../SPEC-bundle.md");
    let (_, example) = spec.split_once("broken into lines:\n\n```\n").unwrap();
    let (example, _) = example.split_once("\n```").unwrap();
    assert_eq!(String::from_utf8(index.to_bytes().unwrap()).unwrap(), example.replace('\n', ""));
}

#[test]
fn a_later_bundle_leaves_out_what_the_earlier_one_holds() {
    let folder = tempfile::tempdir().unwrap();
    let index = write(folder.path());
    let id = sha256_hex(b"id");
    let mut files: Vec<_> = index.files.iter().map(|file| (path(&file.path), file.sha256.clone(), file.size)).collect();
    files.push((path("artifacts/c-1.kolm"), index.files[0].sha256.clone(), MIB));
    files[1].1 = sha256_hex(b"new");
    files[1].2 = 3;
    let later = Index::plan(files, MIB, Some((&id, &index))).unwrap();
    let offsets: Vec<_> = later.files.iter().map(|file| file.offset).collect();
    assert_eq!(offsets, [None, Some(0), Some(3), None]);
    assert_eq!(later.since, Some(id));
}

#[test]
fn paths_that_no_bundle_holds() {
    for good in [
        "artifacts/a-1.0.0+b.kolm",
        "bin/kolm-verify",
        &format!("models/gpt2/{REVISION}/config.json"),
        &format!("models/org--name/{REVISION}/1_Pooling/config.json"),
        &format!("local/base/{REVISION}/model.safetensors"),
    ] {
        assert_eq!(path(good).to_string(), good);
    }
    for bad in [
        "",
        "artifacts",
        "artifacts/",
        "artifacts/.kolm",
        "artifacts/a.txt",
        "artifacts/../a.kolm",
        "artifacts/a/b.kolm",
        "/artifacts/a.kolm",
        "artifacts//a.kolm",
        "artifacts/con.kolm",
        "artifacts/LPT1.kolm",
        "artifacts/a b.kolm",
        "artifacts/a:b.kolm",
        "artifacts\\a.kolm",
        "artifacts/ä.kolm",
        "artifacts/a\0.kolm",
        "C:/artifacts/a.kolm",
        "bin/kolm",
        "bin/kolm-verify/x",
        "keys/operator.key",
        "models/org--name/main/config.json",
        &format!("models/org--name/{REVISION}"),
        &format!("models/org--name/{REVISION}/a/b/c"),
        &format!("models/org--name/{REVISION}/../x"),
        &format!("models/a--b--c/{REVISION}/x"),
        &format!("models/--b/{REVISION}/x"),
        &format!("models/a--/{REVISION}/x"),
        &format!("models/a---b/{REVISION}/x"),
        &format!("models/local--b/{REVISION}/x"),
        &format!("models/kolm--nano/{REVISION}/x"),
        &format!("local/a--b/{REVISION}/x"),
        &format!("models/org--name/{}/x", REVISION.to_ascii_uppercase()),
        &format!("artifacts/{}.kolm", "a".repeat(128)),
    ] {
        assert_eq!(code(BundlePath::parse(bad)), "bundle_path", "{bad:?}");
    }
}

/// The index of `write`, changed and sealed again: what only a holder of the key can make.
fn changed(change: impl FnOnce(&mut Value)) -> &'static str {
    let folder = tempfile::tempdir().unwrap();
    let mut value = serde_json::to_value(write(folder.path())).unwrap();
    change(&mut value);
    let bytes = canonical(&value).unwrap();
    fs::write(folder.path().join(INDEX), &bytes).unwrap();
    fs::write(folder.path().join(INDEX_MAC), seal(&bytes, &key())).unwrap();
    code(Bundle::open(folder.path(), &key()))
}

#[test]
fn indexes_that_break_a_rule() {
    assert_eq!(changed(|_| ()), "ok");
    assert_eq!(changed(|index| index["format"] = json!("kolm-bundle-2")), "bundle_index");
    assert_eq!(changed(|index| index["part_size"] = json!(1000)), "bundle_index");
    assert_eq!(changed(|index| index["since"] = json!("x")), "bundle_index");
    assert_eq!(changed(|index| index["files"] = json!([])), "bundle_index");
    assert_eq!(changed(|index| index["files"][0]["offset"] = json!(null)), "bundle_index");
    assert_eq!(changed(|index| index["files"][0]["sha256"] = json!("00")), "bundle_index");
    assert_eq!(changed(|index| index["files"][1]["size"] = json!(7)), "bundle_index");
    assert_eq!(changed(|index| index["files"][2]["size"] = json!(1u64 << 53)), "bundle_index");
    assert_eq!(changed(|index| index["files"][1]["offset"] = json!(1)), "bundle_place");
    assert_eq!(changed(|index| index["files"][2]["offset"] = json!(0)), "bundle_place");
    assert_eq!(changed(|index| index["files"][2]["path"] = json!("../x")), "bundle_path");
    assert_eq!(changed(|index| index["files"].as_array_mut().unwrap().swap(0, 1)), "bundle_path");
    assert_eq!(changed(|index| index["files"][1]["path"] = json!("artifacts/a-1.kolm")), "bundle_path");
    let case = |index: &mut Value| {
        index["files"][0]["path"] = json!("artifacts/B-1.kolm");
    };
    assert_eq!(changed(case), "bundle_path");
    assert_eq!(changed(|index| drop(index["parts"].as_array_mut().unwrap().pop())), "bundle_parts");
    assert_eq!(changed(|index| index["parts"].as_array_mut().unwrap().swap(0, 1)), "bundle_parts");
    assert_eq!(changed(|index| index["parts"][2]["size"] = json!(1)), "bundle_parts");
    assert_eq!(changed(|index| index["parts"][0]["name"] = json!("../../etc/passwd")), "bundle_parts");
    assert_eq!(changed(|index| index["extra"] = json!(1)), "json_schema");
    assert_eq!(changed(|index| index["part_size"] = json!("1048576")), "json_schema");
}

/// Without the MAC, as a fuzzer would: whatever the bytes, an answer, and never the same index from other bytes.
#[test]
fn altered_and_cut_indexes_are_never_taken_for_the_index() {
    let folder = tempfile::tempdir().unwrap();
    let index = write(folder.path());
    let bytes = index.to_bytes().unwrap();
    for at in 0..bytes.len() {
        assert!(Index::parse(&bytes[..at]).is_err(), "cut at {at}");
        for bit in 0..8 {
            let mut altered = bytes.clone();
            altered[at] ^= 1 << bit;
            if let Ok(other) = Index::parse(&altered) {
                assert_ne!(other, index, "byte {at} bit {bit}");
                assert_eq!(other.to_bytes().unwrap(), altered, "byte {at} bit {bit}");
            }
        }
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(bytes: Vec<u8>, path: String) {
        let _ = Index::parse(&bytes);
        if let Ok(read) = BundlePath::parse(&path) {
            proptest::prop_assert_eq!(read.to_string(), path);
        }
    }
}

#[test]
fn another_key_and_an_altered_index_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path());
    let opened = |key: &OperatorKey| code(Bundle::open(folder.path(), key));
    assert_eq!(opened(&OperatorKey::from_bytes([8; 32])), "bundle_wrong_key");
    let index = fs::read(folder.path().join(INDEX)).unwrap();
    for at in 0..index.len() {
        let mut altered = index.clone();
        altered[at] ^= 1;
        fs::write(folder.path().join(INDEX), &altered).unwrap();
        assert_eq!(opened(&key()), "bundle_mac", "byte {at}");
    }
    fs::write(folder.path().join(INDEX), &index[..index.len() - 1]).unwrap();
    assert_eq!(opened(&key()), "bundle_mac");
    fs::write(folder.path().join(INDEX), &index).unwrap();
    let mac = fs::read(folder.path().join(INDEX_MAC)).unwrap();
    for at in 0..mac.len() {
        let mut altered = mac.clone();
        altered[at] ^= 1;
        fs::write(folder.path().join(INDEX_MAC), &altered).unwrap();
        assert!(["bundle_mac", "bundle_mac_form", "bundle_wrong_key"].contains(&opened(&key())), "byte {at}");
    }
    fs::remove_file(folder.path().join(INDEX_MAC)).unwrap();
    assert_eq!(opened(&key()), "bundle_absent");
    fs::write(folder.path().join(INDEX), vec![b' '; (1 << 23) + 2]).unwrap();
    assert_eq!(opened(&key()), "bundle_index_large");
}

#[test]
fn parts_that_are_altered_cut_long_or_absent() {
    let folder = tempfile::tempdir().unwrap();
    let index = write(folder.path());
    let part = &index.parts[2];
    let place = folder.path().join(&part.name);
    let whole = fs::read(&place).unwrap();
    let read = || code(read_part(folder.path(), part, &mut |_, _| Ok(())));
    assert_eq!(read(), "ok");
    let mut altered = whole.clone();
    altered[77] ^= 4;
    for wrong in [&altered[..], &whole[1..], &[&whole[..], b"x"].concat(), b""] {
        fs::write(&place, wrong).unwrap();
        assert_eq!(read(), "bundle_part_hash");
    }
    fs::remove_file(&place).unwrap();
    assert_eq!(read(), "bundle_absent");
    fs::create_dir(&place).unwrap();
    assert_eq!(read(), "bundle_kind");
}

#[cfg(unix)]
#[test]
fn links_and_devices_are_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let index = write(folder.path());
    let place = folder.path().join(&index.parts[0].name);
    let elsewhere = folder.path().join("elsewhere");
    fs::rename(&place, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &place).unwrap();
    assert_eq!(code(read_part(folder.path(), &index.parts[0], &mut |_, _| Ok(()))), "bundle_kind");
    assert_eq!(code(open_plain(Path::new("/dev/zero"))), "bundle_kind");
    fs::rename(folder.path().join(INDEX), folder.path().join("i")).unwrap();
    std::os::unix::fs::symlink("i", folder.path().join(INDEX)).unwrap();
    assert_eq!(code(Bundle::open(folder.path(), &key())), "bundle_kind");
}

/// A disk that fails, or flips a byte, for the first `bad` times it is read.
struct Disk<'a> {
    bytes: &'a [u8],
    fails: bool,
}

impl Read for Disk<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.fails { Err(io::Error::from_raw_os_error(5)) } else { self.bytes.read(buffer) }
    }
}

#[test]
fn a_disk_that_fails_twice_is_read_a_third_time() {
    let part = Part { name: "0001-x.part".to_owned(), sha256: sha256_hex(b"good"), size: 4 };
    let read = |bad: u32, fails: bool| {
        let opened = Cell::new(0);
        let mut open = || {
            opened.set(opened.get() + 1);
            let wrong = opened.get() <= bad;
            Ok(Disk { bytes: if wrong { b"goof" } else { b"good" }, fails: fails && wrong })
        };
        let result = read_with(&mut open, &part, &mut |_, _| Ok(()));
        (code(result), opened.get())
    };
    assert_eq!(read(0, true), ("ok", 1));
    assert_eq!(read(2, true), ("ok", 3));
    assert_eq!(read(2, false), ("ok", 3));
    assert_eq!(read(3, true), ("bundle_media", 3));
    assert_eq!(read(3, false), ("bundle_part_hash", 3));
}

#[test]
fn receipts_hold_or_name_their_fault() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("r.json");
    let time = Timestamp::parse("2026-11-24T09:00:00Z").unwrap();
    let receipt = InstallReceipt::new(&sha256_hex(b"id"), (3, 70), Vec::new(), time, &key());
    let bytes = receipt.to_bytes(&key()).unwrap();
    fs::write(&place, &bytes).unwrap();
    assert_eq!(InstallReceipt::open(&place, &key()).unwrap(), receipt);
    assert_eq!(code(InstallReceipt::open(&place, &OperatorKey::from_bytes([8; 32]))), "bundle_wrong_key");
    let text = String::from_utf8(bytes).unwrap().replace("\"files\":3", "\"files\":4");
    fs::write(&place, text).unwrap();
    assert_eq!(code(InstallReceipt::open(&place, &key())), "bundle_receipt");
}
