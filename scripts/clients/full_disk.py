#!/usr/bin/env python3
"""A studio whose disk is full: jobs fail with that reason, the queue lives, and goes on when there is room.

    python3 scripts/clients/full_disk.py target/debug/studio

Needs the right to mount a small disk: as root, or by `unshare --map-root-user --mount` before it.
"""

import pathlib
import subprocess
import sys
import tempfile
import time

import requests

from program import studio

DISK = "16m"
PATIENCE = 60


def draw(url, seed):
    """What becomes of a picture: the refusal, or the job when it has ended."""
    request = {"prompt": "a large green star", "seed": seed, "steps": 2, "width": 256, "height": 256}
    answer = requests.post(f"{url}/api/v1/jobs", json=request, timeout=PATIENCE)
    if answer.status_code != 202:
        return answer.status_code, answer.json()["error"]["code"]
    job, end = answer.json(), time.monotonic() + PATIENCE
    while job["finished_at"] is None and time.monotonic() < end:
        time.sleep(0.05)
        job = requests.get(f"{url}{job['links']['self']}", timeout=PATIENCE).json()
    return job["status"], (job["error"] or {}).get("code")


def fill(path):
    """Write until there is no room."""
    with open(path, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass


def check(url, data):
    """Draw with room, without, and with room again."""
    found = draw(url, 1)
    assert found == ("completed", None), found
    filler = data / "filler"
    fill(filler)
    for seed in range(2, 7):
        found = draw(url, seed)
        assert found in ((507, "storage_full"), ("failed", "storage_full")), found
        print(f"without room: {found}")
    assert requests.get(f"{url}/health/ready", timeout=PATIENCE).status_code == 200
    assert requests.get(f"{url}/api/v1/queue", timeout=PATIENCE).json()["running"] == []
    filler.unlink()
    found = draw(url, 9)
    assert found == ("completed", None), found
    print("with room again:", found)


def main():
    """Check it on a disk of its own."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", folder], check=True)
        try:
            with studio(sys.argv[1], folder) as url:
                check(url, pathlib.Path(folder))
        finally:
            subprocess.run(["umount", folder], check=True)


if __name__ == "__main__":
    main()
