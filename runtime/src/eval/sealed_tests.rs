//! A whole artifact over the small random models: sealed, verified with its replay, served.

use std::fs;
use std::path::Path;

use super::fixture::{self, Files, Model};
use super::{Case, Metric, Outcome, Pack, Ppm, Served, run};
use crate::artifact::{
    AdapterPlan, Architecture, ArtifactFile, BasePlan, Columns, Content, CorpusFile, CorpusPlan, CorpusRole,
    Duplicates, EncoderPlan, EvalPlan, Measured, Member, Opened, OperatorKey, Overlong, Plan, Pooling, RecallContent,
    RecallPlan, RecallUse, Rows, Schedule, SplitMethod, SplitPlan, Task, TemplatePlan, TemplateSource, Timestamp, Tool,
    TrainPlan, WeightType, encode, seal,
};
use crate::kernel::Level;
use crate::model::{Encoder, ModelSource, TextTokenizer};
use crate::recall::{Passage, RecallIndex, VectorType, Vectors};
use crate::verify::{ModelPlaces, ReplayWith, Verification, verify};

const TEMPLATE: &str = "{% for passage in context %}{{ passage }} w38 {% endfor %}{{ prompt }} w39";

/// The two models on disk, and everything an artifact over them holds.
struct Sealed {
    _folder: tempfile::TempDir,
    places: ModelPlaces,
    model: Model,
    encoder: ModelSource,
    content: Content,
    measured: Measured,
}

