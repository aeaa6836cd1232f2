//! Every element-wise and row kernel against its reference, by bits, at every level this CPU has.

use super::*;

/// Lengths at which a vectorised loop can go wrong: empty, one, around 4, 8, 16 and 32 lanes, primes, long.
const LENGTHS: [usize; 22] = [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 257, 1009, 4099];

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| if x.is_nan() { f32::NAN.to_bits() } else { x.to_bits() }).collect()
}

/// Values that matter to mathematics: all magnitudes, both signs, zeros and subnormals, but no NaN or infinity.
fn wild(len: usize, seed: u64) -> Vec<f32> {
    let mut random = SplitMix(seed);
    (0..len)
        .map(|i| {
            let bits = random.next();
            match i % 5 {
                0 => f32::from_bits((bits as u32 & 0x807f_ffff) | ((bits >> 40) as u32 % 250 + 1) << 23),
                1 => f32::from_bits(bits as u32 & 0x8000_ffff),
                _ => (bits as u32 as i32) as f32 / 2.0e8,
            }
        })
        .collect()
}

/// Runs one implementation and its reference on every length, and compares the output `[len]` by bits at every level.
fn check(name: &str, fast: impl Fn(Level, &[f32], &[f32]) -> Vec<f32>, plain: impl Fn(&[f32], &[f32]) -> Vec<f32>) {
    for missing in Level::NAMES.iter().filter(|name| Level::named(name).is_err()) {
        eprintln!("skipped: {name} at level {missing} (this CPU does not have it)");
    }
    for len in LENGTHS {
        for (kind, x, y) in [
            ("uniform", SplitMix(len as u64).uniforms(len), SplitMix(len as u64 + 77).uniforms(len)),
            ("wild", wild(len, len as u64), wild(len, len as u64 + 5)),
        ] {
            let want = bits(&plain(&x, &y));
            for level in Level::available() {
                assert_eq!(bits(&fast(level, &x, &y)), want, "{name} of {len} {kind} values at {level:?}");
            }
        }
    }
}

fn in_place(x: &[f32], f: impl FnOnce(&mut [f32])) -> Vec<f32> {
    let mut out = x.to_vec();
    f(&mut out);
    out
}

#[test]
fn reductions() {
    check("sum", |l, x, _| vec![sum(l, x)], |x, _| vec![reference::sum(x)]);
    check("sum_squares", |l, x, _| vec![sum_squares(l, x)], |x, _| vec![reference::sum_squares(x)]);
    check("dot", |l, x, y| vec![dot(l, x, y)], |x, y| vec![reference::dot(x, y)]);
    check("max", |l, x, _| vec![max(l, x)], |x, _| vec![reference::max(x)]);
    check("argmax", |_, x, _| vec![argmax(x) as f32], |x, _| vec![reference::argmax(x) as f32]);
}

#[test]
fn functions() {
    let each = |f: fn(f32) -> f32| move |x: &[f32], _: &[f32]| x.iter().map(|x| f(*x)).collect::<Vec<f32>>();
    check("exp", |l, x, _| in_place(x, |x| math::exp_slice(l, x)), each(reference::exp));
    check("ln", |l, x, _| in_place(x, |x| math::ln_slice(l, x)), each(reference::ln));
    check("sigmoid", |l, x, _| in_place(x, |x| math::sigmoid_slice(l, x)), each(reference::sigmoid));
    check("tanh", |l, x, _| in_place(x, |x| math::tanh_slice(l, x)), each(reference::tanh));
    check("erf", |l, x, _| in_place(x, |x| math::erf_slice(l, x)), each(reference::erf));
}

#[test]
fn activations() {
    check(
        "silu_multiply",
        |l, x, y| in_place(x, |out| silu_multiply(l, x, y, out)),
        |x, y| in_place(x, |out| reference::silu_multiply(x, y, out)),
    );
    check("gelu", |l, x, _| in_place(x, |x| gelu(l, x)), |x, _| in_place(x, reference::gelu));
    check("gelu_tanh", |l, x, _| in_place(x, |x| gelu_tanh(l, x)), |x, _| in_place(x, reference::gelu_tanh));
    check("add", |l, x, y| in_place(x, |x| add(l, x, y)), |x, y| in_place(x, |x| reference::add(x, y)));
    check(
        "scaled_add",
        |l, x, y| in_place(x, |x| scaled_add(l, x, 0.3, y)),
        |x, y| in_place(x, |x| reference::scaled_add(x, 0.3, y)),
    );
    check(
        "add_bias",
        |l, x, y| in_place(&x.repeat(3), |x| add_bias(l, x, y)),
        |x, y| in_place(&x.repeat(3), |x| reference::add_bias(x, y)),
    );
}

