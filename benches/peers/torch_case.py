#!/usr/bin/env python3
"""A case of `benches/src/case.rs` in torch, kept in memory and run whenever it is asked for.

    yes | head -7 | python3 torch_case.py flux/512 --dtype bf16

The same sizes with random weights, from diffusers and transformers, batch 1 on the CPU. Prints "ready OPERATIONS" (as torch counts
them), then seconds for every line of standard input: the protocol of `benches/src/bin/case.rs`. Needs torch, diffusers and
transformers; with --openvino also openvino, which takes over the same module.
"""
import argparse
import sys
import time

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, FluxTransformer2DModel, SD3Transformer2DModel
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, T5Config, T5EncoderModel

WARM_UPS = 2
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


class Training:
    """A step of training a LoRA on a case, by peft: the attention projections that diffusers' scripts choose."""

    def __init__(self, case):
        from peft import LoraConfig

        self.case = case.requires_grad_(False)
        self.case.module.add_adapter(LoraConfig(r=16, lora_alpha=16, target_modules=[
            "attn.add_k_proj", "attn.add_q_proj", "attn.add_v_proj", "attn.to_add_out", "attn.to_k", "attn.to_out.0",
            "attn.to_q", "attn.to_v"]))
        if arguments.gradient_checkpointing:
            self.case.module.train()
            self.case.module.enable_gradient_checkpointing()
        self.parameters = [p for p in case.parameters() if p.requires_grad]
        for parameter in self.parameters:  # as diffusers' scripts do
            parameter.data = parameter.data.float()
        self.optimizer = torch.optim.AdamW(self.parameters, lr=1e-4)
        self.target = None

    def __call__(self):
        self.optimizer.zero_grad()
        # Adapters in f32 beside weights of 16 bits, as diffusers' scripts have it.
        with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
            velocity = self.case(*self.case.inputs)
        if self.target is None:
            self.target = torch.randn_like(velocity.float())
        loss = torch.nn.functional.mse_loss(velocity.float(), self.target)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        return loss.item()


class Case(torch.nn.Module):
    """A module and what to call it with."""

    def __init__(self, make, call, inputs):
        super().__init__()
        with torch.device("meta"):
            module = make()
        module = module.to_empty(device="cpu").to(dtype).eval()
        for tensor in [*module.parameters(), *module.buffers()]:
            if tensor.is_floating_point():
                tensor.data.normal_(0, 0.02)
        for part in module.modules():  # buffers of whole numbers that a checkpoint does not carry
            if hasattr(part, "position_ids"):
                part.position_ids = torch.arange(part.position_ids.shape[-1])[None]
        self.module, self.call, self.inputs = module, call, inputs

    def forward(self, *inputs):
        return self.call(self.module, *inputs)


def random(*shape):
    return torch.randn(*shape, dtype=dtype)


def token_ids(length):
    return torch.tensor([[i * 37 % 30000 for i in range(length)]])


def sd3(layers, heads, dual):
    def make():
        return SD3Transformer2DModel(
            sample_size=128, patch_size=2, in_channels=16, out_channels=16, attention_head_dim=64, joint_attention_dim=4096,
            pooled_projection_dim=2048, qk_norm="rms_norm", num_layers=layers, num_attention_heads=heads,
            caption_projection_dim=64 * heads, pos_embed_max_size=64, dual_attention_layers=dual)

    def call(module, latents, text, pooled, timestep):
        return module(latents, text, pooled, timestep, return_dict=False)[0]

    return Case(make, call, (random(1, 16, 64, 64), random(1, 333, 4096), random(1, 2048), torch.tensor([500.0], dtype=dtype)))


def flux():
    def make():
        return FluxTransformer2DModel(
            patch_size=1, in_channels=64, num_layers=1, num_single_layers=2, attention_head_dim=128, num_attention_heads=24,
            joint_attention_dim=4096, pooled_projection_dim=768, guidance_embeds=True)

    def call(module, latents, text, pooled, timestep, image_ids, text_ids, guidance):
        return module(latents, text, pooled, timestep, image_ids, text_ids, guidance, return_dict=False)[0]

    places = torch.meshgrid(torch.zeros(1), torch.arange(32.0), torch.arange(32.0), indexing="ij")
    scalar = [torch.tensor([value], dtype=dtype) for value in (0.5, 3.5)]
    return Case(make, call, (random(1, 1024, 64), random(1, 512, 4096), random(1, 768), scalar[0],
                             torch.stack(places, -1).reshape(-1, 3), torch.zeros(512, 3), scalar[1]))


