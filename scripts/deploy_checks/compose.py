"""The example for compose: its form, what its services refer to, and what they say to the program."""

import re
from urllib.parse import urlsplit

import jsonschema

from deploy_checks.documents import read

TEXTS = {"type": "array", "items": {"type": "string"}, "minItems": 1}
VARIABLES = {"type": "object", "additionalProperties": {"type": "string"}}
SECONDS = {"type": "string", "pattern": r"^\d+s$"}


def closed(properties, required=()):
    """An object of these properties and no others."""
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


DEVICE = closed({"driver": {"type": "string"}, "device_ids": TEXTS, "capabilities": TEXTS}, ["capabilities"])
HEALTHCHECK = closed(
    {"test": TEXTS, "interval": SECONDS, "timeout": SECONDS, "retries": {"type": "integer"}, "start_period": SECONDS}, ["test"]
)
DEPENDENCY = closed(
    {"condition": {"enum": ["service_started", "service_healthy", "service_completed_successfully"]}}, ["condition"]
)
# The parts of the Compose Specification (https://github.com/compose-spec/compose-spec, schema/compose-spec.json) that are used.
SERVICE = closed(
    {
        "image": {"type": "string"},
        "build": closed({"context": {"type": "string"}, "dockerfile": {"type": "string"}, "args": VARIABLES}),
        "command": TEXTS,
        "entrypoint": TEXTS,
        "environment": VARIABLES,
        "ports": TEXTS,
        "volumes": TEXTS,
        "depends_on": {"type": "object", "additionalProperties": DEPENDENCY},
        "healthcheck": HEALTHCHECK,
        "restart": {"enum": ["no", "always", "on-failure", "unless-stopped"]},
        "stop_grace_period": SECONDS,
        "cap_drop": TEXTS,
        "security_opt": TEXTS,
        "deploy": closed(
            {
                "replicas": {"type": "integer", "minimum": 1},
                "resources": closed({"reservations": closed({"devices": {"type": "array", "items": DEVICE}})}),
            }
        ),
    },
    ["image", "restart"],
)
FILE = {
    **closed(
        {
            "name": {"type": "string"},
            "services": {"type": "object", "additionalProperties": SERVICE},
            "volumes": {"type": "object", "additionalProperties": {"type": "null"}},
        },
        ["name", "services"],
    ),
    "patternProperties": {"^x-": {}},
}


def check(folder, program):
    """Check compose.yaml as it stands, and with each example that is commented out in it."""
    text = (folder / "compose.yaml").read_text(encoding="utf-8")
    (plain,) = read(text)
    check_file(plain, folder, program)
    services = plain["services"]
    studios = [service for service in services.values() if service["image"] == "studio"]
    roles = {program.role(service["command"]): service.get("deploy", {}).get("replicas", 1) for service in studios}
    assert roles == {program.front: 1, program.worker: 2}, roles

    (with_gpu,) = read(uncommented(text, "gpu-worker"))
    check_file(with_gpu, folder, program)
    assert set(with_gpu["services"]) == {*services, "gpu-worker"}
    (with_folder,) = read(re.sub(r"^ +STUDIO_STORE: s3:.*\n", "", uncommented(text, "store"), flags=re.MULTILINE))
    check_file(with_folder, folder, program)
    assert with_folder["services"]["worker"]["environment"]["STUDIO_STORE"].startswith("file:///")


def uncommented(text, key):
    """The file with the commented lines of the blocks in which a key of this name, in capitals or not, stands.

    In a line of an example `#` stands before a key or before more than one space, in a line of prose before one space.
    """

    def uncomment(block):
        if not re.search(rf"^ +#(?:  +)?(?:- )?\w*{key}:", block[0], re.MULTILINE | re.IGNORECASE):
            return block[0]
        return re.sub(r"^( +)#(?=  +\S|[^ \n])", r"\1", block[0], flags=re.MULTILINE)

    return re.sub(r"(?:^ +#.*\n)+", uncomment, text, flags=re.MULTILINE)


def check_file(file, folder, program):
    """Its form, and all that is named in it."""
    jsonschema.validate(file, FILE)
    services = file["services"]
    for name, service in services.items():
        for other, dependency in service.get("depends_on", {}).items():
            check_dependency(name, dependency["condition"], services[other])
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source.startswith("/") or source in file["volumes"], f"{name}: there is no volume {source}"
        for port in service.get("ports", []):
            assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port), f"{name}: {port} is open to others"
        for value in service.get("environment", {}).values():
            assert all(":-" in variable for variable in re.findall(r"\$\{(.*?)\}", value)), f"{name}: {value} has no default"
        if "build" in service:
            check_studio(name, service, services, folder, program)


def check_dependency(name, condition, service):
    """What is waited for comes."""
    if condition == "service_healthy":
        assert "healthcheck" in service, f"{name} waits for the health of a service that does not tell it"
    if condition == "service_completed_successfully":
        assert service["restart"] in {"no", "on-failure"}, f"{name} waits for the end of a service that starts again"


def check_studio(name, service, services, folder, program):
    """A service of ours starts the program as it wants to be started, and can reach what it is told of."""
    environment, arguments = service["environment"], service["command"]
    role = program.role(arguments)
    role.check_arguments(arguments)
    role.check_environment(environment)
    assert int(service["stop_grace_period"][:-1]) > role.drain_seconds(environment), f"{name} has no time to end its job"
    build = folder / service["build"]["context"] / service["build"]["dockerfile"]
    assert build.is_file(), f"{name}: there is no {build}"
    waited = service["depends_on"]
    database = urlsplit(re.sub(r"\$\{.*?\}", "password", environment["STUDIO_DATABASE"]))
    assert database.scheme == "postgres" and database.hostname in waited, database
    owner = services[database.hostname]["environment"]
    assert (owner["POSTGRES_USER"], owner["POSTGRES_DB"]) == (database.username, database.path[1:]), owner
    assert owner["POSTGRES_PASSWORD"] in environment["STUDIO_DATABASE"], f"{name} has another password"
    store = urlsplit(environment["STUDIO_STORE"])
    if store.scheme == "file":
        assert any(volume.split(":")[1] == store.path for volume in service["volumes"]), f"{name} has no folder {store.path}"
    else:
        assert urlsplit(environment["AWS_ENDPOINT_URL"]).hostname in services, environment
        makers = [services[other] for other in waited if "mc mb" in services[other].get("entrypoint", [""])[-1]]
        assert makers and makers[0]["entrypoint"][-1].endswith(f"/{store.hostname}"), f"{name}: nobody makes {store.hostname}"
