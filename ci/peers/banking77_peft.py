#!/usr/bin/env python3
"""Quality beside PEFT: fine-tunes the same base with the same schedule in PyTorch + PEFT and grades the same eval pack.

usage: banking77_peft.py BASE_FOLDER ARTIFACT.kolm CORPUS.parquet

Reads plan and pack out of the artifact, trains PEFT on the corpus' train rows, and prints PEFT's accuracy on the pack's cases beside the
artifact's recorded K. Needs torch, transformers, peft and pyarrow. Grading: log-likelihood of label and end token, as in SPEC-eval.md.
"""
import json
import sys
import time
import zipfile

import pyarrow.parquet as pq
import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

base_folder, artifact, corpus = sys.argv[1:4]
archive = zipfile.ZipFile(artifact)
plan = json.loads(archive.read("plan.json"))
header, *cases = [json.loads(line) for line in archive.read("eval/pack.jsonl").decode().splitlines()]
manifest = json.loads(archive.read("manifest.json"))
train, adapter = plan["train"], plan["adapter"]
tokenizer = Tokenizer.from_file(f"{base_folder}/tokenizer.json")
model = AutoModelForCausalLM.from_pretrained(base_folder, dtype=torch.float32)
end = model.config.eos_token_id
end = end[0] if isinstance(end, list) else end


def encode(text):
    return tokenizer.encode(text, add_special_tokens=False).ids


def render(text):
    template = plan["task"]["template"]
    assert template.count("{{") == 1, "only templates with one variable"
    before, rest = template.split("{{")
    return before + text + rest.split("}}")[1]


rows = [row for row in pq.read_table(corpus).to_pylist() if row["split"] == "train"]
examples = []
seen = set()
for row in rows:
    if (row["prompt"], row["completion"]) in seen:
        continue
    seen.add((row["prompt"], row["completion"]))
    prompt = encode(render(row["prompt"]))
    tokens = prompt + encode(row["completion"]) + [end]
    if len(tokens) <= int(train["max_length"]):
        examples.append((tokens, len(prompt)))
print(f"{len(examples)} examples (the artifact has {plan['corpus']['rows']['train']}), {train['steps']} steps of {train['batch_size']}")

torch.manual_seed(0)
peft_model = get_peft_model(model, LoraConfig(r=adapter["rank"], lora_alpha=int(float(adapter["alpha"])), lora_dropout=0.0, bias="none",
                                              target_modules=adapter["targets"], task_type="CAUSAL_LM"))
parameters = [p for p in peft_model.parameters() if p.requires_grad]
rate, warmup, steps = float(train["learning_rate"]), int(train["warmup_steps"]), int(train["steps"])
optimizer = torch.optim.AdamW(parameters, lr=rate, betas=(float(train["beta1"]), float(train["beta2"])), eps=float(train["epsilon"]),
                              weight_decay=float(train["weight_decay"]))


def factor(step):
    if step < warmup:
        return (step + 1) / warmup
    return max(0.0, (steps - step) / max(1, steps - warmup)) if train["schedule"] == "linear" else 1.0


scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
peft_model.train()
order, started = [], time.time()
for step in range(steps):
    batch = []
    while len(batch) < int(train["batch_size"]):
        if not order:
            order = torch.randperm(len(examples)).tolist()
        batch.append(examples[order.pop()])
    longest = max(len(tokens) for tokens, _ in batch)
    ids = torch.zeros(len(batch), longest, dtype=torch.long)
    labels = torch.full_like(ids, -100)
    mask = torch.zeros_like(ids)
    for i, (tokens, start) in enumerate(batch):
        ids[i, : len(tokens)] = torch.tensor(tokens)
        labels[i, start : len(tokens)] = torch.tensor(tokens[start:])
        mask[i, : len(tokens)] = 1
    loss = peft_model(input_ids=ids, attention_mask=mask, labels=labels).loss
    loss.backward()
    if float(train["clip_norm"]) > 0:
        torch.nn.utils.clip_grad_norm_(parameters, float(train["clip_norm"]))
    optimizer.step()
    scheduler.step()
    optimizer.zero_grad()
    if (step + 1) % 100 == 0:
        print(f"step {step + 1} loss {loss.item():.4f}  {time.time() - started:.0f} s", flush=True)

peft_model.eval()
labels = header["labels"]
continuations = [encode(label) + [end] for label in labels]
longest = max(map(len, continuations))
ids = torch.zeros(len(labels), longest, dtype=torch.long)
mask = torch.zeros_like(ids)
for i, tokens in enumerate(continuations):
    ids[i, : len(tokens)] = torch.tensor(tokens)
    mask[i, : len(tokens)] = 1
right = 0
with torch.inference_mode():
    for case in cases:
        prompt = torch.tensor([encode(case["prompt"])])
        out = peft_model(input_ids=prompt, use_cache=True)
        first = out.logits[:, -1].log_softmax(-1)
        cache = out.past_key_values
        cache.batch_repeat_interleave(len(labels))
        attention = torch.cat([torch.ones(len(labels), prompt.shape[1], dtype=torch.long), mask], 1)
        out = peft_model(input_ids=ids, attention_mask=attention, past_key_values=cache)
        scores = torch.cat([first.expand(len(labels), 1, -1), out.logits.log_softmax(-1)[:, :-1]], 1)
        scores = scores.gather(2, ids[..., None])[..., 0] * mask
        right += labels[int(scores.sum(1).argmax())] == case["expected"]
print(f"PEFT accuracy {right / len(cases):.6f} on {len(cases)} cases; kolm K {manifest['eval']['k']} (base {manifest['eval']['k_base']})")
