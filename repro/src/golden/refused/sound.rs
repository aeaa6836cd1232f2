//! The one sound artifact that all others are made from: no model, two cases, one step.

use kolm_runtime::artifact::{Content, Measured, Plan, Task, Timestamp, Tool, sha256_hex};
use kolm_runtime::eval::{Case, CaseResult, Metric, Outcome, Pack, Ppm};
use kolm_runtime::model::AdapterConfig;
use kolm_runtime::model::safetensors::{self, Dtype};
use serde_json::json;

pub(super) fn content() -> Content {
    let adapter_config = AdapterConfig::new(2, 4, &["q_proj".to_owned()]).expect("a known target");
    let tensor = |name: &'static str, values: [f32; 4], shape: &'static [usize; 2]| {
        (name, Dtype::F32, &shape[..], safetensors::f32_bytes(&values))
    };
    let a = tensor("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight", [0.5, -0.25, 1.0, 0.125], &[2, 2]);
    let b = tensor("base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight", [0.0, 2.0, -1.0, 0.75], &[2, 2]);
    let adapter_model =
        safetensors::write(&[(a.0, a.1, a.2, &a.3), (b.0, b.1, b.2, &b.3)], None).expect("shapes fit their bytes");
    let (pack, outcome) = graded();
    Content {
        task: Task {
            format: Task::FORMAT.to_owned(),
            name: "example".to_owned(),
            version: "1.0.0".to_owned(),
            description: "Sends a ticket to its queue".to_owned(),
        },
        plan: plan(),
        adapter_config: adapter_config.to_json("kolm/example"),
        adapter_model,
        recall: None,
        eval_pack: pack.bytes().to_vec(),
        eval_replay: outcome.bytes().expect("strings and numbers"),
        training_trace: b"{\"loss\":\"3f800000\",\"step\":1}\n".to_vec(),
    }
}

/// Two cases, one answered rightly: K is 0.5, below the gate.
fn graded() -> (Pack, Outcome) {
    let labels = vec!["billing".to_owned(), "shipping".to_owned()];
    let case = |id: &str, prompt: &str, expected: &str| Case {
        expected: expected.to_owned(),
        id: id.to_owned(),
        metric: Metric::Label,
        prompt: prompt.to_owned(),
        weight: 1,
    };
    let cases = vec![case("1", "Charged twice", "billing"), case("2", "Parcel is late", "shipping")];
    let pack = Pack::new(Some(labels), 8, cases).expect("the example's pack");
    let result = |id: &str, answer: &str, token, score| CaseResult {
        answer: answer.to_owned(),
        id: id.to_owned(),
        logits_sha256: sha256_hex(id.as_bytes()),
        score,
        tokens: vec![token, 0],
    };
    let results = vec![result("1", "billing", 7, Ppm::ONE), result("2", "billing", 7, Ppm::ZERO)];
    let outcome = Outcome::new(&pack, results);
    (pack, outcome)
}

fn plan() -> Plan {
    let sha = |text: &str| sha256_hex(text.as_bytes());
    let plan = json!({
        "format": Plan::FORMAT,
        "numerics": Plan::NUMERICS,
        "seed": "0",
        "task": { "template": "{{ prompt }}", "template_source": "job" },
        "base": {
            "repo": "kolm/example",
            "revision": sha("revision")[..40],
            "dtype": "bf16",
            "architecture": "qwen2",
            "files": [{ "path": "model.safetensors", "size": 26, "sha256": sha("model.safetensors") }],
        },
        "corpus": {
            "files": [{ "role": "train", "sha256": sha("corpus"), "size": 1000, "rows": 10 }],
            "columns": { "id": null, "prompt": "prompt", "completion": "completion", "split": null },
            "overlong": "error",
            "duplicates": "error",
            "rows": { "read": 10, "train": 8, "eval": 2, "dropped": 0 },
            "train_sha256": sha("train"),
            "eval_sha256": sha("eval"),
            "scan_sha256": sha("scan"),
        },
        "split": { "method": "hash", "eval_cases": 2 },
        "adapter": { "rank": 2, "alpha": 4, "targets": ["q_proj"], "init_sha256": null },
        "train": {
            "steps": 1, "epochs": "1", "batch_size": 8, "learning_rate": "0.001", "warmup_steps": 0, "schedule": "linear",
            "beta1": "0.9", "beta2": "0.999", "epsilon": "0.00000001", "weight_decay": "0", "clip_norm": "1",
            "max_length": 64,
        },
        "recall": null,
        "eval": {
            "metric": "label", "labels": ["billing", "shipping"], "cases": 2, "gate": "0.850000", "max_new_tokens": 8,
        },
    });
    serde_json::from_value(plan).expect("the example's plan")
}

pub(super) fn measured() -> Measured {
    let (_, outcome) = graded();
    Measured {
        created: Timestamp::parse("2026-11-23T00:00:00Z").expect("a date"),
        tool: Tool { name: "kolm".to_owned(), version: "0.1.0".to_owned() },
        k: outcome.k.to_string(),
        k_base: Ppm::ZERO.to_string(),
        k_majority: outcome.k.to_string(),
        wilson_low: outcome.wilson.0.to_string(),
        wilson_high: outcome.wilson.1.to_string(),
        replay_digest: outcome.replay_digest,
        recall_at_k: None,
        final_loss: Some("1".to_owned()),
        supersedes: None,
    }
}
