//! The models inside this binary: `kolm/nano`, a Qwen2-shaped decoder, and `kolm/nano-encoder`, BERT-shaped.
//!
//! Both were trained by this project's own trainer on its own text; the recipe and its digests are in the repository.

type File = (&'static str, &'static [u8]);

/// The files of an embedded model, by name.
pub(super) fn embedded_files(name: &str) -> Option<&'static [File]> {
    match name {
        "kolm/nano" => Some(DECODER),
        "kolm/nano-encoder" => Some(ENCODER),
        _ => None,
    }
}

const DECODER: &[File] = &[
    ("config.json", include_bytes!("../../../golden/models/nano/config.json")),
    ("tokenizer.json", include_bytes!("../../../golden/models/nano/tokenizer.json")),
    ("tokenizer_config.json", include_bytes!("../../../golden/models/nano/tokenizer_config.json")),
    ("model.safetensors", include_bytes!("../../../golden/models/nano/model.safetensors")),
];

const ENCODER: &[File] = &[
    ("config.json", include_bytes!("../../../golden/models/nano-encoder/config.json")),
    ("tokenizer.json", include_bytes!("../../../golden/models/nano-encoder/tokenizer.json")),
    ("model.safetensors", include_bytes!("../../../golden/models/nano-encoder/model.safetensors")),
];
