"""Writes ../data/blocks.safetensors, tiny.gguf, tiny_values.safetensors, and diffusion-models/tests/data/tiny_t5.gguf.

    python3 gguf_blocks.py

with Python 3.11, gguf 0.19.0, numpy 2.4.6 and safetensors 0.8.0. The same versions write the same bytes.

- blocks.safetensors: for every block format `F` random blocks `F.bytes` and what `gguf.quants.dequantize` makes of them,
  `F.values`. Their half-precision scales go through zero, negative, subnormal and the largest numbers. `encode.values` and
  what `gguf.quants.quantize` makes of them, `encode.Q8_0` and `encode.Q4_0`.
- tiny.gguf: metadata of every type, tensors of many formats and ranks; tiny_values.safetensors: their values in f32.
- tiny_t5.gguf: the names of llama.cpp's T5 encoder; every tensor holds its place in the file.
"""

from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import GGUFValueType, GGUFWriter
from gguf.constants import GGML_QUANT_SIZES
from gguf.quants import dequantize, quantize
from safetensors.numpy import save_file

DATA = Path(__file__).resolve().parent.parent / "data"
NUM_BLOCKS = 10

# Where the half-precision scales of a block lie.
SCALES = {
    Type.Q4_0: [0],
    Type.Q4_1: [0, 2],
    Type.Q5_0: [0],
    Type.Q5_1: [0, 2],
    Type.Q8_0: [0],
    Type.Q2_K: [80, 82],
    Type.Q3_K: [108],
    Type.Q4_K: [0, 2],
    Type.Q5_K: [0, 2],
    Type.Q6_K: [208],
    Type.IQ4_NL: [0],
}
# Zero, negative, subnormal (the smallest and the largest), the largest, and ordinary scales.
EDGES = np.array([0.0, -0.0, -0.013, 6e-8, -6.09e-5, 65504.0, -65504.0, 0.0625, 1.7, 0.002], dtype=np.float16)


def random_blocks(rng, kind, num_blocks):
    blocks = rng.integers(0, 256, (num_blocks, GGML_QUANT_SIZES[kind][1]), dtype=np.uint8)
    for place, at in enumerate(SCALES[kind]):
        # The second scale of a block takes the edges in another order than the first.
        edges = np.roll(EDGES, 3 * place)[np.arange(num_blocks) % len(EDGES)]
        blocks[:, at : at + 2] = edges.view(np.uint8).reshape(num_blocks, 2)
    return blocks


def write_blocks(rng):
    tensors = {}
    for kind in SCALES:
        blocks = random_blocks(rng, kind, NUM_BLOCKS)
        tensors[f"{kind.name}.bytes"] = blocks
        tensors[f"{kind.name}.values"] = dequantize(blocks, kind)

    values = rng.standard_normal((16, 32)).astype(np.float32)
    values[0] = 0
    values[1] *= 1e-3
    values[2] *= 1e3
    values[3] = np.abs(values[3])
    values[4] = -np.abs(values[4])
    values[5] = np.arange(-16, 16) / 16
    values[6] = np.where(np.arange(32) % 2, 1.0, -1.0)  # every magnitude is the largest
    values[7] = np.round(values[7] * 2) / 2
    values[8, 1:] = 0
    tensors["encode.values"] = values
    tensors["encode.Q8_0"] = quantize(values, Type.Q8_0)
    tensors["encode.Q4_0"] = quantize(values, Type.Q4_0)
    save_file(tensors, DATA / "blocks.safetensors")


