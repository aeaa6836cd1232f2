//! Passages sorted into lists around centroids, so that a search need not look at all of them.
//!
//! Building is a k-means of which every step has one order (SPEC-eval.md, section 7): neither threads nor the instruction level show in
//! a list. How many lists a search probes is chosen here too, from what an exact search finds for a fixed sample of the rows.

use rayon::prelude::*;

use super::index::within;
use super::vectors::{Vectors, unit};
use super::{RecallError, RecallIndex, limits};
use crate::eval::Ppm;
use crate::kernel::{self, Level, StoredRows};

/// Which list each passage is in, and which lists a search looks into.
#[derive(Clone, PartialEq, Debug)]
pub struct Lists {
    centroids: Vec<f32>,
    list_of: Vec<u32>,
    /// Rows, list after list, ascending within each.
    rows: Vec<u32>,
    /// Where each list begins among the rows, and where the last one ends.
    starts: Vec<usize>,
    probes: usize,
    recall: Ppm,
}

impl Lists {
    /// Puts together lists around `centroids` `[L, D]`, `list_of` `[P]` being each row's list.
    ///
    /// # Errors
    /// [`RecallError::TooLarge`], [`RecallError::Lists`].
    pub(super) fn new(
        level: Level,
        dimension: usize,
        centroids: Vec<f32>,
        list_of: Vec<u32>,
        probes: usize,
    ) -> Result<Lists, RecallError> {
        let count = centroids.len() / dimension.max(1);
        within("number of lists", count, limits::LISTS.min(list_of.len()))?;
        let wrong = |detail| Err(RecallError::Lists { detail });
        if count == 0 || count * dimension != centroids.len() {
            return wrong("expected as many numbers in a centroid as in a vector, and at least one list");
        }
        if probes == 0 || probes > count {
            return wrong("expected probes from 1 to the number of lists");
        }
        for centroid in centroids.chunks_exact(dimension) {
            if unit(level, 0, centroid, limits::UNIT_TOLERANCE).is_err() {
                return wrong("a centroid is not a unit vector");
            }
        }
        if list_of.iter().any(|list| usize::try_from(*list).is_ok_and(|list| list >= count)) {
            return wrong("a passage is in a list that is not there");
        }
        let (rows, starts) = grouped(&list_of, count);
        Ok(Lists { centroids, list_of, rows, starts, probes, recall: Ppm::ONE })
    }

    /// The same with another recall@10.
    pub(super) fn with_recall(self, recall: Ppm) -> Lists {
        Lists { recall, ..self }
    }

    /// Number of lists.
    pub fn count(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// Lists that a search looks into at least.
    pub fn probes(&self) -> usize {
        self.probes
    }

    /// Share of the ten nearest rows that a search found for a sample of rows when the lists were made.
    pub fn recall_at_10(&self) -> Ppm {
        self.recall
    }

    /// The centroids, `[L, D]`.
    pub(super) fn centroids(&self) -> &[f32] {
        &self.centroids
    }

    /// Each row's list.
    pub(super) fn list_of(&self) -> &[u32] {
        &self.list_of
    }

    /// Rows of a list, ascending.
    pub(super) fn rows_of(&self, list: usize) -> &[u32] {
        let bounds = self.starts.get(list).zip(self.starts.get(list + 1));
        bounds.and_then(|(start, end)| self.rows.get(*start..*end)).unwrap_or_default()
    }

    /// All lists, the one whose centroid is nearest to the query first, of equals the lowest.
    pub(super) fn by_nearness(&self, level: Level, query: &[f32]) -> Vec<usize> {
        let mut scores = vec![0.0; self.count()];
        kernel::scores(level, query, &self.centroids, query.len(), &mut scores);
        let mut order: Vec<(f32, usize)> = scores.into_iter().zip(0..).collect();
        order.sort_unstable_by(|left, right| {
            let nearer = right.0.partial_cmp(&left.0).unwrap_or(std::cmp::Ordering::Equal);
            nearer.then(left.1.cmp(&right.1))
        });
        order.into_iter().map(|(_, list)| list).collect()
    }
}

impl RecallIndex {
    /// Sorts the passages into `count` lists, and has searches look into as many as hold 99 of 100 of the ten nearest rows that an
    /// exact search finds for each of a sample of rows.
    ///
    /// # Errors
    /// [`RecallError::TooLarge`] for more lists than the limit or than passages, [`RecallError::Lists`] for none.
    pub fn with_lists(self, level: Level, count: usize) -> Result<RecallIndex, RecallError> {
        let (passages, dimension) = (self.passages().len(), self.dimension());
        within("number of lists", count, limits::LISTS.min(passages))?;
        if count == 0 {
            return Err(RecallError::Lists { detail: "expected at least one list" });
        }
        let mut centroids = Vec::with_capacity(count * dimension);
        spaced(passages, count).for_each(|row| centroids.extend(self.queries(level, row..row + 1)));
        let sample: Vec<u32> = spaced(passages, passages.min(count * SAMPLE_PER_LIST)).filter_map(number).collect();
        for _ in 0..ROUNDS {
            let list_of = assign(level, self.vectors(), &centroids, &sample);
            let (places, starts) = grouped(&list_of, count);
            centroids.par_chunks_exact_mut(dimension).zip(starts.par_windows(2)).for_each(|(centroid, bounds)| {
                let [start, end] = bounds else { return };
                let places = places.get(*start..*end).unwrap_or_default();
                let rows = places.iter().filter_map(|place| sample.get(usize::try_from(*place).ok()?));
                recenter(level, self.vectors(), rows, centroid);
            });
        }
        let every: Vec<u32> = (0..passages).filter_map(number).collect();
        let list_of = assign(level, self.vectors(), &centroids, &every);
        let lists = Lists::new(level, dimension, centroids, list_of, count)?;
        let (probes, recall) = self.choose_probes(level, &lists)?;
        Ok(self.in_lists(Lists { probes, recall, ..lists }))
    }

