//! Everything that can stop a compile, and the exit code it stops with.

use std::path::PathBuf;

use kolm_runtime::artifact::ArtifactError;
use kolm_runtime::eval::EvalError;
use kolm_runtime::model::ModelError;
use kolm_runtime::recall::RecallError;
use thiserror::Error;

use super::fetch::FetchError;
use crate::corpus::CorpusError;
use crate::job::JobError;
use crate::train::TrainError;
