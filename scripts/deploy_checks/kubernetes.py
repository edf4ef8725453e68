"""The example for Kubernetes: its objects, what they refer to, what they may do, and what they say to the program."""

import re

import jsonschema
import kubernetes_validate

from deploy_checks.compose import closed
from deploy_checks.documents import read
from deploy_checks.program import USER
from deploy_checks.queries import check_query, check_statuses, tables

VERSIONS = ("1.27", "1.37")
TEXT = {"type": "string"}
NAME = closed({"name": TEXT}, ["name"])
METADATA = closed({"name": TEXT, "namespace": TEXT}, ["name", "namespace"])


def keda(kind, spec):
    """An object of KEDA's with this specification."""
    return closed(
        {"apiVersion": {"const": "keda.sh/v1alpha1"}, "kind": {"const": kind}, "metadata": METADATA, "spec": spec}, ["spec"]
    )


# The parts that are used of KEDA's definitions (https://github.com/kedacore/keda, config/crd/bases), and of the fields of its
# PostgreSQL scaler (pkg/scalers/postgresql_scaler.go there), which are texts, numbers too.
QUERY = closed({"query": TEXT, "targetQueryValue": TEXT, "activationTargetQueryValue": TEXT}, ["query", "targetQueryValue"])
TRIGGER = closed(
    {
        "type": {"const": "postgresql"},
        "metricType": {"enum": ["AverageValue", "Value"]},
        "metadata": QUERY,
        "authenticationRef": NAME,
    },
    ["type", "metadata", "authenticationRef"],
)
COUNT = {"type": "integer", "minimum": 0}
KEDA = {
    "ScaledObject": keda(
        "ScaledObject",
        closed(
            {
                "scaleTargetRef": NAME,
                "pollingInterval": COUNT,
                "cooldownPeriod": COUNT,
                "minReplicaCount": COUNT,
                "maxReplicaCount": COUNT,
                "advanced": closed({"horizontalPodAutoscalerConfig": closed({"behavior": {"type": "object"}})}),
                "triggers": {"type": "array", "items": TRIGGER, "minItems": 1},
            },
            ["scaleTargetRef", "triggers"],
        ),
    ),
    "TriggerAuthentication": keda(
        "TriggerAuthentication",
        closed(
            {
                "secretTargetRef": {
                    "type": "array",
                    "items": closed({"parameter": TEXT, "name": TEXT, "key": TEXT}, ["parameter", "name", "key"]),
                }
            },
            ["secretTargetRef"],
        ),
    ),
}


class Objects:
    """The objects of the file, by kind and name."""

    def __init__(self, documents):
        self.all = {(each["kind"], each["metadata"]["name"]): each for each in documents}
        assert len(self.all) == len(documents), "two objects have one name"
        (namespace,) = self.of("Namespace")
        assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
        for (kind, name), each in self.all.items():
            expected = None if kind == "Namespace" else namespace["metadata"]["name"]
            assert each["metadata"].get("namespace") == expected, f"{kind} {name} is elsewhere"

    def of(self, kind):
        """All objects of a kind."""
        return [each for (known, _), each in self.all.items() if known == kind]

    def get(self, kind, name):
        """The object that somebody names."""
        assert (kind, name) in self.all, f"there is no {kind} {name}"
        return self.all[kind, name]

    def chosen(self, selector):
        """The pods' template that a selector chooses."""
        templates = [each["spec"]["template"] for each in self.of("Deployment")]
        (template,) = [each for each in templates if selector.items() <= each["metadata"]["labels"].items()]
        return template


