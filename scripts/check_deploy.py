#!/usr/bin/env python3
"""Checks the examples in deploy/ against the program whose path is given: files parse, have the form that their readers want,
refer to what is there, and options, environment variables and columns are the program's. So are those of docs/SCALING.md.

Needs the packages of scripts/clients/requirements.txt; no container is started, and nothing is fetched.
"""

import configparser
import pathlib
import re
import sys
import tomllib

from dockerfile_parse import DockerfileParser

from deploy_checks import compose, kubernetes, pages
from deploy_checks.program import USER, Program

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
DEPLOY = REPOSITORY / "deploy"


def check_unit(known):
    """The unit starts the program with options that it has, and lets it end in time."""
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read(DEPLOY / "studio.service")
    assert set(unit.sections()) == {"Unit", "Service", "Install"}, unit.sections()
    used = set(re.findall(r"--([a-z-]+)", unit["Service"]["ExecStart"]))
    assert used and used <= known, used - known
    assert unit["Service"]["KillSignal"] == "SIGTERM"


def check_dockerfile(program):
    """Two stages, a user who is not root and has a number, and environment variables that the program reads."""
    parser = DockerfileParser(path=str(DEPLOY / "Dockerfile"))
    steps = [(step["instruction"], step["value"]) for step in parser.structure if step["instruction"] != "COMMENT"]
    names = [name for name, _ in steps]
    assert names.count("FROM") == 2 and set(names[: names.index("FROM")]) <= {"ARG"}, names
    assert ("USER", "studio") in steps and names.index("USER") < names.index("ENTRYPOINT")
    assert any("useradd" in value and f"--uid {USER}" in value for _, value in steps), "Kubernetes is told this number"
    assert ("ENTRYPOINT", '["studio"]') in steps, "arguments come from compose and Kubernetes"
    variables = re.findall(r"(STUDIO_[A-Z_]+)=", dict(steps)["ENV"])
    assert variables, steps
    program.front.check_environment(variables)


def check_toml(known):
    """The file of options has no others."""
    found = tomllib.loads((DEPLOY / "studio.toml").read_text(encoding="utf-8"))
    assert found and set(found) <= known, set(found) - known


def main():
    """Check all of them."""
    program = Program(sys.argv[1])
    check_unit(program.front.options)
    check_dockerfile(program)
    check_toml(program.front.options)
    compose.check(DEPLOY, program)
    kubernetes.check(DEPLOY, program)
    pages.check(REPOSITORY / "docs" / "SCALING.md", program)
    print("deploy/: the unit, the Dockerfile, the file of options, compose.yaml and kubernetes.yaml fit the program")


if __name__ == "__main__":
    main()
