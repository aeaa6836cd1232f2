//! Exit codes, and the advice that stands beside an error.

use std::process::ExitCode;

use kolm_runtime::artifact::ArtifactError;
use kolm_runtime::model::ModelError;
use kolm_runtime::recall::RecallError;

use crate::network::Forbidden;
use crate::pipeline::CompileError;
use crate::pipeline::fetch::{FILE_LIST, FetchError};
use crate::train::TrainError;

/// How a verb ended. The numbers are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Checked and refused.
    Refused = 1,
    /// Usage: command line, job file, or a value outside its range.
    Usage = 2,
    /// K below the gate.
    GateNotMet = 3,
    /// Missing input: base not in the cache, key or corpus file missing.
    MissingInput = 4,
    /// Refused by air-gap mode.
    AirGap = 5,
    /// Input or output failed.
    Io = 6,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

impl Exit {
    /// The exit code of an error.
    pub fn of(error: &CompileError) -> Exit {
        match error {
            CompileError::Job(error) => Exit::from_code(error.exit_code()),
            CompileError::Corpus(error) => Exit::from_code(error.exit_code()),
            CompileError::Artifact(error) => Exit::from_code(kolm_runtime::verify::Exit::of(error).code()),
            CompileError::Model(error) => of_model(error),
            CompileError::Train(error) => of_training(error),
            CompileError::Fetch(FetchError::Forbidden(Forbidden { air_gap: true, .. })) => Exit::AirGap,
            CompileError::Fetch(_) => Exit::MissingInput,
            CompileError::BelowGate { .. } => Exit::GateNotMet,
            CompileError::Diff(error) => Exit::from_code(error.exit_code()),
            CompileError::Bundle(error) => Exit::from_code(error.exit().code()),
            CompileError::Recall(_)
            | CompileError::Installed { .. }
            | CompileError::NotStatic { .. }
            | CompileError::PlanMoved { .. }
            | CompileError::Eval(_)
            | CompileError::Overlong { .. }
            | CompileError::NothingLeft { .. }
            | CompileError::Split { .. }
            | CompileError::ResidualIdentifier { .. } => Exit::Refused,
            CompileError::Target { .. }
            | CompileError::NotARefresh { .. }
            | CompileError::NoEndToken { .. }
            | CompileError::NoTemplate { .. }
            | CompileError::InitialAdapter { .. }
            | CompileError::OutputExists { .. }
            | CompileError::Memory { .. }
            | CompileError::Value { .. } => Exit::Usage,
            CompileError::Io { action: "read" | "open", source, .. }
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                Exit::MissingInput
            }
            CompileError::Io { .. } => Exit::Io,
        }
    }

    /// The exit of a code given by runtime or a stage.
    pub fn from_code(code: u8) -> Exit {
        match code {
            0 => Exit::Done,
            2 => Exit::Usage,
            3 => Exit::GateNotMet,
            4 => Exit::MissingInput,
            5 => Exit::AirGap,
            6 => Exit::Io,
            _ => Exit::Refused,
        }
    }
}

fn of_model(error: &ModelError) -> Exit {
    match error {
        ModelError::NotEmbedded { .. }
        | ModelError::RepoNotCached { .. }
        | ModelError::RevisionNotCached { .. }
        | ModelError::FileMissing { .. }
        | ModelError::ShardMissing { .. }
        | ModelError::GgufTokenizer { .. } => Exit::MissingInput,
        ModelError::Unreadable { source, .. } if source.kind() == std::io::ErrorKind::NotFound => Exit::MissingInput,
        ModelError::Unreadable { .. } => Exit::Io,
        ModelError::BadName { .. } | ModelError::Template { .. } | ModelError::GgufSeveral { .. } => Exit::Usage,
        _ => Exit::Refused,
    }
}

fn of_training(error: &TrainError) -> Exit {
    match error {
        TrainError::CheckpointIo { .. } => Exit::Io,
        TrainError::Setting { .. } => Exit::Usage,
        TrainError::Model(error) => of_model(error),
        _ => Exit::Refused,
    }
}

