#!/usr/bin/env python
"""What PEFT makes of a LoRA run, for compile/tests/peft.rs.

usage: peft_training.py MODEL_FOLDER STEPS
The folder holds config.json, model.safetensors, adapter_init/ and batches.safetensors (input_ids, attention_mask [batches, B, S]),
as research's bench_lora.py --mode make writes them. Writes MODEL_FOLDER/peft.safetensors: losses [STEPS] and the adapter's tensors.
Prints the step times, so that both sides can be timed in one session. Needs torch, transformers, peft; two threads.
"""
import os, sys, time

folder, steps = sys.argv[1], int(sys.argv[2])
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
import torch, transformers, peft
from safetensors.torch import load_file, save_file

torch.set_num_threads(2)
transformers.logging.set_verbosity_error()
base = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
model = peft.PeftModel.from_pretrained(base, folder + "/adapter_init", is_trainable=True)
model.train()
learned = {n.replace(".default", ""): p for n, p in model.named_parameters() if p.requires_grad}
optimizer = torch.optim.AdamW(learned.values(), lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
batches = load_file(folder + "/batches.safetensors")
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
save_file({"losses": torch.stack(losses), **tensors}, folder + "/peft.safetensors")
times = sorted(times[2:])
print(f"{folder}: median {times[len(times) // 2] * 1e3:.1f} ms/step, least {times[0] * 1e3:.1f}, torch {torch.__version__}, peft {peft.__version__}")
