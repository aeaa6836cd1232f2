//! Which instructions a kernel may use, and the one way to get into their context.
//!
//! A [`Level`] exists only where the CPU has it, so holding one is the proof that its instructions may run. The level
//! changes speed, never bits: at `scalar` every fused multiply-add is computed in software, everywhere else in hardware,
//! and both are exact. `KOLM_SIMD` is read here and nowhere else.

use std::fmt;

use super::KernelError;
use super::fma::{Fma, Hardware, Software};
use super::lanes::{Instructions, Lanes, SoftwareLanes, VectorLanes};

/// Names the instruction set a kernel runs on; the value exists only where this CPU supports it.
#[derive(Clone, Copy)]
pub struct Level(Kind);

#[derive(Clone, Copy)]
enum Kind {
    Scalar,
    #[cfg(target_arch = "x86_64")]
    V3(pulp::x86::V3),
    #[cfg(target_arch = "x86_64")]
    V4(pulp::x86::V4),
    #[cfg(target_arch = "aarch64")]
    Neon(pulp::aarch64::Neon),
}

impl Level {
    /// Every name [`Level::named`] knows, from the slowest up.
    pub const NAMES: [&'static str; 4] = ["scalar", "neon", "v3", "v4"];

    /// Finds the fastest level this CPU has.
    pub fn detect() -> Level {
        Level::available().pop().unwrap_or(Level(Kind::Scalar))
    }

    /// Lists every level this CPU has, from the slowest up; never empty.
    pub fn available() -> Vec<Level> {
        Level::NAMES.iter().filter_map(|name| Level::named(name).ok()).collect()
    }

    /// Gets the level called `scalar`, `v3` (AVX2 + FMA), `v4` (AVX-512) or `neon`.
    ///
    /// # Errors
    ///
    /// [`KernelError::LevelUnknown`] for another name, [`KernelError::LevelUnavailable`] where the CPU lacks it.
    pub fn named(name: &str) -> Result<Level, KernelError> {
        let (name, kind) = match name {
            "scalar" => ("scalar", Some(Kind::Scalar)),
            #[cfg(target_arch = "x86_64")]
            "v3" => ("v3", pulp::x86::V3::try_new().map(Kind::V3)),
            #[cfg(target_arch = "x86_64")]
            "v4" => ("v4", pulp::x86::V4::try_new().map(Kind::V4)),
            #[cfg(target_arch = "aarch64")]
            "neon" => ("neon", pulp::aarch64::Neon::try_new().map(Kind::Neon)),
            #[cfg(not(target_arch = "x86_64"))]
            "v3" => ("v3", None),
            #[cfg(not(target_arch = "x86_64"))]
            "v4" => ("v4", None),
            #[cfg(not(target_arch = "aarch64"))]
            "neon" => ("neon", None),
            other => return Err(KernelError::LevelUnknown { found: other.to_owned() }),
        };
        kind.map(Level).ok_or(KernelError::LevelUnavailable { name })
    }

    /// Reads the level from `KOLM_SIMD`, or detects it where the variable is unset or empty.
    ///
    /// # Errors
    ///
    /// As [`Level::named`].
    pub fn from_environment() -> Result<Level, KernelError> {
        #[expect(clippy::disallowed_methods, reason = "the one home of KOLM_SIMD; it changes speed, never bits")]
        let value = std::env::var_os("KOLM_SIMD");
        match value.as_deref().map(std::ffi::OsStr::to_string_lossy) {
            None => Ok(Level::detect()),
            Some(name) if name.is_empty() => Ok(Level::detect()),
            Some(name) => Level::named(&name),
        }
    }

    /// Gives the name [`Level::named`] takes.
    pub fn name(self) -> &'static str {
        match self.0 {
            Kind::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Kind::V3(_) => "v3",
            #[cfg(target_arch = "x86_64")]
            Kind::V4(_) => "v4",
            #[cfg(target_arch = "aarch64")]
            Kind::Neon(_) => "neon",
        }
    }

    /// Runs `body` compiled for this level: the compiler vectorises its plain loops with the level's instructions.
    #[inline]
    pub fn vectorize<V: Vectorized>(self, body: V) -> V::Output {
        self.with_lanes(Plain(body))
    }

    /// Runs `body` with this level's explicit vectors and the register tile that suits it.
    #[inline]
    pub(crate) fn with_lanes<W: WithLanes>(self, body: W) -> W::Output {
        match self.0 {
            Kind::Scalar => body.run::<_, 4, 16>(SoftwareLanes),
            #[cfg(target_arch = "x86_64")]
            Kind::V3(token) => token.vectorize(Tiled::<_, _, 6, 16>(body, VectorLanes(token))),
            #[cfg(target_arch = "x86_64")]
            Kind::V4(token) => token.vectorize(Tiled::<_, _, 12, 32>(body, VectorLanes(token))),
            #[cfg(target_arch = "aarch64")]
            Kind::Neon(token) => token.vectorize(Tiled::<_, _, 8, 8>(body, VectorLanes(token))),
        }
    }