fn hint_of_model(error: &ModelError) -> Option<String> {
    Some(match error {
        ModelError::Template { .. } => "the template may use {{ prompt }} and {{ context }}".to_owned(),
        ModelError::Unreadable { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            "name a folder that holds config.json, model.safetensors and tokenizer.json, or a .gguf file; a job's own paths begin at the job file".to_owned()
        }
        ModelError::FileMissing { .. } | ModelError::ShardMissing { .. } => {
            "the download is incomplete: fetch the repository again, all its files at one revision".to_owned()
        }
        ModelError::GgufSeveral { .. } => "name one of the files instead of the folder".to_owned(),
        ModelError::GgufTokenizer { .. } => "put the tokenizer.json of the model it was made from beside the .gguf file".to_owned(),
        ModelError::TensorUnknown { tensor, .. } if tensor == "rope_freqs.weight" => {
            "put the config.json of the model it was made from beside the .gguf file: its rope_scaling says what the factors came from".to_owned()
        }
        ModelError::GgufHeader { .. }
        | ModelError::HeaderTruncated { .. }
        | ModelError::HeaderTooLong { .. }
        | ModelError::HeaderMalformed { .. }
        | ModelError::TensorOffsets { .. }
        | ModelError::TrailingBytes { .. }
        | ModelError::TensorLength { .. } => {
            "the file is damaged or cut: compare its size and SHA-256 with the source's, then fetch it again".to_owned()
        }
        ModelError::TensorShape { .. } | ModelError::LayerCount { .. } | ModelError::TensorMissing { .. } => {
            "config.json and the weights belong to two different models".to_owned()
        }
        ModelError::WeightNotFinite { .. } => "the weights are damaged, or their training went wrong: use another checkpoint".to_owned(),
        ModelError::TokenizerVocabulary { .. } => "tokenizer.json and the weights belong to two different models".to_owned(),
        _ => return None,
    })
}

/// What to do about it, where there is one thing to do.
pub fn hint(error: &CompileError) -> Option<String> {
    Some(match error {
        CompileError::Job(_) => "`kolm init` writes a job file with every key explained".to_owned(),
        CompileError::Corpus(error) => return error.hint().map(str::to_owned),
        CompileError::Artifact(ArtifactError::Io { source, path, .. })
            if source.kind() == std::io::ErrorKind::AlreadyExists && path.ends_with("operator.key") =>
        {
            "`kolm key rotate` replaces the key and keeps the old one for its receipts; --out FILE makes one elsewhere".to_owned()
        }
        CompileError::Artifact(error) => return kolm_runtime::verify::hint(error),
        CompileError::Bundle(error) => return error.hint(),
        CompileError::NotStatic { .. } => {
            "build one with ci/static and name what it prints with --verifier, or pack none with --no-verifier".to_owned()
        }
        CompileError::Installed { .. } => "move it away if the bundle's is meant to take its place, and run the same command again".to_owned(),
        CompileError::BelowGate { .. } => {
            "train longer, add rows, or lower the gate in the job; --allow-below-gate writes it anyway and the manifest says so".to_owned()
        }
        CompileError::OutputExists { .. } => "raise [task] version, choose another --out, or pass --force to replace it".to_owned(),
        CompileError::Overlong { .. } => "raise [train] max_length, or set [corpus] overlong to \"drop\" or \"truncate\"".to_owned(),
        CompileError::Memory { .. } => {
            "raise --memory, or lower [train] max_length, [adapter] rank or, if one was given, --micro-batch; `kolm base quantize` makes the base smaller".to_owned()
        }
        CompileError::Recall(RecallError::TooLarge { .. }) => {
            "train on fewer or shorter rows, or set [recall] use = \"off\"".to_owned()
        }
        CompileError::ResidualIdentifier { .. } => {
            "run `kolm corpus deidentify` on the corpus, or set [corpus] identifiers = \"allow\" if it is none".to_owned()
        }
        CompileError::PlanMoved { .. } => {
            "put the job back as it was, or start a new line with `kolm compile`".to_owned()
        }
        CompileError::NotARefresh { .. } => "a refresh is the next version of the same task".to_owned(),
        CompileError::NoTemplate { .. } => "add a [task] template such as \"{{ prompt }}\\n\"".to_owned(),
        CompileError::Fetch(FetchError::Forbidden(Forbidden { variable, .. })) => {
            format!("do this on the connected side and bring the result with `kolm airgap export`; or, where going out is allowed, unset {variable} (`kolm airgap disable`)")
        }
        CompileError::Fetch(FetchError::NotConnected { repo }) => format!("on the connected side: hf download {repo} --revision SHA"),
        CompileError::Train(TrainError::NotFinite { .. }) => "lower [train] learning_rate, or set clip_norm".to_owned(),
        CompileError::Fetch(FetchError::Hub { repo, what, .. }) => {
            // Only whoever asks what files there are has looked for a folder before.
            let folder = if what == FILE_LIST { " (no folder is called that either)" } else { "" };
            format!("check the name{folder} and the network; or run `hf download {repo}` elsewhere and name the folder in its place")
        }
        CompileError::Model(error) => return hint_of_model(error),
        CompileError::Io { action: "create", path, .. } if path.is_file() => "--out names a folder".to_owned(),
        _ => return None,
    })
}
