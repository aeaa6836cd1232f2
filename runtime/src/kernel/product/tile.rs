//! The inner loop: a tile of sums held in registers, one step of k after another.
//!
//! The sums leave through memory, once per block of k: an array of vectors handed on by value keeps the compiler from
//! holding it in registers (measured on one Zen 3 core at 512³: 28 GFLOP/s so, against 60).

use crate::kernel::lanes::Lanes;

/// Chains `R` rows over `P` panels of `C` columns, `a` being `[depth, R]` and each of `b` `[depth, C]`; the sums go to `out`
/// `[R, P, C]`.
#[inline(always)]
pub(super) fn tile<L: Lanes, const R: usize, const C: usize, const P: usize>(
    lanes: L,
    a: &[[f32; R]],
    b: [&[[f32; C]]; P],
    out: &mut [f32],
) {
    let vectors = const { C / L::WIDTH };
    let mut sums = [[[lanes.splat(0.0); MAX_VECTORS]; P]; R];
    let b = b.map(|panel| &panel[..a.len()]);
    for (k, a) in a.iter().enumerate() {
        for p in 0..P {
            let row = &b[p][k];
            let mut x = [lanes.splat(0.0); MAX_VECTORS];
            for v in 0..vectors {
                x[v] = lanes.load(&row[v * L::WIDTH..]);
            }
            for r in 0..R {
                let a = lanes.splat(a[r]);
                for v in 0..vectors {
                    sums[r][p][v] = lanes.fma(a, x[v], sums[r][p][v]);
                }
            }
        }
    }
    for r in 0..R {
        for p in 0..P {
            for v in 0..vectors {
                lanes.store(sums[r][p][v], &mut out[(r * P + p) * C + v * L::WIDTH..]);
            }
        }
    }
}

/// Chains `R` rows over `C` columns of a matrix in row order, `a` being `[depth, R]` and row k of `b` beginning at `k * stride`;
/// the sums go to `out` `[R, C]`.
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
