//! `kolm airgap export|import|receipts`: what is said about a bundle.

use std::fmt::Write;

use kolm_runtime::artifact::{AuditLog, Event};
use kolm_runtime::bundle::{Bundle, BundleError};
use serde_json::json;

use super::arguments::{Export, Import, Receipts};
use crate::airgap::export::{self, Exported};
use crate::airgap::import::{self, Targets};
use crate::airgap::receipts;
use crate::cli::environment::Environment;
use crate::cli::{Exit, bounded, compile, print, print_json};
use crate::pipeline::CompileError;

/// Runs `kolm airgap export`.
pub(super) fn export(arguments: &Export, environment: &Environment) -> Result<Exit, CompileError> {
    let part_size = part_size(&arguments.part_size)?;
    let key = compile::key_source(&arguments.key, environment).load()?;
    let now = compile::now(environment)?;
    let beside = || Environment::beside_binary("kolm-verify").filter(|_| !arguments.no_verifier);
    let verifier = arguments.verifier.clone().or_else(beside);
    let places = bounded::places(&arguments.models, environment);
    let options = export::Export {
        artifacts: &arguments.artifacts,
        to: &arguments.to,
        part_size,
        since: arguments.since.as_deref(),
        verifier: verifier.as_deref(),
        places: &places,
        kolm_home: &environment.kolm_home,
    };
    let log = AuditLog::open(&environment.kolm_home, &key)?;
    let mut record = |exported: &Exported| {
        for (cid, file) in &exported.artifacts {
            log.append(&Event {
                time: now,
                action: "export".to_owned(),
                cid: Some(cid.clone()),
                outcome: "done".to_owned(),
                detail: format!("{file} bundle {}", exported.bundle),
            })?;
        }
        Ok(())
    };
    let exported = export::export(&options, &key, &mut record)?;
    if arguments.json {
        print_json(&exported)?;
        return Ok(Exit::Done);
    }
    let mut text = String::new();
    let _ = writeln!(text, "bundle:   {} in {}", exported.bundle, arguments.to.display());
    if let Some(since) = &exported.since {
        let _ = writeln!(text, "adds to:  {since}");
    }
    for (cid, file) in &exported.artifacts {
        let _ = writeln!(text, "artifact: {file}  {cid}");
    }
    let left_out =
        if exported.left_out > 0 { format!(", {} of them left out", exported.left_out) } else { String::new() };
    let _ = writeln!(text, "files:    {}{left_out}", exported.files);
    let _ = writeln!(text, "parts:    {} ({} bytes)", exported.parts.len(), exported.size);
    for part in &exported.parts {
        let _ = writeln!(text, "          {part}");
    }
    let _ = writeln!(
        text,
        "verifier: {}",
        verifier.map_or("none; name one with --verifier".to_owned(), |path| path.display().to_string())
    );
    print(&text)?;
    Ok(Exit::Done)
}

/// Runs `kolm airgap import`.
pub(super) fn import(arguments: &Import, environment: &Environment) -> Result<Exit, CompileError> {
    let source = compile::key_source(&arguments.key, environment);
    let current = source.load()?;
    // Sealed before a rotation: the keyring may have that key. Every other fault is the import's to name and to log.
    let key = match Bundle::open(&arguments.folder, &current) {
        Err(BundleError::WrongKey { found, .. }) => source.load_for(&found)?,
        _ => current,
    };
    let cache = arguments.cache.clone().unwrap_or_else(|| environment.hub_cache.clone());
    let targets = Targets { kolm_home: environment.kolm_home.clone(), cache };
    let quiet = arguments.quiet;
    let mut say = |what: &str| {
        if !quiet {
            eprintln!("{what}");
        }
    };
    let now = compile::now(environment)?;
    let imported = import::import(&arguments.folder, &key, &targets, now, &mut say)?;
    if arguments.json {
        print_json(&json!({
            "bundle": imported.bundle,
            "files": imported.files,
            "size": imported.size,
            "here_already": imported.here_already,
            "artifacts": imported.artifacts.iter().map(|(path, artifact)| json!({ "path": path.display().to_string(), "cid": artifact.cid, "name": artifact.name, "version": artifact.version, "sha256": artifact.sha256 })).collect::<Vec<_>>(),
            "receipt": imported.receipt.display().to_string(),
        }))?;
        return Ok(Exit::Done);
    }
    let mut text = String::new();
    let _ = writeln!(text, "bundle:   {}", imported.bundle);
    let (files, size, here) = (imported.files, imported.size, imported.here_already);
    let _ = writeln!(text, "files:    {files} ({size} bytes), {here} of them were here already");
    for (path, artifact) in &imported.artifacts {
        let _ = writeln!(text, "artifact: {}  {}", environment.shown(path), artifact.cid);
    }
    let _ = writeln!(text, "receipt:  {}", environment.shown(&imported.receipt));
    print(&text)?;
    Ok(Exit::Done)
}

