use super::left::Tiles;
use super::*;
use crate::kernel::{HalfType, Hardware, IntegerBits, QuantizedRows, SplitMix, f16_bits, reference};

/// Every level this CPU has; the ones it lacks are named, so that a skipped level is never silent.
fn levels() -> Vec<Level> {
    for name in Level::NAMES {
        if Level::named(name).is_err() {
            eprintln!("skipped: level {name} (this CPU does not have it)");
        }
    }
    Level::available()
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

fn check(m: usize, k: usize, n: usize) {
    let mut random = SplitMix((m * 1_000_003 + k * 1009 + n) as u64);
    let a = random.uniforms(m * k);
    let b = random.uniforms(k * n);
    let at: Vec<f32> = (0..k * m).map(|i| a[(i % m) * k + i / m]).collect();
    let bt: Vec<f32> = (0..n * k).map(|i| b[(i % k) * n + i / k]).collect();
    let mut want = vec![0.0; m * n];
    reference::product(&a, m, &b, k, n, &mut want);
    for level in levels() {
        for (name, packed) in [
            ("rows", PackedMatrix::from_rows(level, &b, k, n)),
            ("columns", PackedMatrix::from_columns(level, &bt, n, k)),
        ] {
            let mut got = vec![f32::NAN; m * n];
            product(level, &a, m, &packed, &mut got);
            assert_eq!(bits(&got), bits(&want), "[{m}, {k}] x [{k}, {n}] from {name} at {level:?}");
        }
        for (name, packed) in [
            ("rows", PackedMatrix::from_rows(level, &bt, n, k)),
            ("columns", PackedMatrix::from_columns(level, &b, k, n)),
        ] {
            let mut got = vec![f32::NAN; m * n];
            product_by_transpose(level, &a, m, &packed, &mut got);
            assert_eq!(bits(&got), bits(&want), "[{m}, {k}] x [{n}, {k}]^T from {name} at {level:?}");
        }
        let mut got = vec![f32::NAN; m * n];
        product_transposed(level, &at, &b, k, m, n, &mut got);
        assert_eq!(bits(&got), bits(&want), "transposed [{m}, {k}] x [{k}, {n}] at {level:?}");
    }
}

#[test]
fn product_equals_the_reference_by_bits() {
    for m in [1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 25] {
        for n in [1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64, 67, 129] {
            for k in [0, 1, 2, 255, 256, 257, 521] {
                check(m, k, n);
            }
        }
    }
}

#[test]
fn product_equals_the_reference_when_cut_over_threads() {
    for (m, k, n) in [(1, 1031, 1031), (3, 800, 509), (67, 300, 77), (200, 257, 96), (401, 64, 61), (97, 513, 130)] {
        check(m, k, n);
    }
}

#[test]
fn a_left_side_packed_for_several_tasks_gives_the_bits_of_the_reference() {
    for (m, k, n) in [(300, 321, 100), (384, 257, 67), (71, 1024, 130)] {
        for threads in [2, 3, 7] {
            pool(threads).install(|| check(m, k, n));
        }
    }
}

#[test]
fn threads_get_parts_of_one_length() {
    for (pairs, groups) in (1..100).flat_map(|pairs| (1..20).map(move |groups| (pairs, groups))) {
        let cuts = even_cuts(2 * pairs, groups);
        assert_eq!((cuts[0], cuts.last()), (0, Some(&(2 * pairs))));
        assert!(cuts.is_sorted_by(|a, b| a < b) && cuts.iter().all(|cut| cut.is_multiple_of(2)), "{cuts:?}");
        let half = cuts[(cuts.len() - 1) / 2];
        assert!(groups % 2 == 1 || pairs < groups || half == pairs / 2 * 2, "{cuts:?}");
    }
}

#[test]
fn tiles_hold_every_row_and_leave_few_places_empty() {
    for level in levels() {
        let (tile, lower) = (level.tile_rows(), level.lower_tile_rows());
        for rows in 1..200 {
            let tiles = Tiles::of(level, 0, rows);
            let padded = tiles.padded();
            assert!(padded >= rows && padded <= rows.next_multiple_of(tile).min(rows.next_multiple_of(lower)));
            assert!(tiles.high == rows || tiles.high.is_multiple_of(tile), "lower tiles stand below whole ones");
            assert!(rows < 4 * tile || tiles.high * 2 > rows, "{rows} rows: {} in high tiles", tiles.high);
        }
    }
}

#[test]
fn a_left_side_packed_in_pieces_gives_the_bits_of_the_reference() {
    pool(1).install(|| check(384, 2900, 9));
}

/// A lower triangle `[T, T]`, and what is added up by it `[T, N]`. The products that chains begin with are smaller than any f32.
fn triangle(random: &mut SplitMix, t: usize, n: usize) -> (Vec<f32>, Vec<f32>) {
    let lower = random.uniforms(t * t).into_iter().enumerate();
    let lower = lower.map(|(at, x)| match (at % t).cmp(&(at / t)) {
        std::cmp::Ordering::Less => x,
        std::cmp::Ordering::Equal => x * 1e-30,
        std::cmp::Ordering::Greater => 0.0,
    });
    (lower.collect(), random.uniforms(t * n).into_iter().map(|x| x * 1e-20).collect())
}

#[test]
fn a_transposed_lower_triangle_is_multiplied_as_if_whole() {
    for (t, n) in [(1, 3), (5, 16), (24, 7), (67, 33), (255, 64), (257, 17), (401, 64), (600, 130)] {
        let mut random = SplitMix(t as u64);
        let (lower, d) = triangle(&mut random, t, n);
        let upper: Vec<f32> = (0..t * t).map(|at| lower[at % t * t + at / t]).collect();
        let mut want = vec![0.0; t * n];
        reference::product(&upper, t, &d, t, n, &mut want);
        let negative_zeros = want.iter().filter(|x| **x == 0.0 && x.is_sign_negative()).count();
        // The last row is one product; a block of +0 before it would make it +0.
        assert!(!(5..=BLOCK).contains(&t) || negative_zeros > 0, "chains of {t} that end with -0");
        for level in levels() {
            for threads in [1, 2, 5] {
                let mut got = vec![f32::NAN; t * n];
                pool(threads).install(|| product_transposed_lower(level, &lower, &d, t, n, &mut got));
                assert_eq!(bits(&got), bits(&want), "[{t}, {t}]^T x [{t}, {n}] at {level:?}, {threads} threads");
            }
        }
    }
}

#[test]
fn a_transposed_lower_triangle_that_is_packed_in_pieces_is_multiplied_as_if_whole() {
    let (t, n) = (2900, 9);
    let (lower, d) = triangle(&mut SplitMix(1), t, n);
    for level in levels() {
        let (mut want, mut got) = (vec![0.0; t * n], vec![f32::NAN; t * n]);
        pool(1).install(|| {
            product_transposed(level, &lower, &d, t, t, n, &mut want);
            product_transposed_lower(level, &lower, &d, t, n, &mut got);
        });
        assert_eq!(bits(&got), bits(&want), "{level:?}");
    }
}

#[test]
fn the_lower_triangle_of_a_product_is_that_of_the_whole() {
    for (t, k) in [(1, 3), (5, 16), (24, 7), (67, 257), (255, 64), (401, 521), (600, 130)] {
        let mut random = SplitMix(t as u64);
        let (q, keys) = (random.uniforms(t * k), random.uniforms(t * k));
        let transposed: Vec<f32> = (0..k * t).map(|at| keys[at % t * k + at / t]).collect();
        let mut want = vec![0.0; t * t];
        reference::product(&q, t, &transposed, k, t, &mut want);
        for level in levels() {
            let packed = PackedMatrix::from_columns(level, &keys, t, k);
            for threads in [1, 2, 5] {
                let mut got = vec![f32::NAN; t * t];
                pool(threads).install(|| product_lower(level, &q, &packed, &mut got));
                for (row, (got, want)) in got.chunks(t).zip(want.chunks(t)).enumerate() {
                    assert_eq!(bits(&got[..=row]), bits(&want[..=row]), "row {row} of {t} at {level:?}");
                }
            }
        }
    }
}

fn pool(threads: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool")
}

#[test]
fn a_matrix_kept_in_16_bits_gives_the_bits_of_its_values() {
    keep_in_16_bits(HalfType::Bf16, |x| x.iter().map(|x| f32::from_bits(x.to_bits() & 0xffff_0000)).collect());
    // From near the greatest f16 down to subnormal ones.
    keep_in_16_bits(HalfType::F16, |x| {
        let mut place = 0;
        let mut next = || {
            place += 1;
            [0.3, 60_000.0, 1e-3, 6e-5, 1.0, 2e-6, 1.0][place % 7]
        };
        let values = x.into_iter().map(|x| HalfType::F16.value(f16_bits(x * next())));
        values.collect::<Vec<f32>>()
    });
}

fn keep_in_16_bits(half: HalfType, values: impl Fn(Vec<f32>) -> Vec<f32>) {
    for (m, k, n) in
        [(1, 521, 67), (2, 300, 64), (3, 256, 65), (4, 257, 31), (17, 513, 33), (401, 64, 61), (1, 1031, 1031)]
    {
        let mut random = SplitMix((m + k + n) as u64);
        let a = random.uniforms(m * k);
        let b = values(random.uniforms(k * n));
        let bt: Vec<f32> = (0..n * k).map(|i| b[(i % k) * n + i / k]).collect();
        let mut want = vec![0.0; m * n];
        reference::product(&a, m, &b, k, n, &mut want);
        for level in levels() {
            let wide = PackedMatrix::from_rows(level, &b, k, n);
            let packed = PackedMatrix::frozen_from_columns(level, &bt, n, k);
            assert_eq!((packed.storage(), packed.len_bytes() * 2), (half.name(), wide.len_bytes()), "half the memory");
            let mut got = vec![f32::NAN; m * n];
            product(level, &a, m, &packed, &mut got);
            assert_eq!(bits(&got), bits(&want), "[{m}, {k}] x [{k}, {n}] at {level:?}");
            for column in [0, n / 2, n - 1] {
                assert_eq!(bits(&packed.column(column)), bits(&bt[column * k..][..k]));
                assert_eq!(packed.column(column), wide.column(column));
            }
            let packed = PackedMatrix::frozen_from_columns(level, &b, k, n);
            got.fill(f32::NAN);
            product_by_transpose(level, &a, m, &packed, &mut got);
            assert_eq!(bits(&got), bits(&want), "[{m}, {k}] x [{n}, {k}]^T at {level:?}");
        }
    }
}

#[test]
fn a_matrix_of_another_type_is_kept_whole() {
    let mut values = vec![1.0; 600];
    values[599] = 1.0 + f32::EPSILON;
    let level = Level::detect();
    let packed = PackedMatrix::frozen_from_columns(level, &values, 2, 300);
    assert_eq!(bits(&packed.column(1)), bits(&values[300..]));
}

#[test]
fn an_empty_product_is_empty() {
    for level in levels() {
        let b = PackedMatrix::from_rows(level, &[], 3, 0);
        product(level, &[1.0, 2.0, 3.0], 1, &b, &mut []);
        let b = PackedMatrix::from_rows(level, &[1.0; 6], 3, 2);
        product(level, &[], 0, &b, &mut []);
    }
}

#[test]
fn weighted_rows_equal_the_reference_by_bits() {
    let mut random = SplitMix(9);
    for (k, n, stride_c, pad) in
        [(0, 3, 1, 0), (1, 1, 1, 0), (5, 31, 2, 3), (257, 33, 3, 1), (600, 64, 1, 0), (37, 129, 7, 5)]
    {
        let coefficients = random.uniforms(k * stride_c);
        let rows = random.uniforms(k * (n + pad));
        let mut want = vec![0.0; n];
        reference::weighted_rows(&coefficients, stride_c, &rows, n + pad, &mut want);
        for level in levels() {
            let mut got = vec![f32::NAN; n];
            weighted_rows(level, &coefficients, stride_c, &rows, n + pad, &mut got);
            assert_eq!(bits(&got), bits(&want), "{k} rows of {n} at {level:?}");
        }
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(24))]

    /// A row's result depends on neither the rows beside it nor the number of threads.
    #[test]
    fn rows_are_independent_of_batch_and_threads(
        m in 1usize..80, k in 1usize..600, n in 1usize..300, cut in 0usize..80, threads in 1usize..9, seed: u64
    ) {
        let mut random = SplitMix(seed);
        let (a, b) = (random.uniforms(m * k), random.uniforms(k * n));
        let cut = cut.min(m);
        for level in Level::available() {
            let packed = PackedMatrix::from_rows(level, &b, k, n);
            let mut whole = vec![0.0; m * n];
            product(level, &a, m, &packed, &mut whole);
            let mut parts = vec![0.0; m * n];
            pool(threads).install(|| {
                let (first, second) = parts.split_at_mut(cut * n);
                product(level, &a[..cut * k], cut, &packed, first);
                product(level, &a[cut * k..], m - cut, &packed, second);
            });
            proptest::prop_assert_eq!(bits(&whole), bits(&parts));
        }
    }
}

