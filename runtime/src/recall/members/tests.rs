use super::*;

fn index() -> RecallIndex {
    let passage = |id: &str| Passage { id: id.to_owned(), text: format!("text of {id}"), answer: String::new() };
    let vectors = vec![1.0, 0.0, 0.6, 0.8, 0.0, -1.0];
    RecallIndex::new(Level::detect(), 2, vectors, ["a", "b", "c"].map(passage).to_vec()).unwrap()
}

fn stored_as(kind: VectorType) -> RecallIndex {
    let (level, index) = (Level::detect(), index());
    let mut vectors = Vectors::new(kind, 2);
    vectors.extend(level, &index.vectors().values(level, 0..3)).unwrap();
    RecallIndex::of_vectors(level, vectors, index.passages().to_vec()).unwrap()
}

fn integers(scales: &[f32], integers: [i8; 6]) -> Vec<u8> {
    let (scale_bytes, integers) = (safetensors::f32_bytes(scales), integers.map(i8::cast_unsigned));
    let tensors: [(_, _, &[usize], &[u8]); 2] =
        [(SCALES, Dtype::F32, &[scales.len()], &scale_bytes), (TENSOR, Dtype::I8, &[3, 2], &integers)];
    safetensors::write(&tensors, None).unwrap()
}

fn check(change: impl FnOnce(&mut RecallMembers), code: &str) {
    let mut members = index().members().unwrap();
    change(&mut members);
    assert_eq!(RecallIndex::parse(Level::detect(), &members).unwrap_err().code(), code);
}

fn tensor(name: &str, shape: &[usize], values: &[f32]) -> Vec<u8> {
    safetensors::write(&[(name, Dtype::F32, shape, &safetensors::f32_bytes(values))], None).unwrap()
}

