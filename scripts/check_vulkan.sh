#!/usr/bin/env bash
# Draws the miniature model's image on the CPU, through Vulkan, there with captured steps, and on both with its components apart, and
# compares them.
#
# The device may be a software one, mesa-vulkan-drivers of Mesa 26.1 or newer (Debian 12's Mesa 22.3 is too old). Without a
# Vulkan device that can do it the check is skipped, which is no failure; REQUIRE_VULKAN=1 makes it one.
set -euo pipefail
cd "$(dirname "$0")/.."

prompt="a red house in the snow at night, a full moon in the sky"

build_start=$SECONDS
cargo build --release -p diffusion-app -p diffusion-benches --features diffusion-app/vulkan --bins
echo "built in $((SECONDS - build_start)) s"
programs="${CARGO_TARGET_DIR:-target}/release"

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

draw() { # device precision image options...
    local start device=$1 precision=$2 image=$3
    shift 3
    start=$(date +%s.%N)
    "$programs/txt2img" "$prompt" --device "$device" --precision "$precision" --output "$folder/$image.png" "$@" 2> "$folder/log" || {
        cat "$folder/log" >&2
        return 1
    }
    awk -v start="$start" -v end="$(date +%s.%N)" -v name="$image" 'BEGIN { printf "%s: %.1f s in all\n", name, end - start }'
    sed 's/^/    /' "$folder/log"
}

draw cpu f32 cpu
if ! draw vulkan f32 vulkan-f32; then
    if grep -q -E "no device for vulkan:0 was found|install a newer driver" "$folder/log" && [[ ${REQUIRE_VULKAN:-0} != 1 ]]; then
        echo "skipped: no Vulkan device for Burn's shaders"
        exit 0
    fi
    exit 1
fi
# Again with what drivers and cubecl kept of the compiled shaders.
draw vulkan f32 vulkan-f32-again
# On two devices: a tensor that stays behind on the wrong one ends the program.
draw cpu f32 transformer-apart --place transformer=vulkan
draw vulkan f32 transformer-on-cpu --place transformer=cpu
draw cpu f32 t5-and-vae-apart --place t5xxl=vulkan,vae=vulkan
# In half precision, in few steps: a software device computes half precision many times slower.
draw cpu f32 cpu-4-steps --steps 4
draw vulkan auto vulkan-auto --steps 4
# The blocks of a step as a graph of kernels.
draw vulkan f32 captured --steps 4 --capture-steps
if grep -q "capture-steps has no effect" "$folder/log"; then
    echo "the device captured no steps"
    exit 1
fi

compare() { # image other decibels
    local decibels
    decibels=$("$programs/psnr" "$folder/$1.png" "$folder/$2.png" --at-least "$3")
    echo "$2: $decibels dB from the CPU's image (at least $3)"
}

# In f32 the devices differ in the order of their sums only; half precision moves colors by a few levels of 255.
compare cpu vulkan-f32 50
compare cpu vulkan-f32-again 50
compare cpu transformer-apart 50
compare cpu transformer-on-cpu 50
compare cpu t5-and-vae-apart 50
compare cpu-4-steps vulkan-auto 35
compare cpu-4-steps captured 50
