"""What the checks with real programs share: programs that run and end, requests to them, and waiting."""

import json
import os
import re
import socket
import subprocess
import time
import urllib.parse
import urllib.request

# No proxy of the environment stands between two programs of one machine.
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Failed(Exception):
    """A check that does not hold."""


def check(holds, text):
    if not holds:
        raise Failed(text)
    print(f"ok: {text}", flush=True)


def wait_for(what, seconds, probe):
    """Asks `probe` until it gives something true, which is returned."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := probe():
            return found
        time.sleep(0.25)
    raise Failed(f"not within {seconds} s: {what}")


def get(url, **headers):
    request = urllib.request.Request(url, headers={name.replace("_", "-"): value for name, value in headers.items()})
    with opener.open(request, timeout=10) as reply:
        return reply.read()


def answers(url):
    try:
        get(url)
        return True
    except OSError:  # refused, or a status other than 2xx
        return False


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Program:
    """A running program whose output goes to files; it ends with the `with` block."""

    def __init__(self, folder, name, *command):
        self.name = name
        self.out, self.err = folder / f"{name}.out", folder / f"{name}.err"
        with open(self.out, "wb") as out, open(self.err, "wb") as err:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if kind:
            for file in (self.out, self.err):
                lines = file.read_text(errors="replace").splitlines()
                print(f"--- {file.name}, last of {len(lines)} lines", *lines[-60:], sep="\n")

    def running(self):
        if self.process.poll() is not None:
            raise Failed(f"{self.name} ended early with {self.process.returncode}")
        return True

    def address(self):
        """The first address of metrics that it prints."""
        found = re.search(r"http://127\.0\.0\.1:\d+(?=/metrics)", self.out.read_text())
        return self.running() and found and found.group()


class Prometheus(Program):
    """A Prometheus that is asked over HTTP."""

    def __init__(self, folder, config, *flags, blocks=None):
        file = folder / "prometheus.yml"
        file.write_text(config)
        port = free_port()
        blocks = blocks or folder / f"tsdb-{port}"
        listen = f"127.0.0.1:{port}"
        self.url = f"http://{listen}"
        super().__init__(
            folder,
            "prometheus",
            "prometheus",
            f"--config.file={file}",
            f"--storage.tsdb.path={blocks}",
            f"--web.listen-address={listen}",
            "--log.level=warn",
            *flags,
        )

    def ask(self, endpoint, **arguments):
        """The result of a call of the API."""
        self.running()
        query = urllib.parse.urlencode(arguments)
        return json.loads(get(f"{self.url}/api/v1/{endpoint}?{query}"))["data"]["result"]

    def query(self, expression, instant=None):
        """The samples of an instant vector: labels and value."""
        instant = time.time() if instant is None else instant
        samples = self.ask("query", query=expression, time=f"{instant:.3f}")
        return [(sample["metric"], float(sample["value"][1])) for sample in samples]

    def value(self, expression, instant=None):
        """The value of a vector of one sample, else None."""
        samples = self.query(expression, instant)
        return samples[0][1] if len(samples) == 1 else None


def release_binary():
    """Builds the exporter as it is released, and answers where it is."""
    subprocess.run(["cargo", "build", "--release", "--locked", "--package", "mde-exporter"], check=True)
    return os.path.join(os.environ.get("CARGO_TARGET_DIR", "target"), "release/mde_exporter")