/// At every level a product over a quantised matrix has the bits of the product over the same matrix in f32, both ways round.
fn check_quantized(quantized: &QuantizedRows) {
    let (out, inner) = (quantized.rows, quantized.columns);
    let values = quantized.to_f32();
    let mut random = SplitMix((out * 1009 + inner) as u64);
    for m in [1, 2, 3, 5, 17, 64] {
        let (x, d) = (random.uniforms(m * inner), random.uniforms(m * out));
        for level in levels() {
            let (mut want, mut got) = (vec![0.0; m * out], vec![f32::NAN; m * out]);
            let packed = PackedMatrix::from_quantized_columns(level, quantized);
            product(level, &x, m, &PackedMatrix::from_columns(level, &values, out, inner), &mut want);
            product(level, &x, m, &packed, &mut got);
            assert_eq!(bits(&got), bits(&want), "x W^T, {m} rows at {level:?}");
            let (mut want, mut got) = (vec![0.0; m * inner], vec![f32::NAN; m * inner]);
            product(level, &d, m, &PackedMatrix::from_rows(level, &values, out, inner), &mut want);
            product_by_transpose(level, &d, m, &packed, &mut got);
            assert_eq!(bits(&got), bits(&want), "d W, {m} rows at {level:?}");
        }
    }
}

