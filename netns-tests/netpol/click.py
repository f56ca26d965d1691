"""Opens a page in headless Chromium, clicks squares, and prints what is to be read then, as JSON.

    click.py FILE FROM TO [light|dark] [PICTURE]

Speaks the DevTools protocol over two pipes (`--remote-debugging-pipe`): no port, no library.
"""

import json
import os
import select
import subprocess
import sys
import tempfile
import time

LIMIT = 60


class Browser:
    def __init__(self, directory):
        (here_in, there_out), (there_in, here_out) = os.pipe(), os.pipe()
        # Chromium reads from descriptor 3 and writes to 4.
        command = (
            f"exec chromium --headless --no-sandbox --disable-gpu --remote-debugging-pipe --no-first-run "
            f"--disable-background-networking --disable-dev-shm-usage --disable-extensions "
            f"--user-data-dir={directory} about:blank 3<&{there_in} 4>&{there_out}"
        )
        self.process = subprocess.Popen(
            ["bash", "-c", command], pass_fds=(there_in, there_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(there_in)
        os.close(there_out)
        self.input, self.output = here_in, here_out
        self.rest, self.number, self.events, self.session = b"", 0, [], None
        self.end = time.monotonic() + LIMIT

    def receive(self):
        while b"\0" not in self.rest:
            left = self.end - time.monotonic()
            if left <= 0 or not select.select([self.input], [], [], left)[0]:
                raise SystemExit("the browser does not answer")
            more = os.read(self.input, 1 << 16)
            if not more:
                raise SystemExit("the browser has ended")
            self.rest += more
        message, self.rest = self.rest.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.output, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.receive()
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise SystemExit(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def evaluate(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in result:
            raise SystemExit(result["exceptionDetails"])
        return result["result"].get("value")

    def until(self, expression):
        while not self.evaluate(expression):
            if time.monotonic() > self.end:
                raise SystemExit(f"never true: {expression}")
            time.sleep(0.05)

    def press(self, key, text=None):
        for kind in ("keyDown", "keyUp"):
            more = {"text": text} if text and kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, **more)


def look(browser, page, sender, receiver, theme, picture):
    target = browser.call("Target.createTarget", url="about:blank")["targetId"]
    browser.session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    for domain in ("Page", "Runtime", "Network", "Log"):
        browser.call(f"{domain}.enable")
    media = [{"name": "prefers-color-scheme", "value": theme}]
    browser.call("Emulation.setEmulatedMedia", features=media)
    browser.call("Emulation.setDeviceMetricsOverride", width=1400, height=900, deviceScaleFactor=1, mobile=False)
    browser.call("Page.navigate", url="file://" + os.path.abspath(page))
    browser.until("document.readyState === 'complete' && !!document.querySelector('td')")

    label = json.dumps(f"{sender} to {receiver}: ")
    square = f"[...document.querySelectorAll('td')].find((td) => td.getAttribute('aria-label').startsWith({label}))"
    browser.evaluate(f"{square}.scrollIntoView({{block: 'center', inline: 'center'}})")
    x, y = browser.evaluate(f"(() => {{ const r = {square}.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; }})()")
    for kind in ("mousePressed", "mouseReleased"):
        browser.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
    read = {
        "title": browser.evaluate("document.title"),
        "verdict": browser.evaluate("document.getElementById('verdict')?.textContent"),
        "label": browser.evaluate("document.querySelector('td[aria-selected]')?.getAttribute('aria-label')"),
        "details": browser.evaluate("document.getElementById('details').innerText"),
        "theme": browser.evaluate("document.documentElement.dataset.theme"),
        "ground": browser.evaluate("getComputedStyle(document.body).backgroundColor"),
        "hash": browser.evaluate("decodeURIComponent(location.hash)"),
    }
    if picture:
        import base64

        with open(picture, "wb") as file:
            file.write(base64.b64decode(browser.call("Page.captureScreenshot", format="png")["data"]))
    # The keyboard goes where the mouse went.
    browser.press("ArrowRight")
    read["right"] = browser.evaluate("document.activeElement.getAttribute('aria-label')")
    browser.press("/", "/")
    for letter in sender.split("/")[-1]:
        browser.press(letter, letter)
    browser.until("document.getElementById('from').value.length > 0")
    read["rows"] = browser.evaluate("[...document.querySelectorAll('tbody th')].map((th) => th.textContent)")
    addresses = [e["params"]["request"]["url"] for e in browser.events if e.get("method") == "Network.requestWillBeSent"]
    read["fetched"] = [a for a in addresses if not a.startswith(("file:", "data:"))]
    wrong = ("Runtime.exceptionThrown", "Log.entryAdded")
    read["complaints"] = [e["params"] for e in browser.events if e.get("method") in wrong]
    return read


def main():
    page, sender, receiver = sys.argv[1:4]
    theme = sys.argv[4] if len(sys.argv) > 4 else "light"
    picture = sys.argv[5] if len(sys.argv) > 5 else None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        browser = Browser(directory)
        try:
            print(json.dumps(look(browser, page, sender, receiver, theme, picture)))
        finally:
            browser.process.kill()
            browser.process.wait()


main()
