//! What a recall index loses by f16, int8 and lists, on generated texts as an encoder sees them:
//! `cargo run --release -p kolm_compile --example recall -- COUNT LISTS [ENCODER]`.
//!
//! Prints, for each type of vectors, the share of the ten nearest passages of 1 000 other texts that are among the ten of the exact
//! search over f32, without lists and with them, and how long such a search takes.

use std::time::Instant;

use kolm_compile::generate;
use kolm_runtime::kernel::Level;
use kolm_runtime::model::{Encoder, ModelSource, TextTokenizer};
use kolm_runtime::recall::{Hit, Passage, RecallIndex, VectorType, Vectors};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [count, lists, encoder @ ..] = &arguments[..] else { anyhow::bail!("expected COUNT LISTS [ENCODER]") };
    let (count, lists): (usize, usize) = (count.parse()?, lists.parse()?);
    let level = Level::from_environment()?;
    let source = match encoder {
        [] => ModelSource::embedded("kolm/nano-encoder")?,
        [folder, ..] => ModelSource::folder(std::path::Path::new(folder))?,
    };
    let encoder = Encoder::load(level, &source)?;
    let tokenizer = TextTokenizer::load(&source, encoder.config.vocabulary, &[])?;
    let texts: Vec<String> = generate::texts(21, count + QUERIES).into_iter().map(|text| text.text).collect();
    let mut values = Vec::new();
    for texts in texts.chunks(256) {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        values.extend(encoder.embed_texts(&tokenizer, &texts)?.concat());
    }
    let (values, queries) = values.split_at(count * encoder.hidden_size());
    let index = |kind| -> anyhow::Result<RecallIndex> {
        let mut vectors = Vectors::new(kind, encoder.hidden_size());
        vectors.extend(level, values)?;
        let passage = |row: usize| Passage { id: row.to_string(), text: texts[row].clone(), answer: String::new() };
        Ok(RecallIndex::of_vectors(level, vectors, (0..count).map(passage).collect())?)
    };
    let nearest = index(VectorType::F32)?.search_batch(level, queries, 10, &|_, _| false)?;
    for kind in VectorType::ALL {
        let flat = index(kind)?;
        report(&flat, &format!("{}, exact", kind.name()), level, queries, &nearest)?;
        let begin = now();
        let listed = flat.with_lists(level, lists)?;
        let seconds = begin.elapsed().as_secs_f64();
        let (probes, recorded) =
            listed.lists().map_or((0, String::new()), |lists| (lists.probes(), lists.recall_at_10().short()));
        println!("{lists} lists made in {seconds:.2} s: {probes} probed, recorded recall@10 {recorded}");
        report(&listed, &format!("{}, {lists} lists", kind.name()), level, queries, &nearest)?;
    }
    Ok(())
}

fn report(index: &RecallIndex, name: &str, level: Level, queries: &[f32], nearest: &[Vec<Hit>]) -> anyhow::Result<()> {
    let begin = now();
    let found = index.search_batch(level, queries, 10, &|_, _| false)?;
    let seconds = begin.elapsed().as_secs_f64();
    let both = |(found, nearest): (&Vec<Hit>, &Vec<Hit>)| {
        nearest.iter().filter(|hit| found.iter().any(|other| other.index == hit.index)).count()
    };
    let (held, total) =
        (found.iter().zip(nearest).map(both).sum::<usize>(), nearest.iter().map(Vec::len).sum::<usize>());
    let rate = nearest.len() as f64 / seconds;
    println!("{name}: recall@10 {:.4} of f32 exact, {rate:.0} queries/s", held as f64 / total as f64);
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "this program measures time")]
fn now() -> Instant {
    Instant::now()
}

/// Texts that are searched for.
const QUERIES: usize = 1000;
