use std::path::Path;

use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<Job, JobError> {
    Job::parse(text, Path::new("jobs/kolm.toml"))
}

/// Expects the refusal `code`, whose message holds every one of `parts`.
fn refused(text: &str, code: &str, parts: &[&str]) {
    let error = parse(text).expect_err(text);
    let message = error.to_string();
    assert_eq!(error.code(), code, "{message}");
    for part in parts {
        assert!(message.contains(part), "{message:?} lacks {part:?}");
    }
}

const LEAST: &str = "[task]\nname = \"queue\"\n";

#[test]
fn defaults_are_those_of_the_book() {
    let job = parse(LEAST).unwrap();
    assert_eq!((job.task.name.as_str(), job.task.version.as_str()), ("queue", "0.1.0"));
    assert_eq!((job.base.model.as_str(), &job.base.revision), ("kolm/nano", &None));
    assert_eq!((job.adapter.rank, job.adapter.alpha), (16, 32));
    assert_eq!(job.adapter.targets, ["o_proj", "q_proj", "v_proj"]);
    let train = &job.train;
    assert_eq!((train.seed, train.epochs, train.steps, train.batch_size, train.micro_batch), (0, 3, None, 8, None));
    assert_eq!((train.max_length, train.checkpoint_every), (256, 50));
    let numbers =
        [&train.learning_rate, &train.beta1, &train.beta2, &train.epsilon, &train.weight_decay, &train.clip_norm];
    assert_eq!(numbers.map(Decimal::as_str), ["0.001", "0.9", "0.999", "0.00000001", "0.01", "1"]);
    assert_eq!(
        (job.recall.usage, job.recall.k, job.recall.encoder.as_str()),
        (RecallUse::Cite, 3, "kolm/nano-encoder")
    );
    assert_eq!(
        (job.eval.metric, job.eval.cases, job.eval.gate_ppm(), job.eval.max_new_tokens),
        (Metric::Label, 128, 850_000, 64)
    );
    assert_eq!(job.corpus.identifiers, Identifiers::Stop);
    assert_eq!(job.resolve("a.parquet"), Path::new("jobs/a.parquet"));
}

#[test]
fn the_commented_job_parses_and_its_comments_are_the_defaults() {
    let written = commented("queue");
    let job = parse(&written).unwrap();
    assert_eq!(job.corpus.train, ["train.parquet"]);
    // Uncomment each key that has a default; the others are examples.
    let examples = ["template", "revision", "eval", "id", "split", "init", "steps", "warmup_steps", "labels"];
    let uncomment = |line: &str| {
        let key = line.strip_prefix("# ").and_then(|rest| rest.split_once(" = "));
        let taken = key.is_some_and(|(key, _)| !key.contains(' ') && !examples.contains(&key));
        if taken { line[2..].to_owned() } else { line.to_owned() }
    };
    let explicit: Vec<String> = written.lines().map(uncomment).collect();
    assert!(
        explicit.len() > 50
            && explicit.iter().filter(|line| line.contains(" = ") && !line.starts_with('#')).count() > 30
    );
    assert_eq!(parse(&explicit.join("\n")).unwrap(), job);
}

#[test]
fn every_value_can_be_set() {
    let text = r#"
        [task]
        name = "a"
        version = "2.0.0-rc.1+x"
        description = "d"
        template = "{{ prompt }}"
        [base]
        model = "org/model"
        revision = "abc"
        [corpus]
        train = ["a", "b"]
        eval = ["c"]
        id = "i"
        prompt = "p"
        completion = "c"
        overlong = "truncate"
        duplicates = "error"
        identifiers = "allow"
        [adapter]
        rank = 0x10
        alpha = 1_0
        targets = ["v_proj", "k_proj"]
        init = "peft"
        [train]
        seed = 9
        steps = 6
        batch_size = 4
        micro_batch = 2
        learning_rate = 2e-3
        warmup_steps = 0
        schedule = "constant"
        clip_norm = 0
        [recall]
        use = "off"
        vectors = "int8"
        lists = 64
        [eval]
        metric = "rouge_l"
        gate = 0
    "#;
    let job = parse(text).unwrap();
    assert_eq!(
        (job.adapter.rank, job.adapter.alpha, job.adapter.targets.join(" ")),
        (16, 10, "k_proj v_proj".to_owned())
    );
    assert_eq!((job.train.steps_for(48), job.train.warmup_for(6), job.train.learning_rate.as_str()), (6, 0, "0.002"));
    assert_eq!((job.train.clip_norm.as_str(), job.eval.gate_ppm(), job.eval.metric.name()), ("0", 0, "rouge_l"));
    assert_eq!((job.recall.usage, job.recall.vectors.name()), (RecallUse::Off, "int8"));
    assert_eq!((job.recall.lists, job.recall.lists_for(3_000_000)), (Some(64), Some(64)));
}

