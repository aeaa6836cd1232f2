//! `kolm base quantize`: a base with its weights as small integers, written as a base folder of its own.
//!
//! The linear layers of the blocks take the type asked for; embedding and head take `int8`, since both meet every token; norms
//! and biases stay as they came. Every tensor is checked before the first is written, and the folder appears whole or not at all.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use kolm_runtime::kernel::{IntegerBits, QuantizedRows};
use kolm_runtime::model::safetensors::{Dtype, f32_bytes, header};
use kolm_runtime::model::{
    Coding, DecoderConfig, FileIdentity, ModelError, ModelSource, Quantization, QuantizationSource, SCALE, Target,
    Weights, quantization,
};
use serde::Serialize;
use serde_json::Value;

use crate::pipeline::CompileError;

/// What was written.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The folder.
    pub folder: PathBuf,
    /// `int8` or `int4`.
    #[serde(rename = "type")]
    pub coding: &'static str,
    /// Elements of one group.
    pub group: usize,
    /// The base's files, as a plan will list them.
    pub files: Vec<FileIdentity>,
    /// What they were made from.
    pub source: QuantizationSource,
}

/// Quantises a located base into the folder `to`, which must not exist.
///
/// # Errors
/// [`CompileError::Value`] for a folder that exists or a base that is quantised already, [`CompileError::Model`], [`CompileError::Io`].
pub fn quantize(source: &ModelSource, to: &Path, coding: Coding, group: usize) -> Result<Report, CompileError> {
    if to.exists() {
        let (found, expected) = (to.display().to_string(), "a folder that does not exist");
        return Err(CompileError::Value { what: "--to", found, expected });
    }
    let config = DecoderConfig::load(source)?;
    let weights = Weights::open(source)?;
    if let Some(found) = quantised_already(source, &weights) {
        return Err(CompileError::Value { what: "--from", found, expected: "safetensors of f32, bf16 or f16" });
    }
    let parts = parts(&config, &weights, coding, group)?;
    let files = source.identities()?;
    let origin = QuantizationSource { repo: source.repo().to_owned(), revision: source.revision().to_owned(), files };
    let record = Quantization::new(coding, group, origin.clone());

    let name = to.file_name().map_or_else(|| "base".into(), |name| name.to_string_lossy().into_owned());
    let partial = to.with_file_name(format!(".{name}.partial"));
    let io = |action, path: &Path| {
        let path = path.to_owned();
        move |source| CompileError::Io { action, path, source }
    };
    // What a killed run left: nobody else writes under this name.
    if partial.exists() {
        fs::remove_dir_all(&partial).map_err(io("remove", &partial))?;
    }
    fs::create_dir_all(&partial).map_err(io("create", &partial))?;
    for path in source.paths().filter(|path| !path.starts_with("model.") && !path.ends_with(".safetensors")) {
        let bytes = if path == "config.json" {
            with_record(&source.read(path)?, &record)?
        } else {
            source.read(path)?.into_owned()
        };
        let place = partial.join(path);
        write(&place, |file| file.write_all(&bytes)).map_err(io("write", &place))?;
    }
    let place = partial.join("model.safetensors");
    write_weights(&place, &weights, &parts, group)?;
    let synced = File::open(&partial).and_then(|folder| folder.sync_all());
    synced.map_err(io("write", &partial))?;
    fs::rename(&partial, to).map_err(io("create", to))?;
    if let Some(parent) = to.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        File::open(parent).and_then(|folder| folder.sync_all()).map_err(io("write", parent))?;
    }
    let files = ModelSource::folder(to)?.identities()?;
    Ok(Report { folder: to.to_owned(), coding: coding.name(), group, files, source: origin })
}

fn quantised_already(source: &ModelSource, weights: &Weights) -> Option<String> {
    let coding = weights.coding();
    let plain = matches!(coding, Coding::F32 | Coding::Bf16 | Coding::F16);
    let gguf = source.paths().find(|path| path.ends_with(".gguf"));
    match gguf {
        Some(file) => Some(format!("{file}, a GGUF file")),
        None => (!plain).then(|| format!("a base of {}", coding.name())),
    }
}

/// One tensor of the file to be written, by the name of the tensor it is made from.
struct Part {
    name: String,
    from: String,
    kind: Kind,
    dtype: Dtype,
    shape: Vec<usize>,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Copied,
    Integers(IntegerBits),
    Scales(IntegerBits),
}

