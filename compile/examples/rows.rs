//! Writes a parquet file of generated support rows, for measuring: `cargo run --release -p kolm_compile --example rows -- OUT COUNT`.
//!
//! The same count gives the same bytes. Every row is distinct, one in two has a number, one in a thousand repeats the row before it, and
//! one in ten thousand holds an invented phone number.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use kolm_compile::generate;
use kolm_runtime::kernel::SplitMix;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, out, count] = &arguments[..] else { anyhow::bail!("expected OUT COUNT") };
    let count: u64 = count.parse()?;
    let texts = generate::texts(11, TEXT_COUNT);
    let mut random = SplitMix(5);
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(GROUP_ROW_COUNT))
        .build();
    let mut writer: Option<ArrowWriter<std::fs::File>> = None;
    let mut last = String::new();
    for first in (0..count).step_by(GROUP_ROW_COUNT) {
        let rows = first..count.min(first + GROUP_ROW_COUNT as u64);
        let (mut prompts, mut labels) = (Vec::new(), Vec::new());
        for row in rows.clone() {
            let bits = random.next();
            let text = &texts[(bits % TEXT_COUNT as u64) as usize];
            if row % 1000 != 999 {
                last = prompt(&text.text, bits, row);
            }
            prompts.push(last.clone());
            labels.push(format!("class-{}", text.class));
        }
        let ids: ArrayRef = Arc::new(StringArray::from_iter_values(rows.map(|row| format!("row-{row:07}"))));
        let prompts: ArrayRef = Arc::new(StringArray::from(prompts));
        let labels: ArrayRef = Arc::new(StringArray::from(labels));
        let batch = RecordBatch::try_from_iter([("id", ids), ("prompt", prompts), ("completion", labels)])?;
        if writer.is_none() {
            let file = std::fs::File::create(PathBuf::from(out))?;
            writer = Some(ArrowWriter::try_new(file, batch.schema(), Some(properties.clone()))?);
        }
        if let Some(writer) = &mut writer {
            writer.write(&batch)?;
        }
    }
    writer.map(ArrowWriter::close).transpose()?;
    Ok(())
}

fn prompt(text: &str, bits: u64, row: u64) -> String {
    let word = |place: u32| WORDS[(bits >> (8 + 5 * place)) as usize % WORDS.len()];
    let (one, two, three, four) = (word(0), word(1), word(2), word(3));
    match row % 10_000 {
        7 => format!("{text} Call 602-272-{:04} {one}.", row % 9000),
        _ if row.is_multiple_of(2) => {
            format!("{text} {one} {two} {three} {four}, {} of {} pages", bits >> 56, row % 1_000)
        }
        _ => format!("{text} {one} {two} {three} {four} {} {}", letters(bits >> 30), letters(row)),
    }
}

/// A word for a number.
fn letters(mut number: u64) -> String {
    let mut word = String::new();
    for _ in 0..5 {
        word.push(char::from(b'a' + (number % 26) as u8));
        number /= 26;
    }
    word
}

const TEXT_COUNT: usize = 100_000;
const GROUP_ROW_COUNT: usize = 100_000;
const WORDS: [&str; 32] = [
    "again",
    "yesterday",
    "slowly",
    "blue",
    "order",
    "window",
    "never",
    "during",
    "holiday",
    "paper",
    "kitchen",
    "mostly",
    "garden",
    "seven",
    "before",
    "large",
    "small",
    "quiet",
    "early",
    "late",
    "open",
    "closed",
    "metal",
    "wooden",
    "yellow",
    "printer",
    "customer",
    "manual",
    "screen",
    "button",
    "thanks",
    "please",
];
