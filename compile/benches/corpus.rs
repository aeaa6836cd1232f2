//! Speed of the identifier scan, one thread; `cargo bench -p kolm_compile --bench corpus`.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kolm_compile::corpus::identifiers::scan_text;
use kolm_compile::generate;

fn scan(c: &mut Criterion) {
    let clean: Vec<String> = generate::documents(3, ROWS).into_iter().map(|document| document.text).collect();
    let numbered: Vec<String> = clean
        .iter()
        .enumerate()
        .map(|(row, text)| format!("{text} It was {} units on page {row}.", row % 97))
        .collect();
    let named: Vec<String> =
        clean.iter().enumerate().map(|(row, text)| format!("{text} Call 602-272-{row:04}, order {row:08}.")).collect();
    let mut group = c.benchmark_group("scan_text");
    group.sample_size(10);
    for (name, texts) in [("no number", clean), ("numbers, no identifier", numbered), ("two identifiers a row", named)]
    {
        group.throughput(Throughput::Bytes(texts.iter().map(String::len).sum::<usize>() as u64));
        group.bench_function(name, |bench| {
            bench.iter(|| texts.iter().map(|text| scan_text(text).len()).sum::<usize>());
        });
    }
    group.finish();
}

const ROWS: usize = 4096;

criterion_group!(benches, scan);
criterion_main!(benches);
