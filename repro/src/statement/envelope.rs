//! The DSSE envelope (v1): pre-authentication encoding, one Ed25519 signature, base64.
//!
//! `keyid` is the public key itself in hex: a hint that can be checked, never a proof of whose it is.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kolm_runtime::artifact::canonical;
use serde::{Deserialize, Serialize};

use super::StatementError;
use super::key::{PublicKey, SigningKey};

/// The envelope; other keys are ignored, as DSSE asks.
#[derive(Serialize, Deserialize)]
struct Envelope {
    payload: String,
    #[serde(rename = "payloadType")]
    payload_type: String,
    signatures: Vec<Signature>,
}

#[derive(Serialize, Deserialize)]
struct Signature {
    keyid: String,
    sig: String,
}

/// DSSE's pre-authentication encoding: type and payload, each after its length, so that no two pairs share an encoding.
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

/// Signs `payload`; gives the envelope's bytes, one line.
pub(super) fn seal(payload: &[u8], key: &SigningKey) -> Result<Vec<u8>, StatementError> {
    let signature = key.sign(&pae(PAYLOAD_TYPE, payload));
    let envelope = Envelope {
        payload: STANDARD.encode(payload),
        payload_type: PAYLOAD_TYPE.to_owned(),
        signatures: vec![Signature { keyid: key.public().to_hex(), sig: STANDARD.encode(signature) }],
    };
    let mut bytes = canonical(&envelope)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Checks the signature; gives the payload and the key that signed it.
pub(super) fn open(path: &Path, bytes: &[u8]) -> Result<(Vec<u8>, PublicKey), StatementError> {
    let malformed = |detail: String| StatementError::Envelope { path: path.to_owned(), detail };
    let envelope: Envelope = serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
    if envelope.payload_type != PAYLOAD_TYPE {
        let (found, expected) = (envelope.payload_type, PAYLOAD_TYPE);
        return Err(StatementError::PayloadType { path: path.to_owned(), found, expected });
    }
    let [signature] = envelope.signatures.as_slice() else {
        return Err(malformed(format!("{} signatures, expected 1", envelope.signatures.len())));
    };
    let decode = |name: &str, text: &str| STANDARD.decode(text).map_err(|error| malformed(format!("{name}: {error}")));
    let (payload, sig) = (decode("payload", &envelope.payload)?, decode("sig", &signature.sig)?);
    let key = PublicKey::from_hex(&signature.keyid)
        .ok_or_else(|| malformed(format!("keyid {:?}, expected an Ed25519 public key in hex", signature.keyid)))?;
    if !key.verifies(&pae(PAYLOAD_TYPE, &payload), &sig) {
        return Err(StatementError::Signature { path: path.to_owned(), key: key.id() });
    }
    Ok((payload, key))
}

pub(super) const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
