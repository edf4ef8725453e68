#!/usr/bin/env python3
"""Write Stable Diffusion 3.5 Medium with CLIP-L and CLIP-G as one file of random weights in f16, 6.7 GB.

    python3 random_model.py sd3.5_medium_incl_clips.safetensors

Names and shapes are the published ones (`diffusion-models/tests/data/manifests.json.gz`). Needs nothing but Python.
"""
import gzip
import json
import os
import random
import struct
import sys

MANIFESTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "diffusion-models", "tests", "data",
                         "manifests.json.gz")
# Lists of tensors, and what their names begin with in such files.
PARTS = [("sd3.5-medium.transformer.original", ""), ("autoencoder-kl-16.original", "first_stage_model."),
         ("clip-l.with-projection", "text_encoders.clip_l.transformer."),
         ("clip-g.with-projection", "text_encoders.clip_g.transformer.")]
# As published models are initialised: nothing overflows, nor becomes too small for f16.
STD = 0.02
# Numbers that are drawn, and repeated: a prime, so that rows of matrices differ.
PERIOD = 1048573


def write(path):
    with gzip.open(MANIFESTS, "rt", encoding="utf-8") as file:
        manifests = json.load(file)
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for part, prefix in PARTS:
        for name, (_, shape) in manifests[part]["tensors"].items():
            size = 2
            for length in shape:
                size *= length
            header[prefix + name] = {"dtype": "F16", "shape": shape, "data_offsets": [end, end + size]}
            end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    generator = random.Random(1)
    values = struct.pack(f"<{PERIOD}e", *(generator.gauss(0, STD) for _ in range(PERIOD)))
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        while end > 0:
            end -= file.write(values[:end])


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    write(sys.argv[1])
