//! A recorded step as a file: every tensor of one training step, in the order in which it was computed.
//!
//! `kolm-step-1` is a header line, then for each tensor a line and its little-endian bytes, then the step's trace, then the SHA-256 of all
//! before it. Lines are JSON. Two machines exchange such files to find out where they part; they hold token ids and
//! activations of training rows, so they are as confidential as the corpus. Read in pieces: memory is that of the largest tensor.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use kolm_compile::train::{Place, Recorded, TraceLine, Values};
use kolm_runtime::artifact::{ArtifactError, hex};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use super::error::BisectError;

/// What a recorded step is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepHeader {
    /// `kolm-step-1`.
    pub format: String,
    /// SHA-256 of the plan.
    pub plan_sha256: String,
    /// The step, counted from 1.
    pub step: u64,
}

/// Type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Element {
    /// 4 bytes.
    F32,
    /// 8 bytes.
    F64,
    /// 4 bytes.
    U32,
}

impl Element {
    /// Bytes of one element.
    pub fn len_bytes(self) -> usize {
        match self {
            Self::F32 | Self::U32 => 4,
            Self::F64 => 8,
        }
    }
}

/// One tensor of a recorded step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepTensor {
    /// Where it belongs.
    pub place: Place,
    /// Type of its elements.
    pub element: Element,
    /// Its values, little-endian.
    pub bytes: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TensorLine {
    place: Place,
    element: Element,
    len_bytes: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TraceOf {
    trace: TraceLine,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Closing {
    sha256: String,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Tensor(TensorLine),
    Trace(TraceOf),
    Closing(Closing),
}

/// Writes a recorded step; the file appears whole or not at all.
pub struct StepWriter {
    path: PathBuf,
    file: BufWriter<NamedTempFile>,
    hasher: Sha256,
}

impl StepWriter {
    /// Begins the file beside `path`.
    ///
    /// # Errors
    /// [`BisectError::Artifact`] when it cannot be created.
    pub fn create(path: &Path, header: &StepHeader) -> Result<Self, BisectError> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = NamedTempFile::new_in(folder).map_err(|source| io("create", path, source))?;
        let mut writer = Self { path: path.to_owned(), file: BufWriter::new(file), hasher: Sha256::new() };
        writer.line(header).map_err(|source| io("write", path, source))?;
        Ok(writer)
    }

    /// Adds tensors. Digests are no tensors and are left out.
    ///
    /// # Errors
    /// What the system says.
    pub fn add(&mut self, recorded: &[Recorded]) -> std::io::Result<()> {
        for Recorded { place, values } in recorded {
            let (element, bytes) = match values {
                Values::F32(values) => (Element::F32, values.iter().flat_map(|value| value.to_le_bytes()).collect()),
                Values::F64(values) => (Element::F64, values.iter().flat_map(|value| value.to_le_bytes()).collect()),
                Values::U32(values) => (Element::U32, values.iter().flat_map(|value| value.to_le_bytes()).collect()),
                Values::Sha256(_) => continue,
            };
            let bytes: Vec<u8> = bytes;
            self.line(&TensorLine { place: place.clone(), element, len_bytes: bytes.len() as u64 })?;
            self.write(&bytes)?;
        }
        Ok(())
    }

    /// Closes the file, flushes it to the disk and gives it its name.
    ///
    /// # Errors
    /// [`BisectError::Artifact`]; nothing is left behind.
    pub fn finish(mut self, trace: &TraceLine) -> Result<(), BisectError> {
        let path = self.path.clone();
        let written = (|| {
            self.line(&TraceOf { trace: trace.clone() })?;
            let sha256 = hex(&self.hasher.clone().finalize());
            self.line(&Closing { sha256 })?;
            let file = self.file.into_inner().map_err(|error| error.into_error())?;
            file.as_file().sync_all()?;
            file.persist(&self.path)?;
            Ok(())
        })();
        written.map_err(|source| io("write", &path, source))
    }

    fn line(&mut self, value: &impl Serialize) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        self.write(&line)
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.hasher.update(bytes);
        self.file.write_all(bytes)
    }
}

