"""A real browser, driven through its DevTools protocol."""

import json
import shutil
import subprocess
import time
import urllib.request

import websocket

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
MISSING = "needs Chromium: install your distribution's package `chromium`"
KEYS = {
    " ": "Space",
    "ArrowLeft": "ArrowLeft",
    "ArrowRight": "ArrowRight",
    "ArrowDown": "ArrowDown",
}


def executable():
    """The browser on this machine, if there is one."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """A headless browser with one page; use it as a context.

    Its ``problems`` are errors on the console, exceptions, and what the page was refused.
    """

    def __init__(self, folder):
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--mute-audio", "--no-first-run"]
        options += ["--remote-debugging-port=0", f"--user-data-dir={folder}"]
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen([executable(), *options, "about:blank"], **silent)
        port = folder / "DevToolsActivePort"
        wait_for(lambda: port.exists() and port.read_text().count("\n"), 60)
        address = f"http://127.0.0.1:{port.read_text().splitlines()[0]}/json"
        wait_for(lambda: pages(address), 60)
        page = pages(address)[0]["webSocketDebuggerUrl"]
        self._socket = websocket.create_connection(page, suppress_origin=True, timeout=60)
        self._number, self.problems = 0, []
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._socket.close()
        self._process.terminate()
        self._process.wait(60)

    def send(self, method, **parameters):
        """What a command returns; problems that come meanwhile are kept."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        self._socket.send(json.dumps(message))
        while (answer := json.loads(self._socket.recv())).get("id") != self._number:
            self._note(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def _note(self, event):
        method, told = event["method"], event["params"]
        failed = method == "Runtime.exceptionThrown"
        failed |= method == "Log.entryAdded" and told["entry"]["level"] == "error"
        failed |= method == "Runtime.consoleAPICalled" and told["type"] in ("error", "assert")
        if failed:
            self.problems.append(told)

    def open(self, path):
        """Opens a file and waits until it is loaded."""
        self.problems = []
        self.send("Page.navigate", url=path.absolute().as_uri())
        self.wait_for("document.readyState === 'complete' && location.protocol === 'file:'")

    def evaluate(self, expression):
        """The value of an expression of JavaScript, as the person at the keyboard."""
        answer = self.send(
            "Runtime.evaluate", expression=expression, returnByValue=True, userGesture=True,
            awaitPromise=True,
        )  # fmt: skip
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_for(self, expression, seconds=20):
        """Returns when an expression is true."""
        wait_for(lambda: self.evaluate(expression), seconds, expression)

    def press(self, key):
        """Presses and releases a key."""
        code = KEYS.get(key, f"Digit{key}")
        text = {"text": key} if len(key) == 1 else {}
        self.send("Input.dispatchKeyEvent", type="keyDown", key=key, code=code, **text)
        self.send("Input.dispatchKeyEvent", type="keyUp", key=key, code=code)

    def resize(self, width, height):
        """Shows the page on a screen of another size."""
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
            mobile=width < 600,
        )  # fmt: skip


def pages(address):
    """The pages that are open."""
    with urllib.request.urlopen(address) as answer:
        return [target for target in json.load(answer) if target["type"] == "page"]


def wait_for(condition, seconds, what=""):
    """Returns when a condition holds; fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain: {what}"
        time.sleep(0.02)
