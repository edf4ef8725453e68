"""A studio that a script starts, with a LoRA for the miniature, and ends."""

import contextlib
import json
import pathlib
import struct
import subprocess

REPOSITORY = pathlib.Path(__file__).parent.parent.parent
CONFIG = REPOSITORY / "diffusion-app/assets/mini-sd3/transformer/config.json"


def write_lora(path):
    """A LoRA of rank 2 that changes every picture of the miniature."""
    config = json.loads(CONFIG.read_text(encoding="utf-8"))
    width = config["num_attention_heads"] * config["attention_head_dim"]
    names = [f"transformer.transformer_blocks.{block}.attn.to_q.lora_" for block in range(config["num_layers"] - 1)]
    tensors = [(name + part + ".weight", shape) for name in names for part, shape in (("A", [2, width]), ("B", [width, 2]))]
    header, data = {}, b""
    for index, (name, shape) in enumerate(tensors):
        values = [(-0.3 if (number * 7 + index) % 3 == 0 else 0.3) for number in range(shape[0] * shape[1])]
        start = len(data)
        data += struct.pack(f"<{len(values)}f", *values)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, len(data)]}
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


@contextlib.contextmanager
def studio(program, data, *options):
    """The address of a studio that runs in this block."""
    write_lora(pathlib.Path(data) / "loras" / "style.safetensors")
    command = [program, "--port", "0", "--data", str(data), "--jobs-per-minute", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            assert line.startswith("studio: http://"), line
            yield line.split()[1].rstrip("/")
        finally:
            process.terminate()
            process.wait(timeout=60)