    /// The least number of lists that hold 99 of 100 of the ten rows nearest to each of a sample of rows, and the share they hold.
    fn choose_probes(&self, level: Level, lists: &Lists) -> Result<(usize, Ppm), RecallError> {
        let passages = self.passages().len();
        let sample: Vec<usize> = spaced(passages, passages.min(PROBED_ROWS)).collect();
        let queries: Vec<f32> = sample.iter().flat_map(|row| self.queries(level, *row..*row + 1)).collect();
        let own = |query: usize, row: usize| sample.get(query) == Some(&row);
        let hits = self.search_exactly(level, &queries, FOUND, &own)?;
        // How many hits are in the list that comes at each place of the query's order.
        let places: Vec<Vec<usize>> = queries
            .par_chunks_exact(self.dimension())
            .zip(&hits)
            .map(|(query, hits)| {
                let order = lists.by_nearness(level, query);
                let list = |row: usize| usize::try_from(*lists.list_of.get(row)?).ok();
                let place = |row| list(row).and_then(|list| order.iter().position(|other| *other == list));
                hits.iter().filter_map(|hit| place(hit.index)).collect()
            })
            .collect();
        let mut held = vec![0_u64; lists.count()];
        for place in places.into_iter().flatten() {
            if let Some(held) = held.get_mut(place) {
                *held += 1;
            }
        }
        let total: u64 = held.iter().sum();
        let mut found = 0;
        for (place, held) in held.into_iter().enumerate() {
            found += held;
            if found * 100 >= total * 99 {
                let recall = if total == 0 { Ppm::ONE } else { Ppm::ratio(found.into(), total.into()) };
                return Ok((place + 1, recall));
            }
        }
        Ok((lists.count(), Ppm::ONE))
    }
}

/// `count` rows of `total`, evenly spaced from the first on.
fn spaced(total: usize, count: usize) -> impl Iterator<Item = usize> {
    // Neither factor exceeds the limit on passages.
    (0..count).map(move |place| place * total / count.max(1))
}

fn number(row: usize) -> Option<u32> {
    u32::try_from(row).ok()
}

/// The list of each of `rows`: that of the centroid with the highest score, of equals the lowest.
fn assign(level: Level, vectors: &Vectors, centroids: &[f32], rows: &[u32]) -> Vec<u32> {
    let (dimension, count) = (vectors.dimension(), centroids.len() / vectors.dimension().max(1));
    let lists: Vec<Vec<u32>> = rows
        .par_chunks(BLOCK_ROWS)
        .map(|rows| {
            let mut values = Vec::new();
            vectors.gather(level, rows, &mut values);
            let mut scores = vec![0.0; rows.len() * count];
            kernel::scores(level, &values, StoredRows::F32(centroids), dimension, &mut scores);
            scores.chunks_exact(count).map(nearest).collect()
        })
        .collect();
    lists.concat()
}

fn nearest(scores: &[f32]) -> u32 {
    let mut best = (0, f32::NEG_INFINITY);
    for (list, score) in (0..).zip(scores) {
        if *score > best.1 {
            best = (list, *score);
        }
    }
    best.0
}

/// Moves a centroid to the sum of some rows, added one after another, divided by its length; it stays where that is no direction.
fn recenter<'a>(level: Level, vectors: &Vectors, rows: impl Iterator<Item = &'a u32>, centroid: &mut [f32]) {
    let (mut sum, mut values) = (vec![0.0; centroid.len()], Vec::new());
    for row in rows {
        vectors.gather(level, std::slice::from_ref(row), &mut values);
        for (sum, value) in sum.iter_mut().zip(&values) {
            *sum += value;
        }
    }
    let length = kernel::dot(level, &sum, &sum).sqrt();
    if length >= LEAST_LENGTH {
        for (centroid, sum) in centroid.iter_mut().zip(&sum) {
            *centroid = sum / length;
        }
    }
}

/// Places sorted by list, ascending within each, and where each list begins.
fn grouped(list_of: &[u32], count: usize) -> (Vec<u32>, Vec<usize>) {
    let mut order: Vec<(u32, u32)> = list_of.iter().copied().zip(0..).collect();
    order.sort_unstable();
    let mut starts: Vec<usize> = Vec::with_capacity(count + 1);
    for list in 0..=count {
        starts.push(order.partition_point(|(other, _)| usize::try_from(*other).is_ok_and(|other| other < list)));
    }
    (order.into_iter().map(|(_, place)| place).collect(), starts)
}

/// Rounds of k-means; more than eight move no measured recall.
const ROUNDS: usize = 8;
/// Rows a list that k-means looks at: enough for a direction, and the time does not grow with the corpus.
const SAMPLE_PER_LIST: usize = 64;
/// Rows whose nearest neighbours decide how many lists are probed, and neighbours of each.
const PROBED_ROWS: usize = 1000;
const FOUND: usize = 10;
/// Rows assigned at once.
const BLOCK_ROWS: usize = 32;
/// Shorter sums of unit vectors are rounding errors.
const LEAST_LENGTH: f32 = 1e-3;

#[cfg(test)]
mod tests;
