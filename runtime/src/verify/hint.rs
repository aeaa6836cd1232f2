//! What to do next: one line for a refusal, where there is something to do.

use crate::artifact::{ArtifactError, AuditFault};

/// The next step after `error`.
pub fn hint(error: &ArtifactError) -> Option<String> {
    let text = match error {
        ArtifactError::ModelAbsent { role, repo, revision }
        | ArtifactError::ModelFileAbsent { role, repo, revision, .. } => return Some(bring(role, repo, revision)),
        ArtifactError::ModelSubstituted { role, repo, .. } => {
            return Some(format!("bring the recorded files of {repo} again, or name their folder with --{role} DIR"));
        }
        ArtifactError::KeyMissing { .. } => {
            "name the operator's key with --key-file FILE, KOLM_KEY_FILE or --key-fd N; `kolm key generate` makes one"
        }
        ArtifactError::KeyMode { path, .. } => return Some(format!("chmod 600 {}", path.display())),
        ArtifactError::AuditHead { fault, .. } if fault.contains("not at hand") => {
            "put that key into ~/.kolm/keys/retired/ID.key, mode 0600; the log cannot go on without it"
        }
        ArtifactError::AuditLine { kind: AuditFault::WrongKey, .. } => {
            "put that key into ~/.kolm/keys/retired/ID.key, mode 0600; without it the line proves nothing"
        }
        ArtifactError::AuditLine { kind: AuditFault::Torn, .. } => {
            "a crash does this; the next entry sets the line aside and records it"
        }
        ArtifactError::AuditLine { .. } | ArtifactError::AuditTruncated { .. } | ArtifactError::AuditHead { .. } => {
            "keep audit.log and audit.head as they are and find out who wrote there; to start a new log, move both and marks/ aside"
        }
        ArtifactError::AuditWords { .. } => {
            "compare each word with the logbook; the words of `kolm audit verify` name one state of one log"
        }
        ArtifactError::Media { .. } => {
            "read the medium again, or in another drive; this says nothing about the content"
        }
        ArtifactError::Rollback { .. } => "take the newer version, or pass --allow-rollback, which is logged",
        ArtifactError::CidLogged { .. } => {
            "one of the two is not what was compiled under that name: compare with the sender's CID"
        }
        ArtifactError::KeyChecksum { .. } => {
            "take the key again from its copy; a key made by hand may leave out the second line"
        }
        ArtifactError::KeyPublished { .. } | ArtifactError::KeyFormat { .. } => {
            "`kolm key generate --out FILE` makes a key"
        }
        ArtifactError::WrongKey { expected, .. } => {
            return Some(format!("verify with the key whose id is {expected}; this says nothing about the content"));
        }
        ArtifactError::Truncated { .. } | ArtifactError::MemberChecksum { .. } => {
            "copy the file again and compare its SHA-256 with the sender's"
        }
        ArtifactError::ContainerEncoding { .. } => "take the file as `kolm compile` wrote it; do not zip it again",
        ArtifactError::GateNotMet { .. } => "verify without --gate to see whether the artifact is otherwise sound",
        ArtifactError::ReplayScore { .. } | ArtifactError::ReplayCase { .. } | ArtifactError::ReplayDigest { .. } => {
            "run with KOLM_SIMD=scalar to tell a CPU's fault from another cause"
        }
        _ => return None,
    };
    Some(text.to_owned())
}

fn bring(role: &str, repo: &str, revision: &str) -> String {
    if repo.starts_with("local/") {
        return format!("name the folder it was made from with --{role} DIR");
    }
    if repo.starts_with("kolm/") {
        return format!("use a build that carries {repo} rev={revision}, or name its folder with --{role} DIR");
    }
    format!("on a connected machine: hf download {repo} --revision {revision}; then bring its cache folder here")
}