#[test]
fn softmax_and_losses() {
    check("softmax", |l, x, _| in_place(x, |x| softmax(l, x)), |x, _| in_place(x, reference::softmax));
    for causal in [false, true] {
        let rows = |x: &[f32]| x.repeat(x.len().min(40));
        check(
            "softmax_backward",
            |l, x, y| in_place(&rows(y), |d| softmax_backward(l, &rows(x), d, x.len(), 0.3, causal)),
            |x, y| in_place(&rows(y), |d| reference::softmax_backward(&rows(x), d, x.len().max(1), 0.3, causal)),
        );
    }
    let losses = |x: &[f32], f: &dyn Fn(usize, &mut [f32]) -> f32| {
        let Some(last) = x.len().checked_sub(1) else { return Vec::new() };
        [0, last / 2, last]
            .iter()
            .flat_map(|target| {
                let mut gradient = vec![f32::NAN; x.len()];
                let loss = f(*target, &mut gradient);
                gradient.into_iter().chain([loss])
            })
            .collect::<Vec<f32>>()
    };
    check(
        "cross_entropy",
        |l, x, _| {
            losses(x, &|target, gradient| {
                gradient.copy_from_slice(x);
                cross_entropy(l, gradient, target)
            })
        },
        |x, _| losses(x, &|target, gradient| reference::cross_entropy(x, target, gradient)),
    );
    check(
        "log_probability",
        |l, x, _| losses(x, &|target, _| log_probability(l, x, target)),
        |x, _| losses(x, &|target, _| reference::log_probability(x, target)),
    );
}

#[test]
fn cross_entropies_are_those_row_by_row_whatever_the_threads() {
    let (rows, vocabulary) = (9, 4001);
    let logits = SplitMix(3).uniforms(rows * vocabulary);
    let targets: Vec<u32> = (0..9).map(|row| row * 500).collect();
    for level in Level::available() {
        let mut want = logits.clone();
        let one = |(row, target): (&mut [f32], &u32)| cross_entropy(level, row, *target as usize);
        let losses: Vec<f32> = want.chunks_exact_mut(vocabulary).zip(&targets).map(one).collect();
        assert!(losses.iter().all(|loss| (7.0..10.0).contains(loss)), "about ln 4001: {losses:?}");
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool");
            let mut got = logits.clone();
            let found = pool.install(|| cross_entropies(level, &mut got, vocabulary, &targets));
            assert_eq!((bits(&found), bits(&got)), (bits(&losses), bits(&want)), "{threads} threads at {level:?}");
        }
    }
}

#[test]
fn norms() {
    let skip = |x: &[f32]| x.is_empty();
    check(
        "rms_norm",
        |l, x, y| {
            in_place(&x.repeat(3), |out| {
                if !skip(x) {
                    rms_norm(l, &x.repeat(3), y, 1e-6, out)
                }
            })
        },
        |x, y| {
            in_place(&x.repeat(3), |out| {
                if !skip(x) {
                    reference::rms_norm(&x.repeat(3), y, 1e-6, out)
                }
            })
        },
    );
    check(
        "layer_norm",
        |l, x, y| {
            in_place(&x.repeat(3), |out| {
                if !skip(x) {
                    layer_norm(l, &x.repeat(3), y, x, 1e-5, out)
                }
            })
        },
        |x, y| {
            in_place(&x.repeat(3), |out| {
                if !skip(x) {
                    reference::layer_norm(&x.repeat(3), y, x, 1e-5, out)
                }
            })
        },
    );
}

