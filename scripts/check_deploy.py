#!/usr/bin/env python3
"""Checks the examples in deploy/ against the program whose path is given: files parse, and options are the program's.

Needs the package dockerfile-parse.
"""

import configparser
import pathlib
import re
import subprocess
import sys
import tomllib

from dockerfile_parse import DockerfileParser

DEPLOY = pathlib.Path(__file__).parent.parent / "deploy"


def options(program):
    """The program's options, without the dashes."""
    help_text = subprocess.run([program, "--help"], check=True, capture_output=True, text=True).stdout
    return set(re.findall(r"^\s+(?:-\w, )?--([a-z-]+)", help_text, re.MULTILINE))


def check_unit(known):
    """The unit starts the program with options that it has, and lets it end in time."""
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read(DEPLOY / "studio.service")
    assert set(unit.sections()) == {"Unit", "Service", "Install"}, unit.sections()
    used = set(re.findall(r"--([a-z-]+)", unit["Service"]["ExecStart"]))
    assert used and used <= known, used - known
    assert unit["Service"]["KillSignal"] == "SIGTERM"


def check_dockerfile(known):
    """Two stages, a user who is not root, and environment variables that the program reads."""
    parser = DockerfileParser(path=str(DEPLOY / "Dockerfile"))
    steps = [(step["instruction"], step["value"]) for step in parser.structure if step["instruction"] != "COMMENT"]
    names = [name for name, _ in steps]
    assert names.count("FROM") == 2 and names[0] == "FROM", names
    assert ("USER", "studio") in steps and names.index("USER") < names.index("ENTRYPOINT")
    variables = re.findall(r"STUDIO_([A-Z_]+)=", dict(steps)["ENV"])
    assert variables, steps
    for variable in variables:
        assert variable.lower().replace("_", "-") in known, variable


def check_toml(known):
    """The file of options has no others."""
    found = tomllib.loads((DEPLOY / "studio.toml").read_text(encoding="utf-8"))
    assert found and set(found) <= known, set(found) - known


def main():
    """Check all of them."""
    known = options(sys.argv[1])
    assert {"port", "data", "model"} <= known, known
    check_unit(known)
    check_dockerfile(known)
    check_toml(known)
    print("deploy/: the unit, the Dockerfile and the file of options fit the program")


if __name__ == "__main__":
    main()
