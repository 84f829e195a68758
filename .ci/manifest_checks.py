"""What the resources of an overlay have to agree on, and faults that these checks have to find."""

import json
import re
from pathlib import Path

from manifests import name, validate, validate_operator, violations, yaml
from programs import ROOT, Failed

RULES = sorted((ROOT / "dashboards" / "rules").glob("*.yml"))
DASHBOARDS = sorted((ROOT / "dashboards").glob("*.json"))
LABELS = {"app.kubernetes.io/name": "mde-exporter"}
# `kubectl apply` without --server-side keeps a copy of the resource in an annotation, which has this limit.
ANNOTATION_LIMIT = 262144


def find(resources, kind, wanted="mde-exporter"):
    found = [one for one in resources if name(one) == f"{kind} {wanted}"]
    require(len(found) == 1, f"{len(found)} resources are {kind} {wanted}")
    return found[0]


def require(holds, text):
    if not holds:
        raise Failed(text)


def equal(left, right, what):
    require(left == right, f"{what}: {left!r} is not {right!r}")


def pods(resources):
    """The specifications of all pods, each with the name of its resource."""
    for resource in resources:
        if resource["kind"] == "Pod":
            yield name(resource), resource["spec"]
        elif "template" in resource.get("spec", {}):
            yield name(resource), resource["spec"]["template"]["spec"]


def check_restricted(resources):
    for which, pod in pods(resources):
        problems = list(violations(pod))
        require(not problems, f"{which} is not restricted: {', '.join(problems)}")


def check_network(resources):
    """Services, probes, monitors and the network policy name the same pods and the same port."""
    stateful_set = find(resources, "StatefulSet")["spec"]
    pod = stateful_set["template"]
    equal(stateful_set["selector"]["matchLabels"], LABELS, "selector of the StatefulSet")
    require(LABELS.items() <= pod["metadata"]["labels"].items(), "the pod has the labels of its selectors")
    equal(stateful_set["podManagementPolicy"], "Parallel", "podManagementPolicy")
    equal(stateful_set["updateStrategy"]["rollingUpdate"]["maxUnavailable"], "100%", "maxUnavailable")

    exporter = pod["spec"]["containers"][0]
    equal(exporter["ports"], [{"name": "metrics", "containerPort": 10633}], "ports")
    paths = {"startupProbe": "/-/healthy", "livenessProbe": "/-/healthy", "readinessProbe": "/-/ready"}
    for probe, path in paths.items():
        equal(exporter[probe]["httpGet"], {"path": path, "port": "metrics"}, probe)

    service = find(resources, "Service")
    equal(stateful_set["serviceName"], service["metadata"]["name"], "serviceName")
    equal(service["spec"]["selector"], LABELS, "selector of the Service")
    equal(service["spec"]["clusterIP"], "None", "clusterIP")
    equal(service["spec"]["publishNotReadyAddresses"], True, "publishNotReadyAddresses")
    equal(
        service["spec"]["ports"], [{"name": "metrics", "port": 10633, "targetPort": "metrics"}], "ports of the Service"
    )

    monitor = find(resources, "ServiceMonitor")["spec"]
    require(
        monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items(),
        "the ServiceMonitor selects the Service",
    )
    equal([endpoint["port"] for endpoint in monitor["endpoints"]], ["metrics"], "port of the ServiceMonitor")

    policy = find(resources, "NetworkPolicy")["spec"]
    equal(policy["podSelector"]["matchLabels"], LABELS, "pods of the NetworkPolicy")
    equal(sorted(policy["policyTypes"]), ["Egress", "Ingress"], "directions of the NetworkPolicy")
    opened = {port["port"] for rule in policy["ingress"] for port in rule["ports"]}
    equal(opened, {"metrics"}, "ports open to others")
    require(all(rule.get("from") for rule in policy["ingress"]), "the NetworkPolicy names who may connect")
    reached = {port["port"] for rule in policy["egress"] for port in rule["ports"]}
    equal(reached, {53, 443}, "ports that the exporter reaches")

    namespaces = {one["metadata"].get("namespace") for one in resources if one["kind"] != "Namespace"}
    equal(namespaces, {one["metadata"]["name"] for one in resources if one["kind"] == "Namespace"}, "namespaces")