#[test]
fn a_large_index_has_lists_unless_the_job_says_otherwise() {
    let lists = |text: &str, passages| parse(&format!("{LEAST}[recall]\n{text}\n")).unwrap().recall.lists_for(passages);
    assert_eq!(
        [1, 1 << 20, (1 << 20) + 1, 5_000_000].map(|count| lists("", count)),
        [None, None, Some(1024), Some(4096)]
    );
    assert_eq!(lists("lists = \"auto\"", 1 << 22), Some(2048));
    assert_eq!(lists("lists = 0", 5_000_000), None);
}

#[test]
fn steps_follow_from_rows_and_epochs() {
    let train = parse(LEAST).unwrap().train;
    assert_eq!(train.steps_for(1600), 600);
    assert_eq!(train.steps_for(17), 9);
    assert_eq!((train.warmup_for(600), train.warmup_for(6)), (60, 1));
}

#[test]
fn unknown_names_get_the_nearest_known_one_and_a_line() {
    refused(
        "[task]\nname = \"a\"\nverison = \"1\"\n",
        "job_unknown_key",
        &["kolm.toml:3", "`verison`", "[task]", "`version`"],
    );
    refused("[task]\nname = \"a\"\n\n[trian]\n", "job_unknown_section", &["kolm.toml:4", "`trian`", "`train`"]);
    refused("[task]\nname = \"a\"\n[train]\nrank = 4\n", "job_unknown_key", &[":4", "`adapter.rank`"]);
    refused("[task]\nname = \"a\"\n[train]\nlr = 4\n", "job_unknown_key", &["`lr`", "nearest"]);
    refused("name = \"a\"\n", "job_unknown_section", &[":1", "`name`"]);
}

#[test]
fn wrong_types_say_what_was_found() {
    refused("task = 3\n", "job_wrong_type", &[":1", "a whole number", "a section"]);
    refused("[task]\nname = 3\n", "job_wrong_type", &[":2", "task.name", "a whole number", "a string"]);
    refused(
        "[task]\nname = \"a\"\n[adapter]\nrank = \"16\"\n",
        "job_wrong_type",
        &["adapter.rank", "a string", "a whole number"],
    );
    refused(
        "[task]\nname = \"a\"\n[corpus]\ntrain = \"x\"\n",
        "job_wrong_type",
        &["corpus.train", "an array of strings"],
    );
    refused("[task]\nname = \"a\"\n[corpus]\ntrain = [1]\n", "job_wrong_type", &["corpus.train"]);
    refused("[task]\nname = \"a\"\n[train]\nlearning_rate = true\n", "job_wrong_type", &["a boolean", "a number"]);
    refused("[task\nname", "job_syntax", &[":1"]);
}

#[test]
fn values_out_of_bounds_are_refused() {
    for (section, line, parts) in [
        ("task", "name = \"../up\"", &["\"../up\"", "letters"][..]),
        ("task", "name = \"\"", &["letters"]),
        ("adapter", "rank = 0", &["adapter.rank", "found 0", "from 1"]),
        ("adapter", "rank = -1", &["found -1"]),
        ("adapter", "targets = []", &["adapter.targets"]),
        ("adapter", "targets = [\"qproj\"]", &["\"qproj\"", "q_proj"]),
        ("train", "batch_size = 0", &["train.batch_size"]),
        ("train", "micro_batch = 0", &["train.micro_batch"]),
        ("train", "learning_rate = nan", &["nan"]),
        ("train", "learning_rate = 0.0", &["above 0"]),
        ("train", "epsilon = inf", &["inf"]),
        ("train", "beta1 = 1.0", &["below 1"]),
        ("train", "schedule = \"cosine\"", &["\"cosine\"", "linear, constant"]),
        ("eval", "gate = 1.01", &["eval.gate", "1.01", "from 0 to 1"]),
        ("eval", "gate = -0.1", &["eval.gate"]),
        ("eval", "gate = 0.1234567", &["six decimals"]),
        ("eval", "cases = 0", &["eval.cases", "from 1"]),
        ("eval", "labels = []", &["at least two labels"]),
        ("eval", "labels = [\"a\", \"\"]", &["none of them empty"]),
        ("eval", "labels = [\"a\", \"b\", \"a\"]", &["\"a\" twice"]),
        ("eval", "metric = \"f1\"", &["one of label"]),
        ("recall", "k = 0", &["recall.k"]),
        ("corpus", "prompt = \" \"", &["corpus.prompt", "empty"]),
        ("corpus", "train = []", &["corpus.train"]),
    ] {
        let name = if section == "task" { "" } else { LEAST };
        refused(&format!("{name}[{section}]\n{line}\n"), "job_bad_value", parts);
    }
    refused("", "job_missing_key", &["task.name"]);
    refused(&format!("{LEAST}[train]\nsteps = 3\nepochs = 1\n"), "job_conflict", &["train.steps", "train.epochs"]);
    refused(&format!("{LEAST}[corpus]\neval = [\"e\"]\nsplit = \"s\"\n"), "job_conflict", &["corpus.eval"]);
    refused(
        &format!("{LEAST}[eval]\nmetric = \"json\"\nlabels = [\"a\", \"b\"]\n"),
        "job_bad_value",
        &["only for the metric label"],
    );
}

