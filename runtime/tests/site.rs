//! What a machine knows of an artifact: its log and its marks, and what becomes of them when somebody edits or deletes.

use std::fs;
use std::path::Path;

use kolm_runtime::artifact::{ArtifactFile, AuditLog, Event, Keyring, Opened, OperatorKey, Timestamp};
use kolm_runtime::verify::{Done, Rollback, Site, Standing, check_age, parse_days};

struct Machine {
    home: tempfile::TempDir,
    key: OperatorKey,
    opened: Opened,
}

impl Machine {
    fn new() -> Machine {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden/spec-example/example.kolm");
        let opened = Opened::new(ArtifactFile::open(&example).unwrap()).unwrap();
        Machine { home: tempfile::tempdir().unwrap(), key: OperatorKey::random().unwrap(), opened }
    }

    fn site(&self, rollback: Rollback) -> Site {
        Site { kolm_home: self.home.path().to_owned(), now: at("2026-11-24T00:00:00Z"), rollback }
    }

    /// Version and CID by which the artifact goes from now on.
    fn becomes(&mut self, version: &str, digit: &str) -> &mut Machine {
        self.opened.manifest.version = version.to_owned();
        self.opened.manifest.cid = format!("cidv1:sha256:{}", digit.repeat(64));
        self
    }

    fn standing(&self) -> Result<Standing, &'static str> {
        self.site(Rollback::Refuse).standing(&self.key, &self.opened.manifest).map_err(|error| error.code())
    }

    /// What `verify` does with a sound artifact.
    fn verify(&self, rollback: Rollback) -> &'static str {
        let site = self.site(rollback);
        let accept = || {
            let standing = site.standing(&self.key, &self.opened.manifest)?;
            site.check_rollback(&standing, &self.opened.manifest)?;
            let (opened, standing) = (Some(&self.opened), Some(&standing));
            let done = Done { action: "verify", file: "", opened, standing, failure: None, note: "" };
            site.record(&self.key, &done)
        };
        accept().map_or_else(|error| error.code(), |_| "ok")
    }

    fn append(&self, action: &str, outcome: &str) {
        let manifest = &self.opened.manifest;
        let event = Event {
            time: at("2026-11-24T00:00:00Z"),
            action: action.to_owned(),
            cid: Some(manifest.cid.clone()),
            outcome: outcome.to_owned(),
            detail: format!("{}-{} and more", manifest.name, manifest.version),
        };
        AuditLog::open(self.home.path(), &self.key).unwrap().append(&event).unwrap();
    }
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

#[test]
fn a_new_artifact_is_said_to_be_new_and_known_from_then_on() {
    let machine = Machine::new();
    assert_eq!(machine.standing().unwrap().known_since, None);
    assert_eq!(machine.verify(Rollback::Refuse), "ok");
    assert_eq!(machine.verify(Rollback::Refuse), "ok");
    assert_eq!(machine.standing().unwrap().known_since, Some(1));
}

#[test]
fn another_cid_under_the_same_name_and_version_is_refused() {
    for (action, outcome, expected) in [
        ("compile", "done", Err("cid_log")),
        ("import", "done", Err("cid_log")),
        ("verify", "done", Err("cid_log")),
        ("verify", "refused", Ok(())),
        ("note", "done", Ok(())),
    ] {
        let mut machine = Machine::new();
        machine.becomes("1.0.0", "1").append(action, outcome);
        machine.becomes("1.0.0", "2");
        assert_eq!(machine.standing().map(|_| ()), expected, "{action} {outcome}");
        // A longer name that begins alike is another artifact.
        machine.becomes("1.0.0-rc", "2");
        assert!(machine.standing().is_ok());
    }
    // Compiled again under the same version: the newest word counts.
    let mut machine = Machine::new();
    machine.becomes("1.0.0", "1").append("compile", "done");
    machine.becomes("1.0.0", "2").append("compile", "done");
    assert_eq!(machine.standing().unwrap().known_since, Some(2));
    machine.becomes("1.0.0", "1");
    assert_eq!(machine.standing(), Err("cid_log"));
}

