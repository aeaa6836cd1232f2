use proptest::prelude::*;

use super::*;
use crate::kernel::{SplitMix, reference};
use crate::recall::{Hit, Passage, RecallMembers, VectorType};

/// `count` unit vectors, `near` of 256 parts of each being one of a dozen directions.
fn vectors(seed: u64, count: usize, dimension: usize, near: f32) -> Vec<f32> {
    let mut random = SplitMix(seed);
    let directions = random.uniforms(12 * dimension);
    let mut out = Vec::with_capacity(count * dimension);
    for _ in 0..count {
        let direction = &directions[(random.next() % 12) as usize * dimension..][..dimension];
        let mixed = random.uniforms(dimension).into_iter().zip(direction).map(|(x, d)| x + near * d);
        let mixed: Vec<f32> = mixed.collect();
        let length = reference::dot(&mixed, &mixed).sqrt();
        out.extend(mixed.iter().map(|x| x / length));
    }
    out
}

fn flat(kind: VectorType, dimension: usize, values: &[f32]) -> RecallIndex {
    let level = Level::detect();
    let mut vectors = Vectors::new(kind, dimension);
    vectors.extend(level, values).unwrap();
    let passage = |row: usize| Passage { id: row.to_string(), text: "t".to_owned(), answer: String::new() };
    let passages = (0..vectors.len()).map(passage).collect();
    RecallIndex::of_vectors(level, vectors, passages).unwrap()
}

fn search(index: &RecallIndex, query: &[f32], k: usize) -> Vec<Hit> {
    index.search(Level::detect(), query, k, &|_| false).unwrap()
}

fn in_pool<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}

#[test]
fn neither_level_nor_threads_show_in_lists_or_hits() {
    for kind in VectorType::ALL {
        let values = vectors(4, 700, 40, 2.0);
        let make = |level, threads| in_pool(threads, || flat(kind, 40, &values).with_lists(level, 9).unwrap());
        let first = make(Level::detect(), 1);
        let hits = search(&first, &values[..40], 12);
        for level in Level::available() {
            for threads in [1, 2, 3] {
                let other = make(level, threads);
                assert_eq!(other.members().unwrap(), first.members().unwrap(), "{} {threads}", level.name());
                let found = in_pool(threads, || other.search(level, &values[..40], 12, &|_| false).unwrap());
                assert_eq!(found, hits);
            }
        }
    }
}

#[test]
fn the_recall_that_is_written_is_the_recall_that_is_found() {
    let values = vectors(8, 1500, 32, 1.5);
    let index = flat(VectorType::Int8, 32, &values).with_lists(Level::detect(), 30).unwrap();
    let lists = index.lists().unwrap();
    assert!(
        lists.recall_at_10().millionths() >= 990_000 && lists.probes() < 30,
        "{:?} {}",
        lists.recall_at_10(),
        lists.probes()
    );
    let (mut found, mut total) = (0, 0);
    for row in spaced(1500, 1000) {
        let query = index.queries(Level::detect(), row..row + 1);
        let exact = index.search_exactly(Level::detect(), &query, 10, &|_, other| other == row).unwrap();
        let hits = index.search(Level::detect(), &query, 10, &|other| other == row).unwrap();
        found += exact[0].iter().filter(|hit| hits.contains(hit)).count();
        total += exact[0].len();
    }
    assert_eq!(Ppm::ratio(found as u128, total as u128), lists.recall_at_10());
}

#[test]
fn fewer_than_k_rows_in_the_probed_lists_are_made_up_for() {
    let values = vectors(5, 60, 16, 6.0);
    let made = flat(VectorType::F32, 16, &values).with_lists(Level::detect(), 20).unwrap();
    let lists = made.lists().unwrap().clone();
    let index = made.in_lists(Lists { probes: 1, ..lists });
    assert_eq!(search(&index, &values[..16], 40).len(), 40);
    assert_eq!(search(&index, &values[..16], 60), search(&flat(VectorType::F32, 16, &values), &values[..16], 60));
    let none = index.search(Level::detect(), &values[..16], 5, &|_| true).unwrap();
    assert!(none.is_empty());
}

#[test]
fn one_passage_and_equal_passages_have_lists_too() {
    let one = flat(VectorType::F16, 3, &[0.0, 1.0, 0.0]).with_lists(Level::detect(), 1).unwrap();
    assert_eq!((one.lists().unwrap().probes(), one.lists().unwrap().recall_at_10()), (1, Ppm::ONE));
    let equal = flat(VectorType::F32, 2, &[0.6, 0.8].repeat(40)).with_lists(Level::detect(), 7).unwrap();
    assert_eq!(equal.lists().unwrap().rows_of(0).len(), 40);
    let rows: Vec<usize> = search(&equal, &[0.6, 0.8], 3).iter().map(|hit| hit.index).collect();
    assert_eq!(rows, [0, 1, 2]);
}

