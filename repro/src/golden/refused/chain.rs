//! Hashes, CID and the receipt chain.

use kolm_runtime::artifact::{OperatorKey, canonical};
use serde_json::json;

use super::draft::{ADAPTER, Draft, MANIFEST, RECEIPT};
use super::{Vector, example_key, vector};

/// Artifacts that whoever lacks the key can make, and one that its owner makes wrongly.
pub(super) fn hashes_and_macs() -> Vec<Vector> {
    let trace = "/hashes/training~1trace.jsonl";
    let mut unlisted = Draft::example();
    let mut manifest = unlisted.json(MANIFEST);
    if let Some(hashes) = manifest["hashes"].as_object_mut() {
        hashes.remove("training/trace.jsonl");
    }
    unlisted.set(MANIFEST, canonical(&manifest).expect("no floats"));
    unlisted.recid();
    unlisted.reseal(&example_key());

    let mut lied = Draft::example();
    lied.edit(MANIFEST, trace, json!("0".repeat(64)));
    lied.edit(MANIFEST, "/training/trace_sha256", json!("0".repeat(64)));
    lied.recid();
    lied.reseal(&example_key());

    let mut content_id = Draft::example();
    content_id.edit(MANIFEST, "/cid", json!(format!("cidv1:sha256:{}", "0".repeat(64))));
    content_id.reseal(&example_key());

    let mut other_key = Draft::example();
    other_key.reseal(&OperatorKey::from_bytes([0x42; 32]));

    // Whoever lacks the key can make everything fit but the chain.
    let mut swapped = Draft::example();
    let mut weights = swapped.get(ADAPTER).to_vec();
    if let Some(last) = weights.last_mut() {
        *last ^= 1;
    }
    swapped.set(ADAPTER, weights);
    let old = swapped.get(RECEIPT).to_vec();
    swapped.rehash();
    let mut bodies = swapped.clone();
    bodies.reseal(&example_key());
    let (mut forged, honest) = (bodies.json(RECEIPT), Draft::example().json(RECEIPT));
    for step in 0..5 {
        forged["steps"][step]["mac"] = honest["steps"][step]["mac"].clone();
    }
    bodies.set(RECEIPT, canonical(&forged).expect("no floats"));
    swapped.set(RECEIPT, old);
    let content_id_now = swapped.json(MANIFEST)["cid"].clone();
    swapped.edit(RECEIPT, "/cid", content_id_now);

    let mut reused = Draft::example();
    let mac = reused.json(RECEIPT)["steps"][0]["mac"].clone();
    reused.edit(RECEIPT, "/steps/1/mac", mac);
    vec![
        vector("hash-unlisted", "hashes_set", "a member that the manifest does not list", unlisted.bytes()),
        vector("hash-lies", "member_hash", "the key's owner states a wrong hash", lied.bytes()),
        vector("cid-lies", "cid", "the key's owner states a wrong CID", content_id.bytes()),
        vector("other-key", "wrong_key", "sound, and made with another key", other_key.bytes()),
        vector("adapter-swapped", "receipt_body", "another adapter under hashes and CID that fit", swapped.bytes()),
        vector("receipt-forged", "receipt_mac", "receipt bodies that fit under old MACs", bodies.bytes()),
        vector("mac-reused", "receipt_mac", "step 2 carries the MAC of step 1", reused.bytes()),
    ]
}
