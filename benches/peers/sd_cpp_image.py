#!/usr/bin/env python3
"""Draw an image with stable-diffusion.cpp, as a program of its own: load, draw, write, end.

    python3 sd_cpp_image.py MODEL OUTPUT [--size 512] [--steps 4] [--threads N] [--flash]

Euler's method without guidance. Needs stable-diffusion-cpp-python.
"""
import argparse
import os

from stable_diffusion_cpp import StableDiffusion

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("model")
parser.add_argument("output")
parser.add_argument("--prompt", default="a cat")
parser.add_argument("--size", type=int, default=512)
parser.add_argument("--steps", type=int, default=4)
parser.add_argument("--threads", type=int, default=os.cpu_count())
parser.add_argument("--flash", action="store_true", help="with flash attention, which is off by default there")
arguments = parser.parse_args()

model = StableDiffusion(model_path=arguments.model, n_threads=arguments.threads, vae_decode_only=True,
                        diffusion_flash_attn=arguments.flash)
images = model.generate_image(prompt=arguments.prompt, width=arguments.size, height=arguments.size, cfg_scale=1.0,
                              sample_method="euler", sample_steps=arguments.steps, seed=1)
images[0].save(arguments.output)
