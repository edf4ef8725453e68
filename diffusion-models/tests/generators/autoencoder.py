#!/usr/bin/env python3
"""Write the weights and the reference results that tests/autoencoder compares with.

    python3 autoencoder.py      writes ../data/autoencoder/

Small autoencoders with random weights, norms included, rounded to bf16 and stored so; results are computed in f32 from
the rounded weights and inputs. `original` names come from the renaming below, which diffusers' own conversion has to undo exactly.

Pinned: torch 2.15.0, diffusers 0.42.1, safetensors 0.8.0, numpy 2.4.6; seed 7 for weights, 8 for inputs.
"""
import os
import re
import shutil

import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint
from safetensors.torch import save_file

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "autoencoder")


def with_random_weights(module, seed):
    """Weights that keep the size of what goes through, and norms and biases that are not the ones of a new module."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(module.named_parameters()):
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() > 1:
            value = noise / parameter[0].numel() ** 0.5
        elif "norm" in name and name.endswith("weight"):
            value = 1 + 0.3 * noise
        else:
            value = 0.2 * noise
        parameter.data = value.bfloat16().float()
    return module.eval()


def to_original(tensors, levels):
    """diffusers' names to those of latent diffusion; attention becomes 1x1 convolutions."""
    rules = [
        (r"down_blocks\.(\d+)\.resnets", r"down.\1.block"), (r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample"),
        (r"up_blocks\.(\d+)\.resnets", lambda m: f"up.{levels - 1 - int(m[1])}.block"),
        (r"up_blocks\.(\d+)\.upsamplers\.0", lambda m: f"up.{levels - 1 - int(m[1])}.upsample"),
        (r"mid_block\.resnets\.0", "mid.block_1"), (r"mid_block\.resnets\.1", "mid.block_2"),
        (r"mid_block\.attentions\.0\.group_norm", "mid.attn_1.norm"), (r"mid_block\.attentions\.0\.to_out\.0", "mid.attn_1.proj_out"),
        (r"mid_block\.attentions\.0\.to_([qkv])", r"mid.attn_1.\1"), (r"conv_shortcut", "nin_shortcut"), (r"conv_norm_out", "norm_out"),
    ]
    out = {}
    for name, tensor in tensors.items():
        for pattern, to in rules:
            name = re.sub(pattern, to, name)
        out[name] = tensor[:, :, None, None] if ".attn_1." in name and tensor.dim() == 2 else tensor
    return out


def assert_same(found, expected):
    assert found.keys() == expected.keys(), found.keys() ^ expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name].reshape(tensor.shape), tensor), name


def narrow(tensors):
    return {name: tensor.bfloat16().contiguous() for name, tensor in tensors.items()}


def save_reference(inputs, results, folder):
    results = {name: tensor.contiguous() for name, tensor in results.items()}
    save_file(narrow(inputs) | results, os.path.join(folder, "reference.safetensors"))


def with_stages(half, call):
    """Run `call` and record what the middle and the levels of `half` give."""
    stages = {}
    levels = half.down_blocks if hasattr(half, "down_blocks") else half.up_blocks
    modules = [(f"level_{i}", level) for i, level in enumerate(levels)] + [("middle", half.mid_block)]
    hooks = [m.register_forward_hook(lambda _, __, out, name=name: stages.__setitem__(name, out)) for name, m in modules]
    result = call()
    for hook in hooks:
        hook.remove()
    return result, stages


def autoencoder_kl(folder):
    vae = with_random_weights(AutoencoderKL(
        in_channels=3, out_channels=3, down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4,
        block_out_channels=(4, 4, 8, 8), layers_per_block=2, latent_channels=4, norm_num_groups=2, sample_size=64,
        scaling_factor=1.5305, shift_factor=0.0609, use_quant_conv=False, use_post_quant_conv=False), seed=7)
    vae.save_config(folder)
    tensors = vae.state_dict()
    save_file(narrow(tensors), os.path.join(folder, "diffusion_pytorch_model.safetensors"))
    original = to_original(tensors, levels=4)
    assert_same(convert_ldm_vae_checkpoint(dict(original), dict(vae.config)), tensors)
    save_file(narrow(original), os.path.join(folder, "original.safetensors"))

    generator = torch.Generator().manual_seed(8)
    draw = lambda *shape: torch.randn(shape, generator=generator).bfloat16().float()
    inputs = {"image": draw(2, 3, 24, 16).clamp(-1, 1), "latents": draw(2, 4, 2, 3)}
    # Two rows of three tiles of 64 pixels; the last row and column are one cell wide, less than the transition.
    inputs |= {"large_image": draw(1, 3, 56, 104).clamp(-1, 1), "large_latents": draw(1, 4, 7, 13)}
    out = {}
    unscaled = lambda latents: latents / vae.config.scaling_factor + vae.config.shift_factor
    out["moments"], stages = with_stages(vae.encoder, lambda: vae.encode(inputs["image"]).latent_dist.parameters)
    out |= {f"encoder.{name}": stage for name, stage in stages.items()}
    out["decoded"], stages = with_stages(vae.decoder, lambda: vae.decode(unscaled(inputs["latents"])).sample)
    out |= {f"decoder.{name}": stage for name, stage in stages.items()}
    posterior = vae.encode(inputs["image"]).latent_dist
    out["mean"] = (posterior.mean - vae.config.shift_factor) * vae.config.scaling_factor
    out["std"] = posterior.std * vae.config.scaling_factor
    vae.enable_tiling()
    out["tiled_moments"] = vae.encode(inputs["large_image"]).latent_dist.parameters
    out["tiled_decoded"] = vae.decode(unscaled(inputs["large_latents"])).sample
    save_reference(inputs, out, folder)


def autoencoder_tiny(folder):
    tiny = with_random_weights(AutoencoderTiny(
        latent_channels=16, encoder_block_out_channels=(4,) * 4, decoder_block_out_channels=(4,) * 4), seed=7)
    save_file(narrow(tiny.state_dict()), os.path.join(folder, "diffusion_pytorch_model.safetensors"))
    generator = torch.Generator().manual_seed(8)
    inputs = {"image": torch.randn(1, 3, 24, 40, generator=generator).clamp(-1, 1).bfloat16().float(),
              "latents": 2 * torch.randn(1, 16, 2, 3, generator=generator).bfloat16().float()}
    out = {"encoded": tiny.encode(inputs["image"]).latents, "decoded": tiny.decode(inputs["latents"]).sample}
    save_reference(inputs, out, folder)


def main():
    torch.set_grad_enabled(False)
    shutil.rmtree(OUT, ignore_errors=True)
    for make in (autoencoder_kl, autoencoder_tiny):
        folder = os.path.join(OUT, make.__name__)
        os.makedirs(folder)
        make(folder)
    for folder, _, files in os.walk(OUT):
        for file in files:
            print(os.path.getsize(os.path.join(folder, file)), os.path.join(os.path.relpath(folder, OUT), file))


if __name__ == "__main__":
    main()
