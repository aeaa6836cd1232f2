use proptest::prelude::*;

use super::*;
use crate::kernel::reference;
use crate::model::safetensors::f16_to_f32;
use crate::recall::{Passage, VectorType, Vectors};

fn unit_vector(seed: u64, dimension: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut draw = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    let raw: Vec<f32> = (0..dimension).map(|_| draw()).collect();
    let length = raw.iter().fold(0.0_f64, |sum, x| sum + f64::from(*x) * f64::from(*x)).sqrt();
    raw.iter().map(|x| (f64::from(*x) / length) as f32).collect()
}

fn index(rows: &[u64], dimension: usize) -> RecallIndex {
    index_of(VectorType::F32, rows, dimension)
}

fn index_of(kind: VectorType, rows: &[u64], dimension: usize) -> RecallIndex {
    let mut vectors = Vectors::new(kind, dimension);
    rows.iter().for_each(|seed| vectors.extend(Level::detect(), &unit_vector(*seed, dimension)).unwrap());
    let passage = |row: usize, seed: &u64| Passage {
        id: format!("{row}"),
        text: format!("t{seed}"),
        answer: format!("a{}", seed % 3),
    };
    let passages = rows.iter().enumerate().map(|(row, seed)| passage(row, seed)).collect();
    RecallIndex::of_vectors(Level::detect(), vectors, passages).unwrap()
}

fn levels() -> Vec<Level> {
    ["scalar", "v3", "v4", "neon"].iter().filter_map(|name| Level::named(name).ok()).collect()
}

#[test]
fn ties_go_to_the_lowest_row_and_excluded_rows_are_left_out() {
    let index = index(&[5, 9, 5, 7, 5], 40);
    let rows = |k, exclude: &(dyn Fn(usize) -> bool + Sync)| -> Vec<usize> {
        index.search(Level::detect(), &unit_vector(5, 40), k, exclude).unwrap().iter().map(|hit| hit.index).collect()
    };
    assert_eq!(rows(3, &|_| false), [0, 2, 4]);
    assert_eq!(rows(2, &|row| row == 0), [2, 4]);
    assert_eq!(rows(9, &|row| row == 2).len(), 4);
    assert!(rows(0, &|_| false).is_empty());
}

#[test]
fn every_level_and_thread_count_gives_the_same_bits() {
    for kind in VectorType::ALL {
        let index = index_of(kind, &(0..1500).collect::<Vec<u64>>(), 96);
        let query = unit_vector(77, 96);
        let bits = |level: Level, threads: usize| -> Vec<(usize, u32)> {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let hits = pool.install(|| index.search(level, &query, 12, &|row| row == 77).unwrap());
            hits.iter().map(|hit| (hit.index, hit.score.to_bits())).collect()
        };
        let first = bits(Level::detect(), 1);
        for level in levels() {
            for threads in [1, 2, 3] {
                assert_eq!(bits(level, threads), first, "{} {threads} {}", level.name(), kind.name());
            }
        }
    }
}

#[test]
fn a_batch_finds_what_each_query_finds_with_the_bits_of_dot() {
    let sizes = [(1, 1), (3, 31), (97, 32), (200, 67)];
    for ((rows, dimension), kind) in sizes.into_iter().flat_map(|size| VectorType::ALL.map(|kind| (size, kind))) {
        let index = index_of(kind, &(0..rows).map(|row| row % 90).collect::<Vec<u64>>(), dimension);
        let queries: Vec<f32> = (0..7).flat_map(|seed| unit_vector(seed + 40, dimension)).collect();
        let exclude = |query: usize, row: usize| (query + row).is_multiple_of(5);
        for level in levels() {
            let found = index.search_batch(level, &queries, 9, &exclude).unwrap();
            for (query, (vector, found)) in queries.chunks_exact(dimension).zip(&found).enumerate() {
                assert_eq!(found, &index.search(level, vector, 9, &|row| exclude(query, row)).unwrap());
                for hit in found {
                    let row = index.vectors().values(level, hit.index..hit.index + 1);
                    assert_eq!(hit.score.to_bits(), kernel::dot(Level::detect(), vector, &row).to_bits());
                }
            }
        }
    }
}

#[test]
fn recall_counts_queries_whose_answer_was_found() {
    let index = index(&[3, 4, 5, 6], 8);
    let hit = |rows: &[usize]| rows.iter().map(|row| Hit { index: *row, score: 0.0 }).collect::<Vec<_>>();
    let found = [hit(&[0, 1]), hit(&[2]), hit(&[])];
    assert_eq!(recall_at_k(&index, &found, ["a1", "a0", "a0"]).millionths(), 333_333);
    assert_eq!(recall_at_k(&index, &found, ["a0", "a2", "a0"]).millionths(), 666_666);
    assert_eq!(recall_at_k(&index, &[], []), Ppm::ZERO);
}

