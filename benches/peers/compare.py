#!/usr/bin/env python3
"""Time our cases and the same work of peers in turn, and print a table of medians and ratios.

    benches/compare.sh [CASE...] [--precision f32|bf16] [--rounds 7] [--threads N] [--compile] [--openvino] [--processor-time]

Each program makes its case once and then runs it when it is its turn, so that whatever else the machine does meets all alike. Ours
in f32 (weights in f32) is beside torch in f32; ours with products in bf16 (weights in bf16, Q8_0 and Q4_0) beside torch with weights
and activations in bf16. A ratio is the peer's time over ours: above 1, ours is faster.

The floor is the larger of two times that the machine cannot go below: the operations that the result depends on, at the rate of the
processor's registers, and the bytes of all weights, at the rate that memory is read. Both rates are measured in the same run.
Lines beginning with # say with what machine and command, and what could not be measured.
"""
import argparse
import os
import platform
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
CASES = ["sd3.5-medium/512", "sd3.5-large/512", "flux/512", "vae-decode/256", "clip-g/77", "t5-xxl/256", "attention/4608",
         "train-sd3.5-medium/512", "train-flux/512"]
# Formats of our weights beside a peer's precision.
WEIGHTS = {"f32": ["f32"], "bf16": ["bf16", "q8_0", "q4_0"]}
# Kernels of convolutions are never in blocks.
WITHOUT_BLOCKS = ["vae-decode/256"]
WITHOUT_WEIGHTS = ["attention/4608"]


def note(*words):
    print("#", *words, flush=True)


def processor_seconds(pid):
    """Seconds of all threads of a process so far; Linux only."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            fields = file.read().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Program:
    """A program that runs its case for every line it is sent."""

    def __init__(self, command, environment):
        self.times, self.busy = [], []
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = ""
        while not line.startswith("ready"):
            line = self.process.stdout.readline()
            if not line:
                raise OSError(self.process.stderr.read().strip().rsplit("\n", 1)[-1])
        self.measures = [float(word) for word in line.split()[1:]]

    def run(self):
        before = processor_seconds(self.process.pid)
        self.process.stdin.write("run\n")
        self.process.stdin.flush()
        self.times.append(float(self.process.stdout.readline()))
        self.busy.append(processor_seconds(self.process.pid) - before)

    def median(self):
        return statistics.median(self.times)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def floors():
    """Rates of the machine, and how it calls them."""
    found = dict(line.split() for line in subprocess.check_output(
        [os.path.join(arguments.programs, "floors")], env=environment, text=True).splitlines())
    rates = {name: float(found[name]) for name in ("f32", "bf16", "read", "fresh")}
    note(f"{found['instructions']}, {found['threads']} threads: f32 {rates['f32'] / 1e9:.0f}, bf16 {rates['bf16'] / 1e9:.0f} "
         f"GFLOP/s; memory read {rates['read'] / 1e9:.1f}, fresh {rates['fresh'] / 1e9:.1f} GB/s")
    return rates


def processor():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def start(programs, key, command):
    try:
        programs[key] = Program(command, environment)
    except OSError as error:
        note(f"{' '.join(key)} is left out: {error}")


def measure(case, precision):
    """Lines of the table."""
    ours, peers = {}, {}
    for name in ["f32"] if case in WITHOUT_WEIGHTS else WEIGHTS[precision][:1 if case in WITHOUT_BLOCKS else None]:
        start(ours, (case, precision, name),
              [os.path.join(arguments.programs, "case"), case, "--products", precision, "--weights", name])
    if not ours:
        return
    torch = [sys.executable, os.path.join(HERE, "torch_case.py"), case, "--dtype", precision, "--threads", str(arguments.threads)]
    ways = {"torch": [], "torch.compile": ["--compile"] if arguments.compile else None,
            "OpenVINO": ["--openvino"] if arguments.openvino else None}
    for name, options in ways.items():
        if options is not None:
            start(peers, (case, precision, name), torch + options)
    for _ in range(arguments.rounds):
        for program in [*ours.values(), *peers.values()]:
            # OpenMP's threads spin for a while after their work.
            time.sleep(arguments.pause)
            program.run()
    for (_, _, name), program in ours.items():
        operations, num_bytes = program.measures
        floor = max(operations / rates[precision], num_bytes / rates["read"])
        for (_, _, peer), other in peers.items() or {("", "", "-"): None}.items():
            theirs = f"{other.median():.3f} s" if other else "-"
            ratio = f"{other.median() / program.median():.2f}" if other else "-"
            line = [case, precision, "-" if case in WITHOUT_WEIGHTS else name, f"{program.median():.3f} s", peer, theirs, ratio, f"{floor:.3f} s",
                    f"{100 * floor / program.median():.0f} %"]
            if arguments.processor_time:
                line += [f"{statistics.median(p.busy) / arguments.threads:.3f} s" if p else "-" for p in (program, other)]
            row(line)
    for program in [*ours.values(), *peers.values()]:
        program.close()


def row(cells):
    print("| " + " | ".join(cells) + " |", flush=True)


parser = argparse.ArgumentParser(
    prog="compare.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("cases", nargs="*", metavar="CASE", help=f"all by default: {', '.join(CASES)}")
parser.add_argument("--precision", choices=WEIGHTS, action="append", help="both by default")
parser.add_argument("--rounds", type=int, default=7, help="runs of each program, 7 by default")
parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of each program, by default as many as processors")
parser.add_argument("--pause", type=float, default=0.1, help="seconds before each run, 0.1 by default")
parser.add_argument("--compile", action="store_true", help="also torch.compile, which takes minutes to begin")
parser.add_argument("--openvino", action="store_true", help="also OpenVINO")
parser.add_argument("--processor-time", action="store_true", help="also seconds of all threads, divided by their number (Linux); "
                    "where others use the machine, ours by the clock may be twice that. Threads of torch that wait count, too")
parser.add_argument("--programs", required=True, help=argparse.SUPPRESS)
arguments = parser.parse_args()
for unknown in set(arguments.cases) - set(CASES):
    parser.error(f"there is no case {unknown}; choose from {', '.join(CASES)}")
environment = {**os.environ, "RAYON_NUM_THREADS": str(arguments.threads)}

note(f"{processor()}, {platform.system()} {platform.machine()}; compare.sh {' '.join(sys.argv[3:])}")
rates = floors()
header = ["Case", "Products", "Weights", "Ours", "Peer", "Its time", "Ratio", "Floor", "Share"]
header += ["Ours by processor time", "The peer's"] if arguments.processor_time else []
row(header)
row(["---"] * len(header))
for each in arguments.cases or CASES:
    for precision in arguments.precision or WEIGHTS:
        measure(each, precision)
