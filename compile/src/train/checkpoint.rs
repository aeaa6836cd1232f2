//! Checkpoints: a run that was killed goes on from the last one and ends in the same bytes.
//!
//! A file is the magic line, the header's length (u64, little-endian), the header (JSON), then for every tensor in name order its
//! values, first moments and second moments (f32, little-endian), then the SHA-256 of all before. It is written beside its final name,
//! synced, and renamed, so a file under its final name is whole whatever happened; the two newest are kept. It never leaves the
//! machine, so it is no format of the artifact.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::TrainError;
use super::optimizer::Moments;
use super::parameters::Parameters;
use super::settings::TraceLine;

/// A folder that holds one run's checkpoints.
#[derive(Clone, Debug)]
pub struct CheckpointStore {
    folder: PathBuf,
    every: u64,
    last: u64,
    adopts: bool,
}

/// What a run needs to go on.
pub(crate) struct Progress {
    /// Steps done.
    pub(crate) step: u64,
    /// Optimiser's memory.
    pub(crate) moments: Moments,
    /// Trace so far.
    pub(crate) trace: Vec<TraceLine>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    fingerprint: String,
    step: u64,
    beta1_power: String,
    beta2_power: String,
    value_count: usize,
    trace: Vec<TraceLine>,
}

impl CheckpointStore {
    /// Keeps checkpoints in `folder` (made when first needed), one every `every` steps; 0 means never.
    pub fn new(folder: impl Into<PathBuf>, every: u64) -> Self {
        Self { folder: folder.into(), every, last: u64::MAX, adopts: false }
    }

    /// Also keeps the state after step `last`, and neither writes nor reads a later one: the way to the step behind it.
    #[must_use]
    pub fn up_to(self, last: u64) -> Self {
        Self { last, ..self }
    }

    /// Starts from a checkpoint of another run too, if it has the same tensors. Whoever asks for it compares what comes out with what
    /// this run is known to give: two runs with the same trace up to a step have the same state there.
    #[must_use]
    pub fn adopting(self) -> Self {
        Self { adopts: true, ..self }
    }

    /// Whether a checkpoint is due after `step` steps.
    pub(crate) fn due(&self, step: u64) -> bool {
        step == self.last || (step < self.last && self.every != 0 && step.is_multiple_of(self.every))
    }

    /// Writes the state after `progress.step` steps.
    pub(crate) fn save(
        &self,
        fingerprint: &str,
        progress: &Progress,
        parameters: &Parameters,
    ) -> Result<(), TrainError> {
        let header = Header {
            fingerprint: fingerprint.to_string(),
            step: progress.step,
            beta1_power: format!("{:016x}", progress.moments.beta1_power.to_bits()),
            beta2_power: format!("{:016x}", progress.moments.beta2_power.to_bits()),
            value_count: parameters.values.iter().map(Vec::len).sum(),
            trace: progress.trace.clone(),
        };
        let header = serde_json::to_vec(&header).expect("strings and integers always serialise");
        let mut bytes = MAGIC.to_vec();
        bytes.extend((header.len() as u64).to_le_bytes());
        bytes.extend(header);
        for (group, slot) in parameters.in_name_order() {
            for values in [&parameters.values, &progress.moments.first, &progress.moments.second] {
                bytes.extend(values[group][slot.range.clone()].iter().flat_map(|value| value.to_le_bytes()));
            }
        }
        let digest: [u8; 32] = Sha256::digest(&bytes).into();
        bytes.extend(digest);

        let path = self.folder.join(file_name(progress.step));
        let io_error = |source| TrainError::CheckpointIo { path: path.clone(), source };
        fs::create_dir_all(&self.folder).map_err(io_error)?;
        write_whole(&self.folder, &path, &bytes).map_err(io_error)?;
        self.drop_older(progress.step).map_err(io_error)
    }

