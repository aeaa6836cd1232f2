//! Deliberately wrong kernels, for the proof that a bisection finds them.
//!
//! Compiled with the feature `planted` only, which refuses to build without debug assertions: no release has it. `KOLM_PLANT` names the one
//! fault of a process; without it everything is right.

use std::sync::OnceLock;

#[cfg(not(debug_assertions))]
compile_error!("the feature `planted` makes wrong kernels: it builds with debug assertions only");

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// Products run down their chains instead of up.
    ProductOrder,
    /// Dot products have 16 lanes.
    Lanes,
    /// One coefficient of the exponential is one bit off.
    Exp,
    /// AdamW leaves out the bias correction of the second moment.
    Optimizer,
    /// The stream that starts an adapter has another key.
    Stream,
}

/// Whether this process has the fault.
#[expect(clippy::disallowed_methods, reason = "a build that never ships; the variable names its fault")]
pub fn planted(plant: Plant) -> bool {
    static NAMED: OnceLock<Option<Plant>> = OnceLock::new();
    let named = NAMED.get_or_init(|| {
        let name = std::env::var("KOLM_PLANT").unwrap_or_default();
        PLANTS.into_iter().find(|(known, _)| *known == name).map(|(_, plant)| plant)
    });
    *named == Some(plant)
}

/// Names as `KOLM_PLANT` takes them.
const PLANTS: [(&str, Plant); 5] = [
    ("product-order", Plant::ProductOrder),
    ("lanes", Plant::Lanes),
    ("exp", Plant::Exp),
    ("optimizer", Plant::Optimizer),
    ("stream", Plant::Stream),
];
