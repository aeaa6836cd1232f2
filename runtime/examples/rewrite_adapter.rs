//! Reads a PEFT adapter and writes it again in kolm's own encoding, for `ci/oracle/adapter.py check`.
//!
//! usage: rewrite_adapter BASE_FOLDER ADAPTER_FOLDER OUT_FOLDER

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use kolm_runtime::kernel::Level;
use kolm_runtime::model::{ADAPTER_CONFIG, ADAPTER_MODEL, Adapter, DecoderConfig, ModelSource};

fn main() -> Result<(), Box<dyn Error>> {
    let [base, from, to] = std::env::args()
        .skip(1)
        .map(PathBuf::from)
        .collect::<Vec<_>>()
        .try_into()
        .map_err(|_| "usage: rewrite_adapter BASE_FOLDER ADAPTER_FOLDER OUT_FOLDER")?;
    let source = ModelSource::folder(&base)?;
    let config = DecoderConfig::load(&source)?;
    let tensors = fs::read(from.join(ADAPTER_MODEL))?;
    let adapter = Adapter::from_files(Level::detect(), &config, &fs::read(from.join(ADAPTER_CONFIG))?, tensors)?;
    fs::create_dir_all(&to)?;
    fs::write(to.join(ADAPTER_CONFIG), adapter.config.to_json(source.repo()))?;
    fs::write(to.join(ADAPTER_MODEL), adapter.to_safetensors()?)?;
    Ok(())
}
