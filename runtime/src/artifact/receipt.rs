//! `receipt.json`: five steps, each binding one thing, each MACed over the one before.
//!
//! `mac_i = HMAC-SHA256(K, mac_{i-1} || JCS({"body":…,"name":…}))`, `mac_0` is 32 zero bytes, K the operator's receipt key.
//! The bodies follow from the artifact alone, so checking recomputes them; nothing in a receipt is taken on trust.
//! A receipt made with another key says so and is never called tampered.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::hash::{from_hex, hex, hmac_matches, hmac_sha256};
use super::{ArtifactError, FileIdentity, Member, OperatorKey, Timestamp, canonical, parse_canonical, rules};

/// The chain and what it was made for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// `kolm-receipt-1`.
    pub format: String,
    /// Id of the operator's key.
    pub key_id: String,
    /// CID of the artifact.
    pub cid: String,
    /// When the receipt was made; the manifest says the same.
    pub created: Timestamp,
    /// Exactly five.
    pub steps: Vec<Step>,
}

/// One link of the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// `task`, `base`, `adapter`, `eval`, `manifest`, in this order.
    pub name: String,
    /// What the step binds.
    pub body: Map<String, Value>,
    /// HMAC-SHA256 in hex.
    pub mac: String,
}

/// What the five steps bind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lineage {
    /// Step 1.
    pub task: TaskBody,
    /// Step 2.
    pub base: BaseBody,
    /// Step 3.
    pub adapter: AdapterBody,
    /// Step 4.
    pub eval: EvalBody,
    /// Step 5.
    pub manifest: ManifestBody,
}

/// Step 1: the task, as described and as planned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TaskBody {
    /// Name of the task.
    pub name: String,
    /// SHA-256 of `plan.json`.
    pub plan_sha256: String,
    /// SHA-256 of `task.json`.
    pub task_sha256: String,
    /// Version of the task.
    pub version: String,
}

/// Step 2: the base model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BaseBody {
    /// Every file that the runtime loads.
    pub files: Vec<FileIdentity>,
    /// Repository.
    pub repo: String,
    /// Full commit hash.
    pub revision: String,
}

/// Step 3: the adapter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AdapterBody {
    /// SHA-256 of `adapter/adapter_config.json`.
    pub config_sha256: String,
    /// SHA-256 of `adapter/adapter_model.safetensors`.
    pub weights_sha256: String,
}

/// Step 4: the eval pack and its recorded replay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EvalBody {
    /// SHA-256 of `eval/pack.jsonl`.
    pub pack_sha256: String,
    /// SHA-256 of `eval/replay.jsonl`.
    pub replay_sha256: String,
}

/// Step 5: the finished manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ManifestBody {
    /// Content identifier.
    pub cid: String,
    /// When the artifact was made.
    pub created: Timestamp,
    /// SHA-256 of `manifest.json`.
    pub manifest_sha256: String,
}

impl Lineage {
    /// The bodies in chain order.
    fn bodies(&self) -> Result<[(&'static str, Map<String, Value>); 5], ArtifactError> {
        Ok([
            ("task", body(&self.task)?),
            ("base", body(&self.base)?),
            ("adapter", body(&self.adapter)?),
            ("eval", body(&self.eval)?),
            ("manifest", body(&self.manifest)?),
        ])
    }
}

impl Receipt {
    /// The value of `format`.
    pub const FORMAT: &'static str = "kolm-receipt-1";

    /// Makes the chain.
    ///
    /// # Errors
    /// `JsonInteger` when a file of the base is longer than signed JSON can say.
    pub fn seal(key: &OperatorKey, lineage: &Lineage) -> Result<Self, ArtifactError> {
        let receipt_key = key.receipt_key();
        let mut before = [0; 32];
        let mut steps = Vec::new();
        for (name, body) in lineage.bodies()? {
            before = hmac_sha256(&receipt_key, &[&before, &message(name, &body)?]);
            steps.push(Step { name: name.to_owned(), body, mac: hex(&before) });
        }
        Ok(Self {
            format: Self::FORMAT.to_owned(),
            key_id: key.id(),
            cid: lineage.manifest.cid.clone(),
            created: lineage.manifest.created,
            steps,
        })
    }

    /// Reads canonical bytes.
    ///
    /// # Errors
    /// Any JSON error, `Field` for a value outside its rules.
    pub fn parse(bytes: &[u8]) -> Result<Self, ArtifactError> {
        let receipt: Self = parse_canonical(MEMBER, bytes)?;
        rules::format(MEMBER, &receipt.format, Self::FORMAT)?;
        let quoted = || format!("{:?}", receipt.key_id);
        rules::require(MEMBER, "key_id", rules::is_hex(&receipt.key_id, 8), quoted, "8 lower-case hex digits")?;
        let names: Vec<&str> = receipt.steps.iter().map(|step| step.name.as_str()).collect();
        let found = || names.join(", ");
        rules::require(MEMBER, "steps", names == NAMES, found, "task, base, adapter, eval, manifest")?;
        for step in &receipt.steps {
            rules::sha256(MEMBER, &format!("steps.{}.mac", step.name), &step.mac)?;
        }
        Ok(receipt)
    }

    /// Writes canonical bytes.
    ///
    /// # Errors
    /// As `canonical`.
    pub fn encode(&self) -> Result<Vec<u8>, ArtifactError> {
        canonical(self)
    }

