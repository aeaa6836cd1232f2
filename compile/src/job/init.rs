//! The commented job file that `kolm init` writes.

/// Returns a job file for the task `name` in which every key stands with its default and a word of explanation.
///
/// Keys that are commented out show their default; [`Job::parse`](super::Job::parse) reads the text as it is.
pub fn commented(name: &str) -> String {
    TEXT.replace("@NAME@", name)
}

const TEXT: &str = r##"# A kolm job. `kolm compile kolm.toml --out .` turns it into one signed file, NAME-VERSION.kolm.
# Keys that start with `# ` show their default. Paths are relative to this file. Unknown keys are errors.

[task]
name = "@NAME@"                 # letters, digits, . _ - +
# version = "0.1.0"
# description = ""
# Without a template the base's own chat template is used.
# template = "{{ prompt }}\n"

[base]
# model = "kolm/nano"           # embedded model, Hugging Face repository, or a folder
# revision = "main"             # of a repository; the commit it stands for is recorded

[corpus]
train = ["train.parquet"]       # one or more files; `--corpus PATH` replaces them
# eval = ["eval.parquet"]       # a file of its own; without it the eval cases are split off by hash
# id = "id"                     # column with a unique id; without it rows are named by file and row
# prompt = "prompt"             # column with the input text
# completion = "completion"     # column with the text to learn
# split = "split"               # column that says which split a row is in, with:
# train_split = "train"
# eval_split = "test"
# overlong = "drop"             # rows longer than train.max_length: drop, truncate (never the answer), error
# duplicates = "drop"           # rows that occur before: drop, error
# leakage = "error"             # training rows that are (nearly) eval rows: error, drop; a split by hash drops them
# identifiers = "stop"          # residual identifiers: stop, allow

[adapter]
# rank = 16
# alpha = 32
# targets = ["o_proj", "q_proj", "v_proj"]  # also k_proj, gate_proj, up_proj, down_proj
# init = "adapter"              # folder of a PEFT adapter to start from

[train]
# seed = 0
# epochs = 3
# steps = 600                   # instead of epochs
# batch_size = 8
# micro_batch = "auto"          # examples in flight; changes memory and speed, never the result
# learning_rate = 0.001
# warmup_steps = 60             # default: a tenth of all steps
# schedule = "linear"           # linear, constant
# beta1 = 0.9
# beta2 = 0.999
# epsilon = 1e-8
# weight_decay = 0.01
# clip_norm = 1.0               # 0 for none
# max_length = 256              # tokens of prompt, completion and end token
# checkpoint_every = 50         # steps; 0 for none

[recall]
# use = "cite"                  # cite: passages go with the answer; context: into the prompt; off: no index
# encoder = "kolm/nano-encoder"
# revision = "main"
# k = 3
# vectors = "f32"               # f16 and int8: a half and a quarter of the index, scores a little coarser
# lists = "auto"                # 0: a search looks at every passage; auto: so up to a million, beyond in the nearest of many lists

[eval]
# metric = "label"              # label, exact, contains, json, token_f1, rouge_l
# labels = ["yes", "no"]        # default: the completions of the training rows
# cases = 128
# gate = 0.85                   # least K; below it nothing is written
# max_new_tokens = 64
"##;
