//! Writers of everything under `golden/` and of the generated files under `corpora/`.
//!
//! One program makes each file; `check` makes them again and wants no difference. The embedded models are too long to make each time:
//! the first steps of their recipe are repeated and compared by digest.

pub mod examples;
pub mod kernels;
pub mod micro;
pub mod nano;
pub mod refused;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use kolm_compile::generate;
use kolm_runtime::artifact::{Staged, sha256_hex};
use kolm_runtime::kernel::Level;

/// Makes every golden file and compares it with what is there; repeats the prefix of each model's recipe.
///
/// # Errors
/// Names every file that differs, is missing, or that no program makes.
pub fn check(level: Level, root: &Path) -> Result<()> {
    let files = files(level)?;
    let mut wrong = Vec::new();
    for (path, bytes) in &files {
        match fs::read(root.join(path)) {
            Ok(found) if found == *bytes => {}
            Ok(_) => wrong.push(format!("{path}: differs")),
            Err(_) => wrong.push(format!("{path}: is missing")),
        }
    }
    for folder in OWNED {
        for path in list(&root.join(folder))? {
            let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
            if !files.iter().any(|(known, _)| *known == name) {
                wrong.push(format!("{name}: no program makes it"));
            }
        }
    }
    if !wrong.is_empty() {
        bail!(
            "{} golden files are not what the program makes:\n  {}\nhint: `kolm-repro golden write`, and a BYTES: line in CHANGELOG.md",
            wrong.len(),
            wrong.join("\n  ")
        );
    }
    println!("golden: {} files are what the program makes", files.len());
    for (name, job) in examples::EXAMPLES {
        let made = examples::record(level, root, job).with_context(|| format!("corpora example {name}"))?;
        let found =
            fs::read(example(root, name)).with_context(|| format!("cannot read golden/examples/{name}.json"))?;
        ensure!(
            found == made,
            "golden/examples/{name}.json is not what this program makes of {job}:\n{}hint: a changed byte is a decision: spec first, then \
             `kolm-repro golden write` and a BYTES: line in CHANGELOG.md",
            String::from_utf8_lossy(&made)
        );
        println!("golden: {job} gives the recorded CID, K and replay digest");
    }
    for model in nano::Model::ALL {
        let recorded = recorded(root, model)?;
        let weights = fs::read(folder_of(root, model).join("model.safetensors"))?;
        ensure!(
            sha256_hex(&weights) == recorded.model_sha256,
            "golden/models/{}: model.safetensors is not the recorded one",
            model.folder()
        );
        nano::prefix(level, model, &recorded).with_context(|| format!("golden/models/{}", model.folder()))?;
        println!(
            "golden: {} steps of {} give {}…",
            recorded.prefix_steps,
            model.folder(),
            &recorded.prefix_parameters_sha256[..16]
        );
    }
    Ok(())
}

/// Makes every golden file and writes it.
///
/// # Errors
/// When one cannot be made or written.
pub fn write(level: Level, root: &Path) -> Result<()> {
    let files = files(level)?;
    for (path, bytes) in &files {
        write_file(&root.join(path), bytes)?;
    }
    // They are compiled from the files just written.
    for (name, job) in examples::EXAMPLES {
        write_file(&example(root, name), &examples::record(level, root, job)?)?;
    }
    println!("golden: {} files written", files.len() + examples::EXAMPLES.len());
    Ok(())
}

/// Writes an embedded model and its record.
///
/// # Errors
/// When a file cannot be written.
pub fn write_model(root: &Path, model: nano::Model, made: &nano::Made) -> Result<()> {
    let folder = folder_of(root, model);
    for (name, bytes) in &made.files {
        write_file(&folder.join(name), bytes)?;
    }
    let mut recorded = serde_json::to_vec_pretty(&made.recorded)?;
    recorded.push(b'\n');
    write_file(&folder.join("recipe.json"), &recorded)?;
    println!("{}: model.safetensors {}", folder.display(), made.recorded.model_sha256);
    Ok(())
}

fn files(level: Level) -> Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    files.extend(below("golden/kernels", kernels::files()));
    files.extend(below("golden/refused", refused::files()));
    files.extend(below("golden/spec-example", refused::spec_example()));
    files.extend(below("golden/micro", micro::files(level)?));
    files.extend(below("corpora", generate::files()));
    Ok(files)
}

fn below(folder: &str, files: Vec<(String, Vec<u8>)>) -> impl Iterator<Item = (String, Vec<u8>)> {
    files.into_iter().map(move |(path, bytes)| (format!("{folder}/{path}"), bytes))
}

fn recorded(root: &Path, model: nano::Model) -> Result<nano::Recorded> {
    let path = folder_of(root, model).join("recipe.json");
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("{} is not a record", path.display()))
}

fn folder_of(root: &Path, model: nano::Model) -> PathBuf {
    root.join("golden").join("models").join(model.folder())
}

fn example(root: &Path, name: &str) -> PathBuf {
    root.join("golden/examples").join(format!("{name}.json"))
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    Staged::write(path, bytes)?.commit()?;
    Ok(())
}

fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() { found.extend(list(&path)?) } else { found.push(path) }
    }
    found.sort();
    Ok(found)
}

/// Folders in which every file is made by a program.
const OWNED: [&str; 4] = ["golden/kernels", "golden/refused", "golden/spec-example", "golden/micro"];