    /// Reads the newest checkpoint into `parameters`; `None` when the folder holds none.
    ///
    /// # Errors
    /// `CheckpointForeign` when it belongs to other settings or inputs, `CheckpointDamaged` when its bytes are not what was written.
    pub(crate) fn load(&self, fingerprint: &str, parameters: &mut Parameters) -> Result<Option<Progress>, TrainError> {
        let steps = self.steps().map_err(|source| TrainError::CheckpointIo { path: self.folder.clone(), source })?;
        let Some(&newest) = steps.iter().rfind(|&&step| step <= self.last) else { return Ok(None) };
        let path = self.folder.join(file_name(newest));
        let bytes = fs::read(&path).map_err(|source| TrainError::CheckpointIo { path: path.clone(), source })?;
        let damaged = |reason: &str| TrainError::CheckpointDamaged { path: path.clone(), reason: reason.to_string() };
        let (header, values) = split(&bytes).map_err(damaged)?;
        if header.fingerprint != fingerprint && !self.adopts {
            return Err(TrainError::CheckpointForeign {
                path,
                found: header.fingerprint,
                expected: fingerprint.to_string(),
            });
        }
        let count: usize = parameters.values.iter().map(Vec::len).sum();
        if header.value_count != count || values.len() != count * 12 {
            return Err(damaged("its tensors do not have this run's shapes"));
        }
        let power = |digits: &str| {
            u64::from_str_radix(digits, 16).map(f64::from_bits).map_err(|_| damaged("a power is not hex"))
        };
        let mut moments = Moments::new(parameters);
        moments.beta1_power = power(&header.beta1_power)?;
        moments.beta2_power = power(&header.beta2_power)?;
        let mut numbers = values.chunks_exact(4).map(|word| f32::from_le_bytes([word[0], word[1], word[2], word[3]]));
        let places: Vec<_> = parameters.in_name_order().map(|(group, slot)| (group, slot.range.clone())).collect();
        for (group, range) in places {
            for target in [&mut parameters.values, &mut moments.first, &mut moments.second] {
                for (value, number) in target[group][range.clone()].iter_mut().zip(&mut numbers) {
                    *value = number;
                }
            }
        }
        Ok(Some(Progress { step: header.step, moments, trace: header.trace }))
    }

    /// Removes every checkpoint of the run.
    ///
    /// # Errors
    /// `CheckpointIo` when a file cannot be removed.
    pub fn clear(&self) -> Result<(), TrainError> {
        let io_error = |source| TrainError::CheckpointIo { path: self.folder.clone(), source };
        for step in self.steps().map_err(io_error)? {
            fs::remove_file(self.folder.join(file_name(step))).map_err(io_error)?;
        }
        Ok(())
    }

    fn steps(&self) -> io::Result<Vec<u64>> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut steps = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let step: Option<u64> =
                name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse().ok());
            steps.extend(step);
        }
        steps.sort_unstable();
        Ok(steps)
    }

    fn drop_older(&self, newest: u64) -> io::Result<()> {
        let steps: Vec<u64> = self.steps()?.into_iter().filter(|&step| step <= newest).collect();
        for &step in steps.iter().rev().skip(KEPT) {
            fs::remove_file(self.folder.join(file_name(step)))?;
        }
        Ok(())
    }
}

fn file_name(step: u64) -> String {
    format!("{PREFIX}{step:010}{SUFFIX}")
}

/// Writes under a temporary name, syncs, renames, syncs the folder.
fn write_whole(folder: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let partial = path.with_extension("partial");
    let written = (|| {
        let mut file = File::create(&partial)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&partial, path)
    })();
    if let Err(error) = written {
        // The first error is the one to report; a partial file that cannot be removed is never read.
        let _ = fs::remove_file(&partial);
        return Err(error);
    }
    // A folder cannot be opened as a file on every system; where it can, the rename itself is made durable.
    File::open(folder).map_or(Ok(()), |folder| folder.sync_all())
}