/// A recorded step, open for reading; its bytes have been compared with their digest.
pub struct StepReader {
    path: PathBuf,
    file: BufReader<File>,
    len_bytes: u64,
    /// What it is of.
    pub header: StepHeader,
    /// The step's line of the trace.
    pub trace: TraceLine,
}

impl StepReader {
    /// Opens a file and reads it once.
    ///
    /// # Errors
    /// [`BisectError::Artifact`] when it cannot be read, [`BisectError::Step`] when it is no whole recorded step.
    pub fn open(path: &Path) -> Result<Self, BisectError> {
        let file = File::open(path).map_err(|source| io("open", path, source))?;
        let len_bytes = file.metadata().map_err(|source| io("read", path, source))?.len();
        let mut lines = Lines { path, file: BufReader::new(file), len_bytes };
        let mut hasher = Sha256::new();
        let header = lines.line(&mut hasher)?;
        let header: StepHeader = lines.parse(&header)?;
        if header.format != FORMAT {
            return Err(lines.wrong(format!("format is {:?}, expected {FORMAT:?}", header.format)));
        }
        let mut scratch = Vec::new();
        let mut trace = None;
        let trace = loop {
            let before = hasher.clone();
            let line = lines.line(&mut hasher)?;
            match lines.parse::<Line>(&line)? {
                Line::Tensor(line) => lines.bytes(&line, &mut scratch, &mut hasher)?,
                Line::Trace(of) => trace = Some(of.trace),
                Line::Closing(closing) => {
                    let found = hex(&before.finalize());
                    if found != closing.sha256 {
                        return Err(
                            lines.wrong(format!("sha256 of its content is {found}, it says {}", closing.sha256))
                        );
                    }
                    break trace;
                }
            }
        };
        let trace = trace.ok_or_else(|| lines.wrong("it has no trace of the step".to_owned()))?;
        let after = lines.file.fill_buf().map_err(|source| io("read", path, source))?.len();
        if after > 0 {
            return Err(lines.wrong("something follows its last line".to_owned()));
        }
        let mut reader = Self { path: path.to_owned(), file: lines.file, len_bytes, header, trace };
        reader.rewind()?;
        Ok(reader)
    }

    /// Goes back to the first tensor.
    fn rewind(&mut self) -> Result<(), BisectError> {
        self.file.seek(SeekFrom::Start(0)).map_err(|source| io("read", &self.path, source))?;
        let mut header = Vec::new();
        self.file.read_until(b'\n', &mut header).map_err(|source| io("read", &self.path, source))?;
        Ok(())
    }

    /// The next tensor; none after the last.
    ///
    /// # Errors
    /// As [`StepReader::open`].
    pub fn next_tensor(&mut self) -> Result<Option<StepTensor>, BisectError> {
        let mut lines = Lines { path: &self.path, file: &mut self.file, len_bytes: self.len_bytes };
        let mut hasher = Sha256::new();
        let line = lines.line(&mut hasher)?;
        match lines.parse::<Line>(&line)? {
            Line::Trace(_) | Line::Closing(_) => Ok(None),
            Line::Tensor(line) => {
                let mut bytes = Vec::new();
                lines.bytes(&line, &mut bytes, &mut hasher)?;
                Ok(Some(StepTensor { place: line.place, element: line.element, bytes }))
            }
        }
    }
}

struct Lines<'a, R> {
    path: &'a Path,
    file: R,
    len_bytes: u64,
}