    /// Checks that `key` made this receipt for `lineage`, step by step.
    ///
    /// # Errors
    /// `WrongKey` before anything else; then `ReceiptBody` or `ReceiptMac` for the first step at fault.
    pub fn check(&self, key: &OperatorKey, lineage: &Lineage) -> Result<(), ArtifactError> {
        let found = key.id();
        if found != self.key_id {
            let expected = self.key_id.clone();
            return Err(ArtifactError::WrongKey { found, expected });
        }
        let receipt_key = key.receipt_key();
        let mut before: Vec<u8> = vec![0; 32];
        let bodies = lineage.bodies()?;
        for ((index, step), (name, body)) in self.steps.iter().enumerate().zip(bodies) {
            let number = index + 1;
            if let Some(field) = first_difference(&step.body, &body) {
                return Err(ArtifactError::ReceiptBody { step: number, name, field });
            }
            let mac = from_hex(&step.mac).unwrap_or_default();
            if !hmac_matches(&receipt_key, &[&before, &message(name, &body)?], &mac) {
                return Err(ArtifactError::ReceiptMac { step: number, name });
            }
            before = mac;
        }
        let holds = self.steps.len() == NAMES.len();
        let found = || self.steps.len().to_string();
        rules::require(MEMBER, "steps", holds, found, "five steps")
    }
}

fn body<T: Serialize>(typed: &T) -> Result<Map<String, Value>, ArtifactError> {
    // By way of the canonical bytes, so that a number signed JSON cannot hold is refused here.
    parse_canonical(MEMBER, &canonical(typed)?)
}

/// What a step's MAC covers after the MAC before it.
fn message(name: &str, body: &Map<String, Value>) -> Result<Vec<u8>, ArtifactError> {
    #[derive(Serialize)]
    struct Message<'a> {
        name: &'a str,
        body: &'a Map<String, Value>,
    }
    canonical(&Message { name, body })
}

fn first_difference(found: &Map<String, Value>, expected: &Map<String, Value>) -> Option<String> {
    let keys = expected.keys().chain(found.keys());
    keys.into_iter().find(|key| found.get(*key) != expected.get(*key)).cloned()
}

const MEMBER: &str = Member::Receipt.name();
const NAMES: [&str; 5] = ["task", "base", "adapter", "eval", "manifest"];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lineage() -> Lineage {
        let sha = |digit: &str| digit.repeat(64);
        Lineage {
            task: TaskBody {
                name: "tickets".into(),
                plan_sha256: sha("1"),
                task_sha256: sha("2"),
                version: "1.0.0".into(),
            },
            base: BaseBody {
                files: vec![FileIdentity { path: "model.safetensors".into(), size: 7, sha256: sha("3") }],
                repo: "kolm/nano".into(),
                revision: "4".repeat(40),
            },
            adapter: AdapterBody { config_sha256: sha("5"), weights_sha256: sha("6") },
            eval: EvalBody { pack_sha256: sha("7"), replay_sha256: sha("8") },
            manifest: ManifestBody {
                cid: format!("cidv1:sha256:{}", sha("9")),
                created: Timestamp::from_unix(0).unwrap(),
                manifest_sha256: sha("a"),
            },
        }
    }

    fn check(receipt: &Receipt, lineage: &Lineage) -> &'static str {
        let key = OperatorKey::from_bytes([9; 32]);
        receipt.check(&key, lineage).map_or_else(|error| error.code(), |()| "ok")
    }

    #[test]
    fn seal_and_check() {
        let key = OperatorKey::from_bytes([9; 32]);
        let receipt = Receipt::seal(&key, &lineage()).unwrap();
        assert_eq!(check(&receipt, &lineage()), "ok");
        assert_eq!(Receipt::parse(&receipt.encode().unwrap()).unwrap(), receipt);

        let other = OperatorKey::from_bytes([8; 32]);
        let error = receipt.check(&other, &lineage()).unwrap_err();
        assert_eq!(error.code(), "wrong_key");

        let mut moved = lineage();
        moved.adapter.weights_sha256 = "0".repeat(64);
        assert_eq!(check(&receipt, &moved), "receipt_body");
    }

    #[test]
    fn steps_in_another_order_or_number_are_refused() {
        let key = OperatorKey::from_bytes([9; 32]);
        let sealed = Receipt::seal(&key, &lineage()).unwrap();
        let mut swapped = sealed.clone();
        swapped.steps.swap(1, 2);
        assert_eq!(Receipt::parse(&swapped.encode().unwrap()).unwrap_err().code(), "field_value");
        let mut short = sealed.clone();
        short.steps.pop();
        assert_eq!(Receipt::parse(&short.encode().unwrap()).unwrap_err().code(), "field_value");
        assert_eq!(check(&short, &lineage()), "field_value");
        let mut crossed = sealed;
        let mac = crossed.steps[0].mac.clone();
        crossed.steps[1].mac = mac;
        assert_eq!(check(&crossed, &lineage()), "receipt_mac");
    }

    proptest! {
        #[test]
        fn any_changed_byte_is_refused(at in any::<prop::sample::Index>(), byte: u8) {
            let key = OperatorKey::from_bytes([9; 32]);
            let receipt = Receipt::seal(&key, &lineage()).unwrap();
            let mut bytes = receipt.encode().unwrap();
            let at = at.index(bytes.len());
            prop_assume!(bytes[at] != byte);
            bytes[at] = byte;
            // `cid` and `created` of the receipt itself are compared with the manifest by `Opened`.
            if let Ok(changed) = Receipt::parse(&bytes) {
                let same_head = changed.cid == receipt.cid && changed.created == receipt.created;
                prop_assert!(!same_head || check(&changed, &lineage()) != "ok");
            }
        }
    }
}