#[test]
fn an_older_version_is_refused_unless_allowed() {
    let mut machine = Machine::new();
    assert_eq!(machine.becomes("1.10.0", "1").verify(Rollback::Refuse), "ok");
    assert_eq!(machine.becomes("1.9.0", "2").verify(Rollback::Refuse), "rollback");
    assert_eq!(machine.standing().unwrap().newer.as_deref(), Some("1.10.0"));
    assert_eq!(machine.verify(Rollback::Tell), "ok");
    assert_eq!(machine.verify(Rollback::Allow), "ok");
    let log = fs::read_to_string(machine.home.path().join("audit.log")).unwrap();
    assert!(log.lines().last().unwrap().contains("although 1.10.0 was accepted before"), "{log}");
    // The mark stays where it was.
    assert_eq!(machine.verify(Rollback::Refuse), "rollback");
    assert_eq!(machine.becomes("2.0.0", "3").verify(Rollback::Refuse), "ok");
    assert_eq!(machine.becomes("1.10.0", "1").verify(Rollback::Refuse), "rollback");
    // Another name has its own mark.
    machine.opened.manifest.name = "other".to_owned();
    assert_eq!(machine.verify(Rollback::Refuse), "ok");
}

#[test]
fn an_edited_or_exchanged_mark_is_refused() {
    let mut machine = Machine::new();
    assert_eq!(machine.becomes("2.0.0", "1").verify(Rollback::Refuse), "ok");
    let path = machine.home.path().join("marks/example.mark");
    let mark = fs::read_to_string(&path).unwrap();
    for bad in [mark.replace("2.0.0", "1.0.0"), mark[..40].to_owned(), String::new(), "x".repeat(9000)] {
        fs::write(&path, bad).unwrap();
        assert_eq!(machine.standing(), Err("mark"));
    }
    fs::write(path.with_file_name("other.mark"), &mark).unwrap();
    fs::write(&path, &mark).unwrap();
    machine.opened.manifest.name = "other".to_owned();
    assert_eq!(machine.standing(), Err("mark"));
}

#[test]
fn a_log_deleted_with_its_head_is_noticed_by_a_mark() {
    let machine = Machine::new();
    machine.append("compile", "done");
    assert_eq!(machine.verify(Rollback::Refuse), "ok");
    for name in ["audit.log", "audit.head"] {
        fs::remove_file(machine.home.path().join(name)).unwrap();
    }
    assert_eq!(machine.standing(), Err("audit_truncated"));
    assert_eq!(machine.verify(Rollback::Refuse), "audit_truncated");
    let event = Event {
        time: at("2026-11-24T00:00:00Z"),
        action: "note".to_owned(),
        cid: None,
        outcome: "done".to_owned(),
        detail: String::new(),
    };
    let log = AuditLog::open(machine.home.path(), &machine.key).unwrap();
    assert_eq!(log.append(&event).unwrap_err().code(), "audit_truncated");
    // With the marks gone too nothing on the machine can tell.
    fs::remove_dir_all(machine.home.path().join("marks")).unwrap();
    assert_eq!(machine.verify(Rollback::Refuse), "ok");
}

#[test]
fn marks_outlive_a_rotation() {
    let mut machine = Machine::new();
    let ring = Keyring::of(machine.home.path());
    machine.key = ring.generate(at("2026-11-24T00:00:00Z")).unwrap();
    assert_eq!(machine.becomes("2.0.0", "1").verify(Rollback::Refuse), "ok");
    ring.rotate(at("2026-11-24T00:00:00Z")).unwrap();
    machine.key = OperatorKey::load(&ring.current()).unwrap();
    assert_eq!(machine.becomes("1.0.0", "2").verify(Rollback::Refuse), "rollback");
    // Another key at hand does not take the log over: the ring's current key seals.
    machine.key = OperatorKey::random().unwrap();
    assert_eq!(machine.becomes("3.0.0", "3").verify(Rollback::Refuse), "ok");
    machine.key = OperatorKey::load(&ring.current()).unwrap();
    assert_eq!(machine.becomes("3.0.1", "4").verify(Rollback::Refuse), "ok");
}

#[test]
fn ages() {
    let made = at("2026-05-01T23:59:59Z");
    let code = |now, days| check_age(made, at(now), days).map_or_else(|error| error.code(), |()| "ok");
    assert_eq!(code("2026-05-01T00:00:00Z", 0), "ok");
    assert_eq!(code("2026-05-02T00:00:00Z", 0), "too_old");
    assert_eq!(code("2026-10-28T00:00:00Z", 180), "ok");
    assert_eq!(code("2026-10-29T00:00:00Z", 180), "too_old");
    assert_eq!(code("2026-04-30T00:00:00Z", 180), "too_old");
    assert_eq!(["180d", "0d", "999999d"].map(parse_days), [Some(180), Some(0), Some(999_999)]);
    for bad in ["", "d", "180", "-1d", "1.5d", "180 d", "1e3d", "9999999d", "6m"] {
        assert_eq!(parse_days(bad), None, "{bad}");
    }
}