impl<R: BufRead> Lines<'_, R> {
    fn line(&mut self, hasher: &mut Sha256) -> Result<Vec<u8>, BisectError> {
        let mut line = Vec::new();
        let read = (&mut self.file).take(LINE_LEN_MAX_BYTES).read_until(b'\n', &mut line);
        read.map_err(|source| io("read", self.path, source))?;
        if line.last() != Some(&b'\n') {
            return Err(self.wrong("it ends in the middle, or a line is too long".to_owned()));
        }
        hasher.update(&line);
        Ok(line)
    }

    fn bytes(&mut self, line: &TensorLine, into: &mut Vec<u8>, hasher: &mut Sha256) -> Result<(), BisectError> {
        let elements = line.place.shape.iter().try_fold(1_u64, |product, &size| product.checked_mul(size as u64));
        let expected = elements.and_then(|elements| elements.checked_mul(line.element.len_bytes() as u64));
        if expected != Some(line.len_bytes) || line.len_bytes > self.len_bytes {
            let shape = &line.place.shape;
            return Err(self.wrong(format!("{} bytes for a tensor of shape {shape:?}", line.len_bytes)));
        }
        into.clear();
        let read = (&mut self.file).take(line.len_bytes).read_to_end(into);
        let read = read.map_err(|source| io("read", self.path, source))?;
        if read as u64 != line.len_bytes {
            return Err(self.wrong("it ends in the middle of a tensor".to_owned()));
        }
        hasher.update(&*into);
        Ok(())
    }

    fn parse<T: DeserializeOwned>(&self, line: &[u8]) -> Result<T, BisectError> {
        serde_json::from_slice(line).map_err(|error| self.wrong(error.to_string()))
    }

    fn wrong(&self, detail: String) -> BisectError {
        BisectError::Step { path: self.path.to_owned(), detail }
    }
}

fn io(action: &'static str, path: &Path, source: std::io::Error) -> BisectError {
    BisectError::Artifact(ArtifactError::Io { action, path: path.to_owned(), source })
}

/// The value of `format`.
pub(super) const FORMAT: &str = "kolm-step-1";
/// A place's names and shape are far below this.
const LINE_LEN_MAX_BYTES: u64 = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn trace() -> TraceLine {
        TraceLine {
            step: 3,
            loss: "3f800000".to_owned(),
            gradient_sha256: "ab".repeat(32),
            parameters_sha256: "cd".repeat(32),
        }
    }

    fn written(folder: &Path) -> PathBuf {
        let path = folder.join("a.step");
        let header = StepHeader { format: FORMAT.to_owned(), plan_sha256: "00".repeat(32), step: 3 };
        let mut writer = StepWriter::create(&path, &header).expect("created");
        let place = |tensor: &str, len| Place { tensor: tensor.to_owned(), shape: vec![len], ..Place::default() };
        let recorded = [
            Recorded { place: place("x", 3), values: Values::F32(vec![1.0, -0.0, f32::NAN]) },
            Recorded { place: place("loss", 1), values: Values::F64(vec![0.1]) },
            Recorded { place: place("tokens", 2), values: Values::U32(vec![10, 7]) },
        ];
        writer.add(&recorded).expect("added");
        writer.finish(&trace()).expect("finished");
        path
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut reader = StepReader::open(&written(folder.path())).expect("opens");
        assert_eq!((reader.header.step, reader.trace.clone()), (3, trace()));
        let mut names = Vec::new();
        while let Some(tensor) = reader.next_tensor().expect("reads") {
            names.push((tensor.place.tensor, tensor.element, tensor.bytes.len()));
        }
        let expected = [("x", Element::F32, 12), ("loss", Element::F64, 8), ("tokens", Element::U32, 8)];
        assert_eq!(names, expected.map(|(name, element, len)| (name.to_owned(), element, len)));
    }

    #[test]
    fn a_changed_or_cut_file_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = written(folder.path());
        let whole = std::fs::read(&path).expect("read");
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, &bytes).expect("written");
            assert!(StepReader::open(&path).is_err(), "byte {at}");
            std::fs::write(&path, &whole[..at]).expect("written");
            assert!(StepReader::open(&path).is_err(), "cut at {at}");
        }
    }
}