fn parts(config: &DecoderConfig, weights: &Weights, coding: Coding, group: usize) -> Result<Vec<Part>, CompileError> {
    let mut parts = Vec::new();
    for name in weights.names() {
        let (dtype, shape) = weights.stored(name).ok_or_else(|| missing(name))?;
        let Some(bits) = bits_of(name, coding) else {
            let (name, from) = (name.to_owned(), name.to_owned());
            parts.push(Part { name, from, kind: Kind::Copied, dtype, shape: shape.to_vec() });
            continue;
        };
        let &[rows, columns] = shape else {
            let (found, expected) = (shape.to_vec(), vec![config.hidden, config.hidden]);
            return Err(ModelError::TensorShape { tensor: name.to_owned(), found, expected }.into());
        };
        if !columns.is_multiple_of(group) {
            let coding = if bits == IntegerBits::Four { Coding::Int4 } else { Coding::Int8 }.name();
            return Err(ModelError::TensorGroup { tensor: name.to_owned(), columns, group, coding }.into());
        }
        let (dtype, width) = match bits {
            IntegerBits::Eight => (Dtype::I8, columns),
            IntegerBits::Four => (Dtype::U8, columns / 2),
        };
        let part = |name: String, kind, dtype, shape| Part { from: weights_name(&name), name, kind, dtype, shape };
        parts.push(part(name.to_owned(), Kind::Integers(bits), dtype, vec![rows, width]));
        parts.push(part(format!("{name}{SCALE}"), Kind::Scales(bits), Dtype::F32, vec![rows, columns / group]));
    }
    parts.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(parts)
}

fn weights_name(name: &str) -> String {
    name.strip_suffix(SCALE).unwrap_or(name).to_owned()
}

fn missing(name: &str) -> ModelError {
    ModelError::TensorMissing { model: "the base".to_owned(), tensor: name.to_owned() }
}

/// How a tensor is quantised; none where it stays as it came.
fn bits_of(name: &str, coding: Coding) -> Option<IntegerBits> {
    if matches!(name, "model.embed_tokens.weight" | "lm_head.weight") {
        return Some(IntegerBits::Eight);
    }
    let module = name.strip_prefix("model.layers.")?.split_once('.')?.1.strip_suffix(".weight")?;
    let linear = Target::ALL.iter().any(|target| target.module() == module);
    linear.then_some(if coding == Coding::Int4 { IntegerBits::Four } else { IntegerBits::Eight })
}

fn write_weights(place: &Path, weights: &Weights, parts: &[Part], group: usize) -> Result<(), CompileError> {
    let table: Vec<_> = parts.iter().map(|part| (part.name.as_str(), part.dtype, part.shape.as_slice())).collect();
    let header = header(&table, None)?;
    let mut failed = None;
    let written = write(place, |file| {
        file.write_all(&header)?;
        // The scales of a weight follow it at once, as their names do, so that it is quantised once.
        let mut last: Option<(String, QuantizedRows)> = None;
        for part in parts {
            match bytes_of(weights, part, group, &mut last) {
                Ok(bytes) => file.write_all(&bytes)?,
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        Ok(())
    });
    match failed {
        Some(error) => Err(error.into()),
        None => written.map_err(|source| CompileError::Io { action: "write", path: place.to_owned(), source }),
    }
}

fn bytes_of(
    weights: &Weights,
    part: &Part,
    group: usize,
    last: &mut Option<(String, QuantizedRows)>,
) -> Result<Vec<u8>, ModelError> {
    let bits = match part.kind {
        Kind::Copied => return weights.stored_bytes(&part.from),
        Kind::Integers(bits) | Kind::Scales(bits) => bits,
    };
    if last.as_ref().is_none_or(|(name, _)| *name != part.from) {
        let shape = weights.shape(&part.from).unwrap_or_default();
        let values = weights.tensor_f32(&part.from, &shape)?;
        let &[rows, columns] = shape.as_slice() else { return Err(missing(&part.from)) };
        *last = Some((part.from.clone(), QuantizedRows::quantize(&values, rows, columns, bits, group)));
    }
    let (_, matrix) = last.as_ref().ok_or_else(|| missing(&part.from))?;
    Ok(if part.kind == Kind::Integers(bits) { matrix.integers.clone() } else { f32_bytes(&matrix.scales) })
}

/// config.json with the record, as canonical JSON.
fn with_record(config: &[u8], record: &Quantization) -> Result<Vec<u8>, CompileError> {
    let wrong = |detail: String| ModelError::NotJson { file: "config.json".to_owned(), detail };
    let mut value: Value = serde_json::from_slice(config).map_err(|error| wrong(error.to_string()))?;
    value[quantization::KEY] = serde_json::to_value(record).map_err(|error| wrong(error.to_string()))?;
    let mut bytes = serde_jcs::to_vec(&value).map_err(|error| wrong(error.to_string()))?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn write(place: &Path, content: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> std::io::Result<()> {
    if let Some(folder) = place.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = BufWriter::with_capacity(1 << 20, File::create(place)?);
    content(&mut file)?;
    file.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()
}
