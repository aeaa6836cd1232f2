//! The container: cut, prolonged, rearranged, re-zipped.

use super::draft::{Draft, zip};
use super::{Vector, example, vector};

/// Files whose members are sound, in a container that is not.
pub(super) fn containers() -> Vec<Vector> {
    let whole = example();
    let entries = Draft::example().0;
    let cut = |len: usize| whole[..len].to_vec();
    let with = |change: &dyn Fn(&mut Vec<(String, Vec<u8>)>)| {
        let mut entries = entries.clone();
        change(&mut entries);
        zip(&entries)
    };
    let patched = |at: usize, bytes: &[u8]| {
        let mut whole = whole.clone();
        whole[at..at + bytes.len()].copy_from_slice(bytes);
        whole
    };
    let directory = whole.windows(4).rposition(|window| window == b"PK\x01\x02").unwrap_or(0);
    let adapter = whole.windows(12).position(|window| window == b"data_offsets").expect("the adapter has a header");
    vec![
        vector("empty", "not_an_artifact", "no bytes at all", Vec::new()),
        vector(
            "not-a-zip",
            "not_an_artifact",
            "some other file",
            b"GGUF\x03\0\0\0 is another format, and long enough".to_vec(),
        ),
        vector("leading-byte", "not_an_artifact", "a byte before the first header", [b"\n", &whole[..]].concat()),
        vector(
            "other-zip",
            "not_an_artifact",
            "a ZIP whose first entry is something else",
            zip(&[("a.txt".to_owned(), b"a".to_vec())]),
        ),
        vector("cut-in-a-member", "truncated", "the file ends inside a member", cut(whole.len() / 4)),
        vector("cut-by-one-byte", "truncated", "the end record lacks its last byte", cut(whole.len() - 1)),
        vector("trailing-byte", "trailing_bytes", "a byte after the end record", [&whole[..], b"\0"].concat()),
        vector(
            "member-too-large",
            "too_large",
            "the manifest claims 16 MiB",
            patched(18, &[0, 0, 0, 1, 0, 0, 0, 1])[..200].to_vec(),
        ),
        vector("method-deflated", "container_encoding", "compression method 8", patched(8, &[8])),
        vector("other-time", "container_encoding", "an entry with a time of day", patched(10, &[1])),
        vector(
            "directory-differs",
            "container_encoding",
            "the central directory states another name",
            patched(directory + 46, b"T"),
        ),
        vector(
            "member-unknown",
            "member_unknown",
            "a member the format does not have",
            with(&|entries| entries.push(("notes.txt".to_owned(), b"hello".to_vec()))),
        ),
        vector(
            "member-outside",
            "member_unknown",
            "a member whose path leaves the folder",
            with(&|entries| entries[2].0 = "../task.json".to_owned()),
        ),
        vector(
            "member-duplicate",
            "member_duplicate",
            "task.json is there twice",
            with(&|entries| entries.insert(3, entries[2].clone())),
        ),
        vector("member-order", "member_order", "plan.json before task.json", with(&|entries| entries.swap(2, 3))),
        vector(
            "member-missing",
            "member_missing",
            "no training trace",
            with(&|entries| entries.truncate(entries.len() - 1)),
        ),
        vector(
            "content-damaged",
            "member_checksum",
            "a byte of the adapter changed, its CRC-32 did not",
            patched(adapter, b"X"),
        ),
    ]
}