#[test]
fn a_product_over_integers_equals_the_one_over_their_values() {
    for (out, inner) in [(1, 32), (35, 48), (33, 64), (67, 128), (131, 384), (509, 896)] {
        for bits in [IntegerBits::Four, IntegerBits::Eight] {
            for group in [16, 32, 64, 128] {
                if inner % group == 0 {
                    let values = SplitMix(7).uniforms(out * inner);
                    check_quantized(&QuantizedRows::quantize(&values, out, inner, bits, group));
                }
            }
        }
    }
}

#[test]
fn every_finite_f16_is_multiplied_as_its_value() {
    let halves = (0..=u16::MAX).filter(|half| half >> 10 & 31 != 31);
    let values: Vec<f32> = halves.map(|half| HalfType::F16.value(half)).collect();
    let n = values.len();
    // A chain begins at +0, so that -0 becomes it.
    let want: Vec<u32> = values.iter().map(|value| (value + 0.0).to_bits()).collect();
    for level in levels() {
        let (row, column) =
            [(n, 1), (1, n)].map(|(n, k)| PackedMatrix::frozen_from_columns(level, &values, n, k)).into();
        assert_eq!([row.storage(), column.storage()], ["f16", "f16"]);
        for m in [1, 7] {
            let mut got = vec![f32::NAN; m * n];
            product(level, &vec![1.0; m], m, &row, &mut got);
            assert!(got.chunks(n).all(|got| bits(got) == want), "{m} rows at {level:?}");
            got.fill(f32::NAN);
            product_by_transpose(level, &vec![1.0; m], m, &column, &mut got);
            assert!(got.chunks(n).all(|got| bits(got) == want), "{m} rows by the transpose at {level:?}");
        }
    }
}

