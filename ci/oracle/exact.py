"""Hugging Face transformers in true f64, for the oracle scripts.

model.double() alone is not enough: transformers computes RMSNorm and the rotary angles in f32 whatever the model's type.
"""
import math

import torch
from transformers.models.llama import modeling_llama
from transformers.models.qwen2 import modeling_qwen2


def _norm(self, x):
    return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))


def _frequencies(config):
    rope = config.rope_parameters
    dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    out = []
    for i in range(dim // 2):
        f = rope["rope_theta"] ** (-2 * i / dim)
        if rope["rope_type"] == "linear":
            f /= rope["factor"]
        elif rope["rope_type"] == "llama3":
            low, high, old = rope["low_freq_factor"], rope["high_freq_factor"], rope["original_max_position_embeddings"]
            wave = 2 * math.pi / f
            if wave > old / low:
                f /= rope["factor"]
            elif wave >= old / high:
                smooth = (old / wave - low) / (high - low)
                f = (1 - smooth) * f / rope["factor"] + smooth * f
        elif rope["rope_type"] != "default":
            raise SystemExit(f"no f64 form of rope_type {rope['rope_type']}")
        out.append(f)
    return torch.tensor(out, dtype=torch.float64)


def _rotary(self, x, position_ids):
    angles = position_ids[0].double()[:, None] * _frequencies(self.config)[None]
    angles = torch.cat([angles, angles], -1)[None]
    return angles.cos(), angles.sin()


def patch():
    """Makes every Qwen2 and Llama of this process compute in f64 throughout (use attn_implementation="sdpa")."""
    torch.set_num_threads(1)
    modeling_llama.LlamaRMSNorm.forward = _norm
    modeling_qwen2.Qwen2RMSNorm.forward = _norm
    modeling_llama.LlamaRotaryEmbedding.forward = _rotary
    modeling_qwen2.Qwen2RotaryEmbedding.forward = _rotary


def logits(model, ids):
    with torch.inference_mode():
        return model(input_ids=torch.tensor([ids])).logits[0]


def greedy(model, ids, count):
    ids, new = list(ids), []
    for _ in range(count):
        new.append(int(logits(model, ids)[-1].argmax()))
        ids.append(new[-1])
    return new


def rounded(rows):
    """f64 as decimals of 9 significant digits: 1e-9 relative, far below the tolerance."""
    return [[float(f"{x:.9g}") for x in row] for row in rows.tolist()]
