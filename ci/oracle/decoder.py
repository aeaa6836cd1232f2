"""Writes golden/oracle: small random decoders and what transformers gives for them in f64.

usage: python ci/oracle/decoder.py [FOLDER OF stories260K]      (torch, transformers; by hand, not in CI)

runtime/tests/oracle.rs reads the result. Weights come from a fixed seed; another version of torch may draw others, which is no
fault: the expected logits are written beside them.
"""
import json
import pathlib
import sys

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

import exact

OUT = pathlib.Path(__file__).resolve().parents[2] / "golden" / "oracle"
SMALL = dict(
    vocab_size=128, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
    intermediate_size=64, max_position_embeddings=512, bos_token_id=1, eos_token_id=2, pad_token_id=None,
)
CASES = {
    "qwen2-gqa-tied": (Qwen2ForCausalLM, Qwen2Config(**SMALL, tie_word_embeddings=True), torch.float32, None),
    "qwen2-gqa-untied-sharded-bf16": (Qwen2ForCausalLM, Qwen2Config(**SMALL, tie_word_embeddings=False), torch.bfloat16, "25KB"),
    "qwen2-wide-head-f16": (
        Qwen2ForCausalLM,
        Qwen2Config(**{**SMALL, "num_key_value_heads": 1, "rope_parameters": {"rope_type": "linear", "rope_theta": 1e6, "factor": 2.0}}, tie_word_embeddings=True),
        torch.float16, None),
    "llama-bias-llama3-rope": (
        LlamaForCausalLM,
        LlamaConfig(**{**SMALL, "head_dim": 16}, attention_bias=True, mlp_bias=True, tie_word_embeddings=False,
                    rope_parameters={"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0,
                                     "high_freq_factor": 4.0, "original_max_position_embeddings": 64}),
        torch.float32, None),
}


def randomise(model):
    # Norm weights and biases too: transformers starts them at 1 and 0, which would hide a mistake.
    for name, p in model.named_parameters():
        with torch.no_grad():
            p.normal_(1.0 if "norm" in name else 0.0, 0.2 if p.dim() > 1 else 0.3)


def main():
    exact.patch()
    for number, (name, (kind, config, dtype, shard)) in enumerate(CASES.items()):
        torch.manual_seed(number)
        model = kind(config).eval()
        randomise(model)
        folder = OUT / name
        folder.mkdir(parents=True, exist_ok=True)
        model.to(dtype).save_pretrained(folder, max_shard_size=shard or "1GB")
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64, attn_implementation="sdpa").eval()
        generator = torch.Generator().manual_seed(100 + number)
        short = torch.randint(0, 128, (20,), generator=generator).tolist()
        long = torch.randint(0, 128, (300,), generator=generator).tolist()
        expected = {
            "short": {"tokens": short, "logits": exact.rounded(exact.logits(model, short))},
            "long": {"tokens": long, "logits": exact.rounded(exact.logits(model, long)[-1:])},
            "greedy": {"prompt": short, "tokens": exact.greedy(model, short, 40)},
        }
        (folder / "expected.json").write_text(json.dumps(expected) + "\n")
        print(name, "written", sum(f.stat().st_size for f in folder.iterdir()), "bytes")
    if len(sys.argv) > 1:
        stories(pathlib.Path(sys.argv[1]))


def stories(folder):
    from transformers import PreTrainedTokenizerFast
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64, attn_implementation="sdpa").eval()
    text = "Once upon a time, there was a little girl named Lily."
    prompt = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))(text)["input_ids"]
    expected = {
        "text": text,
        "prompt": prompt,
        "logits": exact.rounded(exact.logits(model, prompt)[-3:]),
        "greedy": exact.greedy(model, prompt, 200),
    }
    (OUT / "stories260k.json").write_text(json.dumps(expected) + "\n")
    print("stories260k written")


main()
