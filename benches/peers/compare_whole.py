#!/usr/bin/env python3
"""Draw a whole image with txt2img and with stable-diffusion.cpp in turn, and print times, peak memory and ratios.

    benches/compare.sh whole [--rounds 3] [--model FILE] [--precision f32] [--size 512] [--steps 4] [--threads N] [--flash]

Each run is a process that loads the file, encodes the prompt, samples by Euler's method without guidance, decodes, writes a PNG file
and ends. Without --model the file is Stable Diffusion 3.5 Medium with CLIP-L and CLIP-G at full width, random weights in f16 (6.7
GB in a temporary folder, gone afterwards). Peaks are those of resident memory, in which mapped pages of the file count. A ratio is
the peer's time over ours.
"""
import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

import random_model

HERE = os.path.dirname(os.path.abspath(__file__))
# ru_maxrss is in kilobytes, in bytes on macOS.
RSS_UNIT = 1 if sys.platform == "darwin" else 1024


def run(name, command, image):
    """Seconds and peak resident bytes."""
    if os.path.exists(image):
        os.remove(image)
    # What an earlier run kept, such as encoded prompts, does not count.
    with tempfile.TemporaryFile() as log, tempfile.TemporaryDirectory() as cache:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env={**environment, "XDG_CACHE_HOME": cache})
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        log.seek(0)
        said = log.read().decode(errors="replace")
    if process.returncode != 0 or not os.path.exists(image):
        sys.exit(f"{name} failed with {process.returncode}:\n{said[-2000:]}")
    peak = usage.ru_maxrss * RSS_UNIT
    print(f"# {name}: {seconds:.1f} s, {usage.ru_utime + usage.ru_stime:.1f} s of processors, {peak / 1e9:.2f} GB", flush=True)
    return seconds, peak


def compare(model, folder):
    size = os.path.getsize(model)
    ours = [os.path.join(arguments.programs, "txt2img"), "--model", model, "--guidance-scale", "1", "--sampler", "euler",
            "--seed", "1", "--width", str(arguments.size), "--height", str(arguments.size), "--steps", str(arguments.steps)]
    peer = [sys.executable, os.path.join(HERE, "sd_cpp_image.py"), model]
    options = ["--size", str(arguments.size), "--steps", str(arguments.steps), "--threads", str(arguments.threads)]
    programs = {}
    for precision in arguments.precision or ["f32"]:
        image = os.path.join(folder, f"{precision}.png")
        programs[f"txt2img, {precision}"] = (ours + ["--precision", precision, "--output", image, "a cat"], image)
    image = os.path.join(folder, "peer.png")
    flash = ["--flash"] if arguments.flash else []
    programs["stable-diffusion.cpp"] = (peer + [image] + options + flash, image)

    found = {name: [] for name in programs}
    for _ in range(arguments.rounds):
        for name, (command, image) in programs.items():
            found[name].append(run(name, command, image))
    medians = {name: statistics.median(seconds for seconds, _ in runs) for name, runs in found.items()}
    print(f"\n| Program | Time | Ratio | Peak | Peak beyond the file of {size / 1e9:.2f} GB |\n| --- | --- | --- | --- | --- |")
    for name, runs in found.items():
        peak = max(peak for _, peak in runs)
        print(f"| {name} | {medians[name]:.1f} s | {medians['stable-diffusion.cpp'] / medians[name]:.2f} | {peak / 1e9:.2f} GB "
              f"| {(peak - size) / 1e9:.2f} GB |")


parser = argparse.ArgumentParser(
    prog="compare.sh whole", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--rounds", type=int, default=3, help="runs of each program, 3 by default")
parser.add_argument("--model", help="a file with CLIP-L, CLIP-G and the autoencoder in it")
parser.add_argument("--precision", action="append", help="of txt2img, f32 by default; may be given several times")
parser.add_argument("--size", type=int, default=512, help="width and height in pixels, 512 by default")
parser.add_argument("--steps", type=int, default=4, help="4 by default")
parser.add_argument("--threads", type=int, default=os.cpu_count(), help="by default as many as processors")
parser.add_argument("--flash", action="store_true", help="stable-diffusion.cpp with flash attention")
parser.add_argument("--programs", required=True, help=argparse.SUPPRESS)
arguments = parser.parse_args()
environment = {**os.environ, "RAYON_NUM_THREADS": str(arguments.threads)}

with tempfile.TemporaryDirectory() as scratch:
    path = arguments.model
    if path is None:
        path = os.path.join(scratch, "sd3.5_medium_incl_clips.safetensors")
        random_model.write(path)
    compare(path, scratch)