fn write(folder: &Path, files: Files) {
    for (name, bytes) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

fn text(row: u32) -> String {
    format!("w{} w{} w{}", row % 38, (row * 7 + 3) % 38, (row * 5 + 1) % 38)
}

fn index(encoder: &ModelSource, kind: VectorType) -> RecallIndex {
    let level = Level::detect();
    let loaded = Encoder::load(level, encoder).unwrap();
    let tokenizer = TextTokenizer::load(encoder, 42, &[]).unwrap();
    let rows: Vec<Passage> = (0..9)
        .map(|row| Passage { id: format!("row {row}"), text: text(row), answer: format!("w{}", row % 3) })
        .collect();
    let texts: Vec<&str> = rows.iter().map(|row| row.text.as_str()).collect();
    let mut vectors = Vectors::new(kind, loaded.hidden_size());
    vectors.extend(level, &loaded.embed_texts(&tokenizer, &texts).unwrap().concat()).unwrap();
    RecallIndex::of_vectors(level, vectors, rows).unwrap()
}

/// Seven label cases, recall in the given use; the pack's prompts are what serving must render.
fn sealed(usage: RecallUse) -> Sealed {
    sealed_as(usage, VectorType::F32)
}

fn sealed_as(usage: RecallUse, kind: VectorType) -> Sealed {
    let folder = tempfile::tempdir().unwrap();
    let (base, encoder) = (folder.path().join("base"), folder.path().join("encoder"));
    write(&base, fixture::decoder_files());
    write(&encoder, fixture::encoder_files());
    let model = fixture::model(Level::detect());
    let (base_source, encoder_source) = (ModelSource::folder(&base).unwrap(), ModelSource::folder(&encoder).unwrap());
    let index = index(&encoder_source, kind);
    let loaded = Encoder::load(Level::detect(), &encoder_source).unwrap();
    let tokenizer = TextTokenizer::load(&encoder_source, 42, &[]).unwrap();
    let case = |row: u32| {
        let query = loaded.embed_texts(&tokenizer, &[&text(row)]).unwrap().concat();
        let hits = index.search(Level::detect(), &query, 2, &|_| false).unwrap();
        let context = if usage == RecallUse::Context { index.context(&hits) } else { Vec::new() };
        let context: String = context.iter().map(|passage| format!("{passage} w38 ")).collect();
        let prompt = format!("{context}{} w39", text(row));
        Case { id: format!("case {row}"), prompt, expected: format!("w{}", row % 3), weight: 1, metric: Metric::Label }
    };
    let labels: Vec<String> = (0..3).map(|label| format!("w{label}")).collect();
    let pack = Pack::new(Some(labels.clone()), 4, (20..27).map(case).collect()).unwrap();
    let outcome = run(&model.decoder, &model.tokenizer, Some(&model.adapter), &pack, &mut |_, _| ()).unwrap();
    let members = index.members().unwrap();
    let content = Content {
        task: Task {
            format: Task::FORMAT.to_owned(),
            name: "queues".to_owned(),
            version: "1.0.0".to_owned(),
            description: "test".to_owned(),
        },
        plan: Plan { recall: Some(recall_plan(usage, kind, &encoder_source)), ..plan(&base_source, labels) },
        adapter_config: model.adapter.config.to_json("test/decoder"),
        adapter_model: model.adapter.to_safetensors().unwrap(),
        recall: Some(RecallContent { config: members.config, vectors: members.vectors, passages: members.passages }),
        eval_pack: pack.bytes().to_vec(),
        eval_replay: outcome.bytes().unwrap(),
        training_trace: b"{\"step\":1}\n".to_vec(),
    };
    let measured = Measured {
        created: Timestamp::from_unix(1_790_000_000).unwrap(),
        tool: Tool { name: "kolm".to_owned(), version: "0.1.0".to_owned() },
        k: outcome.k.to_string(),
        k_base: "0.100000".to_owned(),
        k_majority: "0.100000".to_owned(),
        wilson_low: outcome.wilson.0.to_string(),
        wilson_high: outcome.wilson.1.to_string(),
        replay_digest: outcome.replay_digest,
        recall_at_k: Some("0.500000".to_owned()),
        final_loss: None,
        supersedes: None,
    };
    let places = ModelPlaces { base: Some(base), encoder: Some(encoder), cache: None };
    Sealed { _folder: folder, places, model, encoder: encoder_source, content, measured }
}

fn recall_plan(usage: RecallUse, kind: VectorType, encoder: &ModelSource) -> RecallPlan {
    RecallPlan {
        encoder: EncoderPlan {
            repo: encoder.repo().to_owned(),
            revision: encoder.revision().to_owned(),
            dtype: WeightType::F32,
            pooling: Pooling::Mean,
            files: encoder.identities().unwrap(),
        },
        k: 2,
        usage,
        passages: 9,
        vectors: (kind != VectorType::F32).then_some(kind),
        lists: None,
    }
}

fn plan(base: &ModelSource, labels: Vec<String>) -> Plan {
    let hash = "ab".repeat(32);
    let number = |text: &str| text.to_owned();
    Plan {
        format: Plan::FORMAT.to_owned(),
        numerics: Plan::NUMERICS.to_owned(),
        seed: number("0"),
        task: TemplatePlan { template: TEMPLATE.to_owned(), template_source: TemplateSource::Job },
        base: BasePlan {
            repo: base.repo().to_owned(),
            revision: base.revision().to_owned(),
            dtype: WeightType::F32,
            architecture: Architecture::Qwen2,
            files: base.identities().unwrap(),
            source: None,
        },
        corpus: CorpusPlan {
            files: vec![CorpusFile { role: CorpusRole::Train, sha256: hash.clone(), size: 1, rows: 16 }],
            columns: Columns { id: None, prompt: number("text"), completion: number("queue"), split: None },
            overlong: Overlong::Drop,
            duplicates: Duplicates::Drop,
            rows: Rows { read: 16, train: 9, eval: 7, dropped: 0 },
            train_sha256: hash.clone(),
            eval_sha256: hash.clone(),
            scan_sha256: hash,
        },
        split: SplitPlan { method: SplitMethod::Hash, eval_cases: 7, train: None, eval: None },
        adapter: AdapterPlan {
            rank: 4,
            alpha: 8,
            targets: vec![number("down_proj"), number("q_proj")],
            init_sha256: None,
        },
        train: TrainPlan {
            steps: 1,
            epochs: number("1"),
            batch_size: 4,
            learning_rate: number("0.001"),
            warmup_steps: 0,
            schedule: Schedule::Linear,
            beta1: number("0.9"),
            beta2: number("0.999"),
            epsilon: number("0.00000001"),
            weight_decay: number("0"),
            clip_norm: number("1"),
            max_length: 64,
        },
        recall: None,
        eval: EvalPlan {
            metric: number("label"),
            labels: Some(labels),
            cases: 7,
            gate: number("0.000000"),
            max_new_tokens: 4,
        },
    }
}

fn key() -> OperatorKey {
    OperatorKey::from_bytes([7; 32])
}

impl Sealed {
    fn bytes(&self) -> Vec<u8> {
        encode(&seal(&self.content, &self.measured, &key()).unwrap()).unwrap()
    }

    fn verify(&self) -> Verification {
        let with = ReplayWith { level: Level::detect(), progress: &mut |_, _| () };
        verify(ArtifactFile::from_bytes(self.bytes()), |_| Ok(key()), &self.places, Some(with), &mut |_| Ok(true))
    }

    fn outcome(&self) -> (Pack, Outcome) {
        let pack = Pack::parse(&self.content.eval_pack).unwrap();
        let outcome = Outcome::parse(&pack, &self.content.eval_replay).unwrap();
        (pack, outcome)
    }

    /// Seals other answers than the model gives, as a forger with the key would.
    fn forge(&mut self, change: impl FnOnce(&mut Vec<super::CaseResult>)) {
        let (pack, outcome) = self.outcome();
        let mut results = outcome.results;
        change(&mut results);
        let forged = Outcome::new(&pack, results);
        self.content.eval_replay = forged.bytes().unwrap();
        self.measured.k = forged.k.to_string();
        self.measured.wilson_low = forged.wilson.0.to_string();
        self.measured.wilson_high = forged.wilson.1.to_string();
        self.measured.replay_digest = forged.replay_digest;
    }
}

#[test]
fn an_artifact_verifies_with_its_replay() {
    for usage in [RecallUse::Context, RecallUse::Cite] {
        let sealed = sealed(usage);
        let verification = sealed.verify();
        assert!(verification.failure().is_none(), "{:?}", verification.failure());
        assert_eq!(verification.replayed.unwrap().replay_digest, sealed.measured.replay_digest);
    }
}

#[test]
fn an_index_of_another_type_than_the_plan_says_is_refused() {
    for kind in VectorType::ALL {
        let mut sealed = sealed_as(RecallUse::Context, kind);
        assert!(sealed.verify().failure().is_none(), "{:?}", sealed.verify().failure());
        let planned = &mut sealed.content.plan.recall.as_mut().unwrap().vectors;
        *planned = if kind == VectorType::F16 { None } else { Some(VectorType::F16) };
        let verification = sealed.verify();
        let failure = verification.failure().unwrap();
        assert_eq!(failure.code(), "members_disagree");
        assert!(failure.to_string().contains("type of vectors"), "{failure}");
        let recall = sealed.content.plan.recall.as_mut().unwrap();
        (recall.vectors, recall.lists) = (Some(kind).filter(|kind| *kind != VectorType::F32), Some(2));
        let verification = sealed.verify();
        assert!(verification.failure().unwrap().to_string().contains("number of lists"), "{kind:?}");
        sealed.content.plan.recall.as_mut().unwrap().vectors = Some(VectorType::F32);
        let refused = seal(&sealed.content, &sealed.measured, &key()).unwrap_err();
        assert!(refused.to_string().contains("recall.vectors"), "{refused}");
    }
}

#[test]
fn a_forged_replay_is_refused_with_the_case_and_token_named() {
    let mut forged = sealed(RecallUse::Cite);
    forged.forge(|results| results[3].tokens[0] = 17);
    let verification = forged.verify();
    let failure = verification.failure().unwrap();
    assert_eq!(failure.code(), "replay_case");
    let message = failure.to_string();
    assert!(message.contains("case 23") && message.contains("token 17"), "{message}");

    let mut forged = sealed(RecallUse::Cite);
    forged.forge(|results| results.iter_mut().for_each(|result| result.score = Ppm::ONE));
    let verification = forged.verify();
    let failure = verification.failure().unwrap();
    assert_eq!(failure.code(), "replay_score");
    let (_, outcome) = sealed(RecallUse::Cite).outcome();
    let drifted = outcome.results.iter().find(|result| result.score != Ppm::ONE).unwrap();
    assert!(failure.to_string().contains(&drifted.id), "{failure}");
}

#[test]
fn serving_answers_as_the_pack_was_answered_and_cites() {
    for usage in [RecallUse::Context, RecallUse::Cite] {
        let sealed = sealed(usage);
        let opened = Opened::new(ArtifactFile::from_bytes(sealed.bytes()).unwrap()).unwrap();
        let served = Served::load(Level::detect(), &opened, &sealed.model.source, Some(&sealed.encoder)).unwrap();
        let responder = served.responder().unwrap();
        let (_, outcome) = sealed.outcome();
        for (row, result) in (20..27).zip(outcome.results) {
            let response = responder.answer(&text(row)).unwrap();
            assert_eq!((response.answer.text, response.answer.tokens), (result.answer, result.tokens));
            assert_eq!(response.passages.len(), 2);
            assert!(response.passages[0].cosine >= response.passages[1].cosine);
        }
        let own = responder.answer(&text(4)).unwrap().passages;
        assert_eq!(
            (own[0].id.as_str(), own[0].text.as_str(), own[0].answer.as_str()),
            ("row 4", text(4).as_str(), "w1")
        );
    }
}

#[test]
fn an_artifact_below_its_gate_or_without_its_encoder_does_not_serve() {
    let mut sealed = sealed(RecallUse::Cite);
    let load = |sealed: &Sealed, encoder: bool| {
        let opened = Opened::new(ArtifactFile::from_bytes(sealed.bytes()).unwrap()).unwrap();
        let encoder = encoder.then_some(&sealed.encoder);
        Served::load(Level::detect(), &opened, &sealed.model.source, encoder).err().map(|error| error.code())
    };
    assert_eq!(load(&sealed, true), None);
    assert_eq!(load(&sealed, false), Some("encoder_absent"));
    sealed.content.plan.eval.gate = "1.000000".to_owned();
    assert_eq!(load(&sealed, true), Some("gate_not_met"));
}

#[test]
fn members_other_than_the_manifest_lists_are_not_served() {
    let sealed = sealed(RecallUse::Cite);
    let load = |member: Member| {
        let mut members = seal(&sealed.content, &sealed.measured, &key()).unwrap();
        let mut bytes = members.remove(member).unwrap();
        *bytes.iter_mut().rev().nth(3).unwrap() ^= 1;
        members.insert(member, bytes);
        let opened = Opened::new(ArtifactFile::from_bytes(encode(&members).unwrap()).unwrap()).unwrap();
        let served = Served::load(Level::detect(), &opened, &sealed.model.source, Some(&sealed.encoder));
        served.err().map(|error| error.code())
    };
    for member in [Member::AdapterConfig, Member::AdapterModel, Member::EvalPack, Member::RecallVectors] {
        assert_eq!(load(member), Some("member_hash"), "{}", member.name());
    }
}

#[test]
fn a_recall_index_that_is_not_sound_fails_the_schema() {
    let check = |change: fn(&mut RecallContent), code: &str| {
        let mut sealed = sealed(RecallUse::Cite);
        change(sealed.content.recall.as_mut().unwrap());
        let verification = sealed.verify();
        assert_eq!(verification.failure().map(|error| error.code()), Some(code));
        assert!(!verification.checks[0].outcome.passed());
    };
    check(|recall| recall.vectors.truncate(recall.vectors.len() - 4), "eval");
    check(|recall| recall.passages.truncate(recall.passages.len() - 1), "json_syntax");
    check(|recall| recall.config = br#"{"dimension":32,"format":"kolm-recall-1","passages":8}"#.to_vec(), "eval");
}
