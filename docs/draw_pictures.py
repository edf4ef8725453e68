"""Draws the pictures of the README with txt2img: python3 docs/draw_pictures.py PATH_TO_TXT2IMG (needs Pillow)."""

import pathlib
import subprocess
import sys
import tempfile

from PIL import Image

PROMPTS = [
    "a red house in the snow at night, a full moon in the sky",
    "a boat with a white sail on the sea with mountains at sunset, a sun in the sky",
    "a large green star on a white background",
    "the letter A in blue on a yellow background",
    "a tree on the grass with mountains by day, a sun in the sky",
    "a small yellow heart at the top on a purple background",
    "a red circle left of a blue square on a gray background",
    "the letter R in white on a black background",
    "a yellow house on the sand by day",
    "a landscape on the sea at night, a full moon in the sky",
]
COLUMNS, GAP = 5, 4


def main(txt2img):
    docs = pathlib.Path(__file__).parent
    with tempfile.TemporaryDirectory() as folder:
        files = [pathlib.Path(folder, f"{i}.png") for i in range(len(PROMPTS))]
        for prompt, file in zip(PROMPTS, files):
            subprocess.run([txt2img, prompt, "--quiet", "--output", file], check=True)
        (docs / "red-house.png").write_bytes(files[0].read_bytes())
        pictures = [Image.open(file) for file in files]
        width, height = pictures[0].size
        rows = len(pictures) // COLUMNS
        sheet = Image.new("RGB", (COLUMNS * (width + GAP) - GAP, rows * (height + GAP) - GAP), "white")
        for i, picture in enumerate(pictures):
            sheet.paste(picture, (i % COLUMNS * (width + GAP), i // COLUMNS * (height + GAP)))
        sheet.save(docs / "ten-prompts.png", optimize=True)


main(*sys.argv[1:])
