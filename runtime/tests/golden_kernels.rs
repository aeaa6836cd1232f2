//! Runs every vector of golden/kernels at every level this CPU has; an empty folder is a failure.

use std::path::Path;

use kolm_runtime::kernel::Level;
use kolm_runtime::selftest::check_vector;

#[test]
fn every_vector_holds_at_every_level() {
    for name in Level::NAMES.iter().filter(|name| Level::named(name).is_err()) {
        eprintln!("skipped: level {name} (this CPU does not have it)");
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden/kernels");
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).expect("golden/kernels") {
        let path = entry.expect("an entry").path();
        let bytes = std::fs::read(&path).expect("a readable file");
        for level in Level::available() {
            check_vector(level, &bytes).unwrap_or_else(|what| panic!("{} at {}: {what}", path.display(), level.name()));
        }
        count += 1;
    }
    assert!(count > 0, "no vectors in {}", folder.display());
}

/// A vector that is not as written is noticed, whichever part of it.
#[test]
fn a_changed_vector_is_noticed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden/kernels/dot-length-31.json");
    let honest = std::fs::read_to_string(path).expect("a vector");
    let refused = |from: &str, to: &str| {
        assert!(honest.contains(from), "the vector holds {from}");
        check_vector(Level::detect(), honest.replacen(from, to, 1).as_bytes()).expect_err("is noticed")
    };
    assert!(refused("\"kernel\": \"dot\"", "\"kernel\": \"sum\"").contains("was not understood"));
    assert!(refused("\"kernel\": \"dot\"", "\"kernel\": \"dut\"").contains("unknown kernel dut"));
    assert!(refused("kolm-kernel-vector-1", "kolm-kernel-vector-2").contains("expected \"kolm-kernel-vector-1\""));
    assert!(refused("\"reason\"", "\"raisin\"").contains("raisin"));
    let bits = honest
        .split("\"outputs\"")
        .nth(1)
        .and_then(|rest| rest.split('"').find(|word| u32::from_str_radix(word, 16).is_ok()))
        .expect("bits");
    assert!(refused(bits, "00000000").contains("element 0"));
}