#[test]
fn refused_lists() {
    let values = vectors(2, 40, 8, 2.0);
    let code = |count| flat(VectorType::F32, 8, &values).with_lists(Level::detect(), count).unwrap_err().code();
    assert_eq!([code(0), code(41)], ["recall_lists", "recall_too_large"]);

    let index = flat(VectorType::F32, 8, &values).with_lists(Level::detect(), 4).unwrap();
    let members = index.members().unwrap();
    assert_eq!(RecallIndex::parse(Level::detect(), &members).unwrap(), index);
    let refused = |change: &dyn Fn(&mut RecallMembers), code: &str| {
        let mut changed = members.clone();
        change(&mut changed);
        let error = RecallIndex::parse(Level::detect(), &changed).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
    };
    let config = String::from_utf8(members.config.clone()).unwrap();
    let (probes, recall) = (index.lists().unwrap().probes(), index.lists().unwrap().recall_at_10());
    let swapped = |from: String, to: &str| {
        assert!(config.contains(&from), "{config}");
        config.replacen(&from, to, 1).into_bytes()
    };
    let probes = |other: &str| swapped(format!("\"probes\":{probes}"), &format!("\"probes\":{other}"));
    refused(&|members| members.config = probes("0"), "recall_lists");
    refused(&|members| members.config = probes("5"), "recall_lists");
    refused(&|members| members.config = swapped("\"count\":4".to_owned(), "\"count\":3"), "recall_mismatch");
    refused(&|members| members.config = swapped(format!("\"{recall}\""), "\"1.000001\""), "recall_malformed");
    refused(&|members| members.config = swapped(format!("\"{recall}\""), "1"), "recall_malformed");
    let without = format!("\"lists\":{},", &config[config.find("{\"count").unwrap()..=config.find('}').unwrap()]);
    refused(&|members| members.config = swapped(without.clone(), ""), "recall_vectors");
    let plain = flat(VectorType::F32, 8, &values).members().unwrap().vectors;
    refused(&|members| members.vectors = plain.clone(), "recall_vectors");
    // The file: header, centroids, each passage's list, vectors.
    let vectors_at = members.vectors.len() - 40 * 8 * 4;
    let lists_at = vectors_at - 40 * 4;
    refused(&|members| members.vectors[lists_at] = 4, "recall_lists");
    refused(&|members| members.vectors[lists_at + 3] = 255, "recall_lists");
    refused(&|members| members.vectors[lists_at - 1] ^= 0x10, "recall_lists");
    refused(
        &|members| members.vectors[vectors_at - 160 - 128..][..4].copy_from_slice(&f32::NAN.to_le_bytes()),
        "recall_lists",
    );
}

proptest! {
    #[test]
    fn a_search_sorts_the_rows_of_the_nearest_lists(seed in 0..500_u64, rows in 5..120_usize, count in 1..5_usize, kind in 0..3_usize, k in 1..4_usize) {
        let (level, dimension) = (Level::detect(), 12);
        let index = flat(VectorType::ALL[kind], dimension, &vectors(seed, rows, dimension, 2.0)).with_lists(level, count).unwrap();
        let lists = index.lists().unwrap();
        let query = vectors(seed + 1, 1, dimension, 1.0);
        let score = |row: usize| reference::dot(&query, &index.vectors().values(level, row..row + 1));
        let of_list = |list: usize| reference::dot(&query, &lists.centroids()[list * dimension..][..dimension]);
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_by(|left, right| of_list(*right).total_cmp(&of_list(*left)));
        let (mut probed, mut place) = (Vec::new(), 0);
        while place < count && (place < lists.probes() || probed.len() < k) {
            probed.extend((0..rows).filter(|row| lists.list_of()[*row] as usize == order[place]));
            place += 1;
        }
        probed.sort();
        probed.sort_by(|left, right| score(*right).total_cmp(&score(*left)));
        probed.truncate(k);
        let found = search(&index, &query, k);
        prop_assert_eq!(found.iter().map(|hit| (hit.index, hit.score)).collect::<Vec<_>>(), probed.iter().map(|row| (*row, score(*row))).collect::<Vec<_>>());
        // Every row is in the list whose centroid is nearest to its value, of equals the lowest.
        for row in 0..rows {
            let value = index.vectors().values(level, row..row + 1);
            let near = |list: usize| reference::dot(&value, &lists.centroids()[list * dimension..][..dimension]);
            let best = (0..count).fold(0, |best, list| if near(list) > near(best) { list } else { best });
            prop_assert_eq!(lists.list_of()[row] as usize, best);
        }
    }
}
