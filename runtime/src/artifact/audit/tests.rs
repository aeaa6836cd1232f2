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

    fn bytes(&self) -> Vec<u8> {
        fs::read(self.folder.path().join("audit.log")).unwrap()
    }

    /// Puts these lines of the log in place of it.
    fn arrange(&self, order: &[usize]) {
        self.edit("audit.log", |bytes| {
            let lines: Vec<&[u8]> = bytes.split_inclusive(|&byte| byte == b'\n').collect();
            order.iter().map(|&line| lines[line]).collect::<Vec<_>>().concat()
        });
    }

    /// Line, byte and kind of the first bad line.
    fn fault(&self) -> (u64, u64, &'static str) {
        match self.log().verify().unwrap_err() {
            ArtifactError::AuditLine { line, offset, kind, .. } => (line, offset, kind.name()),
            ArtifactError::AuditTruncated { found, offset, .. } => (found + 1, offset, "truncated"),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn grows_and_verifies() {
    let home = Home::with(0);
    assert_eq!(home.log().verify().unwrap().entries, 0);
    let home = Home::with(4);
    let report = home.log().verify().unwrap();
    assert_eq!((report.entries, report.keys, report.clock_steps_back), (4, 1, 0));
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
fn each_damage_has_its_kind_and_place() {
    let damaged = |order: &[usize]| {
        let home = Home::with(5);
        home.arrange(order);
        home
    };
    let starts: Vec<u64> = {
        let bytes = Home::with(5).bytes();
        let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at as u64 + 1);
        std::iter::once(0).chain(ends).collect()
    };
    for (order, line, kind) in [
        (&[1, 2, 3, 4][..], 1, "removed"),
        (&[0, 1, 4], 3, "removed"),
        (&[0, 2, 1, 3, 4], 2, "reordered"),
        (&[4, 3, 2, 1, 0], 1, "reordered"),
        (&[0, 1, 1, 2, 3, 4], 3, "repeated"),
        (&[0, 1, 2, 3, 4, 4], 6, "repeated"),
        (&[0, 1, 2, 3], 5, "truncated"),
        (&[], 1, "truncated"),
    ] {
        assert_eq!(damaged(order).fault(), (line, starts[line as usize - 1], kind), "{order:?}");
    }
    let edits: [(&str, &str); 4] = [
        ("compile", "xompile"),
        ("\"mac\":\"", "\"mac\":\"0"),
        ("kolm-audit-1", "kolm-audit-2"),
        ("\"seq\":3", "\"seq\":4"),
    ];
    for (from, to) in edits {
        let home = Home::with(5);
        home.edit("audit.log", |bytes| {
            let mut lines: Vec<String> = String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect();
            lines[2] = lines[2].replacen(from, to, 1);
            (lines.join("\n") + "\n").into_bytes()
        });
        assert_eq!(home.fault(), (3, starts[2], "edited"), "{to}");
    }
    let home = Home::with(5);
    let id = home.key.id();
    home.edit("audit.log", |bytes| String::from_utf8(bytes).unwrap().replacen(&id, "00000000", 1).into_bytes());
    assert_eq!(home.fault(), (1, 0, "edited"));
    let home = Home::with(5);
    home.edit("audit.log", |bytes| [&bytes[..], b"{\"entry\":"].concat());
    assert_eq!(home.fault(), (6, starts[5], "torn"));
}

/// Every length of the log but the whole is refused while the head stands.
#[test]
fn every_cut_is_noticed() {
    let home = Home::with(4);
    let bytes = home.bytes();
    for len in 0..bytes.len() {
        home.edit("audit.log", |_| bytes[..len].to_vec());
        assert_eq!(home.fault().2, "truncated", "{len}");
        assert_eq!(home.log().append(&event(9)).unwrap_err().code(), "audit_truncated", "{len}");
    }
}

/// A copy of the log that went on elsewhere under the same key, and the two joined.
#[test]
fn joined_histories_are_noticed() {
    let home = Home::with(3);
    let other = Home::with(2);
    other.log().append(&event(77)).unwrap();
    other.log().append(&event(78)).unwrap();
    let last = other.bytes().split_inclusive(|&byte| byte == b'\n').nth(3).unwrap().to_vec();
    home.edit("audit.log", |bytes| [bytes, last].concat());
    assert_eq!(home.fault().2, "forked");
}

#[test]
fn a_second_key_continues_the_chain_only_with_the_first_in_the_ring() {
    let home = Home::with(2);
    let other = OperatorKey::from_bytes([4; 32]);
    let log = || AuditLog::open(home.folder.path(), &other).unwrap();
    // A head under an unknown key could be anybody's: going on would seal whatever stands there.
    assert_eq!(log().append(&event(8)).unwrap_err().code(), "audit_head");
    let retired = home.folder.path().join("keys/retired").join(format!("{}.key", home.key.id()));
    home.key.stage(&retired).unwrap().commit().unwrap();
    // The ring refuses published keys, and a key of one repeated byte is one.
    assert_eq!(log().append(&event(8)).unwrap_err().code(), "key_published");
}

#[test]
fn a_line_under_an_unknown_key_is_not_sealed() {
    let home = Home::with(3);
    let other = Home { folder: tempfile::tempdir().unwrap(), key: OperatorKey::from_bytes([4; 32]) };
    for _ in 0..4 {
        other.log().append(&event(0)).unwrap();
    }
    let last = other.bytes().split_inclusive(|&byte| byte == b'\n').nth(3).unwrap().to_vec();
    home.edit("audit.log", |bytes| [bytes, last].concat());
    assert_eq!(home.codes(), ("audit_line", "audit_line"));
    assert_eq!(home.fault().2, "wrong_key");
}

#[test]
fn a_write_that_fails_is_taken_back() {
    let home = Home::with(2);
    let before = home.bytes();
    // The head's place is taken by a folder: the rename fails after the line was written.
    let head = fs::read(home.folder.path().join("audit.head")).unwrap();
    let part = home.folder.path().join(format!("audit.head.{}.part", std::process::id()));
    fs::create_dir(&part).unwrap();
    assert_eq!(home.log().append(&event(3)).unwrap_err().code(), "io");
    assert_eq!(home.bytes(), before);
    fs::remove_dir(&part).unwrap();
    assert_eq!(fs::read(home.folder.path().join("audit.head")).unwrap(), head);
    assert_eq!(home.codes(), ("ok", "ok"));
}

#[test]
fn words_name_every_earlier_state_and_no_other() {
    let home = Home::with(0);
    let mut noted = vec![home.log().verify().unwrap().words];
    for second in 0..9 {
        home.log().append(&event(second)).unwrap();
        noted.push(home.log().verify().unwrap().words);
    }
    for (entries, words) in noted.iter().enumerate() {
        let (report, seen) = home.log().find(*words).unwrap();
        assert_eq!((report.entries, seen.entries), (9, entries as u64));
    }
    let other = Home::with(10);
    let error = home.log().find(other.log().verify().unwrap().words).unwrap_err();
    assert_eq!(error.code(), "audit_words");
    // Cut below what was noted and written anew by a holder of the key: only the logbook knows.
    let anew = Home::with(5);
    (0..4).for_each(|second| anew.log().append(&event(second + 50)).unwrap());
    assert!(anew.log().verify().is_ok());
    assert_eq!(anew.log().find(noted[9]).unwrap_err().code(), "audit_words");
    assert_eq!(anew.log().find(noted[5]).unwrap().1.entries, 5);
}

#[test]
fn every_entry_is_proved_under_every_later_state() {
    let home = Home::with(0);
    let mut noted = Vec::new();
    for second in 0..9 {
        home.log().append(&event(second)).unwrap();
        noted.push(home.log().verify().unwrap().words);
    }
    for (entries, words) in (1..).zip(&noted) {
        for seq in 1..=entries {
            let proof = home.log().prove(seq, Some(*words)).unwrap();
            let proof = Proof::parse(&proof.encode().unwrap()).unwrap();
            assert_eq!(proof.check(&Anchor::Words(*words)).unwrap().seq, seq);
            assert!(proof.check(&Anchor::Root(proof.root.clone())).is_ok());
            assert_eq!(proof.check(&Anchor::Root("0".repeat(64))).unwrap_err().code(), "audit_proof");
        }
        assert_eq!(home.log().prove(entries + 1, Some(*words)).unwrap_err().code(), "audit_proof");
    }
    assert_eq!(home.log().prove(0, None).unwrap_err().code(), "audit_proof");
    let proof = home.log().prove(4, None).unwrap();
    let anchor = Anchor::Words(noted[8]);
    let changes: [fn(&mut Proof); 6] = [
        |proof| proof.line = proof.line.replace("compile", "xompile"),
        |proof| proof.seq = 5,
        |proof| proof.entries = 8,
        |proof| drop(proof.path.pop()),
        |proof| proof.path.swap(0, 1),
        |proof| proof.format.push('1'),
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let mut changed = proof.clone();
        change(&mut changed);
        assert!(changed.check(&anchor).is_err(), "change {index}");
    }
    assert!(proof.check(&anchor).is_ok());
}

/// A log long enough for an index, and what it says of artifacts.
fn indexed() -> (Home, Known) {
    let home = Home::with(0);
    for number in 0..300 {
        let mut event = event(number);
        event.cid = Some(format!("cid {}", number % 7));
        event.detail = format!("a-{}.0.0 without replay", number % 7);
        home.log().append(&event).unwrap();
    }
    let known = home.log().known().unwrap();
    assert_eq!(known.first("cid 3"), Some(4));
    assert_eq!(known.accepted("a-6.0.0"), Some(&Accepted { cid: "cid 6".to_owned(), seq: 294 }));
    assert_eq!((known.accepted("a-7.0.0"), known.accepted("a-6.0.0 without")), (None, None));
    assert!(home.folder.path().join("audit.index").exists());
    (home, known)
}

#[test]
fn the_index_says_what_the_log_says() {
    let (home, known) = indexed();
    assert_eq!(home.log().known().unwrap(), known);
    home.log().append(&Event { cid: Some("new".to_owned()), detail: "a-3.0.0".to_owned(), ..event(9) }).unwrap();
    let with = home.log().known().unwrap();
    assert_eq!((with.first("new"), with.accepted("a-3.0.0").unwrap().seq), (Some(301), 301));
    let path = home.folder.path().join("audit.index");
    let index = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    assert_eq!(home.log().known().unwrap(), with);
    // A damaged index is one that is not there: every bit of a byte in each part of it.
    for at in (0..index.len()).step_by(7) {
        let mut damaged = index.clone();
        damaged[at] ^= 1 << (at % 8);
        fs::write(&path, damaged).unwrap();
        assert_eq!(home.log().known().unwrap(), with, "byte {at}");
    }
    // So is one of another log under the same key.
    let (other, _) = indexed();
    other.log().append(&event(0)).unwrap();
    for number in 0..300 {
        other.log().append(&Event { cid: Some("other".to_owned()), ..event(number) }).unwrap();
    }
    other.log().known().unwrap();
    fs::copy(other.folder.path().join("audit.index"), &path).unwrap();
    assert_eq!(home.log().known().unwrap(), with);
}

/// What the index sums up is not read again; what follows it, head and tail are looked at as ever.
#[test]
fn an_index_hides_no_damage_of_the_end() {
    let code = |home: &Home| home.log().known().map_or_else(|error| error.code(), |_| "ok");
    let damaged = |name: &str, change: &dyn Fn(Vec<u8>) -> Vec<u8>| {
        let (home, _) = indexed();
        home.log().append(&event(1)).unwrap();
        home.edit(name, change);
        (code(&home), home.codes().1)
    };
    let last = |bytes: &[u8]| bytes[..bytes.len() - 1].iter().rposition(|&byte| byte == b'\n').unwrap() + 1;
    let cut = |bytes: Vec<u8>| bytes[..last(&bytes)].to_vec();
    assert_eq!(damaged("audit.log", &cut), ("audit_truncated", "audit_truncated"));
    // Below the end of the index too.
    assert_eq!(damaged("audit.log", &|bytes| cut(cut(bytes))), ("audit_truncated", "audit_truncated"));
    assert_eq!(damaged("audit.log", &|_| Vec::new()), ("audit_truncated", "audit_truncated"));
    assert_eq!(damaged("audit.log", &|bytes| [bytes, b"{\"entry\"".to_vec()].concat()), ("audit_line", "ok"));
    let edited = |bytes: Vec<u8>| {
        let end = last(&bytes);
        [&bytes[..end], String::from_utf8_lossy(&bytes[end..]).replace("compile", "xompile").as_bytes()].concat()
    };
    assert_eq!(damaged("audit.log", &edited), ("audit_line", "audit_line"));
    assert_eq!(damaged("audit.head", &|_| Vec::new()), ("audit_head", "audit_head"));
    // The line that the index ends with: the whole log is read then.
    let (home, _) = indexed();
    home.edit("audit.log", edited);
    assert_eq!((code(&home), home.fault()), ("audit_line", home.fault()));
    // A head that was put back.
    let (home, _) = indexed();
    let head = fs::read(home.folder.path().join("audit.head")).unwrap();
    (0..2).for_each(|second| home.log().append(&event(second)).unwrap());
    home.edit("audit.head", |_| head);
    assert_eq!(code(&home), "audit_head");
    // An edited line that the index sums up is found by `verify`; the index keeps what it said.
    let (home, known) = indexed();
    home.edit("audit.log", |bytes| String::from_utf8(bytes).unwrap().replacen("cid 3", "cid 4", 1).into_bytes());
    assert_eq!((home.log().known().unwrap(), home.fault().2), (known, "edited"));
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
