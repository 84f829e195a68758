"""Draws dashboards with Grafana's components in Chromium, and finds what is wrong with the drawings.

The page is in `.ci/render`. Its packages are installed from the npm registry on the first run.
"""

import dataclasses
import functools
import http.server
import os
import re
import subprocess
import threading
import time

from chromium import Browser
from npm import packages
from programs import ROOT

SOURCE = ROOT / ".ci/render"
HEIGHT = 8000
SECONDS = {"m": 60, "h": 3600, "d": 86400}


def run_node(script, *arguments):
    environment = {**os.environ, "NODE_PATH": str(packages(SOURCE))}
    subprocess.run(["node", SOURCE / script, *arguments], env=environment, check=True)


@dataclasses.dataclass(frozen=True)
class Problem:
    """What is wrong with a drawn panel."""

    panel: str
    kind: str
    text: str


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves the files of the page without a log."""

    def log_message(self, *_):
        pass


class Drawing:
    """A page that draws dashboards from the answers of a Prometheus."""

    def __init__(self, folder, prometheus, screenshots):
        self.page, self.prometheus = folder / "page", prometheus
        self.browser = Browser(folder, screenshots)

    def __enter__(self):
        run_node("build.mjs", self.page)
        handler = functools.partial(Handler, directory=self.page)
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.browser.__enter__()
        self.browser.open(f"http://127.0.0.1:{self.server.server_port}/index.html")
        return self

    def __exit__(self, *arguments):
        self.browser.__exit__(*arguments)
        self.server.shutdown()

    def draw(self, dashboard, mode, width, chosen, scrape_interval, span=None, at=None):
        """Draws a dashboard and returns its height and the problems found.

        `chosen` are values of variables that differ from the first ones. `span` is the length of the time range in
        seconds, if it is not that of the dashboard, and `at` its end, if it is not now.
        """
        # As high as any dashboard: the browser leaves out parts of tables that are not in sight.
        self.browser.set_window(width, HEIGHT, mode)
        end = at or time.time()
        found = re.fullmatch(r"now-(\d+)([mhd])", dashboard["time"]["from"])
        span = span or int(found[1]) * SECONDS[found[2]]
        times = {"from": (end - span) * 1000, "to": end * 1000, "scrapeInterval": scrape_interval * 1000, "zone": "utc"}
        height = self.browser.run(
            "return window.drawDashboard(arguments[0])",
            {
                "dashboard": dashboard,
                "address": self.prometheus.url,
                "mode": mode,
                "width": width,
                "time": times,
                "chosen": chosen,
            },
        )
        problems = [Problem(**found) for found in self.browser.run("return window.findProblems()")]
        messages = self.browser.console_messages(ignored={"DEBUG", "INFO"})
        return height, problems + [Problem("the page", "console", message) for message in messages]
