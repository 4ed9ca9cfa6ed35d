"""A headless Chromium, driven over its DevTools protocol through two pipes.

No package is needed: messages are JSON, each ended by a zero byte.
"""

import base64
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

PATH = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
    None,
)
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--use-angle=swiftshader",  # WebGL without a GPU
    "--enable-unsafe-swiftshader",
]


class Chromium:
    """One tab; a context manager. `problems` and `requests` are what it saw."""

    def __init__(self, width=1280, height=900):
        self.size = width, height
        self.problems, self.requests = [], []
        self.messages, self.rest = 0, b""

    def __enter__(self):
        self.folder = Path(tempfile.mkdtemp())
        ends = [self.folder / "in", self.folder / "out"]
        for end in ends:
            os.mkfifo(end)
        profile = f"--user-data-dir={self.folder / 'profile'}"
        line = 'exec 3<"$0" 4>"$1"; shift; exec "$@"'
        self.process = subprocess.Popen(
            ["sh", "-c", line, *map(str, ends), str(PATH), *FLAGS, profile],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.send, self.receive = ends[0].open("wb", 0), ends[1].open("rb", 0)
        self.session = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.resize(*self.size)
        return self

    def __exit__(self, *_):
        try:
            self.session = None
            self.call("Browser.close")
            self.process.wait(10)
        except (AssertionError, OSError, subprocess.TimeoutExpired):
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.send.close()
        self.receive.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def call(self, method, **parameters):
        """Call a method of the protocol; note the events that come meanwhile."""
        self.messages += 1
        message = {"id": self.messages, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        self.send.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self.messages:
                assert "error" not in answer, answer
                return answer["result"]
            self._note(answer)

    def open(self, path, ready="document.readyState === 'complete'"):
        """Open a file, and wait until a script says that it is ready."""
        self.call("Page.navigate", url=Path(path).as_uri())
        self.until(ready, seconds=120)

    def run(self, script):
        """Return what a script evaluates to, awaited."""
        found = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, script, seconds=30):
        """Wait until a script evaluates to something true."""
        end = time.monotonic() + seconds
        while not self.run(script):
            assert time.monotonic() < end, f"never came true: {script}"
            time.sleep(0.02)

    def click(self, x, y):
        """Move the pointer there and click, as a hand does."""
        at = {"x": x, "y": y}
        self.call("Input.dispatchMouseEvent", type="mouseMoved", **at)
        time.sleep(
            0.15
        )  # figures look up what the pointer is over a few times a second
        for kind in ("mousePressed", "mouseReleased"):
            press = {"type": kind, "button": "left", "clickCount": 1, **at}
            self.call("Input.dispatchMouseEvent", **press)

    def resize(self, width, height):
        """Set the window's size, in CSS pixels."""
        size = {"width": width, "height": height}
        self.call(
            "Emulation.setDeviceMetricsOverride",
            deviceScaleFactor=1,
            mobile=False,
            **size,
        )

    def dark(self, dark=True):
        """Prefer a dark background, or a light one."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def picture(self, path, whole=True):
        """Write a PNG of the page, or of what the window shows of it."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        Path(path).write_bytes(base64.b64decode(shot["data"]))

    def _read(self):
        while b"\0" not in self.rest:
            part = self.receive.read(1 << 16)
            assert part, "Chromium is gone"
            self.rest += part
        message, _, self.rest = self.rest.partition(b"\0")
        return json.loads(message)

    def _note(self, event):
        method, given = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.problems.append(given["exceptionDetails"])
        if method == "Runtime.consoleAPICalled" and given["type"] in (
            "error",
            "warning",
        ):
            self.problems.append(given["args"])
        if method == "Log.entryAdded" and given["entry"]["level"] == "error":
            self.problems.append(given["entry"])
        if method == "Network.requestWillBeSent":
            self.requests.append(given["request"]["url"])
