//! The inner loop: a tile of sums held in registers, one step of k after another.
//!
//! The sums leave through memory, once per block of k: an array of vectors handed on by value keeps the compiler from
//! holding it in registers (measured on one Zen 3 core at 512³: 28 GFLOP/s so, against 60).

use super::storage::RightRows;
use crate::kernel::lanes::Lanes;

/// Chains `R` rows over `P` panels of `C` columns, two vectors, `a` being `[depth, R]`; the sums go to `out`.
#[inline(always)]
pub(super) fn tile<L: Lanes, B: RightRows<L>, const R: usize, const C: usize, const P: usize>(
    lanes: L,
    a: &[[f32; R]],
    b: [B; P],
    out: &mut [[[f32; C]; P]; R],
) {
    let mut sums = [[[lanes.splat(0.0); 2]; P]; R];
    let depth = a.len();
    let b = b.map(|panel| panel.part(0, depth));
    for k in 0..depth {
        #[cfg(feature = "planted")]
        let k = if crate::kernel::planted(crate::kernel::Plant::ProductOrder) { depth - 1 - k } else { k };
        for p in 0..P {
            let x = b[p].row(lanes, k);
            for r in 0..R {
                let a = lanes.splat(a[k][r]);
                for v in 0..2 {
                    sums[r][p][v] = lanes.fma(a, x[v], sums[r][p][v]);
                }
            }
        }
    }
    for r in 0..R {
        for p in 0..P {
            for v in 0..2 {
                lanes.store(sums[r][p][v], &mut out[r][p][v * L::WIDTH..]);
            }
        }
    }
}

/// Chains `R` rows over `C` columns of a matrix in row order, on from what stands in `out` `[R, C]`; `a` is `[depth, R]`, and row k of `b`
/// begins at `k * stride`.
#[inline(always)]
pub(crate) fn tile_strided<L: Lanes, const R: usize, const C: usize>(
    lanes: L,
    a: &[[f32; R]],
    b: &[f32],
    stride: usize,
    out: &mut [f32],
) {
    let vectors = const { C / L::WIDTH };
    let mut sums = [[lanes.splat(0.0); MAX_VECTORS]; R];
    for r in 0..R {
        for v in 0..vectors {
            sums[r][v] = lanes.load(&out[r * C + v * L::WIDTH..]);
        }
    }
    for (a, row) in a.iter().zip(b.chunks(stride)) {
        let row = &row[..C];
        let mut x = [lanes.splat(0.0); MAX_VECTORS];
        for v in 0..vectors {
            x[v] = lanes.load(&row[v * L::WIDTH..]);
        }
        for r in 0..R {
            let a = lanes.splat(a[r]);
            for v in 0..vectors {
                sums[r][v] = lanes.fma(a, x[v], sums[r][v]);
            }
        }
    }
    for r in 0..R {
        for v in 0..vectors {
            lanes.store(sums[r][v], &mut out[r * C + v * L::WIDTH..]);
        }
    }
}

/// Most vectors in one row of a tile: decode runs eight NEON vectors side by side.
const MAX_VECTORS: usize = 8;
