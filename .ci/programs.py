"""Shared tools of the checks: running programs, HTTP requests to them, and waiting."""

import json
import os
import re
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Requests to programs on this machine use no proxy, even if the environment names one.
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Failed(Exception):
    """A check failed."""


def check(holds, text):
    if not holds:
        raise Failed(text)
    print(f"ok: {text}", flush=True)


def wait_for(what, seconds, probe):
    """Calls `probe` until it returns something true, and returns that."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := probe():
            return found
        time.sleep(0.25)
    raise Failed(f"timed out after {seconds} s: {what}")


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
    """A running program whose output goes to files. The `with` block kills it on exit."""

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
            raise Failed(f"{self.name} exited unexpectedly with code {self.process.returncode}")
        return True

    def address(self):
        """The address of the first metrics URL that the program prints, without the path."""
        found = re.search(r"http://127\.0\.0\.1:\d+(?=/metrics)", self.out.read_text())
        return self.running() and found and found.group()


class Prometheus(Program):
    """A Prometheus server."""

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

    def call(self, endpoint, **arguments):
        """Calls the HTTP API and returns the result."""
        self.running()
        query = urllib.parse.urlencode(arguments)
        return json.loads(get(f"{self.url}/api/v1/{endpoint}?{query}"))["data"]["result"]

    def query(self, expression, instant=None):
        """The labels and the value of each sample of an instant vector."""
        instant = time.time() if instant is None else instant
        samples = self.call("query", query=expression, time=f"{instant:.3f}")
        return [(sample["metric"], float(sample["value"][1])) for sample in samples]

    def value(self, expression, instant=None):
        """The value of a vector of one sample; None for any other vector."""
        samples = self.query(expression, instant)
        return samples[0][1] if len(samples) == 1 else None


def release_binary():
    """Builds the release binary and returns its path."""
    subprocess.run(["cargo", "build", "--release", "--locked", "--package", "mde-exporter"], check=True)
    return os.path.join(os.environ.get("CARGO_TARGET_DIR", "target"), "release/mde_exporter")


def xtask_binary():
    """Builds the tests and the binary of the build tasks with them; returns its absolute path.

    `cargo run --package xtask` would build many dependencies again with other features.
    """
    subprocess.run(["cargo", "test", "--locked", "--no-run", "--quiet"], check=True)
    return os.path.abspath(os.path.join(os.environ.get("CARGO_TARGET_DIR", "target"), "debug/xtask"))
