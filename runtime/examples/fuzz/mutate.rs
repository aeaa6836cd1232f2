//! Changes inputs by rules that know the formats: bytes, numbers in headers, JSON values, members of a container.
//!
//! Every choice comes from one ChaCha stream under the seed and the target's name, so a run can be repeated.

use kolm_runtime::artifact::{ArtifactFile, Member, canonical};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

#[path = "../../../repro/src/golden/refused/mod.rs"]
#[allow(dead_code, unreachable_pub, reason = "only what a changed artifact is put together with is used here")]
mod generator;

use super::targets::{Shape, Target, key};
use generator::draft::{Draft, MANIFEST, RECEIPT, zip};

/// The source of every choice.
pub(crate) struct Mutator(ChaCha20Rng);

impl Mutator {
    pub(crate) fn new(seed: u64, target: &str) -> Self {
        let key = Sha256::new().chain_update(seed.to_le_bytes()).chain_update(target).finalize();
        Self(ChaCha20Rng::from_seed(key.into()))
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        // The bias towards small numbers is below 2^-40 and does not matter here.
        (self.0.next_u64() % bound.max(1) as u64) as usize
    }

    /// One of the corpus, changed once or several times.
    pub(crate) fn mutant(&mut self, target: &Target, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut input = corpus[self.below(corpus.len())].clone();
        for _ in 0..1 << self.below(4) {
            input = match (self.below(4), target.shape) {
                (0, _) => self.bytes(input, corpus),
                (_, Shape::Container) => self.container(&input),
                (_, Shape::Safetensors) => self.safetensors(&input),
                (_, Shape::Json) => self.json_lines(&input),
                (_, Shape::Parts) => self.parts(&input),
                (_, Shape::Bundle) => self.bundle(&input),
                (_, Shape::Gguf) => self.gguf(input),
            };
            input.truncate(INPUT_LEN_MAX_BYTES);
        }
        input
    }

    pub(super) fn bytes(&mut self, mut input: Vec<u8>, corpus: &[Vec<u8>]) -> Vec<u8> {
        let at = self.below(input.len() + 1);
        let to = at + self.below((input.len() - at).min(64) + 1);
        match self.below(7) {
            0 if at < input.len() => input[at] ^= 1 << self.below(8),
            1 if at < input.len() => input[at] = [0, 1, 0x20, 0x22, 0x2c, 0x5c, 0x7f, 0x80, 0xff][self.below(9)],
            2 => drop(input.drain(at..to)),
            3 => drop(input.splice(at..at, input[at..to].to_vec())),
            4 => input.truncate(at),
            5 => {
                let other = &corpus[self.below(corpus.len())];
                let from = self.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            _ => {
                let number = self.number();
                let width = [2, 4, 8][self.below(3)].min(input.len() - at);
                input[at..at + width].copy_from_slice(&number.to_le_bytes()[..width]);
            }
        }
        input
    }

    fn number(&mut self) -> u64 {
        let edges = [
            0,
            1,
            0x7f,
            0xff,
            0xffff,
            1 << 20,
            0x7fff_ffff,
            0xffff_fffe,
            0xffff_ffff,
            1 << 53,
            (1 << 53) + 1,
            i64::MAX as u64,
            u64::MAX,
        ];
        let edge = edges[self.below(edges.len())];
        if self.below(2) == 0 { edge } else { edge.wrapping_add(self.0.next_u64() % 17).wrapping_sub(8) }
    }

    /// Changes members, then makes as much fit again as chance has it: CRCs, or hashes and CID too, or the receipt too.
    fn container(&mut self, input: &[u8]) -> Vec<u8> {
        let Some(mut draft) = opened(input) else { return self.bytes(input.to_vec(), &[input.to_vec()]) };
        let at = self.below(draft.0.len());
        match self.below(8) {
            0 => drop(draft.0.remove(at)),
            1 => {
                let other = self.below(draft.0.len());
                draft.0.swap(at, other);
            }
            2 => draft.0.insert(at, draft.0[at].clone()),
            3 => {
                let names = [
                    "recall/config.json",
                    "recall/vectors.safetensors",
                    "recall/passages.jsonl",
                    "../x",
                    "",
                    "plan.json",
                ];
                draft.0[at].0 = names[self.below(names.len())].to_owned();
            }
            _ => {
                let content = std::mem::take(&mut draft.0[at].1);
                draft.0[at].1 = match draft.0[at].0.as_str() {
                    name if name.ends_with(".safetensors") => self.safetensors(&content),
                    _ => self.json_lines(&content),
                };
            }
        }
        let signable = serde_json::from_slice::<Value>(draft.get(MANIFEST))
            .is_ok_and(|value| value.is_object() && canonical(&value).is_ok());
        let fits = self.below(4);
        if fits > 0 && signable && draft.0.iter().any(|(name, _)| name == RECEIPT) {
            if fits > 1 {
                draft.rehash();
            }
            if fits > 2 {
                draft.reseal(&key());
            }
        }
        zip(&draft.0)
    }

    fn safetensors(&mut self, input: &[u8]) -> Vec<u8> {
        let Some((length, rest)) = input.split_first_chunk::<8>() else {
            return self.bytes(input.to_vec(), &[input.to_vec()]);
        };
        let header_len = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX).min(rest.len());
        let (header, data) = rest.split_at(header_len);
        let mut header = match self.below(3) {
            0 => self.bytes(header.to_vec(), &[header.to_vec()]),
            _ => self.json(header),
        };
        if self.below(2) == 0 {
            // Headers are padded with spaces.
            header.resize(header.len().next_multiple_of(8), b' ');
        }
        let length = if self.below(8) == 0 { self.number() } else { header.len() as u64 };
        [&length.to_le_bytes()[..], &header, data].concat()
    }

