//! What a plan's values must be, beyond their types.

use std::collections::BTreeSet;

use super::{MEMBER, Plan, SplitMethod};
use crate::artifact::{ArtifactError, rules};
use crate::recall::VectorType;

impl Plan {
    pub(super) fn check(&self) -> Result<(), ArtifactError> {
        rules::format(MEMBER, &self.format, Self::FORMAT)?;
        let numerics = || format!("{:?}", self.numerics);
        rules::require(MEMBER, "numerics", self.numerics == Self::NUMERICS, numerics, Self::NUMERICS)?;
        let seed: Option<u64> = self.seed.parse().ok();
        let spelled = seed.is_some_and(|seed| seed.to_string() == self.seed);
        let found = || format!("{:?}", self.seed);
        rules::require(MEMBER, "seed", spelled, found, "a decimal string of a 64-bit integer")?;
        rules::repository(MEMBER, "base", &self.base.repo, &self.base.revision)?;
        rules::files(MEMBER, "base", &self.base.files)?;
        if let Some(source) = &self.base.source {
            rules::files(MEMBER, "base.source", &source.files)?;
        }
        self.check_corpus()?;
        self.check_adapter()?;
        self.check_train()?;
        if let Some(recall) = &self.recall {
            let encoder = &recall.encoder;
            rules::repository(MEMBER, "recall.encoder", &encoder.repo, &encoder.revision)?;
            rules::files(MEMBER, "recall.encoder", &encoder.files)?;
            positive("recall.k", recall.k)?;
            positive("recall.passages", recall.passages)?;
            positive("recall.lists", recall.lists.unwrap_or(1))?;
            let rounded = recall.vectors != Some(VectorType::F32);
            rules::require(MEMBER, "recall.vectors", rounded, || "\"f32\"".to_owned(), "f16 or int8, absent for f32")?;
        }
        self.check_eval()
    }

    fn check_corpus(&self) -> Result<(), ArtifactError> {
        let corpus = &self.corpus;
        positive("corpus.files", corpus.files.len().try_into().unwrap_or(u64::MAX))?;
        for file in &corpus.files {
            rules::sha256(MEMBER, "corpus.files.sha256", &file.sha256)?;
        }
        let split = &self.split;
        let by_column = split.method == SplitMethod::Column;
        let expected = "a value with the method column, absent with any other";
        for (field, value) in [("split.train", &split.train), ("split.eval", &split.eval)] {
            let found = || value.as_ref().map_or_else(|| "absent".to_owned(), |value| format!("{value:?}"));
            rules::require(MEMBER, field, value.is_some() == by_column, found, expected)?;
        }
        rules::sha256(MEMBER, "corpus.train_sha256", &corpus.train_sha256)?;
        rules::sha256(MEMBER, "corpus.eval_sha256", &corpus.eval_sha256)?;
        rules::sha256(MEMBER, "corpus.scan_sha256", &corpus.scan_sha256)
    }

    fn check_adapter(&self) -> Result<(), ArtifactError> {
        let adapter = &self.adapter;
        positive("adapter.rank", adapter.rank)?;
        positive("adapter.alpha", adapter.alpha)?;
        sorted_names("adapter.targets", &adapter.targets)?;
        match &adapter.init_sha256 {
            Some(sha256) => rules::sha256(MEMBER, "adapter.init_sha256", sha256),
            None => Ok(()),
        }
    }

    fn check_train(&self) -> Result<(), ArtifactError> {
        let train = &self.train;
        positive("train.batch_size", train.batch_size)?;
        positive("train.max_length", train.max_length)?;
        for (field, value) in [
            ("train.epochs", &train.epochs),
            ("train.learning_rate", &train.learning_rate),
            ("train.beta1", &train.beta1),
            ("train.beta2", &train.beta2),
            ("train.epsilon", &train.epsilon),
            ("train.weight_decay", &train.weight_decay),
            ("train.clip_norm", &train.clip_norm),
        ] {
            rules::decimal(MEMBER, field, value)?;
        }
        Ok(())
    }

    fn check_eval(&self) -> Result<(), ArtifactError> {
        let eval = &self.eval;
        let metric = eval.metric.as_str();
        let found = || format!("{metric:?}");
        let expected = "label, exact, contains, json, token_f1 or rouge_l";
        rules::require(MEMBER, "eval.metric", METRICS.contains(&metric), found, expected)?;
        let holds = eval.labels.is_some() == (metric == "label");
        let found = || if eval.labels.is_some() { "a list" } else { "null" }.to_owned();
        rules::require(MEMBER, "eval.labels", holds, found, "a list with metric label, null with any other")?;
        if let Some(labels) = &eval.labels {
            let distinct: BTreeSet<&String> = labels.iter().collect();
            let holds =
                !labels.is_empty() && distinct.len() == labels.len() && labels.iter().all(|label| !label.is_empty());
            let found = || format!("{} labels", labels.len());
            rules::require(MEMBER, "eval.labels", holds, found, "at least one label, none empty, none twice")?;
        }
        positive("eval.cases", eval.cases)?;
        positive("eval.max_new_tokens", eval.max_new_tokens)?;
        rules::share(MEMBER, "eval.gate", &eval.gate).map(|_| ())
    }
}

fn positive(field: &str, value: u64) -> Result<(), ArtifactError> {
    rules::require(MEMBER, field, value > 0, || "0".to_owned(), "at least 1")
}

fn sorted_names(field: &str, names: &[String]) -> Result<(), ArtifactError> {
    let holds = !names.is_empty()
        && names.iter().all(|name| !name.is_empty())
        && names.is_sorted_by(|first, second| first < second);
    rules::require(MEMBER, field, holds, || format!("{names:?}"), "at least one name, sorted, none twice")
}

const METRICS: [&str; 6] = ["label", "exact", "contains", "json", "token_f1", "rouge_l"];