/// Every integer of its width, with scales that come round.
fn all_integers(bits: IntegerBits, scales: &[f32]) -> QuantizedRows {
    integers_of(bits, scales, (37, 96))
}

fn integers_of(bits: IntegerBits, scales: &[f32], (rows, columns): (usize, usize)) -> QuantizedRows {
    let group = 32;
    let integers = (0..bits.len_bytes(rows * columns)).map(|at| (at * 7 % 256) as u8).collect();
    let scales = scales.iter().copied().cycle().take(rows * columns / group).collect();
    QuantizedRows { bits, group, rows, columns, integers, scales, minima: Vec::new() }
}

#[test]
fn a_group_with_a_minimum_is_multiplied_as_in_f32() {
    let tiny = f32::MIN_POSITIVE;
    let cases = [&[0.5, -0.37, 0.0, -0.0, 3e30, -1e-28][..], &[tiny, 1e-40, 0.25]];
    for (kind, scales) in
        [IntegerBits::Four, IntegerBits::Eight].into_iter().flat_map(|kind| cases.map(|scales| (kind, scales)))
    {
        for minima in [&[0.0, -0.0, 0.7, -3.1][..], &[1e30, 1e-44, tiny, -0.2, 0.9, 1.0, 1.1]] {
            let with_minima = with_minima(all_integers(kind, scales), minima);
            let (group, values) = (with_minima.group, with_minima.to_f32());
            for (at, value) in values.iter().enumerate() {
                let (row, column) = (at / with_minima.columns, at % with_minima.columns);
                let q = with_minima.integer(row, column);
                assert!(kind == IntegerBits::Eight || (0..16).contains(&q));
                let meant = Hardware::fma(with_minima.scales[at / group], q.into(), -with_minima.minima[at / group]);
                assert_eq!(value.to_bits(), meant.to_bits());
            }
            for level in levels() {
                let packed = PackedMatrix::from_quantized_columns(level, &with_minima);
                for row in [0, 36] {
                    assert_eq!(bits(&packed.column(row)), bits(&values[row * 96..][..96]));
                }
            }
            check_quantized(&with_minima);
        }
        // An odd number of panels, more than one block of k.
        for shape in [(67, 288), (131, 384)] {
            check_quantized(&with_minima(integers_of(kind, scales, shape), &[0.25, -0.7, 0.0]));
        }
    }
}

