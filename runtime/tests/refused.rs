//! Walks `golden/refused`: every file is refused with the code beside it, and every code has a file.
//!
//! The files are also made anew and must come out as they are; `KOLM_BLESS=1` at build time writes them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use kolm_runtime::artifact::{ArtifactError, ArtifactFile, Member, Opened};
use kolm_runtime::verify::refusal;
use serde::Deserialize;

#[path = "../../repro/src/golden/refused/mod.rs"]
#[allow(unreachable_pub, reason = "public in the crate that owns it")]
mod generator;

/// Codes that no single artifact can show, each with its reason.
const WITHOUT_VECTOR: &[(&str, &str)] = &[
    ("key_missing", "about the key file: artifact::key tests"),
    ("key_mode", "about the key file: artifact::key tests"),
    ("key_kind", "about the key file: artifact::key tests"),
    ("key_format", "about the key file: artifact::key tests"),
    ("key_checksum", "about the key file: artifact::key tests"),
    ("key_published", "about the key file: artifact::key tests"),
    ("model_absent", "about the machine: tests/verify.rs"),
    ("model_file_absent", "about the machine: tests/verify.rs"),
    ("model_substituted", "about the machine: tests/verify.rs"),
    ("model_unreadable", "about the machine: tests/verify.rs"),
    ("replay_score", "needs a base to replay on: tests/verify.rs"),
    ("replay_case", "needs a base to replay on: tests/verify.rs"),
    (
        "replay_digest",
        "check 1 holds the recorded digest to the recorded answers, so only a fault of the program shows it",
    ),
    ("gate_not_met", "only with --gate: tests/verify.rs"),
    ("audit_line", "about the audit log: artifact::audit tests"),
    ("audit_truncated", "about the audit log: artifact::audit tests"),
    ("audit_head", "about the audit log: artifact::audit tests"),
    ("audit_words", "about the audit log: artifact::audit tests"),
    ("audit_proof", "about the audit log: artifact::audit tests"),
    ("cid_log", "about this machine's log: tests/site.rs"),
    ("mark", "about this machine's marks: tests/site.rs"),
    ("rollback", "about this machine's marks: tests/site.rs"),
    ("too_old", "only with --max-age: tests/site.rs"),
    ("media", "about the machine: artifact::key tests"),
    ("io", "about the machine: artifact::file tests"),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    code: String,
    why: String,
}

fn golden(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden").join(folder)
}

#[test]
fn files_are_as_the_generator_makes_them() {
    for (folder, files) in [("refused", generator::files()), ("spec-example", generator::spec_example())] {
        let folder = golden(folder);
        if option_env!("KOLM_BLESS").is_some() {
            let _ = fs::remove_dir_all(&folder);
            fs::create_dir_all(&folder).unwrap();
            files.iter().for_each(|(name, bytes)| fs::write(folder.join(name), bytes).unwrap());
        }
        let made: BTreeSet<String> = files.iter().map(|(name, _)| name.clone()).collect();
        assert_eq!(made.len(), files.len(), "two vectors of one name");
        let there: BTreeSet<String> =
            fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        assert_eq!(there, made);
        for (name, bytes) in files {
            assert!(fs::read(folder.join(&name)).unwrap() == bytes, "{name} differs from what its generator makes");
        }
    }
}

#[test]
fn every_file_is_refused_with_its_code() {
    let key = generator::example_key();
    let mut codes = BTreeSet::new();
    let mut count = 0;
    for entry in fs::read_dir(golden("refused")).unwrap() {
        let path = entry.unwrap().path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("json") => continue,
            Some("kolm") => {}
            _ => panic!("{} is neither NAME.kolm nor NAME.json", path.display()),
        }
        let about: About = serde_json::from_slice(&fs::read(path.with_extension("json")).unwrap()).unwrap();
        assert!(!about.why.is_empty());
        let found = refusal(fs::read(&path).unwrap(), &key);
        let found = found.unwrap_or_else(|| panic!("{} was accepted", path.display()));
        assert_eq!(found.code(), about.code, "{}: {found}", path.display());
        assert!(!found.to_string().ends_with('.'), "{found}");
        codes.insert(about.code);
        count += 1;
    }
    assert!(count > 0, "golden/refused is empty");
    for code in ArtifactError::CODES {
        let excused = WITHOUT_VECTOR.iter().any(|(name, _)| *name == code);
        assert_ne!(codes.contains(code), excused, "{code}: a vector or a reason, not both");
    }
    assert!(WITHOUT_VECTOR.iter().all(|(name, _)| ArtifactError::CODES.contains(name)), "a stale excuse");
}

#[test]
fn the_example_is_accepted() {
    let found = refusal(generator::example(), &generator::example_key());
    assert!(found.is_none(), "{found:?}");
}

#[test]
fn members_are_read_by_offset() {
    let opened = Opened::new(ArtifactFile::from_bytes(generator::example()).unwrap()).unwrap();
    let total: u64 = Member::ALL.iter().filter_map(|member| opened.file.member_len_bytes(*member)).sum();
    assert!(total < opened.file.len_bytes());
    assert_eq!(opened.file.member_len_bytes(Member::RecallConfig), None);
    assert_eq!(opened.file.read(Member::RecallConfig).unwrap_err().code(), "member_missing");
}
