//! The log under every damage it must notice.

use std::fs;

use super::*;

fn event(second: u64) -> Event {
    Event {
        time: Timestamp::from_unix(second).unwrap(),
        action: "compile".into(),
        cid: None,
        outcome: "done".into(),
        detail: String::new(),
    }
}

struct Home {
    folder: tempfile::TempDir,
    key: OperatorKey,
}

impl Home {
    fn with(entries: u64) -> Self {
        let home = Self { folder: tempfile::tempdir().unwrap(), key: OperatorKey::from_bytes([3; 32]) };
        for second in 0..entries {
            home.log().append(&event(second)).unwrap();
        }
        home
    }

    fn log(&self) -> AuditLog<'_> {
        AuditLog::open(self.folder.path(), &self.key).unwrap()
    }

    fn edit(&self, name: &str, change: impl FnOnce(Vec<u8>) -> Vec<u8>) {
        let path = self.folder.path().join(name);
        fs::write(&path, change(fs::read(&path).unwrap())).unwrap();
    }

    fn codes(&self) -> (&'static str, &'static str) {
        let verify = self.log().verify().map_or_else(|error| error.code(), |_| "ok");
        let append = self.log().append(&event(9)).map_or_else(|error| error.code(), |()| "ok");
        (verify, append)
    }
}

#[test]
fn grows_and_verifies() {
    let home = Home::with(0);
    assert_eq!(home.log().verify().unwrap().entries, 0);
    let home = Home::with(4);
    let report = home.log().verify().unwrap();
    assert_eq!((report.entries, report.checked, report.clock_steps_back), (4, 4, 0));
    home.log().append(&event(0)).unwrap();
    assert_eq!(home.log().verify().unwrap().clock_steps_back, 1);
}

#[test]
fn every_single_byte_change_is_noticed() {
    let home = Home::with(3);
    let bytes = fs::read(home.folder.path().join("audit.log")).unwrap();
    for at in 0..bytes.len() {
        home.edit("audit.log", |_| {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            bytes
        });
        assert!(home.log().verify().is_err(), "byte {at}");
    }
}

#[test]
fn cut_tail_is_noticed() {
    let home = Home::with(3);
    home.edit("audit.log", |bytes| {
        let end = bytes[..bytes.len() - 1].iter().rposition(|&byte| byte == b'\n').unwrap();
        bytes[..=end].to_vec()
    });
    assert_eq!(home.codes(), ("audit_truncated", "audit_truncated"));
    let home = Home::with(3);
    home.edit("audit.log", |_| Vec::new());
    assert_eq!(home.codes(), ("audit_truncated", "audit_truncated"));
}

#[test]
fn removed_head_is_noticed() {
    let home = Home::with(3);
    fs::remove_file(home.folder.path().join("audit.head")).unwrap();
    assert_eq!(home.codes(), ("audit_head", "audit_head"));
    let home = Home::with(3);
    home.edit("audit.head", |bytes| {
        String::from_utf8(bytes).unwrap().replace("\"entries\":3", "\"entries\":2").into_bytes()
    });
    assert_eq!(home.codes(), ("audit_head", "audit_head"));
}

#[test]
fn removed_middle_line_is_noticed() {
    let home = Home::with(3);
    home.edit("audit.log", |bytes| {
        let lines: Vec<&[u8]> = bytes.split_inclusive(|&byte| byte == b'\n').collect();
        [lines[0], lines[2]].concat()
    });
    assert_eq!(home.log().verify().unwrap_err().code(), "audit_line");
}

#[test]
fn torn_line_is_set_aside_and_recorded() {
    let home = Home::with(2);
    home.edit("audit.log", |bytes| [&bytes[..], b"{\"entry\":{\"act"].concat());
    assert_eq!(home.log().verify().unwrap_err().code(), "audit_line");
    home.log().append(&event(5)).unwrap();
    assert_eq!(home.log().verify().unwrap().entries, 4);
    assert_eq!(fs::read(home.folder.path().join("audit.torn.2")).unwrap(), b"{\"entry\":{\"act");
}

#[test]
fn head_one_behind_is_a_crash_and_goes_on() {
    for entries in [0, 2] {
        let home = Home::with(entries);
        let head = fs::read(home.folder.path().join("audit.head")).ok();
        home.log().append(&event(7)).unwrap();
        let path = home.folder.path().join("audit.head");
        match head {
            Some(head) => fs::write(path, head).unwrap(),
            None => fs::remove_file(path).unwrap(),
        }
        assert_eq!(home.codes(), ("ok", "ok"), "{entries}");
        assert_eq!(home.log().verify().unwrap().entries, entries + 2);
    }
}

#[test]
fn a_second_key_continues_the_chain() {
    let home = Home::with(2);
    let other = OperatorKey::from_bytes([4; 32]);
    let log = AuditLog::open(home.folder.path(), &other).unwrap();
    log.append(&event(8)).unwrap();
    let report = log.verify().unwrap();
    assert_eq!((report.entries, report.checked), (3, 1));
    // Only the key that sealed the head can say that no tail was cut.
    assert_eq!(home.log().verify().unwrap_err().code(), "audit_head");
}

#[test]
fn writers_take_turns() {
    let home = Home::with(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..5).for_each(|second| home.log().append(&event(second)).unwrap()));
        }
    });
    assert_eq!(home.log().verify().unwrap().entries, 20);
}
