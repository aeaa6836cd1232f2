//! Replay over a small random Qwen2: equal to a plain computation, and equal whatever runs beside what.

use proptest::prelude::*;

use super::engine::Engine;
use super::fixture::{Model, model};
use super::run::label_tree;
use super::{AnswerForm, Answerer, Case, CaseResult, EvalError, Metric, Outcome, Pack, compare, generate, run};
use crate::kernel::{self, Level};
use crate::model::{Embedding, Matrix, Step};

fn labels() -> Vec<String> {
    ["w1 w2 w3", "w1 w2 w4", "w5", "w1 w2", "w6 w7 w8 w9", "w6 w7 w10"].map(str::to_owned).to_vec()
}

fn prompt(row: usize) -> String {
    (0..3 + row % 7).map(|word| format!("w{}", (row * 11 + word * 5) % 40)).collect::<Vec<_>>().join(" ")
}

/// Label and generated cases, mixed.
fn pack() -> Pack {
    let case = |row: usize| {
        let metric = if row.is_multiple_of(3) { Metric::TokenF1 } else { Metric::Label };
        let expected = labels()[row % 6].clone();
        Case { id: format!("case {row}"), prompt: prompt(row), expected, weight: 1 + row as u64 % 3, metric }
    };
    Pack::new(Some(labels()), 12, (0..30).map(case).collect()).unwrap()
}

fn replay(model: &Model, adapter: bool, pack: &Pack) -> Outcome {
    run(&model.decoder, &model.tokenizer, adapter.then_some(&model.adapter), pack, &mut |_, _| ()).unwrap()
}

#[test]
fn replays_are_equal_at_any_level_and_thread_count() {
    let pack = pack();
    let first = replay(&model(Level::detect()), true, &pack);
    assert_eq!(Outcome::parse(&pack, &first.bytes().unwrap()).unwrap(), first);
    for level in Level::available() {
        let model = model(level);
        for threads in [1, 2, 3, 8] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let again = pool.install(|| replay(&model, true, &pack));
            assert_eq!(compare(&first.results, &again.results), [], "{} {threads}", level.name());
            assert_eq!(again, first);
        }
    }
}

#[test]
fn an_adapter_changes_the_digest() {
    let model = model(Level::detect());
    let (with, without) = (replay(&model, true, &pack()), replay(&model, false, &pack()));
    assert_ne!(with.replay_digest, without.replay_digest);
    assert_eq!(compare(&with.results, &without.results).len(), 30);
}

#[test]
fn order_and_company_do_not_show() {
    let model = model(Level::detect());
    let whole = replay(&model, true, &pack());
    let mut cases = pack().cases().to_vec();
    cases.reverse();
    let mut reversed = replay(&model, true, &Pack::new(Some(labels()), 12, cases).unwrap()).results;
    reversed.reverse();
    assert_eq!(reversed, whole.results);
    for (case, result) in pack().cases().iter().zip(&whole.results) {
        let set = (case.metric == Metric::Label).then(labels);
        let alone = replay(&model, true, &Pack::new(set, 12, vec![case.clone()]).unwrap());
        assert_eq!(alone.results, std::slice::from_ref(result));
    }
}

