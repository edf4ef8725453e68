#!/usr/bin/env python3
"""Switch between two LoRAs with diffusers and peft: the work of `benches/lora.rs`, cases xlabs and kohya.

    python3 peft_switch.py xlabs|kohya [--threads 2] [--runs 5]

The same shapes in bf16: fuse a LoRA of rank 16, unfuse it, fuse the other. Times in seconds, the median of the runs. peft
restores by subtraction, so the weights are not those of before. Needs torch, diffusers and peft.
"""
import argparse
import statistics
import time

import torch
from diffusers import FluxTransformer2DModel
from peft import LoraConfig

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("case", choices=["xlabs", "kohya"])
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--runs", type=int, default=5)
arguments = parser.parse_args()
torch.set_num_threads(arguments.threads)

layers, single_layers = (19, 1) if arguments.case == "xlabs" else (4, 8)
if arguments.case == "xlabs":
    targets = r"transformer_blocks\.\d+\.attn\.(to_q|to_k|to_v|to_out\.0|add_q_proj|add_k_proj|add_v_proj|to_add_out)"
else:
    targets = (r"transformer_blocks\.\d+\.(attn\.(to_q|to_k|to_v|to_out\.0|add_q_proj|add_k_proj|add_v_proj|to_add_out)"
               r"|ff\.net\.(0\.proj|2)|ff_context\.net\.(0\.proj|2)|norm1\.linear|norm1_context\.linear)"
               r"|single_transformer_blocks\.\d+\.(attn\.to_[qkv]|proj_mlp|proj_out|norm\.linear)")
with torch.device("meta"):
    model = FluxTransformer2DModel(num_layers=layers, num_single_layers=single_layers, guidance_embeds=True)
model = model.to(torch.bfloat16).to_empty(device="cpu")
for parameter in model.parameters():
    parameter.data.zero_()
for name in ("a", "b"):
    model.add_adapter(LoraConfig(r=16, lora_alpha=16, target_modules=targets, init_lora_weights=False), adapter_name=name)
touched = [module for module in model.modules() if hasattr(module, "lora_A")]
print(f"{sum(module.base_layer.weight.numel() for module in touched) / 1e9:.2f} billion weights in {len(touched)} layers")


def timed(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def fuse(name):
    model.fuse_lora(adapter_names=[name])


results = {"fuse": [], "unfuse": [], "switch": []}
with torch.inference_mode():
    for _ in range(arguments.runs):
        results["fuse"].append(timed(lambda: fuse("a")))
        results["switch"].append(timed(lambda: (model.unfuse_lora(), fuse("b"))))
        results["unfuse"].append(timed(model.unfuse_lora))
for name, times in results.items():
    print(f"{arguments.case} {name}: {statistics.median(times):.2f} s")
