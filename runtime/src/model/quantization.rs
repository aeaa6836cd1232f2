//! What `kolm base quantize` records of a base: `quantization_config` in its config.json.
//!
//! Beside it, in model.safetensors, a weight of I8 `[N, K]` or U8 `[N, K / 2]` stands with its scales, F32 `[N, K / group]` under the
//! weight's name and `_scale` (NUMERICS section 12.1). Every other tensor is as the source had it.

use serde::{Deserialize, Serialize};

use super::coding::Coding;
use super::error::ModelError;
use super::identity::FileIdentity;
use super::keys::{Keys, shortened};

/// How a base was quantised, and from what.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quantization {
    /// `kolm`: what other programs go by to refuse it.
    pub quant_method: String,
    /// `int8` or `int4`, that of the blocks' linear layers.
    #[serde(rename = "type")]
    pub coding: String,
    /// Elements of one group.
    pub group: usize,
    /// The model it was made from.
    pub source: QuantizationSource,
}

/// The model that a quantised base was made from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuantizationSource {
    /// Repository.
    pub repo: String,
    /// Revision.
    pub revision: String,
    /// Every file a runtime loads of it, sorted by path.
    pub files: Vec<FileIdentity>,
}

impl Quantization {
    /// Groups that there are.
    pub const GROUPS: [usize; 3] = [32, 64, 128];

    /// A record of a quantised base.
    pub fn new(coding: Coding, group: usize, source: QuantizationSource) -> Self {
        Self { quant_method: METHOD.to_owned(), coding: coding.name().to_owned(), group, source }
    }

    /// The coding of the blocks' linear layers.
    pub fn coding(&self) -> Coding {
        if self.coding == Coding::Int4.name() { Coding::Int4 } else { Coding::Int8 }
    }

    /// Reads the record of a configuration, if it has one.
    pub(super) fn of(keys: &Keys<'_>) -> Result<Option<Self>, ModelError> {
        let Some(value) = keys.value(KEY) else { return Ok(None) };
        let sound = |record: &Self| {
            record.quant_method == METHOD
                && [Coding::Int8, Coding::Int4].iter().any(|coding| coding.name() == record.coding)
                && Self::GROUPS.contains(&record.group)
        };
        let record = serde_json::from_value(value.clone()).ok().filter(sound);
        record.map(Some).ok_or_else(|| {
            let found = shortened(value);
            let expected = "absent, or what `kolm base quantize` writes".to_owned();
            ModelError::ConfigValue { file: super::source::CONFIG.to_owned(), key: KEY, found, expected }
        })
    }
}

/// The key of config.json.
pub const KEY: &str = "quantization_config";
const METHOD: &str = "kolm";
