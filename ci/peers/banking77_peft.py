#!/usr/bin/env python3
"""Quality beside PEFT: fine-tunes the same base with the same schedule in PyTorch + PEFT and grades the same eval pack.

usage: banking77_peft.py BASE_FOLDER ARTIFACT.kolm

Reads plan, training rows (its recall passages) and eval pack out of the artifact, starts PEFT from the adapter and takes the batches that
NUMERICS.md "Training" T1 and T2 define (written here once more, from the text), and prints PEFT's accuracy on the pack's cases beside
the artifact's recorded K. Needs torch, transformers, peft, jinja2 and numpy. Grading: log-likelihood of label and end token, SPEC-eval.md.
"""
import hashlib
import json
import math
import struct
import sys
import time
import zipfile

import jinja2
import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM


class Stream:
    """T1: ChaCha20 words under a key of seed, purpose and index."""

    def __init__(self, seed, purpose, index):
        purpose = purpose.encode()
        text = b"kolm stream 1" + struct.pack("<QQ", seed, len(purpose)) + purpose + struct.pack("<Q", index)
        self.key = np.frombuffer(hashlib.sha256(text).digest(), "<u4")
        self.counter, self.words, self.place = 0, np.empty(0, np.uint32), 0

    def refill(self, blocks=4096):
        state = np.zeros((16, blocks), np.uint32)
        state[:4] = np.frombuffer(b"expand 32-byte k", "<u4")[:, None]
        state[4:12] = self.key[:, None]
        counters = np.arange(self.counter, self.counter + blocks, dtype=np.uint64)
        state[12], state[13] = counters & 0xFFFFFFFF, counters >> 32
        x = state.copy()

        def quarter(a, b, c, d):
            for into, other, turn, bits in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
                x[into] += x[other]
                x[turn] ^= x[into]
                x[turn] = (x[turn] << np.uint32(bits)) | (x[turn] >> np.uint32(32 - bits))

        for _ in range(10):
            for column in range(4):
                quarter(column, column + 4, column + 8, column + 12)
            for diagonal in range(4):
                quarter(diagonal, 4 + (diagonal + 1) % 4, 8 + (diagonal + 2) % 4, 12 + (diagonal + 3) % 4)
        self.counter += blocks
        self.words = np.concatenate([self.words[self.place:], (x + state).T.reshape(-1)])
        self.place = 0

    def take(self, count):
        while len(self.words) - self.place < count:
            self.refill()
        self.place += count
        return self.words[self.place - count : self.place]

    def below(self, bound):
        while True:
            low, high = self.take(2)
            word = int(low) | int(high) << 32
            if word <= 2**64 - 1 - 2**64 % bound:
                return word % bound

    def shuffled(self, count):
        items = list(range(count))
        for last in range(count - 1, 0, -1):
            chosen = self.below(last + 1)
            items[last], items[chosen] = items[chosen], items[last]
        return items


def lines(member):
    return [json.loads(line) for line in archive.read(member).decode().splitlines()]


base_folder, artifact = sys.argv[1:3]
archive = zipfile.ZipFile(artifact)
plan, manifest = json.loads(archive.read("plan.json")), json.loads(archive.read("manifest.json"))
header, *cases = lines("eval/pack.jsonl")
train, adapter, seed = plan["train"], plan["adapter"], int(plan["seed"])
assert plan["recall"] and plan["recall"]["use"] == "cite", "the job's prompts must not hold passages"
assert adapter["init_sha256"] is None, "the adapter must start as T2 says"
tokenizer = Tokenizer.from_file(f"{base_folder}/tokenizer.json")
model = AutoModelForCausalLM.from_pretrained(base_folder, dtype=torch.float32)
end = model.config.eos_token_id
end = end[0] if isinstance(end, list) else end
template = jinja2.Environment(trim_blocks=True, lstrip_blocks=True).from_string(plan["task"]["template"])


def encode(text):
    return tokenizer.encode(text, add_special_tokens=False).ids


examples = []
for row in lines("recall/passages.jsonl"):
    prompt = encode(template.render(messages=[{"role": "user", "content": row["text"]}], add_generation_prompt=True, prompt=row["text"]))
    tokens = prompt + encode(row["answer"]) + [end]
    if len(tokens) <= train["max_length"]:
        examples.append((tokens, len(prompt)))
rows, steps, batch_size = plan["corpus"]["rows"]["train"], train["steps"], train["batch_size"]
assert len(examples) == rows, f"{len(examples)} examples, the artifact trained on {rows}"

peft_model = get_peft_model(model, LoraConfig(r=adapter["rank"], lora_alpha=adapter["alpha"], lora_dropout=0.0, bias="none",
                                              target_modules=adapter["targets"], task_type="CAUSAL_LM"))
learned = {name: p for name, p in peft_model.named_parameters() if p.requires_grad}
for layer in range(model.config.num_hidden_layers):
    stream = Stream(seed, "lora.init", layer)
    for target in sorted(adapter["targets"]):
        part = {n[-len("A.default.weight")]: p for n, p in learned.items() if f".layers.{layer}." in n and f".{target}." in n}
        bound = np.float32(1 / math.sqrt(part["A"].shape[1]))
        unit = (stream.take(part["A"].numel()) >> 8).astype(np.float32) * np.float32(2.0**-24)
        part["A"].data = torch.from_numpy((np.float32(2) * unit - np.float32(1)) * bound).reshape(part["A"].shape)
        part["B"].data.zero_()

rate, warmup = float(train["learning_rate"]), train["warmup_steps"]
optimizer = torch.optim.AdamW(learned.values(), lr=rate, betas=(float(train["beta1"]), float(train["beta2"])), eps=float(train["epsilon"]),
                              weight_decay=float(train["weight_decay"]))


def factor(step):
    if step < warmup:
        return step / warmup
    return (steps - step) / (steps - warmup) if train["schedule"] == "linear" else 1.0


scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
peft_model.train()
positions = steps * batch_size
order = [i for epoch in range(-(-positions // rows)) for i in Stream(seed, "train.order", epoch).shuffled(rows)]
trace = {line["step"]: struct.unpack(">f", bytes.fromhex(line["loss"]))[0] for line in lines("training/trace.jsonl")}
furthest, started = 0.0, time.time()
for step in range(steps):
    batch = [examples[i] for i in order[step * batch_size : (step + 1) * batch_size]]
    longest = max(len(tokens) for tokens, _ in batch)
    ids = torch.zeros(len(batch), longest, dtype=torch.long)
    labels, mask = torch.full_like(ids, -100), torch.zeros_like(ids)
    for i, (tokens, start) in enumerate(batch):
        ids[i, : len(tokens)] = torch.tensor(tokens)
        labels[i, start : len(tokens)] = torch.tensor(tokens[start:])
        mask[i, : len(tokens)] = 1
    loss = peft_model(input_ids=ids, attention_mask=mask, labels=labels).loss
    loss.backward()
    if float(train["clip_norm"]) > 0:
        torch.nn.utils.clip_grad_norm_(learned.values(), float(train["clip_norm"]))
    optimizer.step()
    scheduler.step()
    optimizer.zero_grad()
    if step + 1 in trace:
        furthest = max(furthest, abs(loss.item() - trace[step + 1]))
    if (step + 1) % 100 == 0:
        print(f"step {step + 1}  loss {loss.item():.6f}  largest difference to the artifact's trace {furthest:.1e}  {time.time() - started:.0f} s", flush=True)

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
