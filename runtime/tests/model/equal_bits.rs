//! Prefill, any batch and decode with a cache give equal bits; so do the levels of this CPU.

use kolm_runtime::kernel::Level;
use kolm_runtime::model::{Adapter, AdapterConfig, Decoder, Encoder, EncoderConfig, ModelSource, Step, Target};

use crate::fixtures::{golden, tiny};

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn tokens(count: usize, salt: usize) -> Vec<u32> {
    (0..count).map(|i| ((i * 7 + i * i * 3 + salt * 11) % 50) as u32).collect()
}

fn adapter(model: &Decoder) -> Adapter {
    let targets: Vec<String> = Target::ALL.iter().map(|target| target.name().to_owned()).collect();
    let config = AdapterConfig::new(3, 5, &targets).expect("sound");
    let wave = |len: usize, phase: usize| (0..len).map(|i| ((i * 37 + phase * 13) % 19) as f32 / 40.0 - 0.2).collect();
    Adapter::from_factors(model.level, &model.config, config, &mut |layer, target| {
        let (columns, rows) = target.features(&model.config);
        Ok((wave(3 * columns, layer), wave(rows * 3, layer + 5)))
    })
    .expect("sound")
}

fn whole(model: &Decoder, adapter: Option<&Adapter>, tokens: &[u32]) -> Vec<u32> {
    let mut cache = model.new_cache(tokens.len());
    bits(&model.forward(adapter, &mut [Step { tokens, cache: &mut cache }]).expect("fits"))
}

#[test]
fn a_sequence_cut_anywhere_gives_the_bits_of_the_whole() {
    let model = Decoder::load(Level::detect(), &tiny()).expect("loads");
    let lora = adapter(&model);
    let sequence = tokens(530, 1);
    let expected = whole(&model, Some(&lora), &sequence);
    // around the lanes (32), the blocks (256), and one token at a time
    for cuts in [vec![1], vec![31, 32, 33], vec![255, 256, 257], vec![500], (1..530).collect()] {
        let mut cache = model.new_cache(sequence.len());
        let mut found = Vec::new();
        let mut begin = 0;
        for end in cuts.iter().copied().chain([sequence.len()]) {
            let part = &sequence[begin..end];
            found.extend(model.forward(Some(&lora), &mut [Step { tokens: part, cache: &mut cache }]).expect("fits"));
            begin = end;
        }
        assert_eq!(bits(&found), expected, "cut at {:?}", &cuts[..cuts.len().min(3)]);
    }
}

#[test]
fn a_sequence_in_a_batch_gives_the_bits_it_gives_alone() {
    let model = Decoder::load(Level::detect(), &tiny()).expect("loads");
    let lora = adapter(&model);
    let sequences: Vec<Vec<u32>> = [5, 1, 64, 33, 300, 2].iter().enumerate().map(|(i, n)| tokens(*n, i)).collect();
    let mut caches: Vec<_> = sequences.iter().map(|_| model.new_cache(700)).collect();
    let mut steps: Vec<Step<'_>> =
        sequences.iter().zip(&mut caches).map(|(tokens, cache)| Step { tokens, cache }).collect();
    let found = bits(&model.forward(Some(&lora), &mut steps).expect("fits"));
    let alone: Vec<u32> = sequences.iter().flat_map(|tokens| whole(&model, Some(&lora), tokens)).collect();
    assert_eq!(found, alone);

    // continued from caches of different lengths, one of them a clone
    let mut clone = caches[4].clone();
    let next = tokens(3, 9);
    let mut steps: Vec<Step<'_>> = caches.iter_mut().map(|cache| Step { tokens: &next, cache }).collect();
    let rows = bits(&model.forward(Some(&lora), &mut steps).expect("fits"));
    let one = bits(&model.forward(Some(&lora), &mut [Step { tokens: &next, cache: &mut clone }]).expect("fits"));
    let width = next.len() * model.config.hidden;
    assert_eq!(rows[4 * width..5 * width], one);
    let longer = [sequences[4].as_slice(), &next].concat();
    assert_eq!(whole(&model, Some(&lora), &longer)[300 * model.config.hidden..], one);
    clone.truncate(300);
    let again = bits(&model.forward(Some(&lora), &mut [Step { tokens: &next, cache: &mut clone }]).expect("fits"));
    assert_eq!(again, one);
}

#[test]
fn every_level_of_this_cpu_gives_the_same_bits() {
    let sequence = tokens(70, 3);
    let results: Vec<Vec<u32>> = Level::available()
        .into_iter()
        .map(|level| {
            let model = Decoder::load(level, &tiny()).expect("loads");
            let lora = adapter(&model);
            let mut cache = model.new_cache(70);
            let steps = &mut [Step { tokens: &sequence, cache: &mut cache }];
            bits(&model.logits(&model.forward(Some(&lora), steps).expect("fits")))
        })
        .collect();
    assert!(results.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn a_text_in_an_encoder_batch_gives_the_vector_it_gives_alone() {
    let config = br#"{"model_type":"bert","hidden_size":24,"num_hidden_layers":2,"num_attention_heads":3,
        "intermediate_size":40,"vocab_size":50,"max_position_embeddings":80}"#;
    let config = EncoderConfig::parse(config, None, None, "x/MiniLM").expect("sound");
    let mut salt = 0;
    let encoder = Encoder::from_tensors(Level::detect(), config, &mut |_, shape| {
        salt += 1;
        Ok((0..shape.iter().product()).map(|i: usize| ((i * 29 + salt * 17) % 23) as f32 / 30.0 - 0.4).collect())
    })
    .expect("builds");
    let texts: Vec<Vec<u32>> = [9, 1, 70, 33, 2].iter().enumerate().map(|(i, n)| tokens(*n, i)).collect();
    let together = encoder.embed(&texts).expect("fits");
    for (text, vector) in texts.iter().zip(&together) {
        let alone = encoder.embed(std::slice::from_ref(text)).expect("fits");
        assert_eq!(bits(&alone[0]), bits(vector));
        let norm: f32 = vector.iter().map(|x| x * x).fold(0.0, |sum, x| sum + x);
        assert!((norm - 1.0).abs() < 1e-5, "{norm}");
    }
}

#[test]
fn a_folder_has_the_revision_of_its_content() {
    let folder = golden("oracle/qwen2-gqa-untied-sharded-bf16");
    let source = ModelSource::folder(&folder).expect("located");
    assert_eq!(source.repo(), "local/qwen2-gqa-untied-sharded-bf16");
    assert_eq!(source.revision().len(), 40);
    let paths: Vec<String> = source.identities().expect("readable").into_iter().map(|file| file.path).collect();
    let mut expected = vec!["config.json".to_owned(), "generation_config.json".to_owned()];
    expected.extend((1..=3).map(|shard| format!("model-0000{shard}-of-00003.safetensors")));
    expected.push("model.safetensors.index.json".to_owned());
    assert_eq!(paths, expected);
    assert_eq!(tiny().revision(), tiny().revision());
}
