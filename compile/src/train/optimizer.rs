//! AdamW with decoupled weight decay, the learning-rate schedule and clipping by the global norm.
//!
//! `m ← m + (1−β₁)(g−m)`, `v ← β₂v + (1−β₂)g²`, `p ← p(1−ηλ) − (η/(1−β₁ᵗ)) · m / (√v/√(1−β₂ᵗ) + ε)`: the formula of
//! `torch.optim.AdamW` (Loshchilov and Hutter, arXiv 1711.05101). Scalars are f64, rounded to f32 once per step; powers of β are
//! running products. NUMERICS.md, "Training", clauses T5 to T7.

use kolm_runtime::kernel::{self, Fma, Level, Vectorized};
use rayon::prelude::*;

use super::parameters::Parameters;
use super::settings::{Schedule, Settings};

/// The optimiser's memory.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Moments {
    /// First moments, group by group.
    pub(crate) first: Vec<Vec<f32>>,
    /// Second moments, group by group.
    pub(crate) second: Vec<Vec<f32>>,
    /// β₁ᵗ.
    pub(crate) beta1_power: f64,
    /// β₂ᵗ.
    pub(crate) beta2_power: f64,
}

impl Moments {
    /// Moments before the first step.
    pub(crate) fn new(parameters: &Parameters) -> Self {
        Self { first: parameters.zeros(), second: parameters.zeros(), beta1_power: 1.0, beta2_power: 1.0 }
    }

    /// Applies one step with gradient `gradient · scale`.
    pub(crate) fn step(
        &mut self,
        level: Level,
        settings: &Settings,
        learning_rate: f64,
        scale: f32,
        gradient: &[Vec<f32>],
        parameters: &mut Parameters,
    ) {
        self.beta1_power *= settings.beta1;
        self.beta2_power *= settings.beta2;
        let scalars = Scalars {
            scale,
            decay: (1.0 - learning_rate * settings.weight_decay) as f32,
            weight1: (1.0 - settings.beta1) as f32,
            beta2: settings.beta2 as f32,
            weight2: (1.0 - settings.beta2) as f32,
            #[cfg(not(feature = "planted"))]
            root2: (1.0 - self.beta2_power).sqrt() as f32,
            #[cfg(feature = "planted")]
            root2: if kernel::planted(kernel::Plant::Optimizer) { 1.0 } else { (1.0 - self.beta2_power).sqrt() as f32 },
            epsilon: settings.epsilon as f32,
            rate: (learning_rate / (1.0 - self.beta1_power)) as f32,
        };
        let groups = parameters.values.iter_mut().zip(gradient).zip(self.first.iter_mut().zip(&mut self.second));
        for ((p, g), (m, v)) in groups {
            p.par_chunks_mut(CHUNK)
                .zip(g.par_chunks(CHUNK))
                .zip(m.par_chunks_mut(CHUNK).zip(v.par_chunks_mut(CHUNK)))
                .for_each(|((p, g), (m, v))| level.vectorize(AdamW { p, g, m, v, scalars }));
        }
    }
}

/// Learning rate of step `step`, counted from 0.
///
/// Rises linearly from 0 over the warm-up, then stays or falls linearly to 0: the lambda of
/// `transformers.get_linear_schedule_with_warmup`.
pub(crate) fn learning_rate(settings: &Settings, step: u64) -> f64 {
    if step < settings.warmup_steps {
        return settings.learning_rate * (step as f64 / settings.warmup_steps as f64);
    }
    match settings.schedule {
        Schedule::Constant => settings.learning_rate,
        Schedule::Linear => {
            let left = settings.steps.saturating_sub(step);
            let span = settings.steps.saturating_sub(settings.warmup_steps).max(1);
            settings.learning_rate * (left as f64 / span as f64)
        }
    }
}

/// Global norm of `gradient`: the f32 sum of squares of each tensor (rule 3), widened and added in name order in f64, square root.
///
/// # Errors
/// The name of the first tensor whose sum of squares is not finite.
pub(crate) fn global_norm(level: Level, parameters: &Parameters, gradient: &[Vec<f32>]) -> Result<f64, String> {
    let tensors: Vec<_> = parameters.in_name_order().collect();
    let squares: Vec<f32> = tensors
        .par_iter()
        .map(|(group, slot)| kernel::sum_squares(level, &gradient[*group][slot.range.clone()]))
        .collect();
    let mut total = 0.0_f64;
    for ((_, slot), square) in tensors.iter().zip(squares) {
        if !square.is_finite() {
            return Err(slot.name.clone());
        }
        total += f64::from(square);
    }
    Ok(total.sqrt())
}

