//! An artifact open to every change, and a second writer of the container, which refuses nothing.

use std::collections::BTreeMap;

use kolm_runtime::artifact::{
    AdapterBody, ArtifactFile, BaseBody, EvalBody, Lineage, ManifestBody, Member, OperatorKey, Receipt, TaskBody,
    Timestamp, canonical, cid, encode, seal, sha256_hex,
};
use serde_json::{Value, json};

use super::{example_key, sound};

/// Members by name, in file order, open to every change.
#[derive(Clone)]
pub(crate) struct Draft(pub(crate) Vec<(String, Vec<u8>)>);

impl Draft {
    /// The example as the real writer makes it.
    pub(crate) fn example() -> Self {
        let members = seal(&sound::content(), &sound::measured(), &example_key()).expect("the example is sound");
        let draft = Self(members.iter().map(|(member, bytes)| (member.name().to_owned(), bytes.to_vec())).collect());
        assert_eq!(draft.bytes(), encode(&members).expect("the example is small"), "two writers of one container");
        draft
    }

    /// The members of a sound file.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let file = ArtifactFile::from_bytes(bytes.to_vec()).expect("a sound file");
        let read = |member: Member| (member.name().to_owned(), file.read(member).expect("a sound member"));
        Self(file.members().map(read).collect())
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        zip(&self.0)
    }

    pub(crate) fn get(&self, name: &str) -> &[u8] {
        self.0.iter().find(|(member, _)| member == name).map_or(&[], |(_, bytes)| bytes)
    }

    pub(crate) fn set(&mut self, name: &str, content: Vec<u8>) {
        for (member, bytes) in &mut self.0 {
            if member == name {
                bytes.clone_from(&content);
            }
        }
    }

    pub(crate) fn json(&self, name: &str) -> Value {
        serde_json::from_slice(self.get(name)).expect("an example's JSON member")
    }

    pub(crate) fn edit(&mut self, name: &str, pointer: &str, value: Value) {
        let mut json = self.json(name);
        *json.pointer_mut(pointer).expect("a field of the example") = value;
        self.set(name, canonical(&json).expect("no floats"));
    }

    /// Makes hashes, CID and receipt fit the members again.
    pub(crate) fn resealed(mut self) -> Vec<u8> {
        self.rehash();
        self.reseal(&example_key());
        self.bytes()
    }

    /// Makes the manifest list the members that are there, with the hashes they have, and a CID that fits. Fields that a change
    /// took away stay away.
    pub(crate) fn rehash(&mut self) {
        let hashed = self.0.iter().filter(|(name, _)| name != MANIFEST && name != RECEIPT);
        let hashes: BTreeMap<&String, String> = hashed.map(|(name, bytes)| (name, sha256_hex(bytes))).collect();
        let (hashes, trace) = (json!(hashes), json!(sha256_hex(self.get(TRACE))));
        self.put(MANIFEST, "/hashes", hashes);
        self.put(MANIFEST, "/training/trace_sha256", trace);
        self.recid();
    }

    pub(crate) fn recid(&mut self) {
        let hashes = serde_json::from_value::<BTreeMap<String, String>>(self.json(MANIFEST)["hashes"].clone());
        if let Ok(hashes) = hashes {
            self.put(MANIFEST, "/cid", json!(cid(&hashes).expect("strings only")));
        }
    }

    /// Sets a field if it is there.
    fn put(&mut self, name: &str, pointer: &str, value: Value) {
        if self.json(name).pointer(pointer).is_some() {
            self.edit(name, pointer, value);
        }
    }

    pub(crate) fn reseal(&mut self, key: &OperatorKey) {
        let manifest = self.json(MANIFEST);
        let hash = |name: &str| sha256_hex(self.get(name));
        let string = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        // A plan that does not parse is refused before its base is looked at.
        let plan = serde_json::from_slice::<Value>(self.get("plan.json")).unwrap_or_default();
        let lineage = Lineage {
            task: TaskBody {
                name: string(&manifest["name"]),
                plan_sha256: hash("plan.json"),
                task_sha256: hash("task.json"),
                version: string(&manifest["version"]),
            },
            base: BaseBody {
                files: serde_json::from_value(plan["base"]["files"].clone())
                    .ok()
                    .filter(|files: &Vec<kolm_runtime::model::FileIdentity>| {
                        files.iter().all(|file| file.size < 1 << 53)
                    })
                    .unwrap_or_default(),
                repo: string(&plan["base"]["repo"]),
                revision: string(&plan["base"]["revision"]),
            },
            adapter: AdapterBody { config_sha256: hash("adapter/adapter_config.json"), weights_sha256: hash(ADAPTER) },
            eval: EvalBody { pack_sha256: hash(PACK), replay_sha256: hash("eval/replay.jsonl") },
            // What is no date is refused before the receipt is looked at.
            manifest: ManifestBody {
                cid: string(&manifest["cid"]),
                created: Timestamp::parse(&string(&manifest["created"]))
                    .or(Timestamp::from_unix(0))
                    .expect("the epoch"),
                manifest_sha256: hash(MANIFEST),
            },
        };
        let receipt = Receipt::seal(key, &lineage).and_then(|receipt| receipt.encode());
        self.set(RECEIPT, receipt.expect("strings and small numbers"));
    }
}

/// A second writer of the container, which asks nothing about names, order or number of the entries.
pub(crate) fn zip(entries: &[(String, Vec<u8>)]) -> Vec<u8> {
    let short = |value: usize| u16::try_from(value).expect("small").to_le_bytes();
    let long = |value: usize| u32::try_from(value).expect("small").to_le_bytes();
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in entries {
        let shared = [
            &[10, 0, 0, 0, 0, 0, 0, 0, 0x21, 0][..],
            &crc32(content).to_le_bytes(),
            &long(content.len()),
            &long(content.len()),
            &short(name.len()),
            &[0, 0],
        ]
        .concat();
        let offset = long(bytes.len());
        directory.extend([b"PK\x01\x02\x0a\0", &shared[..], &[0; 10], &offset, name.as_bytes()].concat());
        bytes.extend([b"PK\x03\x04", &shared[..], name.as_bytes(), content].concat());
    }
    let count = short(entries.len());
    let end = [b"PK\x05\x06\0\0\0\0", &count[..], &count, &long(directory.len()), &long(bytes.len()), &[0, 0]].concat();
    [bytes, directory, end].concat()
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

pub(crate) const MANIFEST: &str = "manifest.json";
pub(crate) const RECEIPT: &str = "receipt.json";
pub(crate) const ADAPTER: &str = "adapter/adapter_model.safetensors";
pub(crate) const PACK: &str = "eval/pack.jsonl";
pub(crate) const TRACE: &str = "training/trace.jsonl";