fn split(bytes: &[u8]) -> Result<(Header, &[u8]), &'static str> {
    let body_len = bytes.len().checked_sub(32).ok_or("it is too short")?;
    let (body, digest) = bytes.split_at(body_len);
    if <[u8; 32]>::from(Sha256::digest(body)) != digest {
        return Err("its checksum does not match its bytes");
    }
    let rest = body.strip_prefix(MAGIC).ok_or("it is not a kolm checkpoint")?;
    let (length, rest) = rest.split_first_chunk::<8>().ok_or("it is too short")?;
    let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| "its header is too long")?;
    let (header, values) = rest.split_at_checked(length).ok_or("its header is too long")?;
    Ok((serde_json::from_slice(header).map_err(|_| "its header is not readable")?, values))
}

const MAGIC: &[u8] = b"kolm-checkpoint-1\n";
const PREFIX: &str = "step-";
const SUFFIX: &str = ".kolm-checkpoint";
/// Checkpoints kept: the newest and the one before.
const KEPT: usize = 2;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::parameters::{Layout, Parameters};
    use super::{CheckpointStore, Moments, Progress, TrainError, file_name};

    fn parameters(start: f32) -> Parameters {
        let layout = Layout::new([("b".to_string(), vec![2, 2]), ("a".to_string(), vec![3])]);
        Parameters::new(vec![layout], vec![(0..7).map(|i| start + i as f32).collect()])
    }

    fn progress(step: u64, parameters: &Parameters) -> Progress {
        let mut moments = Moments::new(parameters);
        moments.first[0][1] = -0.0;
        moments.second[0][6] = step as f32;
        moments.beta1_power = 0.1 + 0.2;
        Progress { step, moments, trace: Vec::new() }
    }

    #[test]
    fn a_checkpoint_comes_back_and_two_are_kept() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = CheckpointStore::new(folder.path().join("new"), 10);
        assert!(store.load("f", &mut parameters(0.0)).expect("no folder yet").is_none());
        let saved = parameters(5.0);
        for step in [10, 20, 30] {
            store.save("f", &progress(step, &saved), &saved).expect("saved");
        }
        assert_eq!(store.steps().expect("listed"), [20, 30]);
        let mut loaded = parameters(0.0);
        let found = store.load("f", &mut loaded).expect("loads").expect("is there");
        assert_eq!(found.step, 30);
        assert_eq!(loaded.values, saved.values);
        assert_eq!(found.moments, progress(30, &saved).moments);
        assert!(found.moments.first[0][1].is_sign_negative());
        let before = CheckpointStore::new(folder.path().join("new"), 10).up_to(29);
        assert_eq!(before.load("f", &mut loaded).expect("loads").expect("is there").step, 20);
        assert_eq!([19, 20, 29, 30].map(|step| before.due(step)), [false, true, true, false]);
        store.clear().expect("cleared");
        assert!(store.load("f", &mut loaded).expect("empty").is_none());
    }

    #[test]
    fn a_foreign_or_damaged_checkpoint_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = CheckpointStore::new(folder.path(), 1);
        let saved = parameters(1.0);
        store.save("f", &progress(1, &saved), &saved).expect("saved");
        assert!(matches!(store.load("g", &mut parameters(0.0)), Err(TrainError::CheckpointForeign { .. })));
        let adopting = CheckpointStore::new(folder.path(), 1).adopting();
        assert_eq!(adopting.load("g", &mut parameters(0.0)).expect("loads").map(|found| found.step), Some(1));
        let path = folder.path().join(file_name(1));
        let whole = fs::read(&path).expect("read");
        for at in (0..whole.len()).step_by(7) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&path, &bytes).expect("written");
            assert!(matches!(store.load("f", &mut parameters(0.0)), Err(TrainError::CheckpointDamaged { .. })), "{at}");
            fs::write(&path, &whole[..at]).expect("written");
            assert!(matches!(store.load("f", &mut parameters(0.0)), Err(TrainError::CheckpointDamaged { .. })), "{at}");
        }
    }
}
