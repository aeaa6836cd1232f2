//! LoRA adapters in the files of PEFT: `adapter_config.json` and `adapter_model.safetensors`, same tensor names.
//!
//! Reading is strict: what PEFT can ask for and this program does not compute (DoRA, rsLoRA, saved modules, patterns of
//! ranks) is refused by name, and so is a tensor that belongs to no target. Writing gives one encoding, without floats.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::config::DecoderConfig;
use super::error::ModelError;
use super::keys::{Keys, shortened};
use super::limits;
use super::lora::{LoraBlock, LoraPair, Target};
use super::safetensors::{Dtype, TensorFile, f32_bytes, write};
use super::weights::finite_f32;
use crate::kernel::Level;

/// File name of an adapter's configuration.
pub const ADAPTER_CONFIG: &str = "adapter_config.json";
/// File name of an adapter's weights.
pub const ADAPTER_MODEL: &str = "adapter_model.safetensors";

/// Whatever gives `lora_A [rank, in]` and `lora_B [out, rank]` of a layer's target.
pub type FactorSource<'a> = dyn FnMut(usize, Target) -> Result<(Vec<f32>, Vec<f32>), ModelError> + 'a;

/// Rank, strength and targets of an adapter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AdapterConfig {
    /// Rank of the factors.
    pub rank: usize,
    /// Strength: the adaptation is scaled by `alpha / rank`.
    pub alpha: u32,
    /// Adapted modules by name, sorted.
    pub targets: Vec<String>,
}

/// An adapter, its factors packed for one SIMD level.
#[derive(Clone, Debug)]
pub struct Adapter {
    /// Rank, strength and targets.
    pub config: AdapterConfig,
    /// One per block of the decoder.
    pub layers: Vec<LoraBlock>,
}

impl AdapterConfig {
    /// Checks rank, strength and target names; sorts the targets.
    ///
    /// # Errors
    /// [`ModelError::AdapterFeature`], [`ModelError::AdapterTarget`].
    pub fn new(rank: usize, alpha: u32, targets: &[String]) -> Result<Self, ModelError> {
        let refused = |feature: &str, found: String, expected: String| {
            Err(ModelError::AdapterFeature { feature: feature.to_owned(), found, expected })
        };
        if !(1..=limits::ADAPTER_RANK).contains(&rank) {
            return refused("r", rank.to_string(), format!("a rank from 1 to {}", limits::ADAPTER_RANK));
        }
        if alpha == 0 {
            return refused("lora_alpha", "0".to_owned(), "a count above 0".to_owned());
        }
        for target in targets {
            Target::parse(target)?;
        }
        let targets: Vec<String> = targets.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect();
        if targets.is_empty() {
            return refused("target_modules", "[]".to_owned(), "at least one module".to_owned());
        }
        Ok(Self { rank, alpha, targets })
    }

    /// Reads a PEFT `adapter_config.json`.
    ///
    /// # Errors
    /// [`ModelError::NotJson`], [`ModelError::ConfigValue`], [`ModelError::AdapterFeature`], [`ModelError::AdapterTarget`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ModelError> {
        let keys = Keys::parse(ADAPTER_CONFIG, bytes)?;
        if keys.text("peft_type")? != Some("LORA") {
            return Err(keys.wrong("peft_type", "\"LORA\""));
        }
        for (key, value) in keys.iter() {
            let (usable, expected) = match key {
                "bias" => (value.as_str() == Some("none"), "\"none\""),
                key if IGNORED.contains(&key) => (true, ""),
                key if REQUIRED.contains(&key) => (true, ""),
                _ => (is_off(value), "it off or absent"),
            };
            if !usable {
                let (feature, found, expected) = (key.to_owned(), shortened(value), expected.to_owned());
                return Err(ModelError::AdapterFeature { feature, found, expected });
            }
        }
        let alpha = keys.positive("lora_alpha")?.unwrap_or(8.0);
        if alpha.fract() != 0.0 || alpha > f64::from(u32::MAX) {
            return Err(keys.wrong("lora_alpha", "a whole number"));
        }
        let targets: Vec<String> = match keys.value("target_modules") {
            Some(Value::String(all)) if all == "all-linear" => {
                Target::ALL.iter().map(|target| target.name().to_owned()).collect()
            }
            Some(Value::Array(names)) if names.iter().all(Value::is_string) => {
                names.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect()
            }
            _ => return Err(keys.wrong("target_modules", "a list of module names")),
        };
        // whole and within u32, as just checked
        Self::new(keys.count("r", limits::ADAPTER_RANK)?, alpha as u32, &targets)
    }

    /// `alpha / rank`, rounded once to f32.
    pub fn scaling(&self) -> f32 {
        (f64::from(self.alpha) / self.rank as f64) as f32
    }

    /// The targets, in the order of their names.
    ///
    /// # Errors
    /// [`ModelError::AdapterTarget`] if a name was put in by hand.
    pub fn parsed_targets(&self) -> Result<Vec<Target>, ModelError> {
        self.targets.iter().map(|name| Target::parse(name)).collect()
    }

    /// `adapter_config.json` in its one encoding: canonical JSON, no floats. `base` is what PEFT shows as the base's name.
    pub fn to_json(&self, base: &str) -> Vec<u8> {
        // serde_json's map sorts its keys; all are ASCII, all numbers whole: this is RFC 8785.
        let config = json!({
            "base_model_name_or_path": base,
            "bias": "none",
            "fan_in_fan_out": false,
            "inference_mode": true,
            "init_lora_weights": true,
            "lora_alpha": self.alpha,
            "lora_dropout": 0,
            "modules_to_save": null,
            "peft_type": "LORA",
            "r": self.rank,
            "target_modules": self.targets,
            "task_type": "CAUSAL_LM",
            "use_dora": false,
            "use_rslora": false,
        });
        config.to_string().into_bytes()
    }
}