#[test]
fn every_job_file_of_the_repository_parses() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpora");
    let mut files = vec![corpora.join("support_tickets/kolm.toml"), corpora.join("micro/kolm.toml")];
    let jobs = std::fs::read_dir(corpora.join("jobs")).unwrap().map(|entry| entry.unwrap().path());
    files.extend(jobs.filter(|file| file.extension().is_some_and(|extension| extension == "toml")));
    assert!(files.len() >= 8);
    for file in files {
        let job = Job::read(&file).unwrap_or_else(|error| panic!("{error}"));
        for named in job.corpus.train.iter().chain(&job.corpus.eval) {
            assert!(job.resolve(named).is_file(), "{}: {named}", file.display());
        }
    }
}

#[test]
fn a_file_that_is_no_text_is_no_job() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("train.parquet");
    let read = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        Job::read(&path).unwrap_err()
    };
    for bytes in [&b"PAR1\x15\x04\x15\x80\x01"[..], &b"[task]\nname = \"\xc3"[..]] {
        let error = read(bytes);
        let message = error.to_string();
        assert_eq!((error.code(), error.exit_code()), ("job_not_text", 2), "{message}");
        assert!(message.contains("train.parquet: not text") && message.contains("expected a job file"), "{message}");
    }
    let mut long = b"PAR1\x15\x80".to_vec();
    long.resize(3 << 20, 0);
    assert_eq!(read(&long).code(), "job_not_text");
    // Text that is cut inside a character is too long all the same.
    assert_eq!(read(format!("#{}", "\u{e9}".repeat(1 << 20)).as_bytes()).code(), "job_too_long");
}

#[test]
fn a_missing_file_is_a_missing_input() {
    let folder = tempfile::tempdir().unwrap();
    let error = Job::read(&folder.path().join("kolm.toml")).unwrap_err();
    assert_eq!((error.code(), error.exit_code()), ("job_not_found", 4));
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC*") {
        let _ = parse(&text);
    }

    #[test]
    fn no_value_makes_the_parser_panic(key in 0..40usize, value in "[-+0-9a-z\"\\[\\]{},._ ]{0,12}") {
        let all: Vec<(&str, &str)> = SECTIONS.iter().flat_map(|(section, keys)| keys.iter().map(move |key| (*section, *key))).collect();
        let (section, key) = all[key % all.len()];
        if let Err(error) = parse(&format!("[{section}]\n{key} = {value}\n")) {
            prop_assert!(error.to_string().contains("kolm.toml"));
        }
    }

    #[test]
    fn whole_numbers_and_shares_read_back(rank in 1u64..=1024, steps in 1u64..100_000, gate in 0u32..=1_000_000, rate in 1e-9f64..10.0) {
        let share = format!("{}.{:06}", gate / 1_000_000, gate % 1_000_000);
        let job = parse(&format!(
            "{LEAST}[adapter]\nrank = {rank}\n[train]\nsteps = {steps}\nlearning_rate = {rate:?}\n[eval]\ngate = {share}\n"
        )).unwrap();
        prop_assert_eq!((job.adapter.rank, job.train.steps, job.eval.gate_ppm()), (rank, Some(steps), gate));
        prop_assert_eq!(job.train.learning_rate.value(), rate);
        prop_assert!(!job.train.learning_rate.as_str().contains(['e', 'E']));
    }

    #[test]
    fn a_misspelt_key_is_always_named(section in 0..7usize, suffix in "[a-z]{1,4}") {
        let (name, keys) = SECTIONS[section];
        let misspelt = format!("{}zz{suffix}", keys[0]);
        let before = if name == "task" { "" } else { LEAST };
        let error = parse(&format!("{before}[{name}]\n{misspelt} = 1\n")).unwrap_err();
        prop_assert_eq!(error.code(), "job_unknown_key");
        prop_assert!(error.to_string().contains(&misspelt));
    }
}
