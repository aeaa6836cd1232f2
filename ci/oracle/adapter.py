"""PEFT adapters both ways.

usage: python ci/oracle/adapter.py write                 writes golden/oracle/qwen2-gqa-tied-adapter, with PEFT's f64 logits
       python ci/oracle/adapter.py check FOLDER          loads an adapter that kolm wrote (runtime/examples/rewrite_adapter.rs)
                                                         and compares PEFT's f64 logits with the recorded ones
"""
import json
import pathlib
import sys

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

import exact

ORACLE = pathlib.Path(__file__).resolve().parents[2] / "golden" / "oracle"
BASE, ADAPTER = ORACLE / "qwen2-gqa-tied", ORACLE / "qwen2-gqa-tied-adapter"
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def base():
    return AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float64, attn_implementation="sdpa").eval()


def main():
    exact.patch()
    tokens = json.loads((BASE / "expected.json").read_text())["short"]["tokens"]
    if sys.argv[1] == "write":
        torch.manual_seed(7)
        model = get_peft_model(base(), LoraConfig(r=4, lora_alpha=6, target_modules=TARGETS, task_type="CAUSAL_LM"))
        for name, p in model.named_parameters():
            if "lora_" in name:
                p.data = p.data.normal_(0.0, 0.3).float().double()
        model.save_pretrained(ADAPTER)
        convert_to_f32(ADAPTER)
        (ADAPTER / "README.md").unlink(missing_ok=True)
    folder = ADAPTER if sys.argv[1] == "write" else pathlib.Path(sys.argv[2])
    model = PeftModel.from_pretrained(base(), folder, autocast_adapter_dtype=False).double().eval()
    found = exact.logits(model, tokens)
    if sys.argv[1] == "write":
        (ADAPTER / "expected.json").write_text(json.dumps({"tokens": tokens, "logits": exact.rounded(found)}) + "\n")
        print("written; adapter moves the logits by", float((found - exact.logits(base(), tokens)).abs().max()))
        return
    expected = torch.tensor(json.loads((ADAPTER / "expected.json").read_text())["logits"], dtype=torch.float64)
    error = float((found - expected).abs().max() / expected.abs().max())
    print(f"PEFT with the adapter written by kolm: relative error {error:.3g}")
    sys.exit(error > 1e-8)


def convert_to_f32(folder):
    from safetensors.torch import load_file, save_file
    path = folder / "adapter_model.safetensors"
    save_file({k: v.float().contiguous() for k, v in load_file(path).items()}, path, metadata={"format": "pt"})
    config = json.loads((folder / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = BASE.name
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")


main()
