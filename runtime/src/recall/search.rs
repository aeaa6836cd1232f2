//! Nearest passages: exactly, or exactly within the nearest lists.

use rayon::prelude::*;

use super::index::{same, within};
use super::vectors::unit;
use super::{Lists, RecallError, RecallIndex, limits};
use crate::eval::Ppm;
use crate::kernel::{self, Level};

/// One passage found.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Hit {
    /// Row of the passage.
    pub index: usize,
    /// Dot product with the query: the cosine, but for what rounding moved of the stored vector's length.
    pub score: f32,
}

impl RecallIndex {
    /// Finds the `k` passages nearest to a unit vector `[D]`, nearest first, ties to the lowest row, leaving out rows that
    /// `exclude` names (the query's own row and its near-duplicates). Gives fewer when fewer are left. An index with lists gives the
    /// nearest of those in the lists that it looks into.
    ///
    /// # Errors
    /// [`RecallError::Mismatch`] and [`RecallError::NotUnit`] on a query of another width or length,
    /// [`RecallError::TooLarge`] on a `k` over the limit.
    pub fn search(
        &self,
        level: Level,
        query: &[f32],
        k: usize,
        exclude: &(dyn Fn(usize) -> bool + Sync),
    ) -> Result<Vec<Hit>, RecallError> {
        same("length of query", query.len(), self.dimension())?;
        let hits = self.search_batch(level, query, k, &|_, row| exclude(row))?;
        Ok(hits.into_iter().next().unwrap_or_default())
    }

    /// Searches for unit vectors `[Q, D]` at once, each as [`RecallIndex::search`] would, without lists reading the index once for
    /// all of them; `exclude` is asked with the query's number and the row.
    ///
    /// # Errors
    /// As [`RecallIndex::search`].
    pub fn search_batch(
        &self,
        level: Level,
        queries: &[f32],
        k: usize,
        exclude: &(dyn Fn(usize, usize) -> bool + Sync),
    ) -> Result<Vec<Vec<Hit>>, RecallError> {
        match self.lists() {
            None => self.search_exactly(level, queries, k, exclude),
            Some(lists) => {
                self.check_queries(level, queries, k)?;
                let queries = queries.par_chunks_exact(self.dimension()).enumerate();
                Ok(queries
                    .map(|(number, query)| self.search_lists(level, lists, query, k, &|row| exclude(number, row)))
                    .collect())
            }
        }
    }

    fn check_queries(&self, level: Level, queries: &[f32], k: usize) -> Result<(), RecallError> {
        within("k", k, limits::NEAREST)?;
        let width = self.dimension();
        same("length of queries", queries.len() % width, 0)?;
        for query in queries.chunks_exact(width) {
            unit(level, 0, query, limits::UNIT_TOLERANCE)?;
        }
        Ok(())
    }

    /// Looks into the lists nearest to the query, and into further ones while fewer than `k` passages are found.
    fn search_lists(
        &self,
        level: Level,
        lists: &Lists,
        query: &[f32],
        k: usize,
        exclude: &dyn Fn(usize) -> bool,
    ) -> Vec<Hit> {
        let (mut nearest, mut values, mut scores) = (Nearest::new(k), Vec::new(), [0.0; BLOCK_ROWS]);
        for (place, list) in lists.by_nearness(level, query).into_iter().enumerate() {
            if place >= lists.probes() && nearest.hits.len() >= k {
                break;
            }
            for rows in lists.rows_of(list).chunks(BLOCK_ROWS) {
                self.vectors().gather(level, rows, &mut values);
                let scores = scores.get_mut(..rows.len()).unwrap_or_default();
                kernel::scores(level, query, &values, query.len(), scores);
                let rows = rows.iter().filter_map(|row| usize::try_from(*row).ok());
                for hit in rows.zip(scores.iter().copied()).map(|(index, score)| Hit { index, score }) {
                    if nearest.takes(hit) && !exclude(hit.index) {
                        nearest.insert(hit);
                    }
                }
            }
        }
        nearest.hits
    }

