#!/usr/bin/env bash
# Draws the miniature model's picture on the CPU and through Vulkan, and compares the two.
#
# The device may be a software one: `apt-get install mesa-vulkan-drivers` is enough. Without any Vulkan device the check is
# skipped, which is no failure; REQUIRE_VULKAN=1 makes it one.
set -euo pipefail
cd "$(dirname "$0")/.."

prompt="a red house in the snow at night, a full moon in the sky"

build_start=$SECONDS
cargo build --release -p diffusion-examples --features vulkan --bins
echo "built in $((SECONDS - build_start)) s"
programs="${CARGO_TARGET_DIR:-target}/release"

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

draw() { # device precision picture
    local start
    start=$(date +%s.%N)
    "$programs/txt2img" "$prompt" --device "$1" --precision "$2" --output "$folder/$3.png" 2> "$folder/log" || {
        cat "$folder/log" >&2
        return 1
    }
    awk -v start="$start" -v end="$(date +%s.%N)" -v name="$3" 'BEGIN { printf "%s: %.1f s in all\n", name, end - start }'
    sed 's/^/    /' "$folder/log"
}

draw cpu f32 cpu
if ! draw vulkan f32 vulkan-f32; then
    if grep -q "no device for vulkan:0 was found" "$folder/log" && [[ ${REQUIRE_VULKAN:-0} != 1 ]]; then
        echo "skipped: no Vulkan device"
        exit 0
    fi
    exit 1
fi
# Again with what drivers and cubecl kept of the compiled shaders.
draw vulkan f32 vulkan-f32-again
draw vulkan auto vulkan-auto

compare() { # picture decibels
    local decibels
    decibels=$("$programs/psnr" "$folder/cpu.png" "$folder/$1.png" --at-least "$2")
    echo "$1: $decibels dB from the CPU's picture (at least $2)"
}

# In f32 the devices differ in the order of their sums only; half precision moves colors by a few levels of 255.
compare vulkan-f32 50
compare vulkan-f32-again 50
compare vulkan-auto 35