    /// Changes a number or a byte at the beginning, where most inputs have their header.
    fn gguf(&mut self, mut input: Vec<u8>) -> Vec<u8> {
        let data = input.split_off(input.len().min(GGUF_BEGINNING_LEN_BYTES));
        let mut header = input;
        let at = self.below(header.len());
        let number = if self.below(2) == 0 { self.number() } else { self.below(300) as u64 };
        let width = [1, 4, 8][self.below(3)].min(header.len() - at);
        header[at..at + width].copy_from_slice(&number.to_le_bytes()[..width]);
        header.extend(data);
        header
    }

    fn parts(&mut self, input: &[u8]) -> Vec<u8> {
        let count = 1 + input.windows(SEPARATOR.len()).filter(|window| *window == SEPARATOR).count();
        let mut parts = split(input, count);
        let at = self.below(parts.len());
        let part = std::mem::take(&mut parts[at]);
        parts[at] = if part.starts_with(b"{") { self.json_lines(&part) } else { self.safetensors(&part) };
        join(&parts)
    }

    /// Changes one line of several, or their number.
    fn json_lines(&mut self, input: &[u8]) -> Vec<u8> {
        let body = input.strip_suffix(b"\n");
        let mut lines: Vec<Vec<u8>> = body.unwrap_or(input).split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        let at = self.below(lines.len());
        match self.below(8) {
            0 if lines.len() > 1 => drop(lines.remove(at)),
            1 if lines.len() > 1 => lines.insert(at, lines[at].clone()),
            _ => lines[at] = self.json(&lines[at].clone()),
        }
        let end: &[u8] = if body.is_some() { b"\n" } else { b"" };
        [&lines.join(&b'\n'), end].concat()
    }

    pub(super) fn json(&mut self, input: &[u8]) -> Vec<u8> {
        let Ok(mut value) = serde_json::from_slice::<Value>(input) else {
            return self.bytes(input.to_vec(), &[input.to_vec()]);
        };
        let mut pointers = Vec::new();
        collect(&value, String::new(), &mut pointers);
        let pointer = &pointers[self.below(pointers.len())];
        let other = value.pointer(&pointers[self.below(pointers.len())]).cloned().unwrap_or_default();
        if let Some(place) = value.pointer_mut(pointer) {
            *place = self.value(place.take(), other);
        }
        match self.below(6) {
            0 => serde_json::to_vec(&value).unwrap_or_default(),
            1 => self.spelled(&value),
            _ => canonical(&value).or_else(|_| serde_json::to_vec(&value)).unwrap_or_default(),
        }
    }