#[test]
fn refused_queries() {
    let index = index(&[1, 2], 8);
    let check = |query: &[f32], k, code| {
        assert_eq!(index.search(Level::detect(), query, k, &|_| false).unwrap_err().code(), code);
    };
    check(&unit_vector(1, 7), 1, "recall_mismatch");
    check(&[0.0; 8], 1, "recall_not_unit");
    check(&[f32::NAN; 8], 1, "recall_not_unit");
    check(&unit_vector(1, 8), 257, "recall_too_large");
}

/// Rounded as SPEC-eval.md says, in plain words.
fn rounded(kind: VectorType, vector: &[f32]) -> Vec<f32> {
    match kind {
        VectorType::F32 => vector.to_vec(),
        VectorType::F16 => vector.iter().map(|x| f16_to_f32(kernel::f16_bits(*x))).collect(),
        VectorType::Int8 => {
            let greatest =
                vector.iter().fold(0.0_f32, |greatest, x| if x.abs() > greatest { x.abs() } else { greatest });
            let scale = greatest / 127.0;
            vector.iter().map(|x| scale * (x / scale).round_ties_even()).collect()
        }
    }
}

#[test]
fn a_stored_row_as_a_query_is_a_unit_vector_and_f32_is_itself() {
    for kind in VectorType::ALL {
        let index = index_of(kind, &[3, 4, 5], 384);
        let queries = index.queries(Level::detect(), 0..3);
        assert!(index.search_batch(Level::detect(), &queries, 1, &|_, _| false).is_ok(), "{}", kind.name());
        assert!(index.queries(Level::detect(), 2..4).is_empty());
        if kind == VectorType::F32 {
            assert_eq!(queries[..384], unit_vector(3, 384));
        }
    }
}

#[test]
fn vectors_that_are_no_unit_vectors_are_not_rounded() {
    for kind in VectorType::ALL {
        let mut vectors = Vectors::new(kind, 2);
        let code = |vectors: &mut Vectors, values: &[f32]| vectors.extend(Level::detect(), values).unwrap_err().code();
        assert_eq!(code(&mut vectors, &[1.0, 0.0, f32::NAN, 1.0]), "recall_not_unit");
        assert_eq!(code(&mut vectors, &[f32::INFINITY, 1.0]), "recall_not_unit");
        assert_eq!(code(&mut vectors, &[1.0, 0.0, 1.0]), "recall_mismatch");
        assert_eq!(code(&mut Vectors::new(kind, 0), &[1.0]), "recall_empty");
    }
}

proptest! {
    #[test]
    fn a_search_is_a_sort_of_plain_dot_products(seed in 0..1000_u64, rows in 1..60_u64, dimension in 2..70_usize, k in 0..9_usize, kind in 0..3_usize) {
        let kind = VectorType::ALL[kind];
        let seeds: Vec<u64> = (0..rows).map(|row| seed + row % 13).collect();
        let query = unit_vector(seed + 500, dimension);
        let found = index_of(kind, &seeds, dimension).search(Level::detect(), &query, k, &|_| false).unwrap();
        let score = |seed: &u64| reference::dot(&query, &rounded(kind, &unit_vector(*seed, dimension)));
        let mut wanted: Vec<(usize, f32)> = seeds.iter().map(score).enumerate().collect();
        wanted.sort_by(|left, right| right.1.total_cmp(&left.1));
        wanted.truncate(k);
        prop_assert_eq!(found.iter().map(|hit| (hit.index, hit.score)).collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn nearest_is_a_stable_sort_cut_at_k(scores in proptest::collection::vec(-3..3_i8, 0..40), k in 0..12_usize, skip in 0..5_usize) {
        let scores: Vec<f32> = scores.into_iter().map(f32::from).collect();
        let exclude = |row: usize| skip != 0 && row.is_multiple_of(skip);
        let mut wanted: Vec<usize> = (0..scores.len()).filter(|row| !exclude(*row)).collect();
        wanted.sort_by(|left, right| scores[*right].total_cmp(&scores[*left]));
        wanted.truncate(k);
        let mut nearest = Nearest::new(k);
        let (early, late) = scores.split_at(scores.len() / 2);
        nearest.offer(0, early, &exclude);
        nearest.offer(early.len(), late, &exclude);
        prop_assert_eq!(nearest.hits.iter().map(|hit| hit.index).collect::<Vec<_>>(), wanted);
    }
}