def check_files(resources):
    """The flags, the mounts and the configuration name the same paths. Returns the configuration."""
    stateful_set = find(resources, "StatefulSet")["spec"]
    pod = stateful_set["template"]["spec"]
    exporter = pod["containers"][0]
    mounts = {mount["name"]: mount for mount in exporter["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    claims = {claim["metadata"]["name"] for claim in stateful_set["volumeClaimTemplates"]}
    equal(set(mounts), set(volumes) | claims, "mounted volumes")
    require(all("subPath" not in mount for mount in mounts.values()), "changes of a file reach the pod")
    flags = dict(argument.split("=", 1) for argument in exporter["args"])
    equal(flags["--storage.path"], mounts["data"]["mountPath"], "--storage.path")
    equal(set(claims), {"data"}, "claims")

    path = Path(flags["--config.file"])
    equal(str(path.parent), mounts["config"]["mountPath"], "folder of --config.file")
    data = find(resources, "ConfigMap", volumes["config"]["configMap"]["name"])["data"]
    equal(list(data), [path.name], "keys of the ConfigMap")
    text = data[path.name]
    for tenant in yaml.safe_load(text)["tenants"]:
        equal(
            tenant["auth"],
            {"client_secret_file": f"{mounts['secrets']['mountPath']}/{tenant['name']}"},
            f"secret of {tenant['name']}",
        )
    # The group of the volumes can read the secrets, and nobody else can.
    equal(volumes["secrets"]["secret"]["defaultMode"], 0o440, "mode of the secrets")
    require("fsGroup" in pod["securityContext"], "the volumes have a group")
    return text


def check_image(resources):
    """The pod fits the image: the arguments are those of its entry point, and its user and folders are the same."""
    lines = (ROOT / "packaging" / "container" / "Containerfile").read_text().splitlines()
    last = lines[max(number for number, line in enumerate(lines) if line.startswith("FROM ")) :]
    image = dict(line.split(" ", 1) for line in last if re.match("(USER|VOLUME|EXPOSE|ENTRYPOINT|CMD) ", line))
    equal(json.loads(image["ENTRYPOINT"]), ["/usr/bin/mde_exporter"], "entry point of the image")
    stateful_set = find(resources, "StatefulSet")["spec"]
    pod = stateful_set["template"]["spec"]
    exporter = pod["containers"][0]
    require("command" not in exporter, "the pod uses the entry point of the image")
    equal(exporter["args"][:2], json.loads(image["CMD"]), "arguments of the pod")
    equal(exporter["volumeMounts"][0]["mountPath"], image["VOLUME"], "volume of the image")
    equal(str(exporter["ports"][0]["containerPort"]), image["EXPOSE"], "port of the image")
    # Kubernetes can verify runAsNonRoot only for a number.
    equal(str(pod["securityContext"]["fsGroup"]), image["USER"].split(":")[0], "user of the image")


def check_version(resources):
    """The manifests and their page name the version of the exporter."""
    cargo = (ROOT / "Cargo.toml").read_text()
    version = re.search(r'^version = "(.+)"$', cargo, re.MULTILINE)[1]
    owner = re.search(r'^repository = "https://github\.com/(.+)"$', cargo, re.MULTILINE)[1]
    for which, pod in pods(resources):
        if which.startswith("StatefulSet"):
            equal(pod["containers"][0]["image"], f"ghcr.io/{owner}:{version}", f"image of {which}")
    page = (ROOT / "docs" / "kubernetes.md").read_text()
    equal(re.findall(r"\?ref=(\S+?)`", page), [f"v{version}"], "release in docs/kubernetes.md")


def check_shards(resources, count):
    """Each pod of the StatefulSet has a shard of its own, and every shard has a pod."""
    stateful_set = find(resources, "StatefulSet")["spec"]
    exporter = stateful_set["template"]["spec"]["containers"][0]
    equal(stateful_set["replicas"], count, "replicas")
    flags = [flag for flag in exporter["args"] if flag.startswith("--shard")]
    if count == 1:
        equal(flags, [], "flags of a single exporter")
        return
    equal(flags, [f"--shard=$(SHARD)/{count}"], "--shard")
    equal(stateful_set["ordinals"]["start"], 1, "number of the first pod")
    index = {"fieldRef": {"fieldPath": "metadata.labels['apps.kubernetes.io/pod-index']"}}
    require({"name": "SHARD", "valueFrom": index} in exporter["env"], "SHARD is the number of the pod")


def check_rules(resources, files=RULES):
    """The PrometheusRules have the rules of the repository."""
    for file in files:
        rule = find(resources, "PrometheusRule", f"mde-exporter-{file.stem}")
        require(rule["spec"] == yaml.safe_load(file.read_text()), f"{name(rule)} has the rules of {file.name}")
    equal(sum(one["kind"] == "PrometheusRule" for one in resources), len(files), "number of PrometheusRules")


def check_dashboards(resources):
    """The ConfigMaps for Grafana's sidecar have the dashboards of the repository, and are small enough."""
    for file in DASHBOARDS:
        config_map = find(resources, "ConfigMap", f"mde-exporter-dashboard-{file.stem}")
        equal(config_map["metadata"]["labels"], {"grafana_dashboard": "1"}, f"labels of {name(config_map)}")
        equal(list(config_map["data"]), [file.name], f"keys of {name(config_map)}")
        require(
            json.loads(config_map["data"][file.name]) == json.loads(file.read_text()),
            f"{name(config_map)} has the dashboard {file.name}",
        )
        size = len(json.dumps(config_map))
        require(size < ANNOTATION_LIMIT, f"{name(config_map)} has {size} bytes, kubectl allows {ANNOTATION_LIMIT}")


# Faults that the checks have to find, in the resources of the overlay `sharded`: the check, and a change.
def _set(kind, path, value, which="mde-exporter"):
    def change(resources):
        place = find(resources, kind, which)
        *folders, last = path.split(".")
        for key in folders:
            place = place[int(key) if key.isdecimal() else key]
        place[int(last) if last.isdecimal() else last] = value

    return change


POD = "spec.template.spec"
EXPORTER = f"{POD}.containers.0"
FAULTS = {
    "an unknown field": (validate, _set("StatefulSet", f"{POD}.restartPolice", "Always")),
    "a wrong type": (validate, _set("Service", "spec.ports.0.port", "10633")),
    "an unknown field of a monitor": (validate_operator, _set("ServiceMonitor", "spec.endpoints.0.intervall", "1m")),
    "a wrong duration": (validate_operator, _set("ServiceMonitor", "spec.endpoints.0.interval", "often")),
    "a root user": (check_restricted, _set("StatefulSet", f"{POD}.securityContext.runAsUser", 0)),
    "a user that may be root": (check_restricted, _set("StatefulSet", f"{POD}.securityContext.runAsNonRoot", False)),
    "no seccomp profile": (check_restricted, _set("StatefulSet", f"{POD}.securityContext.seccompProfile", {})),
    "new privileges": (
        check_restricted,
        _set("StatefulSet", f"{EXPORTER}.securityContext.allowPrivilegeEscalation", True),
    ),
    "a capability": (check_restricted, _set("StatefulSet", f"{EXPORTER}.securityContext.capabilities.drop", [])),
    "a writable root": (
        check_restricted,
        _set("StatefulSet", f"{EXPORTER}.securityContext.readOnlyRootFilesystem", False),
    ),
    "a folder of the host": (
        check_restricted,
        _set("StatefulSet", f"{POD}.volumes.0", {"name": "config", "hostPath": {}}),
    ),
    "the network of the host": (check_restricted, _set("StatefulSet", f"{POD}.hostNetwork", True)),
    "another port": (check_network, _set("StatefulSet", f"{EXPORTER}.ports.0.containerPort", 10634)),
    "another port of the Service": (check_network, _set("Service", "spec.ports.0.port", 80)),
    "another label": (check_network, _set("Service", "spec.selector", {"app": "mde-exporter"})),
    "another label of the Service": (check_network, _set("Service", "metadata.labels", {"app": "mde-exporter"})),
    "another probe": (check_network, _set("StatefulSet", f"{EXPORTER}.readinessProbe.httpGet.path", "/ready")),
    "pods that wait for each other": (check_network, _set("StatefulSet", "spec.podManagementPolicy", "OrderedReady")),
    "an open port": (check_network, _set("NetworkPolicy", "spec.ingress.0.from", [])),
    "another namespace": (check_network, _set("Service", "metadata.namespace", "default")),
    "another folder of the state": (check_files, _set("StatefulSet", f"{EXPORTER}.args.1", "--storage.path=/var/lib")),
    "another file of the configuration": (
        check_files,
        _set("StatefulSet", f"{EXPORTER}.args.0", "--config.file=/etc/a.yml"),
    ),
    "another ConfigMap": (check_files, _set("StatefulSet", f"{POD}.volumes.0.configMap.name", "mde_exporter")),
    "another folder of the secrets": (
        check_files,
        _set("StatefulSet", f"{EXPORTER}.volumeMounts.2.mountPath", "/secrets"),
    ),
    "a shell": (check_image, _set("StatefulSet", f"{EXPORTER}.command", ["/bin/sh"])),
    "another image": (check_version, _set("StatefulSet", f"{EXPORTER}.image", "mde_exporter:latest")),
    "more pods than shards": (lambda resources: check_shards(resources, 3), _set("StatefulSet", "spec.replicas", 4)),
    "a pod without a shard": (
        lambda resources: check_shards(resources, 3),
        _set("StatefulSet", "spec.ordinals.start", 0),
    ),
    "another rule": (
        lambda resources: check_rules(resources, [file for file in RULES if file.stem == "fleet"]),
        _set("PrometheusRule", "spec.groups.0.rules.0.expr", "vector(0)", "mde-exporter-fleet"),
    ),
    "another dashboard": (
        check_dashboards,
        _set("ConfigMap", "data", {"fleet.json": "{}"}, "mde-exporter-dashboard-fleet"),
    ),
    "no label for the sidecar": (
        check_dashboards,
        _set("ConfigMap", "metadata.labels", {}, "mde-exporter-dashboard-fleet"),
    ),
}
