#!/usr/bin/env python3
"""Drive a studio with the clients that people have: openai, webuiapi, and schemathesis over its description.

    python3 scripts/clients/run.py target/debug/studio

Needs the packages of requirements.txt.
"""

import pathlib
import subprocess
import sys
import tempfile

from program import studio

HERE = pathlib.Path(__file__).parent


def main():
    """Run all of them, each against a server of its own."""
    failed = []
    for command in (
        [sys.executable, HERE / "openai_client.py", "--lora", "style", "--url"],
        [sys.executable, HERE / "webuiapi_client.py", "--lora", "style", "--url"],
        ["sh", HERE / "schema.sh"],
    ):
        print(f"\n{pathlib.Path(command[1]).name}", flush=True)
        # What a random request asks for is not to take long.
        with tempfile.TemporaryDirectory() as data, studio(sys.argv[1], data, "--max-pixels", "65536") as url:
            path = f"{pathlib.Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
            if subprocess.run([*map(str, command), url], check=False, env={"PATH": path}).returncode != 0:
                failed.append(pathlib.Path(command[1]).name)
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
