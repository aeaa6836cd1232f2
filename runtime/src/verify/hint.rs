//! What to do next: one line for a refusal, where there is something to do.

use crate::artifact::ArtifactError;

/// The next step after `error`.
pub fn hint(error: &ArtifactError) -> Option<String> {
    let text = match error {
        ArtifactError::ModelAbsent { role, repo, revision }
        | ArtifactError::ModelFileAbsent { role, repo, revision, .. } => return Some(bring(role, repo, revision)),
        ArtifactError::ModelSubstituted { role, repo, .. } => {
            return Some(format!("bring the recorded files of {repo} again, or name their folder with --{role} DIR"));
        }
        ArtifactError::KeyMissing { .. } => "name the operator's key with --key-file FILE, KOLM_KEY_FILE or --key-fd N",
        ArtifactError::KeyMode { path, .. } => return Some(format!("chmod 600 {}", path.display())),
        ArtifactError::KeyPublished { .. } | ArtifactError::KeyFormat { .. } => {
            "a key is 32 random bytes: `head -c 32 /dev/urandom | od -An -vtx1 | tr -d ' \\n'` and a line feed, mode 0600"
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