#[test]
fn label_scores_equal_each_label_alone_without_cache() {
    let model = model(Level::detect());
    let engine = Engine::new(&model.decoder, Some(&model.adapter)).unwrap();
    let tree = label_tree(&model.decoder, &model.tokenizer, &labels()).unwrap();
    for row in 0..12 {
        let prompt = model.tokenizer.encode_prompt(&prompt(row)).unwrap();
        let plain: Vec<u32> = labels()
            .iter()
            .map(|label| {
                let answer = model.tokenizer.encode(label, false).unwrap();
                let sequence = [prompt.clone(), answer.clone()].concat();
                let mut cache = model.decoder.new_cache(sequence.len());
                let rows = model
                    .decoder
                    .forward(Some(&model.adapter), &mut [Step { tokens: &sequence, cache: &mut cache }])
                    .unwrap();
                let logits = model.decoder.logits(&rows);
                let places = logits.chunks(42).skip(prompt.len() - 1);
                let targets = answer.iter().copied().chain([41]);
                let terms: Vec<f32> = places
                    .zip(targets)
                    .map(|(logits, target)| kernel::log_probability(Level::detect(), logits, target as usize))
                    .collect();
                terms[1..].iter().fold(terms[0], |sum, term| sum + term).to_bits()
            })
            .collect();
        for at_once in [1, 2, usize::MAX] {
            let scored = tree.score_few(&engine, &[&prompt], at_once).unwrap();
            assert_eq!(
                scored[0].scores.iter().map(|score| score.to_bits()).collect::<Vec<_>>(),
                plain,
                "prompt {row}, {at_once} at once"
            );
        }
    }
}

#[test]
fn generation_equals_one_sequence_alone() {
    let model = model(Level::detect());
    let engine = Engine::new(&model.decoder, None).unwrap();
    let prompts: Vec<Vec<u32>> = (0..9).map(|row| model.tokenizer.encode_prompt(&prompt(row)).unwrap()).collect();
    let slices: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    let together = generate::greedy(&engine, &slices, 20).unwrap();
    let mut ended = 0;
    for (prompt, generated) in prompts.iter().zip(together) {
        let (tokens, logits) = model.decoder.greedy(None, prompt, 20, &[41]).unwrap();
        assert_eq!(generated.text_tokens(&engine), tokens);
        assert_eq!(
            generated.logits.iter().map(|x| x.to_bits()).collect::<Vec<_>>(),
            logits.iter().map(|x| x.to_bits()).collect::<Vec<_>>()
        );
        ended += usize::from(generated.tokens.len() > tokens.len());
    }
    println!("{ended} of 9 answers reached the end token");
    let long: Vec<u32> = (0..60).map(|token| token % 40).collect();
    assert!(generate::greedy(&engine, &[&long], 20).unwrap()[0].tokens.len() <= 4, "the context holds 64 positions");
}

#[test]
fn an_answer_is_the_packs_answer() {
    let model = model(Level::detect());
    let whole = replay(&model, true, &pack());
    for (case, result) in pack().cases().iter().zip(&whole.results) {
        let form = if case.metric == Metric::Label {
            AnswerForm::of(&pack())
        } else {
            AnswerForm::Text { max_new_tokens: 12 }
        };
        let answerer = Answerer::new(&model.decoder, &model.tokenizer, Some(&model.adapter), &form).unwrap();
        let answer = answerer.answer(&case.prompt).unwrap();
        assert_eq!((answer.text, answer.tokens), (result.answer.clone(), result.tokens.clone()));
    }
}

#[test]
fn progress_counts_every_case_once() {
    let model = model(Level::detect());
    let mut seen = Vec::new();
    run(&model.decoder, &model.tokenizer, None, &pack(), &mut |answered, all| seen.push((answered, all))).unwrap();
    assert!(seen.is_sorted() && seen.last() == Some(&(30, 30)));
}

#[test]
fn refused_runs() {
    let mut model = model(Level::detect());
    let check = |model: &Model, prompt: &str, labels: &[&str], code: &str| {
        let case = Case {
            id: "1".to_owned(),
            prompt: prompt.to_owned(),
            expected: labels[0].to_owned(),
            weight: 1,
            metric: Metric::Label,
        };
        let pack = Pack::new(Some(labels.iter().map(|label| (*label).to_owned()).collect()), 8, vec![case]).unwrap();
        let result: Result<Outcome, EvalError> = run(&model.decoder, &model.tokenizer, None, &pack, &mut |_, _| ());
        assert_eq!(result.unwrap_err().code(), code);
    };
    check(&model, " ", &["w1", "w2"], "prompt_without_tokens");
    check(&model, &"w1 ".repeat(64), &["w1", "w2"], "prompt_too_long");
    check(&model, "w1", &["other", "unknown"], "labels_share_tokens");
    model.decoder.final_norm.fill(f32::MAX);
    check(&model, "w1", &["w1", "w2"], "non_finite");
    model.decoder.config.eos_ids.clear();
    check(&model, "w1", &["w1", "w2"], "no_end_token");
}

