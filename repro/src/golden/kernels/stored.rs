//! Products over weights as they are stored, NUMERICS sections 1.6 and 12: what a form means, and both passes over it.

use kolm_runtime::kernel::{fma, reference};

use super::{Case, Input};

/// Makes the vectors: few rows, which pass the stored form itself, and more, which pass what it was widened to.
pub(super) fn products(cases: &mut Vec<Case>) {
    let (k, n, group) = (320, 35, 32);
    for form in ["f16", "int8", "int4", "int8 minima", "int4 minima"] {
        for m in [1, 2, 3, 7] {
            let (a, d, w) = (Input::uniform(80, m * k), Input::uniform(81, m * n), Input::uniform(82, n * k));
            let minima = Input::uniform(83, n * k / group);
            let values = values_of(form, k, group, &w.values(), &minima.values());
            let (mut y, mut gradient) = (vec![0.0; m * n], vec![0.0; m * k]);
            reference::product_by_transpose(&a.values(), m, &values, k, n, &mut y);
            reference::product(&d.values(), m, &values, n, k, &mut gradient);
            let mut case = Case::new("stored_product", format!("{form} {m} rows"));
            case.parameters.insert("form", form.to_owned());
            case = case.shape(&[("m", m), ("k", k), ("n", n)]).input("a", a).input("d", d).input("w", w);
            if form != "f16" {
                case = case.shape(&[("group", group)]);
            }
            if form.ends_with("minima") {
                case = case.input("minima", minima);
            }
            cases.push(case.output("values", &values).output("y", &y).output("gradient", &gradient));
        }
    }
}

/// What the rows of `w`, `k` long, mean when they are stored as `form`.
fn values_of(form: &str, k: usize, group: usize, w: &[f32], minima: &[f32]) -> Vec<f32> {
    if form == "f16" {
        let row = |(i, row): (usize, &[f32])| row.iter().map(|x| reference::f16(x * down(i))).collect::<Vec<f32>>();
        return w.chunks(k).enumerate().flat_map(row).collect();
    }
    let (limit, excess) = if form.starts_with("int8") { (127.0, 0.0) } else { (7.0, 8.0) };
    let (scales, integers) = reference::quantize(w, group, limit);
    let value = |(at, q): (usize, &f32)| match form.ends_with("minima") {
        true => fma(scales[at / group], q + excess, -minima[at / group]),
        false => scales[at / group] * q,
    };
    integers.iter().enumerate().map(value).collect()
}

/// 2^-i, so that the rows reach the subnormal f16 and beyond.
fn down(i: usize) -> f32 {
    1.0 / (1_u64 << i) as f32
}