def autoencoder():
    def make():
        return AutoencoderKL(
            in_channels=3, out_channels=3, down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4,
            block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=16, use_quant_conv=False,
            use_post_quant_conv=False)

    return Case(make, lambda module, latents: module.decode(latents, return_dict=False)[0], (random(1, 16, 32, 32),))


def clip():
    def make():
        return CLIPTextModelWithProjection(CLIPTextConfig(
            vocab_size=49408, max_position_embeddings=77, hidden_size=1280, intermediate_size=5120, num_hidden_layers=32,
            num_attention_heads=20, projection_dim=1280, hidden_act="gelu"))

    return Case(make, lambda module, ids: module(ids).text_embeds, (token_ids(77),))


def t5():
    def make():
        return T5EncoderModel(T5Config(
            vocab_size=32128, d_model=4096, d_kv=64, d_ff=10240, num_layers=2, num_heads=64, feed_forward_proj="gated-gelu"))

    return Case(make, lambda module, ids: module(ids).last_hidden_state, (token_ids(256),))


def attention():
    """Queries, keys and values as projections write them, seen as heads, as diffusers' processors do."""
    def call(_, *inputs):
        heads = [x.view(1, 4608, 24, 128).transpose(1, 2) for x in inputs]
        return F.scaled_dot_product_attention(*heads).transpose(1, 2).reshape(1, 4608, 24 * 128)

    return Case(torch.nn.Identity, call, tuple(random(1, 4608, 24 * 128) for _ in range(3)))


CASES = {
    "sd3.5-medium/512": lambda: sd3(4, 24, (0, 1)),
    "sd3.5-large/512": lambda: sd3(2, 38, ()),
    "flux/512": flux,
    "vae-decode/256": autoencoder,
    "clip-g/77": clip,
    "t5-xxl/256": t5,
    "attention/4608": attention,
    "train-sd3.5-medium/512": lambda: sd3(4, 24, (0, 1)),
    "train-flux/512": flux,
}


def openvino(case):
    """The case compiled by OpenVINO."""
    import openvino as ov

    settings = {"INFERENCE_PRECISION_HINT": arguments.dtype, "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    compiled = ov.Core().compile_model(ov.convert_model(case, example_input=case.inputs), "CPU", settings)
    inputs = [tensor.float().numpy() if tensor.is_floating_point() else tensor.numpy() for tensor in case.inputs]
    return lambda: compiled(inputs)


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("case", choices=CASES)
parser.add_argument("--dtype", choices=DTYPES, default="f32", help="of weights and activations")
parser.add_argument("--threads", type=int, help="by default as many as torch takes")
parser.add_argument("--compile", action="store_true", help="through torch.compile")
parser.add_argument("--gradient-checkpointing", action="store_true", help="in training, run each block again for its gradients")
parser.add_argument("--openvino", action="store_true", help="through OpenVINO")
arguments = parser.parse_args()
if arguments.threads:
    torch.set_num_threads(arguments.threads)
# OpenVINO takes modules in f32, and rounds by itself.
dtype = torch.float32 if arguments.openvino else DTYPES[arguments.dtype]

def serve(run):
    for _ in range(WARM_UPS):
        run()
    print("ready", counted, flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        result = run()
        seconds = time.perf_counter() - start
        del result
        print(seconds, flush=True)


if arguments.case.startswith("train-"):
    training = Training(CASES[arguments.case]())
    with FlopCounterMode(display=False) as counter:
        training()
    counted = counter.get_total_flops()
    serve(training)
    sys.exit()

with torch.inference_mode():
    case = CASES[arguments.case]()
    with FlopCounterMode(display=False) as counter:
        case(*case.inputs)
    if arguments.openvino:
        run = openvino(case)
    else:
        ready = torch.compile(case) if arguments.compile else case

        def run():
            return ready(*case.inputs)

    counted = counter.get_total_flops()
    serve(run)