#[test]
fn rotations() {
    for (heads, head_dim, rows, first) in [(1, 2, 1, 0), (3, 8, 5, 2), (2, 64, 33, 10), (14, 64, 3, 1), (1, 26, 7, 0)] {
        let table = RopeTable::new(10_000.0, head_dim, first + rows, RopeScaling::None);
        let half = head_dim / 2;
        let x = SplitMix(head_dim as u64).uniforms(rows * heads * head_dim);
        let rows_of = |t: &[f32]| t[first * half..].to_vec();
        let (cos, sin) = (rows_of(&table.cos), rows_of(&table.sin));
        let minus: Vec<f32> = sin.iter().map(|s| -s).collect();
        let want = in_place(&x, |x| reference::rope(x, heads, &cos, &sin, half));
        let back = in_place(&x, |x| reference::rope(x, heads, &cos, &minus, half));
        for level in Level::available() {
            assert_eq!(bits(&in_place(&x, |x| table.apply(level, x, heads, first))), bits(&want), "{level:?}");
            assert_eq!(bits(&in_place(&x, |x| table.apply_inverse(level, x, heads, first))), bits(&back), "{level:?}");
        }
    }
}

#[test]
fn rope_scaling_moves_only_what_it_should() {
    let positions = 3;
    let plain = RopeTable::new(500_000.0, 64, positions, RopeScaling::None);
    let linear = RopeTable::new(500_000.0, 64, positions, RopeScaling::Linear(2.0));
    let llama = RopeScaling::Llama3 {
        factor: 8.0,
        low_frequency_factor: 1.0,
        high_frequency_factor: 4.0,
        original_max_positions: 8192.0,
    };
    let llama = RopeTable::new(500_000.0, 64, positions, llama);
    assert_eq!(plain.positions(), positions);
    // Position 2 of a table halved is position 1 of the plain one.
    assert_eq!(linear.sin[64..96], plain.sin[32..64]);
    // The shortest waves stay, the longest turn eight times slower.
    assert_eq!(llama.sin[32], plain.sin[32]);
    assert!((f64::from(plain.sin[63]) / f64::from(llama.sin[63]) - 8.0).abs() < 1e-5);
}

#[test]
fn large_inputs_cut_over_threads_equal_the_reference() {
    let (rows, width) = (97, 1031);
    let x = SplitMix(1).uniforms(rows * width);
    let y = SplitMix(2).uniforms(rows * width);
    let (w, b) = (&y[..width], &y[width..2 * width]);
    let rms = in_place(&x, |out| reference::rms_norm(&x, w, 1e-6, out));
    let layer = in_place(&x, |out| reference::layer_norm(&x, w, b, 1e-6, out));
    let silu = in_place(&x, |out| reference::silu_multiply(&x, &y, out));
    let gelued = in_place(&x, reference::gelu);
    let gelued_tanh = in_place(&x, reference::gelu_tanh);
    for level in Level::available() {
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool");
            pool.install(|| {
                assert_eq!(bits(&in_place(&x, |out| rms_norm(level, &x, w, 1e-6, out))), bits(&rms));
                assert_eq!(bits(&in_place(&x, |out| layer_norm(level, &x, w, b, 1e-6, out))), bits(&layer));
                assert_eq!(bits(&in_place(&x, |out| silu_multiply(level, &x, &y, out))), bits(&silu));
                assert_eq!(bits(&in_place(&x, |x| gelu(level, x))), bits(&gelued));
                assert_eq!(bits(&in_place(&x, |x| gelu_tanh(level, x))), bits(&gelued_tanh));
            });
        }
    }
}

#[test]
fn ties_go_to_the_lowest_index_and_nan_never_wins() {
    assert_eq!(argmax(&[1.0, 3.0, 3.0, 2.0]), 1);
    assert_eq!(argmax(&[f32::NAN, -1.0, f32::NAN, -0.5]), 3);
    assert_eq!(argmax(&[]), 0);
    for level in Level::available() {
        let long: Vec<f32> = (0..70).map(|i| if i % 3 == 0 { f32::NAN } else { -(i as f32) }).collect();
        assert_eq!(max(level, &[f32::NAN, 1.0, f32::NEG_INFINITY]), 1.0);
        assert_eq!(max(level, &long), -1.0);
        assert_eq!(max(level, &[]), f32::NEG_INFINITY);
    }
}