/// Answers each case in a pack of its own; the first error in the pack's order ends it, as it ends a whole replay.
fn one_by_one(model: &Model, pack: &Pack) -> Result<Vec<CaseResult>, EvalError> {
    let alone = |case: &Case| {
        let set = (case.metric == Metric::Label).then(labels);
        let pack = Pack::new(set, 12, vec![case.clone()])?;
        let mut outcome = run(&model.decoder, &model.tokenizer, Some(&model.adapter), &pack, &mut |_, _| ())?;
        Ok(outcome.results.remove(0))
    };
    pack.cases().iter().map(alone).collect()
}

fn pack_of(prompts: &[(Vec<u32>, bool)]) -> Pack {
    let case = |(row, (words, label)): (usize, &(Vec<u32>, bool))| Case {
        id: format!("case {row}"),
        prompt: words.iter().map(|word| format!("w{word}")).collect::<Vec<_>>().join(" "),
        expected: labels()[row % 6].clone(),
        weight: 1,
        metric: if *label { Metric::Label } else { Metric::RougeL },
    };
    let set = prompts.iter().any(|(_, label)| *label).then(labels);
    Pack::new(set, 12, prompts.iter().enumerate().map(case).collect()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn groups_answer_as_each_case_alone(
        drawn in proptest::collection::vec((0..3_u32, 0..40_usize, proptest::collection::vec(0..3_u32, 0..3), any::<bool>()), 1..40),
        threads in 1..4_usize,
    ) {
        let model = model(Level::detect());
        // Beginnings of three texts, then a few words of their own: some equal, some the beginning of another, some of one word.
        let prompts: Vec<(Vec<u32>, bool)> = drawn
            .into_iter()
            .map(|(text, len, own, label)| {
                let words = (0..len as u32).map(|place| (place * (text + 3) + text) % 40).chain(own);
                let words: Vec<u32> = words.collect();
                (if words.is_empty() { vec![text] } else { words }, label)
            })
            .collect();
        let pack = pack_of(&prompts);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let together = pool.install(|| replay(&model, true, &pack));
        prop_assert_eq!(together.results, one_by_one(&model, &pack).unwrap());
    }
}

#[test]
fn the_first_case_that_fails_is_named_whatever_is_answered_first() {
    let mut model = model(Level::detect());
    let mut rows: Vec<f32> = (0..42).flat_map(|token| model.decoder.embed(&[token]).unwrap()).collect();
    // A prompt that holds w30 gives no numbers, any other does.
    rows[30 * model.decoder.config.hidden] = f32::INFINITY;
    model.decoder.embedding = Embedding::new(Matrix::Values(rows));
    let failed = |prompts: &[(Vec<u32>, bool)], expected: &str| {
        let pack = pack_of(prompts);
        assert_eq!(one_by_one(&model, &pack).unwrap_err().to_string(), expected);
        for threads in [1, 2, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let run = || run(&model.decoder, &model.tokenizer, Some(&model.adapter), &pack, &mut |_, _| ());
            assert_eq!(pool.install(run).unwrap_err().to_string(), expected, "{threads} threads");
        }
    };
    let non_finite = |row: usize| EvalError::NonFinite { id: format!("case {row}") }.to_string();
    for label in [true, false] {
        // Sorted by tokens, the last in the pack comes first.
        let mut prompts: Vec<(Vec<u32>, bool)> = (0..50).map(|row| (vec![39 - row % 8, row % 30], label)).collect();
        prompts[20].0.push(30);
        prompts[33].0 = vec![1, 30];
        prompts[49].0 = vec![0, 30];
        failed(&prompts, &non_finite(20));
        prompts[7] = (vec![39, 30], !label);
        failed(&prompts, &non_finite(7));
    }
}