    fn value(&mut self, value: Value, other: Value) -> Value {
        match (self.below(3), value) {
            (0, _) => other,
            (1, Value::Object(mut map)) => {
                let keys: Vec<String> = map.keys().cloned().collect();
                match keys.get(self.below(keys.len() + 1)) {
                    Some(key) if self.below(2) == 0 => drop(map.remove(key)),
                    Some(key) => drop(map.insert(format!("{key}2"), other)),
                    None => drop(map.insert("a".to_owned(), other)),
                }
                Value::Object(map)
            }
            (1, Value::Array(mut values)) => {
                let at = self.below(values.len() + 1);
                match self.below(3) {
                    0 => values.truncate(at),
                    1 => values.insert(at, other),
                    _ => values = vec![other; self.below(200)],
                }
                Value::Array(values)
            }
            (1, Value::String(text)) => json!(match self.below(5) {
                0 => text.to_uppercase(),
                1 => format!("{text}{text}"),
                2 => text.chars().skip(1).collect(),
                3 => text.chars().map(|letter| if letter == '0' { '1' } else { letter }).collect::<String>(),
                _ => text.repeat(self.below(300)),
            }),
            _ => match self.below(10) {
                0 => Value::Null,
                1 => json!(self.below(2) == 0),
                2 => json!(-(self.below(1 << 20) as i64)),
                3 => json!(0.5),
                4 => json!(["", "../..", "\u{0}", "\u{ffff}\u{10000}", "1.000000", "1e5", "NaN"][self.below(7)]),
                5 => Value::Array(Vec::new()),
                6 => Value::Object(Map::new()),
                7 => (0..self.below(200)).fold(json!(1), |inner, _| json!([inner])),
                _ => json!(self.number()),
            },
        }
    }

    /// The same value, spelled as no writer would.
    fn spelled(&mut self, value: &Value) -> Vec<u8> {
        let text = serde_json::to_string(value).unwrap_or_default();
        let changed = match self.below(7) {
            0 => text.replacen(':', ": ", 1),
            1 => text.replacen('e', "\\u0065", 1),
            2 => text.replacen(":1", ":1.0", 1),
            3 => text.replacen(":1", ":-0", 1),
            4 => text.replacen('{', "{\"a\":1,\"a\":1,", 1),
            5 => format!("\u{feff}{text}"),
            _ => format!("{}{text}{}", "[".repeat(self.below(40_000)), " ".repeat(self.below(9))),
        };
        changed.into_bytes()
    }
}

/// The members of an input that another walk than the reader's finds; none where there are none.
fn opened(input: &[u8]) -> Option<Draft> {
    let file = ArtifactFile::from_bytes(input.to_vec()).ok()?;
    let read = |member: Member| Some((member.name().to_owned(), file.read(member).ok()?));
    Some(Draft(file.members().map(read).collect::<Option<Vec<_>>>()?))
}

fn collect(value: &Value, at: String, pointers: &mut Vec<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| {
            collect(value, format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), pointers);
        }),
        Value::Array(values) => {
            values.iter().enumerate().for_each(|(index, value)| collect(value, format!("{at}/{index}"), pointers));
        }
        _ => {}
    }
    pointers.push(at);
}

/// Several parts as one input.
pub(crate) fn join(parts: &[Vec<u8>]) -> Vec<u8> {
    parts.join(SEPARATOR)
}

/// The parts of an input, `count` of them.
pub(crate) fn split(input: &[u8], count: usize) -> Vec<Vec<u8>> {
    let (mut parts, mut rest) = (Vec::new(), input);
    while parts.len() + 1 < count {
        let at = rest.windows(SEPARATOR.len()).position(|window| window == SEPARATOR);
        let (part, behind) = at.map_or((rest, &[][..]), |at| (&rest[..at], &rest[at + SEPARATOR.len()..]));
        parts.push(part.to_vec());
        rest = behind;
    }
    parts.push(rest.to_vec());
    parts
}

const SEPARATOR: &[u8] = b"\n--8<--\n";
/// As much as the headers of the sound files have.
const GGUF_BEGINNING_LEN_BYTES: usize = 1671;
/// Longer inputs find nothing that shorter ones do not, and take their time.
const INPUT_LEN_MAX_BYTES: usize = 1 << 19;
