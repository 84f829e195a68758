"""A headless Chromium, controlled through chromedriver.

Needs Debian's `chromium` and `chromium-driver`, and only the standard library of Python: chromedriver speaks the
WebDriver protocol, which is JSON over HTTP.
"""

import base64
import json
import urllib.error
import urllib.request

from programs import Failed, Program, answers, free_port, opener, wait_for

# The size of a window on a desktop.
DESKTOP = (1280, 900)
# The key of an element in a reply, as defined by the protocol.
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
# Keys, as defined by the protocol.
TAB, ENTER = "\ue004", "\ue007"
# Run as root, without a screen and without background network traffic.
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class Browser(Program):
    """One session of a headless Chromium, controlled through chromedriver."""

    def __init__(self, folder, screenshots):
        port = free_port()
        super().__init__(folder, "chromedriver", "chromedriver", f"--port={port}")
        self.url, self.session = f"http://127.0.0.1:{port}", ""
        self.profile, self.screenshots = folder / "profile", screenshots

    def __enter__(self):
        wait_for("chromedriver is ready", 30, lambda: self.running() and answers(f"{self.url}/status"))
        options = {"args": [*FLAGS, f"--user-data-dir={self.profile}"]}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        self.session = "/session/" + self.call("POST", "/session", capabilities={"alwaysMatch": wanted})["sessionId"]
        return self

    def __exit__(self, kind, *rest):
        if self.session:
            try:
                self.call("DELETE", "")
            except (Failed, OSError) as error:
                print(f"closing the browser failed: {error}")
        super().__exit__(kind, *rest)

    def call(self, method, path, **arguments):
        """Sends a command of the protocol and returns the value of its reply."""
        body = json.dumps(arguments).encode() if method == "POST" else None
        url = f"{self.url}{self.session}{path}"
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"}, method=method)
        try:
            with opener.open(request, timeout=60) as reply:
                return json.load(reply)["value"]
        except urllib.error.HTTPError as error:
            raise Failed(f"{method} {path}: {json.load(error)['value']['message']}") from error

    def open(self, url):
        self.call("POST", "/url", url=url)

    def address(self):
        return self.call("GET", "/url")

    def run(self, script, *arguments):
        return self.call("POST", "/execute/sync", script=script, args=arguments)

    def command(self, name, **parameters):
        """Sends a command of the Chrome DevTools protocol, for features that WebDriver lacks."""
        return self.call("POST", "/goog/cdp/execute", cmd=name, params=parameters)

    def element(self, selector):
        return f"/element/{self.call('POST', '/element', using='css selector', value=selector)[ELEMENT]}"

    def text(self, selector):
        """The visible text of an element."""
        return self.call("GET", self.element(selector) + "/text")

    def texts(self, selector):
        return self.run("return [...document.querySelectorAll(arguments[0])].map((e) => e.innerText)", selector)

    def click(self, selector):
        self.call("POST", self.element(selector) + "/click")

    def type(self, selector, text):
        self.call("POST", self.element(selector) + "/value", text=text)

    def type_keys(self, *keys):
        """Presses keys one after the other, each a character of the protocol."""
        steps = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self.call("POST", "/actions", actions=[{"type": "key", "id": "keyboard", "actions": steps}])

    def set_window(self, width, height, scheme):
        """Sets the size of the window and the colour scheme."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.command("Emulation.setDeviceMetricsOverride", **size)
        preferred = {"name": "prefers-color-scheme", "value": scheme}
        self.command("Emulation.setEmulatedMedia", features=[preferred])

    def picture(self, width, height):
        """A screenshot of the top left part of the page, as PNG."""
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        image = self.command("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        return base64.b64decode(image["data"])

    def save(self, name, most=5 * DESKTOP[1]):
        """Writes a screenshot of the whole page, limited to `most` pixels of its height."""
        width, height = self.run("return [innerWidth, document.documentElement.scrollHeight]")
        (self.screenshots / f"{name}.png").write_bytes(self.picture(width, min(height, most)))

    def console_messages(self, ignored=()):
        """The messages written to the console since the last call, such as errors and refused content.

        Messages of the levels `ignored` are left out.
        """
        entries = self.call("POST", "/se/log", type="browser")
        return [entry["message"] for entry in entries if entry["level"] not in ignored]
