"""What both clients share: expectations, one line each, and pictures to send."""

import argparse
import io
import sys
import time
import traceback

import requests
from PIL import Image


class Checks:
    """Counts expectations, and prints a line for each."""

    def __init__(self):
        self.failed = 0

    def expect(self, what, holds, found=""):
        """Print whether something holds."""
        print(f"{'ok  ' if holds else 'FAIL'} {what}" + ("" if holds else f": {found!r}"), flush=True)
        self.failed += not holds

    def run(self, *parts):
        """Run all parts, whatever becomes of each; end with 1 if an expectation failed."""
        for part in parts:
            try:
                part(self)
            except Exception:  # the next parts are to run all the same
                traceback.print_exc()
                self.expect(part.__name__, False, "it ended early")
        print(f"{self.failed} failed" if self.failed else "all hold")
        sys.exit(1 if self.failed else 0)


def arguments(description):
    """The command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--url", default="http://127.0.0.1:7860", help="where the server is")
    parser.add_argument("--key", default="none", help="an API key, if the server wants one")
    parser.add_argument("--size", type=int, default=64, help="side of the pictures in pixels")
    parser.add_argument("--lora", help="name of a LoRA that the server lists")
    return parser.parse_args()


def is_idle(given, seconds):
    """Whether nothing is drawn any more, after so many seconds at most."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        key = None if given.key == "none" else ("me", given.key)
        if requests.get(f"{given.url}/sdapi/v1/progress", auth=key, timeout=10).json()["state"]["job_count"] == 0:
            return True
        time.sleep(0.1)
    return False


def picture(size):
    """A picture to start from."""
    return Image.linear_gradient("L").resize((size, size)).convert("RGB")


def png(image):
    """The bytes of a PNG."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