/// Runs `kolm airgap receipts`.
pub(super) fn receipts(arguments: &Receipts, environment: &Environment) -> Result<Exit, CompileError> {
    let source = compile::key_source(&arguments.key, environment);
    let listed = receipts::list(&environment.kolm_home, &source)?;
    let mut text = String::new();
    let mut rows = Vec::new();
    let mut exit = Exit::Done;
    for (path, receipt) in &listed {
        let shown = environment.shown(path);
        match receipt {
            Ok(receipt) => {
                let _ = writeln!(
                    text,
                    "ok    {}  bundle {}  {} files  {} bytes",
                    receipt.time, receipt.bundle, receipt.files, receipt.size
                );
                for artifact in &receipt.artifacts {
                    let _ = writeln!(text, "      {}-{}.kolm  {}", artifact.name, artifact.version, artifact.cid);
                }
                rows.push(json!({ "path": path.display().to_string(), "receipt": receipt, "error": null }));
            }
            Err(error) => {
                let _ = writeln!(text, "FAIL  {shown}: {error}");
                exit = Exit::Refused;
                rows.push(json!({ "path": path.display().to_string(), "receipt": null, "error": { "code": error.code(), "message": error.to_string() } }));
            }
        }
    }
    if arguments.json {
        print_json(&json!({ "receipts": rows, "exit": exit as u8 }))?;
    } else {
        if listed.is_empty() {
            let folder = environment.shown(&receipts::folder(&environment.kolm_home));
            let _ = writeln!(text, "no install receipts in {folder}");
        }
        print(&text)?;
    }
    Ok(exit)
}

/// `DVD`, or bytes: a number, with `KiB`, `MiB` or `GiB`, and `-1` for one byte less.
fn part_size(typed: &str) -> Result<u64, CompileError> {
    let wrong = || CompileError::Value {
        what: "--part-size",
        found: typed.to_owned(),
        expected: "DVD, 4GiB-1, 700MiB, or a number of bytes from 1048576 to 9007199254740992",
    };
    if typed.eq_ignore_ascii_case("dvd") {
        return Ok(DVD_PART_LEN_BYTES);
    }
    let (whole, less) = typed.strip_suffix("-1").map_or((typed, 0), |whole| (whole, 1));
    let unit = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1u64 << 30)];
    let (digits, unit) =
        unit.iter().find_map(|(name, unit)| Some((whole.strip_suffix(name)?, *unit))).unwrap_or((whole, 1));
    let number: u64 = digits.trim().parse().map_err(|_| wrong())?;
    let size = number.checked_mul(unit).and_then(|size| size.checked_sub(less)).ok_or_else(wrong)?;
    let range = kolm_runtime::bundle::PART_SIZE_LEAST_BYTES..=kolm_runtime::bundle::PART_SIZE_MOST_BYTES;
    range.contains(&size).then_some(size).ok_or_else(wrong)
}

/// Two parts fill a DVD of 4 700 372 992 bytes and leave 20 MB for the index; each is below the 4 GiB of ISO 9660 and FAT32.
const DVD_PART_LEN_BYTES: u64 = 2_340_000_000;

#[cfg(test)]
mod tests {
    use super::part_size;

    #[test]
    fn part_sizes() {
        for (typed, bytes) in [
            ("4GiB-1", 4_294_967_295),
            ("DVD", 2_340_000_000),
            ("dvd", 2_340_000_000),
            ("1048576", 1 << 20),
            ("700MiB", 700 << 20),
        ] {
            assert_eq!(part_size(typed).ok(), Some(bytes), "{typed}");
        }
        for typed in ["", "0", "1MiB-1", "-1", "4GB", "4 GiB x", "99999999GiB", "CD", "9007199254740993"] {
            assert!(part_size(typed).is_err(), "{typed}");
        }
    }
}
