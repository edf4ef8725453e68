#!/usr/bin/env bash
# Time the cases of `benches/src/case.rs` beside the same work in torch and others, in turn on this machine, and print a table.
#
#     benches/compare.sh [CASE...] [--precision f32|bf16] [--rounds 7] [--compile] [--openvino] ...
#     benches/compare.sh whole [--rounds 3] ...
#
# `--help` after either tells more. Needs a Rust toolchain and Python with torch, diffusers and transformers (and openvino), or
# stable-diffusion-cpp-python for `whole`. PYTHON names the interpreter that has them, by default python3:
#
#     python3 -m venv venv && venv/bin/pip install torch diffusers transformers
#     PYTHON=venv/bin/python benches/compare.sh flux/512
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
python="${PYTHON:-python3}"
programs="${CARGO_TARGET_DIR:-$root/target}/release"

script=compare.py
bins=(--bin case --bin floors)
if [[ "${1:-}" == whole ]]; then
    shift
    script=compare_whole.py
    bins=(--bin txt2img)
fi
for argument in "$@"; do
    if [[ "$argument" == -h || "$argument" == --help ]]; then
        exec "$python" "$root/benches/peers/$script" --help
    fi
done
# The whole workspace chooses the features, as for its tests, so that nothing is built twice.
(cd "$root" && cargo build --quiet --release --workspace "${bins[@]}")
exec "$python" "$root/benches/peers/$script" --programs "$programs" "$@"