    /// As [`Level::with_lanes`], with the lower tile of [`Level::lower_tile_rows`] rows.
    #[inline]
    pub(crate) fn with_lower_tile<W: WithLanes>(self, body: W) -> W::Output {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::V3(token) => token.vectorize(Tiled::<_, _, 4, 16>(body, VectorLanes(token))),
            #[cfg(target_arch = "x86_64")]
            Kind::V4(token) => token.vectorize(Tiled::<_, _, 8, 32>(body, VectorLanes(token))),
            _ => self.with_lanes(body),
        }
    }

    /// Rows of a lower register tile, which still hides the latency of a multiply-add: for row counts that it divides better.
    pub(crate) fn lower_tile_rows(self) -> usize {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::V3(_) => 4,
            #[cfg(target_arch = "x86_64")]
            Kind::V4(_) => 8,
            _ => self.tile_rows(),
        }
    }

    /// Rows of the register tile at this level.
    pub(crate) fn tile_rows(self) -> usize {
        match self.0 {
            Kind::Scalar => 4,
            #[cfg(target_arch = "x86_64")]
            Kind::V3(_) => 6,
            #[cfg(target_arch = "x86_64")]
            Kind::V4(_) => 12,
            #[cfg(target_arch = "aarch64")]
            Kind::Neon(_) => 8,
        }
    }

    /// Columns of the register tile, and so of one packed panel, at this level.
    pub(crate) fn panel_columns(self) -> usize {
        match self.0 {
            Kind::Scalar => 16,
            #[cfg(target_arch = "x86_64")]
            Kind::V3(_) => 16,
            #[cfg(target_arch = "x86_64")]
            Kind::V4(_) => 32,
            #[cfg(target_arch = "aarch64")]
            Kind::Neon(_) => 8,
        }
    }
}

impl PartialEq for Level {
    fn eq(&self, other: &Level) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Level {}

impl fmt::Debug for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Level({})", self.name())
    }
}

/// A computation written once as plain loops, compiled for each level.
///
/// Mark `run` and everything it calls `#[inline(always)]`: a call that is not inlined leaves the level's context.
pub trait Vectorized {
    /// What the computation gives.
    type Output;
    /// Does the work with the level's fused multiply-add.
    fn run<F: Fma>(self) -> Self::Output;
}

/// A computation written once over explicit vectors, `ROWS` by `COLUMNS` being the level's register tile: two vectors wide.
pub(crate) trait WithLanes {
    type Output;
    fn run<L: Lanes, const ROWS: usize, const COLUMNS: usize>(self, lanes: L) -> Self::Output;
}

struct Plain<V>(V);

impl<V: Vectorized> WithLanes for Plain<V> {
    type Output = V::Output;

    #[inline(always)]
    fn run<L: Lanes, const ROWS: usize, const COLUMNS: usize>(self, _: L) -> V::Output {
        self.0.run::<L::Fma>()
    }
}

struct Tiled<W, L, const ROWS: usize, const COLUMNS: usize>(W, L);

impl<W: WithLanes, L: Lanes, const ROWS: usize, const COLUMNS: usize> pulp::NullaryFnOnce
    for Tiled<W, L, ROWS, COLUMNS>
{
    type Output = W::Output;

    #[inline(always)]
    fn call(self) -> W::Output {
        self.0.run::<L, ROWS, COLUMNS>(self.1)
    }
}

// `Hardware` is what `VectorLanes` carries and `Software` what `SoftwareLanes` carries; named here so that the
// pairing the module doc promises is checked by the compiler.
const _: fn() = || {
    fn carries<L: Lanes<Fma = F>, F: Fma>() {}
    fn vectors<S: Instructions>() {
        carries::<VectorLanes<S>, Hardware>();
    }
    carries::<SoftwareLanes, Software>();
    #[cfg(target_arch = "x86_64")]
    vectors::<pulp::x86::V3>();
    #[cfg(target_arch = "aarch64")]
    vectors::<pulp::aarch64::Neon>();
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalar_is_everywhere_and_names_round_trip() {
        let levels = Level::available();
        assert_eq!(levels.first().map(|level| level.name()), Some("scalar"));
        for level in levels {
            assert_eq!(Level::named(level.name()), Ok(level));
        }
    }

    #[test]
    fn an_unknown_name_is_refused() {
        assert_eq!(Level::named("avx9"), Err(KernelError::LevelUnknown { found: "avx9".to_owned() }));
    }

    #[test]
    fn panels_match_the_tile() {
        struct Tile;
        impl WithLanes for Tile {
            type Output = (usize, usize);
            fn run<L: Lanes, const ROWS: usize, const COLUMNS: usize>(self, _: L) -> (usize, usize) {
                assert_eq!(COLUMNS, 2 * L::WIDTH, "two vectors");
                (ROWS, COLUMNS)
            }
        }
        for level in Level::available() {
            assert_eq!(level.with_lanes(Tile), (level.tile_rows(), level.panel_columns()));
        }
    }
}