def write_tiny(rng):
    writer = GGUFWriter(DATA / "tiny.gguf", "flux")
    writer.add_uint8("test.uint8", 200)
    writer.add_int8("test.int8", -5)
    writer.add_uint16("test.uint16", 60000)
    writer.add_int16("test.int16", -30000)
    writer.add_uint32("test.uint32", 4_000_000_000)
    writer.add_int32("test.int32", -2_000_000_000)
    writer.add_float32("test.float32", 1.5)
    writer.add_uint64("test.uint64", 2**63)
    writer.add_int64("test.int64", -(2**62))
    writer.add_float64("test.float64", -2.5)
    writer.add_bool("test.bool", True)
    writer.add_string("test.string", "grüße")
    writer.add_array("test.strings", ["a", "", "bc"])
    writer.add_array("test.numbers", [1, 2, 3])
    writer.add_key_value("test.bools", [True, False], GGUFValueType.ARRAY, GGUFValueType.BOOL)
    writer.add_key_value("test.bytes", [0, 255], GGUFValueType.ARRAY, GGUFValueType.UINT8)
    writer.add_key_value("test.floats", [0.5], GGUFValueType.ARRAY, GGUFValueType.FLOAT64)
    writer.add_custom_alignment(64)

    tensors = {}

    def add(name, data, kind, shape):
        """`data` are the bytes of a tensor of `shape`."""
        block, size = GGML_QUANT_SIZES[kind]
        byte_shape = (*shape[:-1], shape[-1] // block * size)
        writer.add_tensor(name, np.ascontiguousarray(data).view(np.uint8).reshape(byte_shape), raw_dtype=kind)
        tensors[name] = dequantize(data.view(np.uint8).reshape(byte_shape), kind).astype(np.float32).reshape(shape)

    add("vector.f32", rng.standard_normal(7).astype(np.float32), Type.F32, [7])
    add("matrix.f16", rng.standard_normal((3, 5)).astype(np.float16), Type.F16, [3, 5])
    add("matrix.bf16", quantize(rng.standard_normal((2, 6)).astype(np.float32), Type.BF16), Type.BF16, [2, 6])
    add("matrix.q8_0", quantize(rng.standard_normal((6, 64)).astype(np.float32), Type.Q8_0), Type.Q8_0, [6, 64])
    add("matrix.q5_1", quantize(rng.standard_normal((2, 32)).astype(np.float32), Type.Q5_1), Type.Q5_1, [2, 32])
    add("matrix.q4_k", random_blocks(rng, Type.Q4_K, 2), Type.Q4_K, [1, 512])
    add("cube.q4_0", quantize(rng.standard_normal((2, 3, 32)).astype(np.float32), Type.Q4_0), Type.Q4_0, [2, 3, 32])
    # A convolution of rows of 9, regrouped to rows that blocks fit into.
    kernel = quantize(rng.standard_normal((9, 32)).astype(np.float32), Type.Q8_0)
    add("kernel.q8_0", kernel, Type.Q8_0, [9, 32])
    tensors["kernel.q8_0"] = tensors["kernel.q8_0"].reshape(8, 4, 3, 3)
    writer.add_key_value("comfy.gguf.orig_shape.kernel.q8_0", [8, 4, 3, 3], GGUFValueType.ARRAY, GGUFValueType.INT32)
    writer.add_tensor("position_ids", np.arange(4, dtype=np.int64))
    finish(writer)
    save_file(tensors, DATA / "tiny_values.safetensors")


def write_t5():
    writer = GGUFWriter(DATA / "../../../diffusion-models/tests/data/tiny_t5.gguf", "t5encoder")
    names = ["token_embd", "enc.output_norm"]
    for block in range(2):
        layers = ["attn_norm", "attn_q", "attn_k", "attn_v", "attn_o", "ffn_norm", "ffn_gate", "ffn_up", "ffn_down"]
        names += [f"enc.blk.{block}.{layer}" for layer in layers]
    names.append("enc.blk.0.attn_rel_b")
    for place, name in enumerate(names):
        writer.add_tensor(f"{name}.weight", np.full(1, place, dtype=np.float32))
    finish(writer)


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    DATA.mkdir(exist_ok=True)
    write_blocks(np.random.default_rng(1))
    write_tiny(np.random.default_rng(2))
    write_t5()