def check(folder, program):
    """Check kubernetes.yaml."""
    documents = read((folder / "kubernetes.yaml").read_text(encoding="utf-8"))
    for each in documents:
        if each["kind"] in KEDA:
            jsonschema.validate(each, KEDA[each["kind"]])
        else:
            for version in VERSIONS:
                kubernetes_validate.validate(each, version, strict=True)
    objects = Objects(documents)
    roles = {check_deployment(each, objects, program) for each in objects.of("Deployment")}
    assert roles == {program.front, program.worker}
    for service in objects.of("Service"):
        (container,) = objects.chosen(service["spec"]["selector"])["spec"]["containers"]
        ports = {port["name"] for port in container["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports, ports
    for budget in objects.of("PodDisruptionBudget"):
        objects.chosen(budget["spec"]["selector"]["matchLabels"])
    scaled = objects.of("ScaledObject")
    assert objects.of("Service") and objects.of("PodDisruptionBudget") and scaled
    for each in scaled:
        check_scaling(each["spec"], objects)


def check_deployment(deployment, objects, program):
    """A deployment starts the program as it wants to be started, and may do nothing else; its role."""
    name, template = deployment["metadata"]["name"], deployment["spec"]["template"]
    assert objects.chosen(deployment["spec"]["selector"]["matchLabels"]) is template
    pod = template["spec"]
    (container,) = pod["containers"]
    role = program.role(container["args"])
    role.check_arguments(container["args"])
    environment = variables(container, objects)
    role.check_environment(environment)
    assert {"STUDIO_DATABASE", "STUDIO_STORE", "STUDIO_MODEL"} <= environment.keys(), environment.keys()

    end = container.get("lifecycle", {"preStop": {"exec": {"command": ["sleep", "0"]}}})
    sleep = int(end["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] > role.drain_seconds(environment) + sleep, f"{name} has no time to end its job"
    user, rights = pod["securityContext"], container["securityContext"]
    assert user["runAsNonRoot"] and user["runAsUser"] == USER and user["seccompProfile"] == {"type": "RuntimeDefault"}, user
    assert rights["capabilities"] == {"drop": ["ALL"]} and rights["readOnlyRootFilesystem"], rights
    assert rights["allowPrivilegeEscalation"] is False and pod["automountServiceAccountToken"] is False, name

    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes.keys(), volumes.keys()
    for volume in volumes.values():
        if "persistentVolumeClaim" in volume:
            objects.get("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"])
        if "secret" in volume:
            secret = objects.get("Secret", volume["secret"]["secretName"])
            assert {item["key"] for item in volume["secret"]["items"]} <= secret["stringData"].keys(), volume
    paths = [mount["mountPath"] for mount in container["volumeMounts"]]
    for variable, value in environment.items():
        path = value.split("=")[-1]
        if path.startswith("/"):
            assert path.startswith(tuple(f"{each}/" for each in paths)), f"{variable}: {path} is nowhere"
    if role is program.front:
        probes = {probe: container[f"{probe}Probe"]["httpGet"]["path"] for probe in ("readiness", "liveness")}
        assert probes == {"readiness": "/health/ready", "liveness": "/health/live"}, probes
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert ports == {"http": 7860} and container["readinessProbe"]["httpGet"]["port"] in ports, ports
    else:
        assert container["resources"]["limits"]["nvidia.com/gpu"] == 1, "a worker has one device"
    return role


def variables(container, objects):
    """The variables of a container and their values, where those are known here."""
    found = {}
    for source in container.get("envFrom", []):
        found |= objects.get("ConfigMap", source["configMapRef"]["name"])["data"]
    for variable in container["env"]:
        assert variable["name"] not in found, f"{variable['name']} stands twice"
        reference = variable.get("valueFrom", {}).get("secretKeyRef")
        found[variable["name"]] = secret_value(reference, objects) if reference else variable.get("value", "")
    return found


def secret_value(reference, objects):
    """What a secret says under a key."""
    values = objects.get("Secret", reference["name"])["stringData"]
    assert reference["key"] in values, f"the secret has no {reference['key']}"
    return values[reference["key"]]


def check_scaling(scaled, objects):
    """KEDA scales a deployment that sets no number itself, by a query that the database can answer."""
    target = objects.get("Deployment", scaled["scaleTargetRef"]["name"])
    assert "replicas" not in target["spec"], "KEDA and the deployment both say how many"
    assert scaled["minReplicaCount"] == 0 < scaled["maxReplicaCount"] and scaled["cooldownPeriod"] >= 300, scaled
    (container,) = target["spec"]["template"]["spec"]["containers"]
    models = {model.split("=")[0] for model in variables(container, objects)["STUDIO_MODEL"].split(",")}
    for trigger in scaled["triggers"]:
        query = trigger["metadata"]["query"]
        assert query.startswith("SELECT count(*) FROM "), query
        check_query(query, tables())
        check_statuses(query)
        assert set(re.findall(r"\bmodel = '([^']+)'", query)) <= models, f"{query}: workers have {models}"
        assert float(trigger["metadata"]["targetQueryValue"]) > 0, trigger
        for secret in objects.get("TriggerAuthentication", trigger["authenticationRef"]["name"])["spec"]["secretTargetRef"]:
            assert secret["parameter"] == "connection" and secret_value(secret, objects).startswith("postgres://"), secret
