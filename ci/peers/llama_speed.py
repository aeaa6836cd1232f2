#!/usr/bin/env python3
"""One measurement of llama.cpp for ci/bench-peers, printed as one JSON line.

usage: llama_speed.py make MODEL TYPE FOLDER | prompt FOLDER | decode FOLDER

`make` writes FOLDER/model.gguf: the random model of torch_speed.py in MODEL with its matrices as TYPE (Q8_0 or Q4_0), or as llama.cpp itself
mixes types (Q4_K_M). Both sides read that file. `prompt` is a prompt of 512 tokens, `decode` 64 new tokens after a prompt of 64. Needs llama-cpp-python and gguf; threads: OMP_NUM_THREADS.
"""
import json
import os
import resource
import sys
import time

import numpy as np


def median(times):
    return sorted(times)[len(times) // 2]


def make(model, kind, folder):
    import gguf

    if kind.endswith("_M"):
        return mix(model, kind, folder)
    import torch
    from safetensors import safe_open

    config = json.load(open(model + "/config.json"))
    layers, vocabulary = config["num_hidden_layers"], config["vocab_size"]
    os.makedirs(folder, exist_ok=True)
    out = gguf.GGUFWriter(folder + "/model.gguf.part", "qwen2")
    out.add_context_length(2048)
    out.add_embedding_length(config["hidden_size"])
    out.add_block_count(layers)
    out.add_feed_forward_length(config["intermediate_size"])
    out.add_head_count(config["num_attention_heads"])
    out.add_head_count_kv(config["num_key_value_heads"])
    out.add_rope_freq_base(1e6)
    out.add_layer_norm_rms_eps(config["rms_norm_eps"])
    out.add_file_type(gguf.LlamaFileType[f"MOSTLY_{kind}"])
    out.add_vocab_size(vocabulary)
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("qwen2")
    out.add_token_list([f"t{token}" for token in range(vocabulary)])
    out.add_token_types([1] * vocabulary)
    out.add_token_merges(["t 0"])
    out.add_bos_token_id(0)
    out.add_eos_token_id(1)
    out.add_add_bos_token(False)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN2, layers)
    quantised = gguf.GGMLQuantizationType[kind]
    with safe_open(model + "/model.safetensors", "pt") as tensors:
        for key in tensors.keys():
            values = tensors.get_tensor(key).to(torch.float32).numpy()
            name = names.get_name(key, try_suffixes=(".weight", ".bias"))
            if values.ndim == 2:
                out.add_tensor(name, gguf.quants.quantize(values, quantised), raw_dtype=quantised)
            else:
                out.add_tensor(name, values)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    os.rename(folder + "/model.gguf.part", folder + "/model.gguf")


def mix(model, kind, folder):
    import llama_cpp

    # Beside the folder's own file, which is there only once it is what it is taken for.
    make(model, "F16", folder + "/f16")
    whole, part = folder + "/f16/model.gguf", folder + "/model.gguf.part"
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{kind}")
    code = llama_cpp.llama_model_quantize(whole.encode(), part.encode(), parameters)
    os.remove(whole)
    os.rmdir(folder + "/f16")
    if code:
        sys.exit(f"llama_model_quantize gave {code}")
    os.rename(part, folder + "/model.gguf")


def load(folder):
    import llama_cpp

    threads = int(os.environ.get("OMP_NUM_THREADS", "2"))
    model = llama_cpp.Llama(folder + "/model.gguf", n_ctx=576, n_batch=512, n_threads=threads, n_threads_batch=threads, verbose=False)
    return model, np.random.default_rng(7).integers(3, model.n_vocab(), size=512).tolist()


def most_likely(model):
    import llama_cpp

    logits = llama_cpp.llama_get_logits_ith(model.ctx, -1)
    return int(np.ctypeslib.as_array(logits, shape=(model.n_vocab(),)).argmax())


def prompt(folder):
    model, tokens = load(folder)
    times = []
    for _ in range(4):
        model.reset()
        start = time.perf_counter()
        model.eval(tokens)
        times.append(time.perf_counter() - start)
    return len(tokens) / median(times[1:])


def decode(folder):
    model, tokens = load(folder)
    times = []
    for _ in range(4):
        model.reset()
        model.eval(tokens[:64])
        start = time.perf_counter()
        for _ in range(63):
            model.eval([most_likely(model)])
        times.append((time.perf_counter() - start) / 63)
    return 1 / median(times[1:])


def main():
    kind, *arguments = sys.argv[1:]
    if kind == "make":
        return make(*arguments)
    value = {"prompt": prompt, "decode": decode}[kind](*arguments)
    import llama_cpp

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({"value": value, "unit": "tokens/s", "peak_mb": peak, "version": f"llama-cpp-python {llama_cpp.__version__}"}))


if __name__ == "__main__":
    main()