fn with_minima(plain: QuantizedRows, minima: &[f32]) -> QuantizedRows {
    let minima: Vec<f32> = minima.iter().copied().cycle().take(plain.scales.len()).collect();
    QuantizedRows { minima, ..plain }
}

#[test]
fn any_scale_and_integer_is_multiplied_as_in_f32() {
    let tiny = f32::MIN_POSITIVE;
    for bits in [IntegerBits::Four, IntegerBits::Eight] {
        for scales in [
            &[0.5, -0.37, 0.0, -0.0, 3e30, -1e-28][..],
            &[tiny * 3.7 * (1 << 28) as f32, -tiny * (1 << 28) as f32],
            // These lose bits where they are divided by 2^28.
            &[tiny * 1.9 * (1 << 27) as f32, -1e-40, f32::from_bits(1), tiny, 0.25],
        ] {
            check_quantized(&all_integers(bits, scales));
        }
    }
}

#[test]
fn products_of_one_left_side_are_those_one_by_one_with_their_biases_added() {
    let mut random = SplitMix(11);
    // The last takes its left side in two pieces.
    for (m, k) in [(1, 256), (1, 900), (3, 70), (5, 300), (130, 64), (3, 0), (385, 5400)] {
        let a = random.uniforms(m * k);
        for level in levels() {
            let columns = if m > 300 { vec![33] } else { vec![1, 700, 33, 512] };
            let right: Vec<(PackedMatrix, Option<Vec<f32>>)> = columns
                .into_iter()
                .map(|n| {
                    let bias = (n != 512).then(|| random.uniforms(n));
                    (PackedMatrix::from_rows(level, &random.uniforms(k * n), k, n), bias)
                })
                .collect();
            let empty = || right.iter().map(|(b, _)| vec![f32::NAN; m * b.n()]).collect::<Vec<_>>();
            let mut want = empty();
            for ((b, bias), c) in right.iter().zip(&mut want) {
                product(level, &a, m, b, c);
                if let Some(bias) = bias {
                    reference::add_bias(c, bias);
                }
            }
            let all = |c: &[Vec<f32>]| c.iter().map(|c| bits(c)).collect::<Vec<_>>();
            for threads in [1, 2, 5, 16] {
                let mut got = empty();
                let right = right.iter().zip(&mut got).map(|((b, bias), c)| (b, bias.as_deref(), &mut **c)).collect();
                pool(threads).install(|| products(level, &a, m, right));
                assert_eq!(all(&got), all(&want), "{m} rows of {k} at {level:?} on {threads} threads");
            }
        }
    }
}