impl Adapter {
    /// Builds an adapter from its factors: `get(layer, target)` gives `lora_A [rank, in]` and `lora_B [out, rank]`.
    ///
    /// # Errors
    /// Whatever `get` returns, and [`ModelError::TensorShape`].
    pub fn from_factors(
        level: Level,
        decoder: &DecoderConfig,
        config: AdapterConfig,
        get: &mut FactorSource<'_>,
    ) -> Result<Self, ModelError> {
        let targets = config.parsed_targets()?;
        let mut layers = Vec::with_capacity(decoder.layers);
        for layer in 0..decoder.layers {
            let mut block = LoraBlock { scaling: config.scaling(), ..LoraBlock::default() };
            for target in &targets {
                let (a, b) = get(layer, *target)?;
                let (in_features, out_features) = target.features(decoder);
                block.set(*target, LoraPair::new(level, a, b, config.rank, in_features, out_features)?);
            }
            layers.push(block);
        }
        Ok(Self { config, layers })
    }

    /// Reads an adapter from PEFT's two files, for a decoder of this shape.
    ///
    /// # Errors
    /// Those of [`AdapterConfig::parse`]; the header, tensor and weight variants; [`ModelError::AdapterTensor`].
    pub fn from_files(
        level: Level,
        decoder: &DecoderConfig,
        config: &[u8],
        tensors: impl Into<Cow<'static, [u8]>>,
    ) -> Result<Self, ModelError> {
        let config = AdapterConfig::parse(config)?;
        let file = TensorFile::from_bytes(ADAPTER_MODEL, tensors)?;
        let mut known = BTreeSet::new();
        for layer in 0..decoder.layers {
            for target in config.parsed_targets()? {
                known.extend([tensor_name(layer, target, 'A'), tensor_name(layer, target, 'B')]);
            }
        }
        if let Some(stranger) = file.names().find(|name| !known.contains(*name)) {
            return Err(ModelError::AdapterTensor { tensor: stranger.to_owned() });
        }
        let rank = config.rank;
        Self::from_factors(level, decoder, config, &mut |layer, target| {
            let (in_features, out_features) = target.features(decoder);
            let a = finite_f32(&file, &tensor_name(layer, target, 'A'), &[rank, in_features])?;
            let b = finite_f32(&file, &tensor_name(layer, target, 'B'), &[out_features, rank])?;
            Ok((a, b))
        })
    }

    /// `adapter_model.safetensors` in its one encoding, f32.
    ///
    /// # Errors
    /// [`ModelError::TensorLength`] if a factor was put in by hand with another shape.
    pub fn to_safetensors(&self) -> Result<Vec<u8>, ModelError> {
        let mut tensors = Vec::new();
        for (layer, block) in self.layers.iter().enumerate() {
            for target in Target::ALL {
                let Some(pair) = block.get(target) else { continue };
                let a_shape = [pair.rank, pair.in_features];
                let b_shape = [pair.out_features, pair.rank];
                tensors.push((tensor_name(layer, target, 'A'), a_shape, f32_bytes(&pair.raw_a)));
                tensors.push((tensor_name(layer, target, 'B'), b_shape, f32_bytes(&pair.raw_b)));
            }
        }
        let views: Vec<(&str, Dtype, &[usize], &[u8])> = tensors
            .iter()
            .map(|(name, shape, bytes)| (name.as_str(), Dtype::F32, shape.as_slice(), bytes.as_slice()))
            .collect();
        write(&views, Some(("format", "pt")))
    }
}

/// PEFT's name of a factor; `factor` is `A` or `B`.
pub fn tensor_name(layer: usize, target: Target, factor: char) -> String {
    format!("base_model.model.model.layers.{layer}.{}.lora_{factor}.weight", target.module())
}

fn is_off(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(items) => items.is_empty(),
        _ => false,
    }
}

const REQUIRED: &[&str] = &["peft_type", "r", "lora_alpha", "target_modules"];

// Says nothing about what the adapter computes at inference, or has one meaning only.
const IGNORED: &[&str] = &[
    "auto_mapping",
    "base_model_name_or_path",
    "inference_mode",
    "init_lora_weights",
    "lora_dropout",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "task_type",
];
