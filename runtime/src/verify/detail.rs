//! The facts of a refusal as JSON fields, for programs that decide by more than its code.

use serde_json::{Value, json};

use crate::artifact::ArtifactError;
use crate::eval::{Difference, Drift};

/// What `error` states, field by field; null where the message says it all.
pub(super) fn detail(error: &ArtifactError) -> Value {
    match error {
        ArtifactError::WrongKey { found, expected } => json!({ "key_id": found, "receipt_key_id": expected }),
        ArtifactError::ReceiptBody { step, name, field } => json!({ "step": step, "name": name, "field": field }),
        ArtifactError::ReceiptMac { step, name } => json!({ "step": step, "name": name }),
        ArtifactError::Truncated { found, expected } => json!({ "len_bytes": found, "expected_bytes": expected }),
        ArtifactError::MemberChecksum { name, .. } | ArtifactError::MemberMissing { name } => json!({ "member": name }),
        ArtifactError::MemberHash { name, found, expected } => {
            json!({ "member": name, "found": found, "expected": expected })
        }
        ArtifactError::ModelAbsent { role, repo, revision } => {
            json!({ "role": role, "repo": repo, "revision": revision })
        }
        ArtifactError::ModelFileAbsent { role, repo, revision, file } => {
            json!({ "role": role, "repo": repo, "revision": revision, "file": file })
        }
        ArtifactError::ModelSubstituted { role, repo, file, found, expected } => {
            json!({ "role": role, "repo": repo, "file": file, "found": found, "expected": expected })
        }
        ArtifactError::Cid { found, expected } => two("manifest", found, "recomputed", expected),
        ArtifactError::Disagree { member, field, found, other, expected } => {
            let place = |member: &&str| member.strip_suffix(".json").unwrap_or(member).to_owned();
            let mut value = two(&place(member), found, &place(other), expected);
            if let Value::Object(fields) = &mut value {
                fields.insert("field".to_owned(), json!(field));
            }
            value
        }
        ArtifactError::CidLogged { entry, found, expected, .. } => {
            two("manifest", found, &format!("log entry {entry}"), expected)
        }
        ArtifactError::ReplayScore { found, expected, count, .. } => {
            json!({ "k": found, "recorded_k": expected, "cases": count })
        }
        ArtifactError::ReplayCase { count, .. } => json!({ "cases": count }),
        ArtifactError::Rollback { found, expected, .. } => json!({ "version": found, "accepted": expected }),
        ArtifactError::AuditLine { line, offset, kind, .. } => {
            json!({ "line": line, "byte": offset, "kind": kind.name() })
        }
        ArtifactError::AuditTruncated { found, expected, offset } => {
            json!({ "line": found + 1, "byte": offset, "kind": "truncated", "entries": found, "expected_entries": expected })
        }
        ArtifactError::Media { path, .. } | ArtifactError::Io { path, .. } => json!({ "path": path }),
        _ => Value::Null,
    }
}

/// A case that was answered otherwise than recorded.
pub(super) fn drift(drift: &Drift) -> Value {
    let mut value = json!({ "id": drift.id, "difference": drift.to_string() });
    if let (Difference::Token { position, recorded, replayed }, Value::Object(fields)) = (drift.difference, &mut value)
    {
        fields.insert(
            "first_token".to_owned(),
            json!({ "position": position, "recorded": recorded, "replayed": replayed }),
        );
    }
    value
}

/// Two places that disagree, with what each says.
fn two(one: &str, found: &str, other: &str, expected: &str) -> Value {
    json!({ "places": [one, other], "says": [found, expected] })
}