/// Factor that brings a gradient of norm `norm` under `clip_norm`, as `torch.nn.utils.clip_grad_norm_` computes it.
pub(crate) fn clip_factor(clip_norm: f64, norm: f64) -> f32 {
    if clip_norm <= 0.0 {
        return 1.0;
    }
    let factor = clip_norm / (norm + 1e-6);
    if factor < 1.0 { factor as f32 } else { 1.0 }
}

#[derive(Clone, Copy)]
struct Scalars {
    scale: f32,
    decay: f32,
    weight1: f32,
    beta2: f32,
    weight2: f32,
    root2: f32,
    epsilon: f32,
    rate: f32,
}

struct AdamW<'a> {
    p: &'a mut [f32],
    g: &'a [f32],
    m: &'a mut [f32],
    v: &'a mut [f32],
    scalars: Scalars,
}

impl Vectorized for AdamW<'_> {
    type Output = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        let s = self.scalars;
        for (((p, &g), m), v) in self.p.iter_mut().zip(self.g).zip(self.m).zip(self.v) {
            let g = g * s.scale;
            *m = F::fma(s.weight1, g - *m, *m);
            *v = F::fma(s.weight2 * g, g, s.beta2 * *v);
            let denominator = v.sqrt() / s.root2 + s.epsilon;
            *p = F::fma(-s.rate, *m / denominator, *p * s.decay);
        }
    }
}

/// Values one thread updates at a time; does not show in the result.
const CHUNK: usize = 1 << 16;

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "an oracle in f64, compared within a tolerance")]
mod tests {
    use super::super::parameters::{Layout, Parameters};
    use super::{Moments, Settings, clip_factor, global_norm, learning_rate};
    use crate::train::settings::Schedule;
    use kolm_runtime::kernel::Level;

    fn check(value: f64, expected: f64) {
        assert!((value - expected).abs() < 1e-12, "{value} {expected}");
    }

    #[test]
    fn schedule_rises_and_falls() {
        let mut settings = Settings { steps: 10, warmup_steps: 2, learning_rate: 1.0, ..Settings::default() };
        check(learning_rate(&settings, 0), 0.0);
        check(learning_rate(&settings, 1), 0.5);
        check(learning_rate(&settings, 2), 1.0);
        check(learning_rate(&settings, 6), 0.5);
        check(learning_rate(&settings, 10), 0.0);
        settings.schedule = Schedule::Constant;
        check(learning_rate(&settings, 9), 1.0);
    }

    #[test]
    fn clipping_follows_torch() {
        assert_eq!(clip_factor(0.0, 1e9), 1.0);
        assert_eq!(clip_factor(1.0, 0.5), 1.0);
        assert_eq!(clip_factor(1.0, 4.0), (1.0 / (4.0 + 1e-6)) as f32);
        let layout = Layout::new([("a".to_string(), vec![2]), ("b".to_string(), vec![1])]);
        let parameters = Parameters::new(vec![layout], vec![vec![0.0; 3]]);
        check(global_norm(Level::detect(), &parameters, &[vec![2.0, 3.0, 6.0]]).expect("finite"), 7.0);
        assert_eq!(global_norm(Level::detect(), &parameters, &[vec![2.0, 3.0, f32::NAN]]), Err("b".to_string()));
    }

    /// Three steps against the formula in f64.
    #[test]
    fn adamw_follows_its_formula() {
        let level = Level::detect();
        let settings = Settings { weight_decay: 0.1, ..Settings::default() };
        let start: Vec<f32> = (0..67).map(|i| (i as f32 - 33.0) / 16.0).collect();
        let layout = Layout::new([("a".to_string(), vec![67])]);
        let mut parameters = Parameters::new(vec![layout], vec![start.clone()]);
        let mut moments = Moments::new(&parameters);
        let mut expected: Vec<(f64, f64, f64)> = start.iter().map(|&p| (f64::from(p), 0.0, 0.0)).collect();
        for step in 1..=3 {
            let gradient: Vec<f32> = (0..67).map(|i| ((i * step) % 13) as f32 - 6.0).collect();
            moments.step(level, &settings, 1e-2, 0.5, std::slice::from_ref(&gradient), &mut parameters);
            for ((p, m, v), &g) in expected.iter_mut().zip(&gradient) {
                let g = f64::from(g) * 0.5;
                *m += 0.1 * (g - *m);
                *v = 0.999 * *v + 0.001 * g * g;
                let (c1, c2) = (1.0 - 0.9_f64.powi(step), 1.0 - 0.999_f64.powi(step));
                *p = *p * (1.0 - 1e-3) - 1e-2 / c1 * *m / (v.sqrt() / c2.sqrt() + 1e-8);
            }
        }
        for (&found, &(expected, ..)) in parameters.values[0].iter().zip(&expected) {
            assert!((f64::from(found) - expected).abs() < 1e-6, "{found} {expected}");
        }
    }
}
