"""Checks the compose file: its syntax, that what it mounts exists, and that ports, addresses and images agree. Then
runs its exporter and its Prometheus with their own command lines and files."""

import json
import re
import subprocess
from pathlib import Path

from programs import ROOT, Failed, Program, answers, check, get, wait_for

FILE = ROOT / "packaging/compose/compose.yaml"
DASHBOARDS = ROOT / "dashboards"
PINNED = re.compile(r"docker\.io/\w+/(prometheus|grafana):v?\d+\.\d+\.\d+@sha256:[0-9a-f]{64}")
# The ports on which the two images listen if nothing else is set.
LISTENS = {"prometheus": "9090", "grafana": "3000"}
PROVISIONING = "/etc/grafana/provisioning"
RULES = sorted((DASHBOARDS / "rules").glob("*.yml"))
PROMETHEUS = "http://127.0.0.1:9090"


def parsed(text):
    """The content of a YAML file, read by the library that docker-compose of Debian needs."""
    code = "import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin), sys.stdout)"
    done = subprocess.run(["/usr/bin/python3", "-c", code], input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failed(f"the YAML cannot be read: {done.stderr}")
    return json.loads(done.stdout)


def services():
    """The services as docker-compose reads them, with absolute paths."""
    # The version of Debian 12 does not know this key, which current ones have.
    text, names = re.subn(r"^name: [a-z0-9_-]+\n", "", FILE.read_text(), flags=re.MULTILINE)
    check(names == 1, "the project has a name")
    command = ["docker-compose", "--file", "-", "config"]
    done = subprocess.run(command, cwd=FILE.parent, input=text, capture_output=True, text=True, check=False)
    check(done.returncode == 0 and not done.stderr, f"docker-compose accepts the file {done.stderr}".strip())
    return parsed(done.stdout)["services"]


def mounts(service):
    """The folders and files of this repository that a service mounts, by their path inside."""
    triples = [mount.split(":") for mount in service["volumes"]]
    return {target: Path(source) for source, target, _ in triples if source.startswith("/")}


def check_mounts(all_services):
    for name, service in all_services.items():
        missing = [str(source) for source in mounts(service).values() if not source.exists()]
        check(not missing, f"everything that {name} mounts exists: {missing}")
        writable = [mount for mount in service["volumes"] if mount.startswith("/") and not mount.endswith(":ro")]
        check(not writable, f"{name} can write no file of this repository: {writable}")
    build = all_services["exporter"]["build"]
    file = Path(build["context"]) / build["dockerfile"]
    check(file == ROOT / "packaging/container/Containerfile" and file.exists(), "the exporter can be built from this source")


def check_images(all_services, image):
    check(all_services["exporter"]["image"] == image.name, f"the image of the exporter is {image.name}")
    for name in LISTENS:
        found = PINNED.fullmatch(all_services[name]["image"])
        check(found and found[1] == name, f"the image of {name} is pinned")


def check_ports(all_services, image):
    """Checks that each published port is one on which the service listens, and that the services find each other."""
    [exposed] = image.config["ExposedPorts"]
    listens = {"exporter": exposed.split("/")[0], **LISTENS}
    check(set(all_services) == set(listens), f"the services are {sorted(all_services)}")
    for name, port in listens.items():
        [published] = all_services[name]["ports"]
        check(published == f"127.0.0.1:{port}:{port}/tcp", f"{name} is published to this machine on its own port: {published}")
    flags = [*all_services["exporter"]["command"], *all_services["prometheus"]["command"]]
    check(not [flag for flag in flags if "listen-address" in flag], "no flag changes a port")
    environment = all_services["grafana"]["environment"]
    check("GF_SERVER_HTTP_PORT" not in environment, "no variable changes a port")
    config = parsed(mounts(all_services["prometheus"])["/etc/prometheus/prometheus.yml"].read_text())
    [job] = config["scrape_configs"]
    targets = [target for group in job["static_configs"] for target in group["targets"]]
    check(targets == [f"exporter:{listens['exporter']}"], f"Prometheus scrapes the exporter: {targets}")
    [source] = parsed(mounts(all_services["grafana"])[f"{PROVISIONING}/datasources/mde_exporter.yml"].read_text())["datasources"]
    check(source["url"] == f"http://prometheus:{listens['prometheus']}", f"Grafana asks Prometheus: {source['url']}")
    interval = config["global"]["scrape_interval"]
    check(source["jsonData"]["timeInterval"] == interval, f"Grafana knows the scrape interval: {interval}")


def check_grafana(service):
    bound = mounts(service)
    [provider] = parsed(bound[f"{PROVISIONING}/dashboards/mde_exporter.yml"].read_text())["providers"]
    folder = provider["options"]["path"]
    check(folder in bound, f"the dashboards are where Grafana looks for them: {folder}")
    dashboards = {path.name: json.loads(path.read_text()) for path in bound[folder].rglob("*.json")}
    expected = {path.name for path in DASHBOARDS.glob("*.json")}
    check(set(dashboards) == expected and len(expected) >= 4, f"the dashboards are provisioned: {sorted(dashboards)}")
    uids = {dashboard.get("uid") for dashboard in dashboards.values()}
    check(len(uids) == len(expected) and None not in uids, f"each dashboard has its own uid: {sorted(uids)}")
    home = Path(service["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    check(str(home.parent) == folder and home.name in expected, f"the first page is a dashboard: {home.name}")


def bind(target, source):
    if source.is_dir():
        target.mkdir(parents=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    subprocess.run(["mount", "--bind", "--read-only", source, target], check=True)


def check_running(all_services, runtime, folder):
    """Runs the exporter from the image and the Prometheus of this machine as the compose file says. The caller has a
    mount namespace and a network of its own."""
    hosts = folder / "names"
    hosts.write_text("".join(f"127.0.0.1 {name}\n" for name in ["localhost", *all_services]))
    subprocess.run(["mount", "--bind", hosts, "/etc/hosts"], check=True)
    Path("/etc/prometheus").mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/etc/prometheus"], check=True)
    prometheus = all_services["prometheus"]
    for target, source in mounts(prometheus).items():
        bind(Path(target), source)
    output = subprocess.run(["promtool", "check", "config", "/etc/prometheus/prometheus.yml"], capture_output=True, text=True, check=False)
    found = f"{len(RULES)} rule files found" in output.stdout
    check(output.returncode == 0 and found, f"promtool accepts the configuration with {len(RULES)} rule files {output.stderr}".strip())
    storage = [flag for flag in prometheus["command"] if flag.startswith("--storage.tsdb.path=")]
    check(storage == ["--storage.tsdb.path=/prometheus"], f"Prometheus writes to its volume: {storage}")
    command = ["prometheus", *prometheus["command"], f"--storage.tsdb.path={folder}/tsdb"]
    command.remove(storage[0])
    with runtime.start(folder, "exporter", *all_services["exporter"]["command"]) as exporter:
        wait_for("the exporter is ready", 120, lambda: exporter.running() and answers("http://exporter:10633/-/ready"))
        with Program(folder, "prometheus", *command) as server:
            wait_for("Prometheus is ready", 60, lambda: server.running() and answers(f"{PROMETHEUS}/-/ready"))
            check_scrape()


def check_scrape():
    def call(endpoint):
        return json.loads(get(f"{PROMETHEUS}/api/v1/{endpoint}"))["data"]

    def judged():
        return call("query?query=tenant:mde_judged_machines:sum")["result"]

    machines = wait_for("a scrape and an evaluation of the rules", 90, judged)[0]["value"][1]
    check(int(machines) > 100, f"the rules of Prometheus count {machines} machines")
    [target] = call("targets")["activeTargets"]
    check(target["health"] == "up", f"the exporter is scraped: {target['scrapeUrl']} {target['lastError']}".strip())
    rules = [rule for group in call("rules")["groups"] for rule in group["rules"]]
    failing = [rule["name"] for rule in rules if rule["health"] == "err"]
    check(len(rules) > 30 and not failing, f"{len(rules)} rules are loaded, none fails: {failing}")


def check_all(runtime, folder):
    try:
        all_services = services()
        check_images(all_services, runtime.image)
        check_mounts(all_services)
        check_ports(all_services, runtime.image)
        check_grafana(all_services["grafana"])
    except (KeyError, ValueError) as missing:
        raise Failed(f"the compose file lacks something or has too much of it: {missing!r}") from missing
    check_running(all_services, runtime, folder)
