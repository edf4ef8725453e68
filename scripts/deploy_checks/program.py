"""The program that the examples start: its options, and the environment that it reads."""

import re
import subprocess

# What the store's library reads by itself.
STORE_VARIABLES = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_ENDPOINT_URL", "AWS_ALLOW_HTTP"}

# The user of the image; Kubernetes does not start one whom it knows by name alone.
USER = 10001


class Role:
    """The program as a front end, or as one of its subcommands."""

    def __init__(self, program, *subcommand):
        help_text = subprocess.run([program, *subcommand, "--help"], check=True, capture_output=True, text=True).stdout
        self.subcommand = list(subcommand)
        self.options = set(re.findall(r"^\s+(?:-\w, )?--([a-z0-9-]+)", help_text, re.MULTILINE))
        assert {"model", "data", "drain-seconds"} <= self.options, self.options
        self.drain = int(re.search(r"--drain-seconds.*?\[default: (\d+)\]", help_text, re.DOTALL)[1])

    def check_arguments(self, arguments):
        """Arguments are this subcommand and options that it has."""
        assert arguments[: len(self.subcommand)] == self.subcommand, arguments
        options = arguments[len(self.subcommand) :]
        assert not options or options[0].startswith("-"), f"{options[0]} is neither a subcommand nor an option"
        for argument in options:
            if argument.startswith("-"):
                option = argument.removeprefix("--").split("=")[0]
                assert option in self.options, f"{argument} is no option of {self.subcommand or 'the program'}"

    def check_environment(self, names):
        """Variables are the program's or its store's."""
        for name in names:
            option = name.removeprefix("STUDIO_").lower().replace("_", "-")
            known = option in self.options if name.startswith("STUDIO_") else name in STORE_VARIABLES
            assert known, f"{self.subcommand or 'the program'} reads no {name}"

    def drain_seconds(self, environment):
        """Seconds that a running job may go on."""
        return int(environment.get("STUDIO_DRAIN_SECONDS", self.drain))


class Program:
    """All roles of the program."""

    def __init__(self, path):
        self.front = Role(path)
        self.worker = Role(path, "worker")

    def role(self, arguments):
        """The role that arguments choose."""
        return self.worker if arguments[:1] == ["worker"] else self.front
