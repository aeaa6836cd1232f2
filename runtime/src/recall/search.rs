//! Exact nearest passages.

use rayon::prelude::*;

use super::index::{same, unit};
use super::{RecallError, RecallIndex, limits};
use crate::eval::Ppm;
use crate::kernel::{self, Level};

/// One passage found.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Hit {
    /// Row of the passage.
    pub index: usize,
    /// Cosine with the query.
    pub score: f32,
}

/// Rows scored by one task: some 800 KB of 384-wide vectors.
const ROWS_PER_TASK: usize = 512;

impl RecallIndex {
    /// Finds the `k` passages nearest to a unit vector `[D]`, nearest first, ties to the lowest row, leaving out rows that
    /// `exclude` names (the query's own row and its near-duplicates). Gives fewer when fewer are left.
    ///
    /// # Errors
    /// [`RecallError::Mismatch`] and [`RecallError::NotUnit`] on a query of another width or length,
    /// [`RecallError::TooLarge`] on a `k` over the limit.
    pub fn search(
        &self,
        level: Level,
        query: &[f32],
        k: usize,
        exclude: &dyn Fn(usize) -> bool,
    ) -> Result<Vec<Hit>, RecallError> {
        super::index::within("k", k, limits::NEAREST)?;
        same("length of query", query.len(), self.dimension())?;
        unit(level, 0, query)?;
        let mut scores = vec![0.0_f32; self.passages().len()];
        let tasks =
            scores.par_chunks_mut(ROWS_PER_TASK).zip(self.vectors().par_chunks(ROWS_PER_TASK * self.dimension()));
        tasks.for_each(|(scores, vectors)| {
            for (score, vector) in scores.iter_mut().zip(vectors.chunks_exact(self.dimension())) {
                *score = kernel::dot(level, query, vector);
            }
        });
        Ok(nearest(&scores, k, exclude))
    }
}

/// Keeps the `k` highest scores in order; a later row enters only when it is strictly higher.
fn nearest(scores: &[f32], k: usize, exclude: &dyn Fn(usize) -> bool) -> Vec<Hit> {
    let mut hits: Vec<Hit> = Vec::with_capacity(k + 1);
    for (index, score) in scores.iter().copied().enumerate() {
        let full = hits.len() >= k;
        if full && hits.last().is_none_or(|last| score <= last.score) || exclude(index) {
            continue;
        }
        let place = hits.partition_point(|hit| hit.score >= score);
        hits.insert(place, Hit { index, score });
        hits.truncate(k);
    }
    hits
}

/// Computes recall@k: the share of queries whose found passages include one with the expected answer, each query one
/// share, rounded down. `found` and `expected` stand in the same order; zero without queries.
pub fn recall_at_k<'a>(index: &RecallIndex, found: &[Vec<Hit>], expected: impl IntoIterator<Item = &'a str>) -> Ppm {
    let mut hits = 0_u128;
    let mut total = 0_u128;
    for (found, expected) in found.iter().zip(expected) {
        let answers =
            found.iter().filter_map(|hit| index.passages().get(hit.index)).map(|passage| passage.answer.as_str());
        hits += u128::from(answers.into_iter().any(|answer| answer == expected));
        total += 1;
    }
    Ppm::ratio(hits, total)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::recall::Passage;

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
        let vectors = rows.iter().flat_map(|seed| unit_vector(*seed, dimension)).collect();
        let passage = |row: usize, seed: &u64| Passage {
            id: format!("{row}"),
            text: format!("t{seed}"),
            answer: format!("a{}", seed % 3),
        };
        let passages = rows.iter().enumerate().map(|(row, seed)| passage(row, seed)).collect();
        RecallIndex::new(Level::detect(), dimension, vectors, passages).unwrap()
    }

    fn levels() -> Vec<Level> {
        ["scalar", "v3", "v4", "neon"].iter().filter_map(|name| Level::named(name).ok()).collect()
    }

    #[test]
    fn ties_go_to_the_lowest_row_and_excluded_rows_are_left_out() {
        let index = index(&[5, 9, 5, 7, 5], 40);
        let rows = |k, exclude: &dyn Fn(usize) -> bool| -> Vec<usize> {
            index
                .search(Level::detect(), &unit_vector(5, 40), k, exclude)
                .unwrap()
                .iter()
                .map(|hit| hit.index)
                .collect()
        };
        assert_eq!(rows(3, &|_| false), [0, 2, 4]);
        assert_eq!(rows(2, &|row| row == 0), [2, 4]);
        assert_eq!(rows(9, &|row| row == 2).len(), 4);
        assert!(rows(0, &|_| false).is_empty());
    }

    #[test]
    fn every_level_and_thread_count_gives_the_same_bits() {
        let index = index(&(0..1500).collect::<Vec<u64>>(), 96);
        let query = unit_vector(77, 96);
        let bits = |level: Level, threads: usize| -> Vec<(usize, u32)> {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let hits = pool.install(|| index.search(level, &query, 12, &|row| row == 77).unwrap());
            hits.iter().map(|hit| (hit.index, hit.score.to_bits())).collect()
        };
        let first = bits(Level::detect(), 1);
        for level in levels() {
            for threads in [1, 2, 3, 8] {
                assert_eq!(bits(level, threads), first, "{} {threads}", level.name());
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

    proptest! {
        #[test]
        fn nearest_is_a_stable_sort_cut_at_k(scores in proptest::collection::vec(-3..3_i8, 0..40), k in 0..12_usize, skip in 0..5_usize) {
            let scores: Vec<f32> = scores.into_iter().map(f32::from).collect();
            let exclude = |row: usize| skip != 0 && row.is_multiple_of(skip);
            let mut wanted: Vec<usize> = (0..scores.len()).filter(|row| !exclude(*row)).collect();
            wanted.sort_by(|left, right| scores[*right].total_cmp(&scores[*left]));
            wanted.truncate(k);
            let found: Vec<usize> = nearest(&scores, k, &exclude).iter().map(|hit| hit.index).collect();
            prop_assert_eq!(found, wanted);
        }
    }
}
