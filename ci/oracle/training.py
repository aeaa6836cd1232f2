#!/usr/bin/env python3
"""What PEFT makes of a LoRA run, for compile/tests/peft.rs. Needs torch, transformers, peft.

usage: training.py                        writes golden/oracle/peft-training (batches.safetensors, peft.safetensors): 40 steps from
                                          golden/oracle/qwen2-gqa-tied and its adapter
       training.py MODEL_FOLDER STEPS     writes MODEL_FOLDER/peft.safetensors; the folder also holds adapter_init/ and batches.safetensors
                                          (input_ids, attention_mask [batches, B, S]). Prints the step times, to set beside ours.

peft.safetensors: losses [STEPS] and the adapter's tensors after AdamW at 1e-3 with weight decay 0.01, without clipping or schedule.
"""
import os
import pathlib
import sys
import time

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
import peft
import torch
import transformers
from safetensors.torch import load_file, save_file

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
transformers.logging.set_verbosity_error()


def train(base, adapter, batches, steps, out):
    base = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = peft.PeftModel.from_pretrained(base, adapter, is_trainable=True)
    model.train()
    learned = {n.replace(".default", ""): p for n, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(learned.values(), lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
    ids, mask = batches["input_ids"], batches["attention_mask"]
    losses, times = [], []
    for step in range(steps):
        x, seen = ids[step % len(ids)], mask[step % len(ids)]
        start = time.perf_counter()
        loss = model(input_ids=x, attention_mask=seen, labels=x.masked_fill(seen == 0, -100), use_cache=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        times.append(time.perf_counter() - start)
        losses.append(loss.detach().float())
    tensors = {name: p.detach().contiguous() for name, p in learned.items()}
    save_file({"losses": torch.stack(losses), **tensors}, out)
    times = sorted(times[2:])
    return f"median {times[len(times) // 2] * 1e3:.1f} ms/step, least {times[0] * 1e3:.1f}"


if len(sys.argv) == 3:
    folder, steps = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    timed = train(folder, folder / "adapter_init", load_file(folder / "batches.safetensors"), steps, folder / "peft.safetensors")
    print(f"{folder}: {timed}, torch {torch.__version__}, peft {peft.__version__}")
elif len(sys.argv) == 1:
    oracle = pathlib.Path(__file__).resolve().parents[2] / "golden/oracle"
    folder = oracle / "peft-training"
    folder.mkdir(exist_ok=True)
    numbers = torch.Generator().manual_seed(11)
    ids = torch.randint(3, 128, (3, 4, 24), generator=numbers)
    lengths = torch.randint(9, 25, (3, 4, 1), generator=numbers)
    mask = (torch.arange(24)[None, None] < lengths).long()
    batches = {"input_ids": ids * mask, "attention_mask": mask}
    save_file(batches, folder / "batches.safetensors")
    train(oracle / "qwen2-gqa-tied", oracle / "qwen2-gqa-tied-adapter", batches, 40, folder / "peft.safetensors")
else:
    sys.exit(__doc__)
