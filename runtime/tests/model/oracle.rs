//! Decoders and adapters against Hugging Face transformers and PEFT in f64 (ci/oracle), and a real pretrained Llama.

use kolm_runtime::kernel::{Buffer, Level};
use kolm_runtime::model::{
    ADAPTER_CONFIG, ADAPTER_MODEL, Adapter, Decoder, ModelSource, PromptTemplate, Step, TextTokenizer,
};

use crate::fixtures::{golden, ids, json, relative_error, rows, shared};

/// max |difference| / max |logit| against f64.
const TOLERANCE: f64 = 1e-5;

fn logits(model: &Decoder, adapter: Option<&Adapter>, tokens: &[u32]) -> Buffer {
    let mut cache = model.new_cache(tokens.len());
    let rows = model.forward(adapter, &mut [Step { tokens, cache: &mut cache }]).expect("fits");
    model.logits(&rows)
}

#[test]
fn decoders_give_the_logits_of_transformers() {
    let names = ["qwen2-gqa-tied", "qwen2-gqa-untied-sharded-bf16", "qwen2-wide-head-f16", "llama-bias-llama3-rope"];
    for name in names {
        let folder = golden("oracle").join(name);
        let expected = json(&folder.join("expected.json"));
        let model = Decoder::load(Level::detect(), &ModelSource::folder(&folder).expect("located")).expect("loads");
        let short = logits(&model, None, &ids(&expected["short"]["tokens"]));
        let error = relative_error(&short, &rows(&expected["short"]["logits"]));
        let long = logits(&model, None, &ids(&expected["long"]["tokens"]));
        let last = &long[long.len() - model.config.vocabulary..];
        let long_error = relative_error(last, &rows(&expected["long"]["logits"]));
        println!("{name}: relative error {error:.2e} over 20 tokens, {long_error:.2e} at token 300");
        assert!(error <= TOLERANCE && long_error <= TOLERANCE, "{name}: {error} {long_error}");
        let (greedy, _) = model.greedy(None, &ids(&expected["greedy"]["prompt"]), 40, &[]).expect("fits");
        assert_eq!(greedy, ids(&expected["greedy"]["tokens"]), "{name}");
    }
}

#[test]
fn an_adapter_of_peft_gives_the_logits_of_peft() {
    let base = ModelSource::folder(&golden("oracle/qwen2-gqa-tied")).expect("located");
    let model = Decoder::load(Level::detect(), &base).expect("loads");
    let folder = golden("oracle/qwen2-gqa-tied-adapter");
    let read = |name: &str| std::fs::read(folder.join(name)).expect("readable");
    let adapter = Adapter::from_files(model.level, &model.config, &read(ADAPTER_CONFIG), read(ADAPTER_MODEL));
    let adapter = adapter.expect("sound adapter");
    let expected = json(&folder.join("expected.json"));
    let tokens = ids(&expected["tokens"]);
    let found = logits(&model, Some(&adapter), &tokens);
    let error = relative_error(&found, &rows(&expected["logits"]));
    println!("adapter of PEFT: relative error {error:.2e}");
    assert!(error <= TOLERANCE, "{error}");

    let config = adapter.config.to_json("qwen2-gqa-tied");
    let tensors = adapter.to_safetensors().expect("sound");
    let again = Adapter::from_files(model.level, &model.config, &config, tensors.clone()).expect("sound");
    assert_eq!(again.to_safetensors().expect("sound"), tensors, "one encoding");
    assert_eq!(logits(&model, Some(&again), &tokens), found);
}

#[test]
fn stories260k_gives_the_logits_and_the_story_of_transformers() {
    let Some(folder) = shared("models/stories260K", "stories260K against transformers") else { return };
    let source = ModelSource::folder(&folder).expect("located");
    let model = Decoder::load(Level::detect(), &source).expect("loads");
    let tokenizer = TextTokenizer::load(&source, model.config.vocabulary, &model.config.eos_ids).expect("matches");
    let expected = json(&golden("oracle/stories260k.json"));
    let prompt = ids(&expected["prompt"]);
    let text = expected["text"].as_str().expect("text");
    assert_eq!(tokenizer.encode(text, true).expect("encodes"), prompt);
    assert_eq!(tokenizer.encode_prompt(text).expect("encodes"), prompt);
    assert_eq!(tokenizer.decode(&prompt).expect("decodes"), text);
    assert!(PromptTemplate::of_base(&source).expect("sound").is_none());
    let found = logits(&model, None, &prompt);
    let error = relative_error(&found[found.len() - 3 * model.config.vocabulary..], &rows(&expected["logits"]));
    println!("stories260K: relative error {error:.2e}");
    assert!(error <= TOLERANCE, "{error}");
    let (greedy, _) = model.greedy(None, &prompt, 200, &[]).expect("fits");
    assert_eq!(greedy, ids(&expected["greedy"]), "greedy 200 tokens");
}
