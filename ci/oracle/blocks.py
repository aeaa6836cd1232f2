"""Writes golden/oracle/gguf-blocks.json: random blocks of each quantised GGUF type and the f32 bits that gguf gives for them.

usage: python ci/oracle/blocks.py      (numpy, gguf 0.19.0; by hand, not in CI)

runtime/tests/model/gguf.rs reads the result.
"""
import json
import pathlib

import gguf
import numpy as np
from gguf import quants

OUT = pathlib.Path(__file__).resolve().parents[2] / "golden" / "oracle" / "gguf-blocks.json"
TYPES = {"Q8_0": 4, "Q4_0": 4, "Q4_K": 2, "Q6_K": 2, "Q5_0": 4, "Q5_K": 2}

random, types = np.random.default_rng(7), {}
for name, count in TYPES.items():
    kind = gguf.GGMLQuantizationType[name]
    length = gguf.GGML_QUANT_SIZES[kind][1]
    blocks = random.integers(0, 256, size=(count, length), dtype=np.uint8)
    # Random bits would give NaN scales; these are spread over what models have.
    scale = (random.uniform(-2, 2, size=count) * 10.0 ** random.uniform(-6, 0, size=count)).astype(np.float16)
    minimum = random.uniform(0, 2, size=count).astype(np.float16)
    at = slice(length - 2, length) if name == "Q6_K" else slice(0, 2)
    blocks[:, at] = scale.view(np.uint8).reshape(count, 2)
    if name in ("Q4_K", "Q5_K"):
        blocks[:, 2:4] = minimum.view(np.uint8).reshape(count, 2)
    values = quants.dequantize(blocks.reshape(-1), kind).astype(np.float32)
    types[name] = {"blocks": blocks.tobytes().hex(), "bits": [f"{bits:08x}" for bits in values.view(np.uint32)]}
OUT.write_text(json.dumps({"made_by": "gguf 0.19.0, gguf.quants.dequantize", "types": types}, separators=(",", ":")))
