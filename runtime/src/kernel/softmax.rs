//! Softmax of a row: `m = max x`, `e_i = exp(x_i - m)`, `s = Σ e` by the 32-lane reduction, `p_i = e_i / s`.
//!
//! Each quotient is an IEEE division. A row that holds NaN gives NaN; an empty row stays empty.

use super::fma::Fma;
use super::level::{Level, Vectorized};
use super::math::exp;
use super::reduce::{max_lanes, sum_lanes};

/// Replaces a row by its softmax.
pub fn softmax(level: Level, row: &mut [f32]) {
    level.vectorize(Softmax(row));
}

struct Softmax<'a>(&'a mut [f32]);

impl Vectorized for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        softmax_row::<F>(self.0);
    }
}

#[inline(always)]
pub(crate) fn softmax_row<F: Fma>(row: &mut [f32]) {
    normalise::<F>(row);
}

/// Replaces a row by its softmax; gives its maximum and the sum of its exponentials.
#[inline(always)]
pub(super) fn normalise<F: Fma>(row: &mut [f32]) -> (f32, f32) {
    let max = max_lanes(row);
    for x in row.iter_mut() {
        *x = exp::<F>(*x - max);
    }
    let sum = sum_lanes(row);
    for x in row.iter_mut() {
        *x /= sum;
    }
    (max, sum)
}
