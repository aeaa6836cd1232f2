//! The vectors of a level, as the register-tiled kernels see them.
//!
//! Four operations, each lane by lane and IEEE-exact, so that the width of a vector cannot show in a result.

use super::fma::{Fma, Hardware, Software};

/// Vectors of `WIDTH` lanes.
pub(crate) trait Lanes: Copy {
    /// One vector.
    type Vector: Copy;
    /// The fused multiply-add of the level, for scalar tails and plain loops.
    type Fma: Fma;
    /// Lanes of one vector.
    const WIDTH: usize;

    fn splat(self, value: f32) -> Self::Vector;
    /// Loads the first `WIDTH` values.
    fn load(self, from: &[f32]) -> Self::Vector;
    /// Stores to the first `WIDTH` places.
    fn store(self, value: Self::Vector, to: &mut [f32]);
    /// Computes `a * b + c`, rounded once.
    fn fma(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
}

/// Eight values, each operation in software; the compiler spreads them over whatever the target has.
#[derive(Clone, Copy)]
pub(crate) struct SoftwareLanes;

impl Lanes for SoftwareLanes {
    type Vector = [f32; 8];
    type Fma = Software;
    const WIDTH: usize = 8;

    #[inline(always)]
    fn splat(self, value: f32) -> [f32; 8] {
        [value; 8]
    }

    #[inline(always)]
    fn load(self, from: &[f32]) -> [f32; 8] {
        let mut out = [0.0; 8];
        out.copy_from_slice(&from[..8]);
        out
    }

    #[inline(always)]
    fn store(self, value: [f32; 8], to: &mut [f32]) {
        to[..8].copy_from_slice(&value);
    }

    #[inline(always)]
    fn fma(self, a: [f32; 8], b: [f32; 8], c: [f32; 8]) -> [f32; 8] {
        let mut out = c;
        for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
            *out = Software::fma(a, b, *out);
        }
        out
    }
}

/// The vectors of a `pulp` instruction set that has a fused multiply-add.
#[derive(Clone, Copy)]
pub(crate) struct VectorLanes<S>(pub(crate) S);

impl<S: pulp::Simd> Lanes for VectorLanes<S> {
    type Vector = S::f32s;
    type Fma = Hardware;
    const WIDTH: usize = S::F32_LANES;

    #[inline(always)]
    fn splat(self, value: f32) -> S::f32s {
        self.0.splat_f32s(value)
    }

    #[inline(always)]
    fn load(self, from: &[f32]) -> S::f32s {
        S::as_simd_f32s(&from[..S::F32_LANES]).0[0]
    }

    #[inline(always)]
    fn store(self, value: S::f32s, to: &mut [f32]) {
        S::as_mut_simd_f32s(&mut to[..S::F32_LANES]).0[0] = value;
    }

    #[inline(always)]
    fn fma(self, a: S::f32s, b: S::f32s, c: S::f32s) -> S::f32s {
        self.0.mul_add_f32s(a, b, c)
    }
}