#[test]
fn members_round_trip() {
    let members = index().members().unwrap();
    assert_eq!(members.config, br#"{"dimension":2,"format":"kolm-recall-1","passages":3}"#);
    assert!(members.passages.starts_with(br#"{"answer":"","id":"a","text":"text of a"}"#));
    assert_eq!(RecallIndex::parse(Level::detect(), &members).unwrap(), index());
}

#[test]
fn members_of_every_type_round_trip_and_say_their_type() {
    for kind in VectorType::ALL {
        let members = stored_as(kind).members().unwrap();
        let config = String::from_utf8(members.config.clone()).unwrap();
        let said = if kind == VectorType::F32 { String::new() } else { format!(",\"vectors\":\"{}\"", kind.name()) };
        assert_eq!(config, format!(r#"{{"dimension":2,"format":"kolm-recall-1","passages":3{said}}}"#));
        assert_eq!(RecallIndex::parse(Level::detect(), &members).unwrap(), stored_as(kind));
    }
    let members = stored_as(VectorType::Int8).members().unwrap();
    let scale = 0.8_f32 / 127.0;
    assert_eq!(members.vectors, integers(&[1.0 / 127.0, scale, 1.0 / 127.0], [127, 0, 95, 127, 0, -127]));
}

#[test]
fn a_type_that_is_not_the_configured_one_is_refused() {
    let explicit = br#"{"dimension":2,"format":"kolm-recall-1","passages":3,"vectors":"f32"}"#;
    check(|members| members.config = explicit.to_vec(), "recall_not_canonical");
    let unknown = br#"{"dimension":2,"format":"kolm-recall-1","passages":3,"vectors":"int4"}"#;
    check(|members| members.config = unknown.to_vec(), "recall_malformed");
    for kind in VectorType::ALL {
        for other in VectorType::ALL.into_iter().filter(|other| *other != kind) {
            let mut members = stored_as(kind).members().unwrap();
            members.vectors = stored_as(other).members().unwrap().vectors;
            assert_eq!(RecallIndex::parse(Level::detect(), &members).unwrap_err().code(), "recall_vectors");
        }
    }
}

#[test]
fn refused_integers_and_halves() {
    let check = |kind: VectorType, vectors: Vec<u8>, code: &str, says: &str| {
        let members = RecallMembers { vectors, ..stored_as(kind).members().unwrap() };
        let error = RecallIndex::parse(Level::detect(), &members).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(says), "{error}");
    };
    let (one, scale) = (1.0 / 127.0, 0.8 / 127.0);
    let good = [127, 0, 95, 127, 0, -127];
    let int8 = |scales: &[f32], values, code, says| check(VectorType::Int8, integers(scales, values), code, says);
    for bad in [f32::NAN, f32::INFINITY, 0.0, -scale, 1e-40] {
        int8(&[one, bad, one], good, "recall_scale", "vector 2");
    }
    int8(
        &[one, scale, one],
        [127, 0, 95, 127, 0, -128],
        "recall_integers",
        "vector 3 has integers of magnitude up to 128",
    );
    int8(
        &[one, scale, one],
        [126, 0, 95, 127, 0, 127],
        "recall_integers",
        "vector 1 has integers of magnitude up to 126",
    );
    for much in [1.1 * scale, 1e30] {
        int8(&[one, much, one], good, "recall_not_unit", "vector 2");
    }
    int8(&[one, scale], good, "recall_mismatch", "scales is 2");
    let matrix = safetensors::write(
        &[
            (SCALES, Dtype::F32, &[3, 1], &safetensors::f32_bytes(&[one, scale, one])),
            (TENSOR, Dtype::I8, &[3, 2], &good.map(i8::cast_unsigned)),
        ],
        None,
    );
    check(VectorType::Int8, matrix.unwrap(), "recall_vectors", "one row of F32");
    let halves = |values: [u16; 6]| {
        let bytes: Vec<u8> = values.iter().flat_map(|half| half.to_le_bytes()).collect();
        safetensors::write(&[(TENSOR, Dtype::F16, &[3, 2], &bytes)], None).unwrap()
    };
    let half = [0x3c00, 0, 0x38cd, 0x3a66, 0, 0xbc00];
    assert_eq!(halves(half), stored_as(VectorType::F16).members().unwrap().vectors);
    for (place, bad) in [(0, 0x7c00), (0, 0x7e00), (0, 0x3c02), (1, 0x3000)] {
        let mut half = half;
        half[place] = bad;
        check(VectorType::F16, halves(half), "recall_not_unit", "vector 1");
    }
}

#[test]
fn refused_members() {
    let swap = |bytes: &mut Vec<u8>, from: &str, to: &str| {
        *bytes = String::from_utf8(bytes.clone()).unwrap().replacen(from, to, 1).into_bytes()
    };
    check(|members| swap(&mut members.config, "recall-1", "recall-2"), "recall_unknown_format");
    check(|members| swap(&mut members.config, ":3", ":4"), "recall_mismatch");
    check(|members| swap(&mut members.config, "\"dimension\":2", "\"dimension\":3"), "recall_mismatch");
    check(|members| swap(&mut members.config, ":3", ":3.0"), "recall_malformed");
    check(|members| members.config.push(b'\n'), "recall_not_canonical");
    check(|members| members.passages.clear(), "recall_empty");
    check(|members| members.passages.truncate(members.passages.len() - 1), "recall_torn_line");
    check(|members| members.passages.push(b'\n'), "recall_malformed");
    check(|members| swap(&mut members.passages, "\"id\":\"b\"", "\"id\":\"a\""), "recall_duplicate_id");
    check(|members| swap(&mut members.passages, "\"id\":\"b\"", "\"id\":\"\""), "recall_empty_field");
    check(|members| swap(&mut members.passages, "text of a", ""), "recall_empty_field");
    check(|members| swap(&mut members.passages, "\"id\":", "\"id\": "), "recall_not_canonical");
    let vectors = [1.0, 0.0, 0.6, 0.8, 0.0, -1.0];
    check(|members| members.vectors = tensor("rows", &[3, 2], &vectors), "recall_vectors");
    check(|members| members.vectors = tensor("vectors", &[6], &vectors), "recall_vectors");
    check(|members| members.vectors = tensor("vectors", &[2, 3], &vectors), "recall_mismatch");
    check(|members| members.vectors = tensor("vectors", &[3, 2], &[1.0, 0.0, 0.6, 0.9, 0.0, -1.0]), "recall_not_unit");
    check(
        |members| members.vectors = tensor("vectors", &[3, 2], &[1.0, 0.0, f32::NAN, 0.8, 0.0, -1.0]),
        "recall_not_unit",
    );
    check(|members| members.vectors.truncate(members.vectors.len() - 1), "model_tensor_offsets");
    check(
        |members| {
            let bytes = safetensors::f32_bytes(&vectors);
            members.vectors =
                safetensors::write(&[(TENSOR, Dtype::F32, &[3, 2], &bytes)], Some(("format", "pt"))).unwrap();
        },
        "recall_vectors",
    );
}
