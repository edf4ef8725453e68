#!/usr/bin/env python3
"""Kills train-lora at random moments, lets it go on, and compares with a run that was never stopped. Plain Python.

    python3 scripts/check_resume.py [--bin PATH] [--kills 20] [--steps 60] [--seed N] [-- OPTION...]

Trains on the miniature with pictures that it makes, with everything on that is drawn by chance; options after `--` are added. One
run goes through; another one is killed (SIGKILL) so many times, at moments between its start and its last step, and goes on. Fails
unless both leave the same files, those of weights equal to the bit, and logs with every step once and in order. PATH defaults to
target/release/train-lora (CARGO_TARGET_DIR is respected). Each kill is said; --seed repeats the moments.
"""

import argparse
import json
import os
import pathlib
import random
import struct
import subprocess
import sys
import tempfile
import time
import zlib

OPTIONS = ["--data", "pictures", "--resolution", "64", "--rank", "4", "--batch-size", "2", "--accumulate", "2", "--flip",
           "--caption-dropout", "0.2", "--ema", "0.9", "--optimizer", "prodigy", "--sample-prompt", "a red square",
           "--sample-steps", "2", "--sample-every", "10", "--save-every", "4", "--keep", "3", "--log", "log.jsonl",
           "--chart", "chart.svg", "--cache-dir", "cache", "--output", "out.safetensors", "--quiet"]
# Longer than any pause between two steps.
LIMIT = 120.0


def png(width, height, pixel):
    rows = b"".join(b"\0" + bytes(value for x in range(width) for value in pixel(x, y)) for y in range(height))
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def make_pictures(folder):
    pictures = folder / "pictures"
    pictures.mkdir(parents=True)
    for index in range(6):
        picture = png(64, 64, lambda x, y, tone=40 * index: (4 * x, tone, 255 - 4 * y))
        (pictures / f"{index}.png").write_bytes(picture)
        (pictures / f"{index}.txt").write_text(f"picture number {index}\n")


def log_of(folder):
    path = folder / "log.jsonl"
    return path.read_text().splitlines() if path.exists() else []


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", "target"))
    parser.add_argument("--bin", type=pathlib.Path, default=target / "release" / "train-lora")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("more", nargs="*", help="options of train-lora")
    args = parser.parse_args()
    program = [str(args.bin.resolve()), *OPTIONS, "--steps", str(args.steps), *args.more]
    print(f"--seed {args.seed}", flush=True)
    chance = random.Random(args.seed)

    with tempfile.TemporaryDirectory() as temporary:
        whole, killed = (pathlib.Path(temporary, name) for name in ("whole", "killed"))
        for folder in (whole, killed):
            make_pictures(folder)
        began = time.monotonic()
        subprocess.run(program, cwd=whole, check=True)
        duration = time.monotonic() - began
        print(f"a run that is not stopped: {duration:.1f} s", flush=True)

        done = 0
        for kill in range(args.kills):
            process = subprocess.Popen(program, cwd=killed, stderr=subprocess.DEVNULL)
            # Early kills hit the start, later ones wait for steps, so that all of the run is hit.
            wanted = args.steps * kill // (args.kills + 1)
            deadline = time.monotonic() + LIMIT
            while len(log_of(killed)) < wanted and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.001)
            time.sleep(chance.uniform(0, duration / max(args.kills, 1) * 1.5))
            if process.poll() is not None:
                print(f"kill {kill + 1}: the run had ended, with status {process.returncode}")
                if process.returncode:
                    return 1
                break
            process.kill()
            process.wait()
            done += 1
            print(f"kill {kill + 1}: after {len(log_of(killed))} steps in the log", flush=True)
        subprocess.run(program, cwd=killed, check=True)
        return compare(whole, killed, args.steps, done)


def compare(whole, killed, steps, kills):
    wrong = []
    names = lambda folder: {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    if names(whole) != names(killed):
        wrong.append(f"other files: {sorted(names(whole) ^ names(killed))}")
    # Entries of what is encoded are in no order.
    same = [name for name in names(whole) & names(killed)
            if name.endswith((".safetensors", ".png")) and not name.startswith("cache")]
    wrong += [f"{name} differs" for name in sorted(same) if (whole / name).read_bytes() != (killed / name).read_bytes()]
    logs = [[json.loads(line) for line in log_of(folder)] for folder in (whole, killed)]
    timeless = [[{key: value for key, value in line.items() if key != "seconds"} for line in log] for log in logs]
    if [line["step"] for line in logs[1]] != list(range(1, steps + 1)) or timeless[0] != timeless[1]:
        differing = [line for pair in zip(*timeless) if pair[0] != pair[1] for line in pair]
        wrong.append(f"the logs have {len(logs[0])} and {len(logs[1])} lines and differ: {differing[:4]}")
    print("\n".join(wrong) or f"{kills} kills: {len(same)} files are equal to the bit, and {steps} lines of the log")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
