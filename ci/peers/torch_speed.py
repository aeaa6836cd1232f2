#!/usr/bin/env python3
"""One measurement of PyTorch, transformers or PEFT for ci/bench-peers, printed as one JSON line.

usage: torch_speed.py make CONFIG FOLDER | product M K N | decode FOLDER | prefill FOLDER | train FOLDER | encode FOLDER

CONFIG: T, S, M or K, random models (M has the shape of Qwen2.5-0.5B, K rows of whole 256 as the K types of GGUF need them), or B, a BERT of bge-small-en-v1.5's shape. Their weights are bf16 numbers, so that both sides
read the same file; the peer computes in f32, as its CPU users do. Threads: OMP_NUM_THREADS.
"""
import json
import os
import resource
import sys
import time

import numpy as np
import torch
import transformers

CONFIGS = {
    "T": dict(vocab_size=4096, hidden_size=256, num_hidden_layers=4, num_attention_heads=8, num_key_value_heads=4, intermediate_size=704),
    "S": dict(vocab_size=8192, hidden_size=512, num_hidden_layers=8, num_attention_heads=8, num_key_value_heads=2, intermediate_size=1408),
    "K": dict(vocab_size=32768, hidden_size=1024, num_hidden_layers=12, num_attention_heads=16, num_key_value_heads=4, intermediate_size=2816),
    "M": dict(vocab_size=151936, hidden_size=896, num_hidden_layers=24, num_attention_heads=14, num_key_value_heads=2, intermediate_size=4864),
}
BATCHES = {"T": (8, 128), "S": (8, 256), "K": (1, 256), "M": (1, 256)}


def median(times):
    return sorted(times)[len(times) // 2]


def median_seconds(body):
    body()
    begin, times = time.perf_counter(), []
    while len(times) < 5 or time.perf_counter() - begin < 1.0:
        start = time.perf_counter()
        body()
        times.append(time.perf_counter() - start)
    return median(times)


def make(name, folder):
    os.makedirs(folder, exist_ok=True)
    torch.manual_seed(0)
    if name == "B":
        config = transformers.BertConfig(hidden_size=384, num_hidden_layers=12, num_attention_heads=12, intermediate_size=1536)
        return transformers.BertModel(config).save_pretrained(folder)
    import peft

    config = transformers.Qwen2Config(
        **CONFIGS[name], tie_word_embeddings=True, max_position_embeddings=2048, rms_norm_eps=1e-6, rope_theta=1e6,
        bos_token_id=0, eos_token_id=1, pad_token_id=2,
    )
    model = transformers.Qwen2ForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(folder)
    lora = peft.LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, bias="none", target_modules=["q_proj", "v_proj", "o_proj"], task_type="CAUSAL_LM")
    torch.manual_seed(2)
    adapted = peft.get_peft_model(model.float(), lora)
    adapted.save_pretrained(folder + "/adapter_init")
    rows, length = BATCHES[name]
    random = np.random.default_rng(3)
    batches = []
    for _ in range(4):
        lengths = random.integers(length * 3 // 4, length + 1, size=rows)
        lengths[0] = length
        batches.append([random.integers(3, CONFIGS[name]["vocab_size"], size=count).tolist() for count in lengths])
    with open(folder + "/batches.json", "w") as out:
        json.dump(batches, out)


def load(folder):
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def product(m, k, n):
    a, b, c = torch.randn(m, k), torch.randn(k, n), torch.empty(m, n)
    return 2 * m * k * n / median_seconds(lambda: torch.mm(a, b, out=c)) / 1e9, "GFLOP/s"


@torch.inference_mode()
def decode(folder):
    model = load(folder).eval()
    prompt = torch.randint(3, model.config.vocab_size, (1, 64))
    times = []
    for _ in range(4):
        out = model(input_ids=prompt, use_cache=True, logits_to_keep=1)
        start = time.perf_counter()
        for _ in range(63):
            token = out.logits[:, -1].argmax(-1, keepdim=True)
            out = model(input_ids=token, past_key_values=out.past_key_values, use_cache=True, logits_to_keep=1)
        times.append((time.perf_counter() - start) / 63)
    return 1 / median(times[1:]), "tokens/s"


@torch.inference_mode()
def prefill(folder):
    model = load(folder).eval()
    tokens = torch.randint(3, model.config.vocab_size, (16, 128))
    mask = torch.ones_like(tokens)
    run = lambda: model(input_ids=tokens, attention_mask=mask, use_cache=False, logits_to_keep=1)
    return 16 * 128 / median_seconds(run), "tokens/s"


def train(folder):
    import peft

    model = peft.PeftModel.from_pretrained(load(folder), folder + "/adapter_init", is_trainable=True)
    model.train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
    batches = json.load(open(folder + "/batches.json"))
    length = max(len(row) for batch in batches for row in batch)
    times = []
    for step in range(5 if model.config.hidden_size > 600 else 20):
        rows = batches[step % len(batches)]
        ids = torch.tensor([row + [2] * (length - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows])
        start = time.perf_counter()
        loss = model(input_ids=ids, attention_mask=mask, labels=ids.masked_fill(mask == 0, -100), use_cache=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        times.append(time.perf_counter() - start)
    return len(batches[0]) * length / median(times[2:]), "tokens/s"


@torch.inference_mode()
def encode(folder):
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    tokens = torch.randint(1000, model.config.vocab_size, (32, 128))
    mask = torch.ones_like(tokens)

    def run():  # as bge pools: the first token's row
        hidden = model(input_ids=tokens, attention_mask=mask).last_hidden_state
        return torch.nn.functional.normalize(hidden[:, 0], dim=1)

    return 32 / median_seconds(run), "texts/s"


def main():
    threads = int(os.environ.get("OMP_NUM_THREADS", "2"))
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    transformers.logging.set_verbosity_error()
    kind, *arguments = sys.argv[1:]
    if kind == "make":
        return make(*arguments)
    measure = {"product": product, "decode": decode, "prefill": prefill, "train": train, "encode": encode}[kind]
    value, unit = measure(*(map(int, arguments) if kind == "product" else arguments))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({"value": value, "unit": unit, "peak_mb": peak, "version": f"torch {torch.__version__}"}))


if __name__ == "__main__":
    main()
