//! The inner loop: a tile of sums held in registers, one step of k after another.

use crate::kernel::lanes::Lanes;

/// Chains `R` rows over `P` panels: `a` is `[depth, R]`, each of `b` is `[depth, V * WIDTH]`.
#[inline(always)]
pub(super) fn tile<L: Lanes, const R: usize, const V: usize, const P: usize>(
    lanes: L,
    a: &[f32],
    b: [&[f32]; P],
) -> [[[L::Vector; V]; P]; R] {
    let mut sums = [[[lanes.splat(0.0); V]; P]; R];
    let mut b = b.map(|panel| panel.chunks_exact(V * L::WIDTH));
    let (a, _) = a.as_chunks::<R>();
    for a in a {
        for p in 0..P {
            let Some(row) = b[p].next() else { break };
            let row: [L::Vector; V] = std::array::from_fn(|v| lanes.load(&row[v * L::WIDTH..]));
            for r in 0..R {
                let x = lanes.splat(a[r]);
                for v in 0..V {
                    sums[r][p][v] = lanes.fma(x, row[v], sums[r][p][v]);
                }
            }
        }
    }
    sums
}

/// Chains `R` rows over `V` vectors of columns of a matrix in row order: `a` is `[depth, R]`, row k of `b` begins at `k * stride`.
#[inline(always)]
pub(crate) fn tile_strided<L: Lanes, const R: usize, const V: usize>(
    lanes: L,
    a: &[f32],
    b: &[f32],
    stride: usize,
) -> [[L::Vector; V]; R] {
    let mut sums = [[lanes.splat(0.0); V]; R];
    let (a, _) = a.as_chunks::<R>();
    for (a, row) in a.iter().zip(b.chunks(stride)) {
        let row = &row[..V * L::WIDTH];
        let row: [L::Vector; V] = std::array::from_fn(|v| lanes.load(&row[v * L::WIDTH..]));
        for r in 0..R {
            let x = lanes.splat(a[r]);
            for v in 0..V {
                sums[r][v] = lanes.fma(x, row[v], sums[r][v]);
            }
        }
    }
    sums
}
