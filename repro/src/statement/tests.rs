use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::machine::Machine;

fn machine() -> Machine {
    Machine {
        cpu: "cpu".to_owned(),
        cpu_features: vec!["fma".to_owned()],
        simd: "scalar".to_owned(),
        threads: 2,
        os: "linux".to_owned(),
        libc: "none".to_owned(),
        rustc: "rustc".to_owned(),
        kolm: "0".to_owned(),
        binary_sha256: "00".repeat(32),
        wall_ms: 5,
        peak_memory_bytes: 7,
    }
}

fn statement(k: &str, rebuilt_k: &str) -> Statement {
    let results = |k: &str| Results {
        cid: format!("cidv1:sha256:{}", "ab".repeat(32)),
        k: k.to_owned(),
        replay_digest: "cd".repeat(32),
        trace_sha256: "ef".repeat(32),
    };
    let rebuilt = Rebuilt {
        artifact: "x/a-1.kolm".into(),
        recorded: results(k),
        rebuilt: results(rebuilt_k),
        members: Vec::new(),
    };
    Statement::of(&rebuilt, machine())
}

fn code(bytes: &[u8]) -> &'static str {
    Signed::parse(Path::new("s"), bytes).map_or_else(|error| error.code(), |_| "ok")
}

fn sealed(value: &serde_json::Value) -> Vec<u8> {
    envelope::seal(&canonical(value).unwrap(), &SigningKey::from_seed(&[1; 32])).unwrap()
}

#[test]
fn pae_is_the_one_of_the_dsse_document() {
    let expected: &[u8] = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world";
    assert_eq!(pae("http://example.com/HelloWorld", b"hello world"), expected);
}

#[test]
fn each_fault_has_its_own_code() {
    let key = SigningKey::from_seed(&[1; 32]);
    let good = statement("0.5", "0.5");
    let bytes = good.sign(&key).unwrap();
    let signed = Signed::parse(Path::new("s"), &bytes).unwrap();
    assert_eq!((signed.statement, signed.key), (good.clone(), key.public()));

    let text = String::from_utf8(bytes).unwrap();
    let other = SigningKey::from_seed(&[2; 32]).public().to_hex();
    assert_eq!(code(text.replace(&key.public().to_hex(), &other).as_bytes()), "statement_signature");
    assert_eq!(code(text.replace("vnd.in-toto", "vnd.other").as_bytes()), "statement_payload_type");
    assert_eq!(code(text.replace("\"keyid\":\"", "\"keyid\":\"0").as_bytes()), "statement_envelope");
    assert_eq!(code(b"{}"), "statement_envelope");

    let mut value = serde_json::to_value(&good).unwrap();
    value["predicateType"] = "https://slsa.dev/provenance/v1".into();
    assert_eq!(code(&sealed(&value)), "statement_predicate_type");
    value["_type"] = "https://in-toto.io/Statement/v2".into();
    assert_eq!(code(&sealed(&value)), "statement_type");

    let mut value = serde_json::to_value(&good).unwrap();
    value["predicate"]["rebuilt"]["k"] = "0.6".into();
    assert_eq!(code(&sealed(&value)), "statement_content", "a verdict that its own digests deny");
    let mut value = serde_json::to_value(&good).unwrap();
    value["predicate"]["extra"] = 1.into();
    assert_eq!(code(&sealed(&value)), "statement_content");
    assert_eq!(statement("0.5", "0.6").predicate.verdict, "different");
}

#[test]
fn keys_are_private_and_never_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let made = SigningKey::create(&path).unwrap();
    assert_eq!(SigningKey::read(&path).unwrap().public(), made.public());
    assert_eq!(PublicKey::read(&folder.path().join("key.pub")).unwrap(), made.public());
    assert_eq!(SigningKey::create(&path).unwrap_err().code(), "signing_key_exists");
    fs::remove_file(folder.path().join("key.pub")).unwrap();
    assert_eq!(SigningKey::create(&path).unwrap_err().code(), "signing_key_exists");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(SigningKey::read(&path).unwrap_err().code(), "signing_key_mode");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    fs::write(&path, "00").unwrap();
    assert_eq!(SigningKey::read(&path).unwrap_err().code(), "signing_key_format");
}

proptest! {
    #[test]
    fn no_two_pairs_share_an_encoding(
        one in ("[ -~]{0,12}", prop::collection::vec(any::<u8>(), 0..12)),
        other in ("[ -~]{0,12}", prop::collection::vec(any::<u8>(), 0..12)),
    ) {
        prop_assert_eq!(one == other, pae(&one.0, &one.1) == pae(&other.0, &other.1));
    }

    #[test]
    fn a_changed_byte_of_the_payload_never_verifies(at in any::<prop::sample::Index>(), flip in 1_u8..) {
        let key = SigningKey::from_seed(&[3; 32]);
        let message = pae(envelope::PAYLOAD_TYPE, b"{\"a\":1}");
        let signature = key.sign(&message);
        prop_assert!(key.public().verifies(&message, &signature));
        let mut changed = message.clone();
        let at = at.index(changed.len());
        changed[at] ^= flip;
        prop_assert!(!key.public().verifies(&changed, &signature));
    }
}
