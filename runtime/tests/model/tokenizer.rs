//! Tokenizers against llama.cpp's vectors, and prompt templates.

use kolm_runtime::model::{PromptTemplate, SpecialTokens, TextTokenizer};
use serde_json::json;

use crate::embedding::minilm;
use crate::fixtures::shared;

fn check(tokenizer: &TextTokenizer, name: &str) {
    let Some(folder) = shared("tokenizers/vectors", "tokenizer vectors") else { return };
    let read = |end: &str| std::fs::read_to_string(folder.join(format!("ggml-vocab-{name}.gguf.{end}"))).expect("file");
    let (texts, answers) = (read("inp"), read("out"));
    // The last text is empty, and so are its ids: split, not lines.
    let texts: Vec<&str> = texts.split("\n__ggml_vocab_test__\n").collect();
    let answers: Vec<Vec<u32>> =
        answers.split('\n').map(|line| line.split_whitespace().map(|id| id.parse().expect("id")).collect()).collect();
    let right =
        texts.iter().zip(&answers).filter(|(text, ids)| tokenizer.encode(text, false).expect("encodes") == **ids);
    let right = right.count();
    println!("{name}: {right}/{} vectors", answers.len());
    assert_eq!((texts.len(), right), (answers.len(), answers.len()));
    assert_eq!(answers.len(), 47);
}

#[test]
fn qwen2_gives_the_ids_of_its_vectors() {
    let Some(path) = shared("tokenizers/qwen2/tokenizer.json", "qwen2's tokenizer vectors") else { return };
    check(&TextTokenizer::from_bytes(&std::fs::read(path).expect("readable")).expect("parses"), "qwen2");
}

#[test]
fn bert_gives_the_ids_of_bge() {
    // MiniLM and bge share the uncased vocabulary of BERT.
    let Some(folder) = minilm("bge's tokenizer vectors") else { return };
    let bytes = std::fs::read(folder.join("tokenizer.json")).expect("readable");
    check(&TextTokenizer::from_bytes(&bytes).expect("parses"), "bert-bge");
}

#[test]
fn a_chat_template_renders_as_in_transformers() {
    let Some(path) = shared("tokenizers/qwen2/tokenizer_config.json", "qwen2's chat template") else { return };
    let config: serde_json::Value = serde_json::from_slice(&std::fs::read(path).expect("readable")).expect("json");
    let template = config["chat_template"].as_str().expect("template");
    let template = PromptTemplate::of_chat(template, SpecialTokens::of(&config)).expect("parses");
    let head = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n";
    let tail = "<|im_end|>\n<|im_start|>assistant\n";
    assert_eq!(template.render("Hi <b>", &[]).expect("renders"), format!("{head}Hi <b>{tail}"));
    assert_eq!(template.render("Hi", &["a", "b"]).expect("renders"), format!("{head}a\n\nb\n\nHi{tail}"));
}

#[test]
fn chat_templates_may_use_what_published_ones_use() {
    let special = SpecialTokens::of(&json!({"bos_token": {"content": "<s>"}, "eos_token": "</s>"}));
    let render = |text: &str| PromptTemplate::of_chat(text, special.clone()).and_then(|t| t.render(" Hi ", &[]));
    let check = |text: &str, expected: &str| assert_eq!(render(text).expect(text), expected, "{text}");
    check("{{ bos_token }}{{ messages[0]['content'] | trim }}{{ eos_token }}\n", "<s>Hi</s>");
    check("{%- if tools %}T{% endif %}{% if not date_string is defined %}D{% endif %}", "D");
    check("{{ messages[0].content.strip() }}{{ messages[0].content.startswith(' ') }}", "HiTrue");
    check("{{ {'a': [1, 'x<y']} | tojson }}", "{\"a\": [1, \"x<y\"]}");
    check("{% for k, v in {'a': 1}.items() %}{{ k }}{{ v }}{% endfor %}{{ {'a': 1}.get('b') }}", "a1None");
    check("{{ 'a,b'.split(',')[1] }}{{ 'a b'.replace(' ', '-') }}", "ba-b");
    for (text, line, said) in [
        ("\n{{ raise_exception('no system role') }}", 2, "no system role"),
        ("\n\n{{ strftime_now('%Y') }}", 3, "refused"),
        ("a\n{% if %}", 2, "syntax error"),
    ] {
        let error = render(text).unwrap_err();
        assert_eq!(error.code(), "model_template");
        let message = error.to_string();
        assert!(message.contains(&format!("line {line}")) && message.contains(said), "{message}");
    }
}

#[test]
fn a_job_template_sees_prompt_and_context_and_nothing_else() {
    let render = |text: &str, context: &[&str]| PromptTemplate::of_job(text).and_then(|t| t.render("Hi", context));
    assert_eq!(render("Q: {{ prompt }}\nA:", &[]).expect("renders"), "Q: Hi\nA:");
    assert_eq!(
        render("{% for p in context %}- {{ p }}\n{% endfor %}{{ prompt }}\n", &["x", "y"]).unwrap(),
        "- x\n- y\nHi\n"
    );
    for text in ["\n{{ promt }}", "\n{% if label %}x{% endif %}", "\n{{ prompt.nothing }}", "\n{{ prompt | nope }}"] {
        let message = render(text, &[]).expect_err(text).to_string();
        assert!(message.starts_with("template line 2: "), "{message}");
    }
}