    /// Looks at every passage.
    pub(super) fn search_exactly(
        &self,
        level: Level,
        queries: &[f32],
        k: usize,
        exclude: &(dyn Fn(usize, usize) -> bool + Sync),
    ) -> Result<Vec<Vec<Hit>>, RecallError> {
        self.check_queries(level, queries, k)?;
        let width = self.dimension();
        let count = queries.len() / width;
        let rows = self.passages().len();
        let rows_per_task = rows.div_ceil(TASKS).next_multiple_of(BLOCK_ROWS);
        let parts: Vec<Vec<Nearest>> = (0..rows.div_ceil(rows_per_task))
            .into_par_iter()
            .map(|task| {
                let mut nearest = vec![Nearest::new(k); count];
                let mut scores = vec![0.0; count * BLOCK_ROWS];
                let end = rows.min((task + 1) * rows_per_task);
                for first in (task * rows_per_task..end).step_by(BLOCK_ROWS) {
                    let block = first..end.min(first + BLOCK_ROWS);
                    let scores = scores.get_mut(..count * block.len()).unwrap_or_default();
                    kernel::scores(level, queries, self.vectors().block(block.clone()), width, scores);
                    let of_queries = scores.chunks_exact(block.len());
                    for (query, (nearest, scores)) in nearest.iter_mut().zip(of_queries).enumerate() {
                        nearest.offer(first, scores, &|row| exclude(query, row));
                    }
                }
                nearest
            })
            .collect();
        let mut merged = vec![Nearest::new(k); count];
        for part in parts {
            for (merged, part) in merged.iter_mut().zip(part) {
                part.hits.into_iter().for_each(|hit| merged.insert(hit));
            }
        }
        Ok(merged.into_iter().map(|nearest| nearest.hits).collect())
    }
}

/// The `k` highest scores so far, in order; a later row enters only when it is strictly higher.
#[derive(Clone)]
struct Nearest {
    k: usize,
    hits: Vec<Hit>,
}

impl Nearest {
    fn new(k: usize) -> Nearest {
        Nearest { k, hits: Vec::with_capacity(k + 1) }
    }

    /// The score that a row has to exceed; none while there is room.
    fn bar(&self) -> Option<f32> {
        self.hits.get(self.k.wrapping_sub(1)).map(|last| last.score)
    }

    /// Takes the scores of the rows from `first` on, which come after every row offered before.
    fn offer(&mut self, first: usize, scores: &[f32], exclude: &dyn Fn(usize) -> bool) {
        if self.k == 0 {
            return;
        }
        for (group, scores) in scores.chunks(SIFTED).enumerate() {
            // Nearly every group has nothing above the bar, which the whole group tells at once.
            let passes = |bar: f32| scores.iter().fold(false, |any, score| any | (*score > bar));
            if self.bar().is_some_and(|bar| !passes(bar)) {
                continue;
            }
            for (place, score) in scores.iter().copied().enumerate() {
                let index = first + group * SIFTED + place;
                if self.bar().is_none_or(|bar| score > bar) && !exclude(index) {
                    self.insert(Hit { index, score });
                }
            }
        }
    }

    /// Whether a hit of any row belongs among the `k` highest.
    fn takes(&self, hit: Hit) -> bool {
        self.hits.len() < self.k || self.hits.last().is_some_and(|last| before(hit, *last))
    }

    /// Puts in a hit.
    fn insert(&mut self, hit: Hit) {
        let place = self.hits.partition_point(|other| before(*other, hit));
        self.hits.insert(place, hit);
        self.hits.truncate(self.k);
    }
}

/// Whether one hit comes before another row's: by score, of equals by row.
fn before(hit: Hit, other: Hit) -> bool {
    hit.score > other.score || hit.score == other.score && hit.index < other.index
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

/// Most tasks a search is cut into: few enough that merging costs nothing, many enough for any machine's threads.
const TASKS: usize = 64;
/// Rows scored between two looks at the hits: 144 KiB of 384-wide vectors, within a core's second-level cache.
const BLOCK_ROWS: usize = 96;
/// Scores compared with the bar at once.
const SIFTED: usize = 32;

#[cfg(test)]
mod tests;
